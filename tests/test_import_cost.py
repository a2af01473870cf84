"""Importing the package and asking for help must not load anything heavy."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import h2k_rt

HEAVY = (
    "numpy",
    "cv2",
    "PIL",
    "torch",
    "onnx",
    "onnxruntime",
    "open3d",
    "trimesh",
    "fast_simplification",
    "tensorrt",
    "pycuda",
    "numba",
    "scipy",
    "anny",
)


def modules_after(code: str) -> set[str]:
    """Top-level names in ``sys.modules`` of a fresh interpreter that ran ``code``."""
    script = f"import sys, json\n{code}\nprint('\\n' + json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import h2k_rt",
        "import h2k_rt.cli",
        "from h2k_rt.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass",
        "from h2k_rt.cli import app\ntry: app(['infer', '--help'])\nexcept SystemExit: pass",
        "from h2k_rt.cli import app\ntry: app(['data', 'people', '--help'])\nexcept SystemExit: pass",
        "from h2k_rt.cli import app\ntry: app(['--version'])\nexcept SystemExit: pass",
        "from h2k_rt.cli import app\ntry: app(['models'])\nexcept SystemExit: pass",
    ],
    ids=["import", "cli", "help", "infer help", "data help", "version", "models"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    loaded = modules_after(code)
    assert "h2k_rt" in loaded
    assert not loaded & set(HEAVY)


def test_lazy_names_are_found_and_typed_names_exist() -> None:
    for name in h2k_rt.__all__:
        if name in h2k_rt._HOMES:
            home = importlib.import_module(f"h2k_rt.{h2k_rt._HOMES[name]}")
            assert getattr(h2k_rt, name) is getattr(home, name)
    assert set(h2k_rt._HOMES) == set(h2k_rt.__all__) - {"__version__"}
    assert set(h2k_rt.__all__) <= set(dir(h2k_rt))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = h2k_rt.nothing


def test_module_can_be_run(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-m", "h2k_rt", "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, f"h2k-rt {h2k_rt.__version__}\n", "")
