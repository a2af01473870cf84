"""Launch of ``warp_parts.cu``: every part's crop of picture and low front normal, in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import FLOATS
from h2k_kernels.launch.crops import canvas_of, check_parts, crop_table
from h2k_kernels.launch.plan import LaunchPlan
from h2k_kernels.warp_parts import Crops

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

#: ``TILE_WIDTH`` and ``TILE_HEIGHT`` of warp_parts.cu; a thread makes two pixels.
_TILE = (32, 16)
#: Pixels of a canvas are numbered in 32 bits.
_MAX_SIZE = 65535


def plan(
    picture: DeviceArray,
    low_normals: DeviceArray,
    to_canvas: DeviceArray,
    groups: Sequence[Crops],
    crops: Sequence[DeviceArray],
    background: float | None = None,
) -> LaunchPlan:
    """How to launch the kernel. B persons, P parts; float arrays of networks may be float32 or float16, each by itself.

    Args:
        picture: (B, N, N, 4) uint8, R, G, B and the share of the person over ``background``, as ``photo_prep`` makes it;
            or (B, N, N, 3) float32, normalised to [-1, 1]. N <= 65535.
        low_normals: (B, C, n, n), C >= 3; channels 0 to 2 are the encoded front normals. n <= N.
        to_canvas: (B, P, 2, 3) float32, canonical -> canvas in normalised coordinates.
        groups: the networks' crops, at most 32 parts in all.
        crops: written; for each group (B * parts, 6, h, w), person by person.
        background: value of the background in all channels; None: 0 is taken, and the picture's alpha is to be 255 everywhere.
            Of a float32 picture it is part of the values already.

    Raises:
        ValueError: an argument has another type or shape.
    """
    persons, size = picture.shape[0] if picture.ndim else 0, picture.shape[1] if picture.ndim > 1 else 0
    channels = 4 if picture.dtype == np.uint8 else 3
    require(picture, "picture", (np.uint8, np.float32), persons, size, size, channels)
    require(low_normals, "low_normals", FLOATS, persons, None, None, None)
    if size > _MAX_SIZE:
        raise ValueError(f"the picture must have at most {_MAX_SIZE} pixels a side, not {size}")
    low_channels, low_size = low_normals.shape[1:3]
    if low_channels < 3 or low_normals.shape[3] != low_size or not 0 < low_size <= size:
        raise ValueError(f"low_normals must have 3 channels or more of at most {size} x {size}, not {low_normals.shape}")
    require(to_canvas, "to_canvas", np.float32, persons, None, 2, 3)
    check_parts(groups, to_canvas.shape[1])
    table = crop_table(crops, groups, persons, *_TILE)
    common = (
        low_normals,
        np.int32(low_normals.dtype == np.float16),
        np.int64(low_channels * low_size * low_size),
        np.int32(low_size),
        np.float32(low_size / size),
        to_canvas,
        np.int32(to_canvas.shape[1]),
        canvas_of(size),
        table,
    )
    grid, block = (int(table["tiles"]), persons, 1), (16, 16, 1)
    if picture.dtype == np.uint8:
        return LaunchPlan("warp_parts_u8", grid, block, (picture, np.float32(background or 0.0), *common))
    return LaunchPlan("warp_parts_f32", grid, block, (picture, *common))


def warp_parts(
    runtime: Runtime,
    picture: DeviceArray,
    low_normals: DeviceArray,
    to_canvas: DeviceArray,
    groups: Sequence[Crops],
    crops: Sequence[DeviceArray],
    background: float | None = None,
    stream: Stream | None = None,
) -> None:
    """Fill ``crops``; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused the launch.
    """
    runtime.run("warp_parts", plan(picture, low_normals, to_canvas, groups, crops, background), stream)
