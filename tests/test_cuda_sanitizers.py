"""Every kernel's own tests once more on the CPU with AddressSanitizer, and with ThreadSanitizer as a race check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cuda_kernels import STEMS, sanitized_environment

TESTS = Path(__file__).parent

#: Tests that add nothing here: the published numbers at full size, and arguments that never reach a kernel.
_LEFT_OUT = "not parity and not slow"
_NOT_THESE = "not wrong_arguments and not published_fusion"


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["address", "thread"])
@pytest.mark.parametrize("stem", STEMS)
def test_kernel_is_clean(stem: str, sanitizer: str) -> None:
    environment = sanitized_environment(sanitizer)
    command = [sys.executable, "-m", "pytest", str(TESTS / f"test_cuda_{stem}.py"), "-x", "-s", "-m", _LEFT_OUT, "-k", _NOT_THESE]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=TESTS.parent, timeout=1800)
    said = result.stdout + result.stderr
    assert "Sanitizer" not in said, said[said.index("Sanitizer") - 200 :][:6000]
    assert result.returncode == 0, said[-6000:]
    assert " passed" in result.stdout
