"""What the tests of the CUDA kernels share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cuda_host import HostModule, MissingCompiler, load
from h2k_kernels.launch.camera import CanvasCamera
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method


def host_module(stem: str, folder: Path) -> HostModule:
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
