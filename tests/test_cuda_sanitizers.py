"""Every kernel's own tests once more on the CPU with AddressSanitizer, and with ThreadSanitizer where threads share memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cuda_host.module import SOURCES
from cuda_kernels import sanitized_environment

TESTS = Path(__file__).parent
STEMS = sorted(path.stem for path in SOURCES.glob("*.cu"))
#: The test file of a kernel is named after it, but for these.
_FILES = {"distance_field": "fields", "push_pull": "fields"}

#: Tests that add nothing here: the published numbers at full size, and arguments that never reach a kernel.
_LEFT_OUT = "not parity and not slow"
_NOT_THESE = "not wrong_arguments"


def shares_memory(stem: str) -> bool:
    """Whether threads of a block exchange anything: in shared memory of the kernel's own, or in that of scan.cuh."""
    source = (SOURCES / f"{stem}.cu").read_text()
    return "__shared__" in source or '#include "scan.cuh"' in source


def files_of(sanitizer: str) -> list[str]:
    """The test files to run."""
    stems = [stem for stem in STEMS if sanitizer == "address" or shares_memory(stem)]
    return sorted({f"test_cuda_{_FILES.get(stem, stem)}.py" for stem in stems})


# Each file in a process of its own: the race check takes the lazy allocation of a library's thread-local memory for a race.
@pytest.mark.slow
@pytest.mark.parametrize(("sanitizer", "file"), [(kind, file) for kind in ("address", "thread") for file in files_of(kind)])
def test_kernel_is_clean(sanitizer: str, file: str) -> None:
    environment = sanitized_environment(sanitizer)
    command = [sys.executable, "-m", "pytest", str(TESTS / file), "-x", "-s", "-m", _LEFT_OUT, "-k", _NOT_THESE]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=TESTS.parent, timeout=1800)
    said = result.stdout + result.stderr
    assert "Sanitizer" not in said, said[max(said.index("Sanitizer") - 200, 0) :][:6000]
    assert result.returncode == 0, said[-6000:]
    assert " passed" in result.stdout and " skipped" not in result.stdout, said[-2000:]


def test_every_kernel_is_looked_at() -> None:
    assert set(files_of("address")) == {path.name for path in TESTS.glob("test_cuda_*.py")} - {
        f"test_cuda_{name}.py" for name in ("compile", "host", "runtime", "sanitizers")
    }
    assert {"test_cuda_fuse_parts.py", "test_cuda_depth_to_mesh.py"} <= set(files_of("thread")) < set(files_of("address"))
