"""The wheel carries the kernels' PTX where nvcc was found, and says so where not."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from h2k_kernels.launch import prebuild
from h2k_kernels.launch.compile import ptx_mark, read_source

REPOSITORY = Path(__file__).resolve().parents[1]
#: Stands for nvcc and ptxas: writes what nvcc 13 begins a text with.
NVCC = """#!/bin/sh
[ "$1" = --version ] && echo "release 99.0, V99.0.1" && exit 0
while [ "$1" != -o ]; do shift; done
printf '// made by nvcc\\n.version 9.0\\n.target sm_75\\n' >"$2"
"""


@pytest.fixture
def toolkit(tmp_path: Path) -> Path:
    pytest.importorskip("hatchling")
    if sys.platform == "win32":
        pytest.skip("the stand-in for nvcc is a shell script")
    for program in ("nvcc", "ptxas"):
        path = tmp_path / "toolkit" / "bin" / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NVCC)
        path.chmod(0o755)
    return tmp_path / "toolkit"


def build(folder: Path, toolkit: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build the wheel into ``folder``, as pip does, where only hatchling is installed."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    settings = {**os.environ, "CUDA_HOME": str(toolkit), "H2K_CACHE": str(folder / "cache"), **environment}
    settings.pop("PYTHONPATH", None)
    return subprocess.run(command, cwd=REPOSITORY, env=settings, capture_output=True, text=True)


def texts(folder: Path) -> dict[str, bytes]:
    """PTX of the wheel by kernel source."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = [name for name in content.namelist() if name.endswith(".ptx")]
        assert all(name.startswith("h2k_kernels/ptx/") for name in names)
        return {Path(name).stem: content.read(name) for name in names}


def test_wheel_with_ptx(toolkit: Path, tmp_path: Path) -> None:
    result = build(tmp_path / "wheel", toolkit, H2K_PTX="1")
    assert result.returncode == 0, result.stderr
    made = texts(tmp_path / "wheel")
    assert sorted(made) == prebuild.stems()
    for stem, text in made.items():
        assert text == ptx_mark(read_source(stem)) + b"// made by nvcc\n.version 8.0\n.target sm_75\n", "as the launcher expects it"


def test_wheel_without_ptx(toolkit: Path, tmp_path: Path) -> None:
    (toolkit / "bin" / "nvcc").write_text("#!/bin/sh\nexit 1\n")
    if prebuild.is_current(prebuild.FOLDER):
        pytest.skip("PTX lies beside the sources")
    result = build(tmp_path / "release", toolkit, H2K_PTX="1")
    assert result.returncode != 0 and "the wheel holds no prebuilt PTX: " in result.stderr + result.stdout
    result = build(tmp_path / "wheel", toolkit, H2K_PTX="")
    assert result.returncode == 0 and "where it runs, the kernels need nvcc or NVRTC" in result.stderr + result.stdout
    assert texts(tmp_path / "wheel") == {}
