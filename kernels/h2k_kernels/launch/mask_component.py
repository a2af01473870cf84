"""Launch of ``mask_component.cu``: small pieces and holes of masks, dilation and erosion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import NULL, check_persons, check_scratch, part_of
from h2k_kernels.launch.plan import LaunchPlan, Triple

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

_BLOCK = (256, 1, 1)


def scratch_bytes(height: int, width: int, persons: int = 1) -> int:
    """Bytes of device memory that the plans of this module need beside their arguments."""
    return persons * (2 * _bit_bytes(height, width) + 8 * _padded(height * width)) + 4 * _padded(persons)


def plan(
    mask: DeviceArray, out: DeviceArray, scratch: DeviceArray, *, min_share: float = 0.05, diagonal: bool = False
) -> list[LaunchPlan]:
    """Drop the pieces with less than ``min_share`` of the largest one's pixels.

    Args:
        mask: (B, H, W) uint8, 0 or not.
        out: written; the same shape, 0 or 1. May be ``mask``.
        scratch: (n,) uint8, at least :func:`scratch_bytes`.
        min_share: 1: only the largest stays (of equal ones all).
        diagonal: pixels that touch at a corner belong together.

    Raises:
        ValueError: an argument has another type or shape.
    """
    return _components(mask, out, scratch, float(min_share), 0, holes=False, diagonal=diagonal)


def plan_holes(mask: DeviceArray, out: DeviceArray, scratch: DeviceArray, max_hole: int) -> list[LaunchPlan]:
    """Fill the enclosed holes of at most ``max_hole`` pixels; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
    """
    return _components(mask, out, scratch, 0.0, max_hole, holes=True, diagonal=True)


def plan_spread(mask: DeviceArray, out: DeviceArray, scratch: DeviceArray, radius: int, *, erode: bool = False) -> list[LaunchPlan]:
    """Dilate (or erode) with a square of ``2 radius + 1`` pixels; what lies outside the picture does not count.

    Arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
    """
    persons, height, width = _check(mask, out, scratch)
    if radius < 0:
        raise ValueError(f"the radius of a dilation must not be negative: {radius}")
    size = (np.int32(height), np.int32(width))
    bits, spread = (part_of(scratch, i * persons * _bit_bytes(height, width), persons * _bit_bytes(height, width)) for i in (0, 1))
    by_warp, by_thread = _grids(height, width, persons)
    return [
        LaunchPlan("mask_to_bits", by_warp, _BLOCK, (mask, bits, NULL, NULL, NULL, *size, np.int32(erode))),
        LaunchPlan("mask_spread_rows", by_thread, _BLOCK, (bits, spread, *size, np.int32(radius))),
        LaunchPlan("mask_spread_columns", by_warp, _BLOCK, (spread, out, *size, np.int32(radius), np.int32(erode))),
    ]


def mask_component(
    runtime: Runtime,
    mask: DeviceArray,
    out: DeviceArray,
    scratch: DeviceArray,
    *,
    min_share: float = 0.05,
    diagonal: bool = False,
    stream: Stream | None = None,
) -> None:
    """Drop small pieces of masks; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused a launch.
    """
    for step in plan(mask, out, scratch, min_share=min_share, diagonal=diagonal):
        runtime.run("mask_component", step, stream)


def _components(
    mask: DeviceArray, out: DeviceArray, scratch: DeviceArray, share: float, max_hole: int, *, holes: bool, diagonal: bool
) -> list[LaunchPlan]:
    persons, height, width = _check(mask, out, scratch)
    size, invert = (np.int32(height), np.int32(width)), np.int32(holes)
    bit_bytes, label_bytes = persons * _bit_bytes(height, width), persons * 4 * _padded(height * width)
    bits = part_of(scratch, 0, bit_bytes)
    parent, area = (part_of(scratch, bit_bytes + i * label_bytes, label_bytes) for i in (0, 1))
    largest = part_of(scratch, bit_bytes + 2 * label_bytes, 4 * persons)
    by_warp, by_thread = _grids(height, width, persons)
    return [
        LaunchPlan("mask_to_bits", by_warp, _BLOCK, (mask, bits, parent, area, largest, *size, invert)),
        LaunchPlan("mask_unite", by_thread, _BLOCK, (bits, parent, *size, np.int32(diagonal))),
        LaunchPlan("mask_count", by_thread, _BLOCK, (bits, parent, area, largest, *size, invert)),
        LaunchPlan(
            "mask_keep",
            by_warp,
            _BLOCK,
            (bits, parent, area, largest, out, *size, np.float64(share), invert, np.uint32(max_hole)),
        ),
    ]


def _check(mask: DeviceArray, out: DeviceArray, scratch: DeviceArray) -> tuple[int, int, int]:
    require(mask, "mask", np.uint8, None, None, None)
    persons, height, width = mask.shape
    require(out, "out", np.uint8, persons, height, width)
    check_persons(persons)
    if not 0 < height * width < 1 << 31:
        raise ValueError(f"a mask must have 1 to 2^31 - 1 pixels, not {width} x {height}")
    check_scratch(scratch, scratch_bytes(height, width, persons))
    return persons, height, width


def _padded(count: int) -> int:
    """Rounded up, so that what follows an array of 4-byte values lies on a multiple of 16 bytes."""
    return -(-count // 4) * 4


def _bit_bytes(height: int, width: int) -> int:
    return 4 * _padded(height * -(-width // 32))


def _grids(height: int, width: int, persons: int) -> tuple[Triple, Triple]:
    """With a warp for each word of 32 pixels, and with a thread for each."""
    words = height * -(-width // 32)
    return (-(-words // 8), persons, 1), (-(-words // 256), persons, 1)
