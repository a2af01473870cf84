"""Launch of ``copy_window.cu``: the window of a picture that the trunk runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import FLOATS, check_persons
from h2k_kernels.launch.plan import LaunchPlan

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream


def plan(source: DeviceArray, target: DeviceArray, origin: DeviceArray, divisor: int = 1) -> LaunchPlan:
    """How to launch the kernel.

    Args:
        source: (B, C, H, W) float32 or float16.
        target: written; (B, C, h, w), the window.
        origin: (B, 2) int32 x, y of the window's first pixel, in pixels of a ``divisor`` times finer picture.

    Raises:
        ValueError: an argument has another type or shape.
    """
    persons = source.shape[0] if source.ndim else 0
    require(source, "source", FLOATS, persons, None, None, None)
    channels, source_height, source_width = source.shape[1:]
    require(target, "target", source.dtype, persons, channels, None, None)
    height, width = target.shape[2:]
    require(origin, "origin", np.int32, persons, 2)
    check_persons(persons)
    if not (0 < height <= source_height and 0 < width <= source_width and divisor > 0):
        raise ValueError(f"a window of {width} x {height} pixels does not fit {source.shape}")
    sizes = (divisor, channels, source_height, source_width, height, width)
    return LaunchPlan(
        "copy_window_4" if source.dtype.itemsize == 4 else "copy_window_2",
        (-(-width // 32), -(-height // 8), persons),
        (32, 8, 1),
        (source, target, origin, *(np.int32(n) for n in sizes)),
    )


def copy_window(
    runtime: Runtime,
    source: DeviceArray,
    target: DeviceArray,
    origin: DeviceArray,
    divisor: int = 1,
    stream: Stream | None = None,
) -> None:
    """Fill ``target``; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused the launch.
    """
    runtime.run("copy_window", plan(source, target, origin, divisor), stream)
