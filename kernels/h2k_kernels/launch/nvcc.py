"""nvcc of the CUDA toolkit, in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from h2k_kernels.launch.errors import DeviceFailure

if TYPE_CHECKING:
    from h2k_kernels.launch.compile import Source

_SECONDS = 300


@cache
def path() -> Path:
    """The nvcc to use: of CUDA_HOME or CUDA_PATH, on PATH, or in /usr/local/cuda.

    Raises:
        DeviceFailure: there is none.
    """
    program = "nvcc.exe" if sys.platform == "win32" else "nvcc"
    named = [Path(os.environ[name]) / "bin" / program for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    on_path = shutil.which(program)
    for candidate in (*named, *([Path(on_path)] if on_path else []), Path("/usr/local/cuda/bin") / program):
        if candidate.is_file():
            return candidate
    raise DeviceFailure("nvcc was not found (CUDA toolkit; put it on PATH or set CUDA_HOME)")


@cache
def version(program: Path) -> str:
    """For example "nvcc 13.0.88", read off ``nvcc --version``.

    Raises:
        DeviceFailure: it cannot be run.
    """
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise DeviceFailure(f"{program} cannot be run: {error}") from error
    found = re.search(r"V(\d+\.\d+\.\d+)", text)
    return f"nvcc {found.group(1)}" if found else "nvcc of unknown version"


def find() -> tuple[str, Callable[[Source, str], bytes]]:
    """Name with version, and a function that makes a cubin of a source for an architecture.

    Raises:
        DeviceFailure: there is no nvcc, or it cannot be run.
    """
    program = path()
    return version(program), lambda source, architecture: compile_source(program, source, architecture, "cubin")


def compile_source(program: Path, source: Source, architecture: str, kind: str) -> bytes:
    """Compile to "cubin" or "ptx".

    Raises:
        DeviceFailure: with the first line that the compiler says about it.
    """
    with tempfile.TemporaryDirectory(prefix="h2k-nvcc-") as folder:
        output = Path(folder) / f"{source.stem}.{kind}"
        command = [
            program,
            f"-{kind}",
            f"-arch={architecture}",
            *source.options,
            "-I",
            source.path.parent,
            "-o",
            output,
            source.path,
        ]
        try:
            result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=_SECONDS, cwd=folder)
        except (OSError, subprocess.SubprocessError) as error:
            raise DeviceFailure(f"{program} cannot be run: {error}") from error
        if result.returncode or not output.is_file():
            said = [line.strip() for line in (result.stderr + result.stdout).splitlines() if line.strip()]
            worst = next((line for line in said if "error" in line or "fatal" in line), said[0] if said else "no message")
            raise DeviceFailure(f"nvcc failed on {source.stem}.cu for {architecture}: {worst}")
        return output.read_bytes()
