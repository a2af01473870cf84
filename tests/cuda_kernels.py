"""What the tests of the CUDA kernels share."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cuda_host import HostModule, MissingCompiler, load
from h2k_kernels.launch.camera import CanvasCamera
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method


def host_module(stem: str | Path, folder: Path) -> HostModule:
    """The kernels of ``<stem>.cu`` compiled for the CPU; skips the test where there is no compiler."""
    try:
        return load(stem, folder=folder)
    except MissingCompiler as missing:
        pytest.skip(str(missing))


def poisoned(shape: tuple[int, ...], dtype: type = np.float32) -> NDArray:
    """An output array full of a value that no kernel writes, so that what it leaves out is seen."""
    out = np.empty(shape, dtype)
    out.view(np.uint8).fill(0xFF)  # NaN as a float
    return out


def canvas_camera(size: int, method: Method = METHOD) -> CanvasCamera:
    """The method's camera for maps of ``size`` pixels."""
    return CanvasCamera(size, method.half_tan, method.depth_unit_px, method.size, method.world_scale)


def random_transforms(rng: np.random.Generator, parts: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Similarities canonical -> canvas and back, (parts, 2, 3) each: turned, scaled, shifted by up to half a canvas."""
    angle, scale = rng.uniform(-np.pi, np.pi, parts), rng.uniform(0.4, 1.6, parts)
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    shift = rng.uniform(-0.5, 0.5, (2, parts))
    to_canvas = np.stack([np.stack([a, -b, shift[0]], -1), np.stack([b, a, shift[1]], -1)], 1)
    block = np.linalg.inv(to_canvas[..., :2])
    to_part = np.concatenate([block, -block @ to_canvas[..., 2:]], axis=-1)
    return to_canvas.astype(np.float32), to_part.astype(np.float32)


_FALSE_RACES = Path(__file__).parent / "cuda_host" / "false_races.txt"


def sanitized_environment(sanitizer: str) -> dict[str, str]:
    """Environment of a process that runs kernels built with "address" or "thread" sanitizer; skips where there is no such library.

    The sanitizer's library must be there before anything else is loaded: before the interpreter itself.
    """
    environment = {**os.environ, "CUDA_HOST_SANITIZER": sanitizer, "CUDA_HOST_WORKERS": "1"}
    if not sanitizer:
        return environment
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("the kernels' tests on the CPU need g++")
    libraries = []
    # The C++ library, too: the sanitizer stops at an exception (OpenCV's, for example) whose thrower it did not find when it began.
    for name in ({"address": "libasan.so", "thread": "libtsan.so"}[sanitizer], "libstdc++.so.6"):
        said = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        if not Path(said).is_absolute():
            pytest.skip(f"this g++ has no {name}")
        libraries.append(said)
    return environment | {
        "OPENCV_FOR_THREADS_NUM": "1",  # the race check does not see how OpenCV's own threads wait for each other
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "TSAN_OPTIONS": f"halt_on_error=0:exitcode=66:report_signal_unsafe=0:memory_limit_mb=3000:suppressions={_FALSE_RACES}",
    }
