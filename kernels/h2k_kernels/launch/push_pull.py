"""Launch of ``push_pull.cu``: the pyramid that fills unknown pixels from known ones."""

from __future__ import annotations

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import check_persons, check_scratch
from h2k_kernels.launch.distance_field import Step, guard_arguments
from h2k_kernels.launch.plan import LaunchPlan

#: Bytes of a pyramid's pixel: two values, their weight, and one that is not used.
_PIXEL = 16


def levels(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of the levels from 1 on, each half of the one before, down to at most 2 x 2 pixels."""
    sizes = []
    while max(height, width) > 2:
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes


def pyramid_bytes(height: int, width: int, persons: int = 1) -> int:
    """Bytes of the pyramid of maps of that size."""
    return _PIXEL * persons * _pixels(height, width)


def plan(
    first: DeviceArray,
    second: DeviceArray,
    known: DeviceArray,
    pyramid: DeviceArray,
    *,
    guard: DeviceArray | None = None,
) -> list[Step]:
    """How to launch the kernels. Level 1 of the pyramid, at its beginning, is what unknown pixels are then read off.

    Args:
        first, second: (B, H, W) float32, the two values; their persons may lie apart, their rows not. More than 2 pixels a side.
        known: (B, H, W) uint8, 0 or not; values of unknown pixels are ignored.
        pyramid: (n,) uint8, at least :func:`pyramid_bytes`.
        guard: (B, k) int32; a person whose first number is 0 is left out.

    Raises:
        ValueError: an argument has another type or shape.
    """
    require(known, "known", np.uint8, None, None, None)
    persons, height, width = known.shape
    check_persons(persons)
    for name, values in (("first", first), ("second", second)):
        inner = values.dtype == np.float32 and values.shape == known.shape and values[0].contiguous
        if not inner or values.strides != first.strides:
            raise ValueError(f"{name} must be float32 of shape {known.shape}, not {values.dtype} {values.shape}")
    sizes = levels(height, width)
    if not sizes:
        raise ValueError(f"maps of {width} x {height} pixels are too small for a pyramid")
    check_scratch(pyramid, pyramid_bytes(height, width, persons))
    stride = np.int64(_pixels(height, width))
    switch = guard_arguments(guard, persons)
    starts = np.concatenate([[0], np.cumsum([h * w for h, w in sizes])]).astype(np.int64)
    block = (32, 8, 1)

    def grid(size: tuple[int, int]) -> tuple[int, int, int]:
        return -(-size[1] // 32), -(-size[0] // 8), persons

    step = np.int64(first.strides[0] // 4 if persons > 1 else 0)
    args = (first, second, step, known, pyramid, np.int32(height), np.int32(width), stride, *switch)
    plans = [LaunchPlan("pull_first", grid(sizes[0]), block, args)]
    pairs = list(zip(range(len(sizes) - 1), range(1, len(sizes)), strict=True))
    for fine, coarse in pairs:
        between = (starts[fine], starts[coarse], *map(np.int32, sizes[fine]), stride, *switch)
        plans.append(LaunchPlan("pull", grid(sizes[coarse]), block, (pyramid, *between)))
    last = (starts[len(sizes) - 1], np.int32(sizes[-1][0] * sizes[-1][1]), stride, np.int32(persons), *switch)
    plans.append(LaunchPlan("push_last", (-(-persons // 32), 1, 1), (32, 1, 1), (pyramid, *last)))
    for fine, coarse in reversed(pairs):
        between = (starts[fine], starts[coarse], *map(np.int32, sizes[fine]), stride, *switch)
        plans.append(LaunchPlan("push", grid(sizes[fine]), block, (pyramid, *between)))
    return [("push_pull", launch) for launch in plans]


def _pixels(height: int, width: int) -> int:
    return sum(h * w for h, w in levels(height, width))
