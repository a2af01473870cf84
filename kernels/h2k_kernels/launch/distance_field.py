"""Launch of ``distance_field.cu``: distance to the nearest target pixel of a mask, and its index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import NULL, check_persons, check_scratch, optional, part_of
from h2k_kernels.launch.plan import Argument, LaunchPlan

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

#: A launch, and in which source its kernel is.
Step = tuple[str, LaunchPlan]

_BLOCK = (256, 1, 1)


def scratch_bytes(height: int, width: int, persons: int = 1) -> int:
    """Bytes of device memory that :func:`plan` needs beside its arguments."""
    return persons * (_bit_bytes(height, width) + _offset_bytes(height, width))


def plan(
    mask: DeviceArray,
    scratch: DeviceArray,
    *,
    distance: DeviceArray | None = None,
    index: DeviceArray | None = None,
    where: DeviceArray | None = None,
    zeros: bool = False,
    inset: float = 0.0,
    limit: float | None = None,
    guard: DeviceArray | None = None,
) -> list[Step]:
    """How to launch the kernels.

    Args:
        mask: (B, H, W) uint8; its pixels that are not 0 are the targets, or those that are 0 where ``zeros``.
        scratch: (n,) uint8, at least :func:`scratch_bytes`.
        distance: written; (B, H, W) float32, less ``inset`` and not below 0; 0 outside ``where``.
        index: written; (B, H, W) int32, flat index of the nearest target; -1 outside ``where`` and beyond ``limit``.
        where: (B, H, W) uint8, pixels of interest; None: all.
        limit: largest distance of interest; None: any.
        guard: (B, k) int32; a person whose first number is 0 is left out, and its results are undefined.

    Raises:
        ValueError: an argument has another type or shape.
    """
    require(mask, "mask", np.uint8, None, None, None)
    persons, height, width = mask.shape
    check_persons(persons)
    if not 0 < height * width < 1 << 30:
        raise ValueError(f"a mask must have 1 to 2^30 - 1 pixels, not {width} x {height}")
    check_scratch(scratch, scratch_bytes(height, width, persons))
    bit_bytes = persons * _bit_bytes(height, width)
    bits, offsets = part_of(scratch, 0, bit_bytes), part_of(scratch, bit_bytes, persons * _offset_bytes(height, width))
    size = (np.int32(height), np.int32(width))
    switch = guard_arguments(guard, persons)
    words = height * -(-width // 32)
    targets = (mask, bits, NULL, NULL, NULL, *size, np.int32(zeros))
    by_pixel = (-(-height * width // 256), persons, 1)
    return [
        ("mask_component", LaunchPlan("mask_to_bits", (-(-words // 8), persons, 1), _BLOCK, targets)),
        ("distance_field", LaunchPlan("distance_rows", by_pixel, _BLOCK, (bits, offsets, *size, *switch))),
        (
            "distance_field",
            LaunchPlan(
                "distance_field",
                (-(-width // 32), -(-height // 8), persons),
                (32, 8, 1),
                (
                    offsets,
                    optional(where, "where", np.uint8, persons, height, width),
                    optional(distance, "distance", np.float32, persons, height, width),
                    optional(index, "index", np.int32, persons, height, width),
                    *size,
                    np.float32(inset),
                    np.float32(1e9 if limit is None else limit),
                    *switch,
                ),
            ),
        ),
    ]


def guard_arguments(guard: DeviceArray | None, persons: int) -> tuple[Argument, np.int32]:
    """A guard as two arguments of a kernel: its address and the step from person to person.

    Raises:
        ValueError: it is not (B, k) int32.
    """
    if guard is None:
        return NULL, np.int32(0)
    if guard.dtype != np.int32 or guard.ndim != 2 or guard.shape[0] != persons:
        raise ValueError(f"guard must be ({persons}, k) int32, not {guard.shape} {guard.dtype}")
    return guard, np.int32(guard.strides[0] // 4)


def distance_field(
    runtime: Runtime,
    mask: DeviceArray,
    scratch: DeviceArray,
    *,
    distance: DeviceArray | None = None,
    index: DeviceArray | None = None,
    where: DeviceArray | None = None,
    zeros: bool = False,
    inset: float = 0.0,
    limit: float | None = None,
    guard: DeviceArray | None = None,
    stream: Stream | None = None,
) -> None:
    """Fill ``distance`` and ``index``; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused a launch.
    """
    steps = plan(mask, scratch, distance=distance, index=index, where=where, zeros=zeros, inset=inset, limit=limit, guard=guard)
    for stem, step in steps:
        runtime.run(stem, step, stream)


def _bit_bytes(height: int, width: int) -> int:
    return -(-4 * height * -(-width // 32) // 16) * 16


def _offset_bytes(height: int, width: int) -> int:
    return -(-4 * height * width // 16) * 16
