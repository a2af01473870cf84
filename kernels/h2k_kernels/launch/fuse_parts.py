"""Launch of ``fuse_parts.cu``: the parts' normals blended on the canvas, at full resolution and sub-sampled, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import FLOATS, address, check_persons, check_scratch, optional, structure
from h2k_kernels.launch.crops import canvas_of, check_parts, crop_pixels, crop_table
from h2k_kernels.launch.plan import LaunchPlan
from h2k_kernels.warp_parts import Crops

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

#: ``TILE_WIDTH`` and ``TILE_HEIGHT``, ``WEIGHT_TILE`` and ``MAX_TAPS`` of fuse_parts.cu.
_TILE, _WEIGHT_TILE, _MAX_TAPS = (64, 16), 32, 31

#: ``Blur``, ``Fill`` and ``Levels`` of fuse_parts.cu.
_BLUR = np.dtype([("radius", "i4"), ("margin", "i4"), ("taps", "f4", (_MAX_TAPS,)), ("cumulative", "f4", (_MAX_TAPS,))], align=True)
_FILL = np.dtype(
    [("normals", "u8"), ("is_half", "i4"), ("size", "i4"), ("ratio", "f4"), ("weight", "f4"), ("back_share", "f4")], align=True
)
_LEVELS = np.dtype(
    [("full", "u8"), ("half", "u8"), ("quarter", "u8"), ("width", "i4"), ("height", "i4"), ("is_half_precision", "i4")], align=True
)


def scratch_bytes(groups: Sequence[Crops], persons: int = 1) -> int:
    """Bytes of device memory that :func:`plan` needs beside its arguments."""
    return 4 * persons * crop_pixels(groups)


def plan(
    part_normals: Sequence[DeviceArray],
    groups: Sequence[Crops],
    to_canvas: DeviceArray,
    to_part: DeviceArray,
    size: int,
    normals: DeviceArray,
    scratch: DeviceArray,
    *,
    half: DeviceArray | None = None,
    quarter: DeviceArray | None = None,
    usable: DeviceArray | None = None,
    region: DeviceArray | None = None,
    origin: DeviceArray | None = None,
    fill: DeviceArray | None = None,
    fill_weight: float = 0.0,
    back_share: float = 0.0,
    trim: int = 16,
    taps: int = 15,
    sigma: float = 5.0,
) -> list[LaunchPlan]:
    """How to launch the kernels. B persons, P parts; float arrays may be float32 or float16, each by itself.

    Args:
        part_normals: for each group (B * parts, 6, h, w), person by person.
        groups: the networks' crops, at most 32 parts in all.
        to_canvas, to_part: (B, P, 2, 3) float32, canonical -> canvas and back, normalised coordinates.
        size: side N of the canvas.
        normals: written; (B, 6, H, W), the window of the canvas that starts at ``origin``. The whole canvas if H = W = N.
        scratch: (n,) uint8, at least :func:`scratch_bytes`.
        half, quarter: written, of the type of ``normals``; its pixels [0::2, 0::2] and [1::4, 1::4].
        usable: (B, P) uint8, parts to blend; None: all.
        region: (B, 4) int32 x0, y0, x1, y1: canvas pixels to compute, 0 elsewhere; None: all.
        origin: (B, 2) int32 x, y on the canvas, multiples of 4; None: 0.
        fill: (B, 6, n, n) normals in the canvas's scale where the parts' weights sum to less than ``fill_weight``.
        back_share: share of the fill in the back's three channels wherever parts or fill are, in [0, 1).
        trim, taps, sigma: the window is so much smaller than the crop, and is blurred by so many taps (odd, at most 31).

    Raises:
        ValueError: an argument has another type or shape.
    """
    persons = to_canvas.shape[0] if to_canvas.ndim else 0
    require(to_canvas, "to_canvas", np.float32, persons, None, 2, 3)
    parts = to_canvas.shape[1]
    require(to_part, "to_part", np.float32, persons, parts, 2, 3)
    require(normals, "normals", FLOATS, persons, 6, None, None)
    height, width = normals.shape[2:]
    check_parts(groups, parts)
    check_scratch(scratch, scratch_bytes(groups, persons))
    table = crop_table(part_normals, groups, persons, _WEIGHT_TILE, _WEIGHT_TILE)
    masked = optional(usable, "usable", np.uint8, persons, parts)
    optional(half, "half", normals.dtype, persons, 6, (height + 1) // 2, (width + 1) // 2)
    optional(quarter, "quarter", normals.dtype, persons, 6, (height + 2) // 4, (width + 2) // 4)
    levels = (normals.pointer, address(half), address(quarter), width, height, normals.dtype == np.float16)
    canvas, blur = canvas_of(size), _blur(trim, taps, sigma)
    weights = LaunchPlan(
        "fuse_weights",
        (int(table["tiles"]), persons, 1),
        (32, 8, 1),
        (to_canvas, masked, np.int32(parts), canvas, table, blur, scratch),
    )
    fusion = LaunchPlan(
        "fuse_parts",
        (-(-width // _TILE[0]), -(-height // _TILE[1]), persons),
        (32, 8, 1),
        (
            to_canvas,
            to_part,
            masked,
            np.int32(parts),
            scratch,
            optional(region, "region", np.int32, persons, 4),
            optional(origin, "origin", np.int32, persons, 2),
            canvas,
            _fill(fill, fill_weight, back_share, size, persons),
            structure(np.array(levels, _LEVELS)),
            table,
            blur,
        ),
    )
    return [weights, fusion]


def fuse_parts(
    runtime: Runtime,
    part_normals: Sequence[DeviceArray],
    groups: Sequence[Crops],
    to_canvas: DeviceArray,
    to_part: DeviceArray,
    size: int,
    normals: DeviceArray,
    scratch: DeviceArray,
    *,
    stream: Stream | None = None,
    **options: Any,
) -> None:
    """Fill ``normals`` and its sub-samplings; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused a launch.
    """
    for step in plan(part_normals, groups, to_canvas, to_part, size, normals, scratch, **options):
        runtime.run("fuse_parts", step, stream)


def plan_fill(low_normals: DeviceArray, fill: DeviceArray, factor: int) -> LaunchPlan:
    """Low-resolution normals in the encoding of a ``factor`` times finer resolution, for ``fill`` of :func:`plan`.

    Args:
        low_normals, fill: (B, 6, n, n), both float32 or both float16.

    Raises:
        ValueError: an argument has another type or shape.
    """
    require(low_normals, "low_normals", FLOATS, None, 6, None, None)
    require(fill, "fill", low_normals.dtype, *low_normals.shape)
    persons, _, height, width = low_normals.shape
    check_persons(persons)
    args = (low_normals, fill, np.int32(low_normals.dtype == np.float16), np.int64(height * width), np.float32(factor))
    return LaunchPlan("fill_normals", (-(-height * width // 256), persons, 2), (256, 1, 1), args)


def _blur(trim: int, taps: int, sigma: float) -> np.void:
    if not (0 < taps <= _MAX_TAPS and taps % 2 == 1 and trim >= 0 and sigma > 0):
        raise ValueError(
            f"a window is blurred by an odd number of taps up to {_MAX_TAPS}, not trim {trim}, taps {taps}, sigma {sigma}"
        )
    k = np.arange(taps) - taps // 2
    kernel = np.exp(-0.5 * (k / sigma) ** 2)
    kernel /= kernel.sum()
    blur = np.zeros((), _BLUR)
    blur["radius"], blur["margin"] = taps // 2, trim // 2
    blur["taps"][:taps], blur["cumulative"][:taps] = kernel, np.cumsum(kernel)
    return structure(blur)


def _fill(fill: DeviceArray | None, weight: float, back_share: float, size: int, persons: int) -> np.void:
    if not 0 <= back_share < 1 or (back_share and fill is None):
        raise ValueError(f"back_share must be in [0, 1), and 0 without a fill, not {back_share}")
    if fill is None:
        return structure(np.zeros((), _FILL))
    require(fill, "fill", FLOATS, persons, 6, None, None)
    n = fill.shape[2]
    if fill.shape[3] != n or 6 * n * n >= 1 << 31:
        raise ValueError(f"fill must be square and of at most 18918 pixels a side, not {fill.shape}")
    return structure(np.array((fill.pointer, fill.dtype == np.float16, n, n / size, weight, back_share), _FILL))
