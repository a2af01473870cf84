"""Launch of ``sample_features.cu``: points projected into all views, all scales sampled, in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import FLOATS, check_persons, structure
from h2k_kernels.launch.plan import LaunchPlan

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

#: ``MAX_SCALES``, ``TILE`` and ``WARPS`` of sample_features.cu.
MAX_SCALES = 8
_TILE, _WARPS = 32, 8
#: ``Scale`` and ``ScaleTable``.
_SCALE = np.dtype([("data", "u8"), ("height", "i4"), ("width", "i4"), ("channels", "i4"), ("first_channel", "i4")], align=True)
_TABLE = np.dtype([("count", "i4"), ("channels", "i4"), ("scales", _SCALE, (MAX_SCALES,))], align=True)
_SUFFIXES = {np.dtype(np.float32): "f32", np.dtype(np.float16): "f16"}
#: Offsets inside one view's map are 32-bit numbers.
_MOST_ELEMENTS = 1 << 31


def plan(maps: Sequence[DeviceArray], projections: DeviceArray, points: DeviceArray, features: DeviceArray) -> LaunchPlan:
    """How to launch the kernel. V views, N points.

    Args:
        maps: for each scale (V, h, w, C), all float32 or all float16, channels last.
        projections: (V, 3, 4) float32; points: (N, 3) float32, as for the twin.
        features: written; (V, C of all scales + 1, 1, N) float32 or float16.

    Raises:
        ValueError: an argument has another type or shape.
    """
    require(projections, "projections", np.float32, None, 3, 4)
    views = projections.shape[0]
    check_persons(views)
    require(points, "points", np.float32, None, 3)
    count = points.shape[0]
    if not 1 <= len(maps) <= MAX_SCALES or count < 1:
        raise ValueError(f"there must be 1 to {MAX_SCALES} maps and a point, not {len(maps)} and {count}")
    table = np.zeros((), _TABLE)
    first = 0
    for entry, scale in zip(table["scales"], maps, strict=False):
        require(scale, "maps", maps[0].dtype, views, None, None, None)
        _, height, width, channels = scale.shape
        if height * width * channels >= _MOST_ELEMENTS or not channels:
            raise ValueError(f"a map of {height} x {width} x {channels} must have less than 2^31 elements, and a channel")
        entry["data"], entry["height"], entry["width"] = scale.pointer, height, width
        entry["channels"], entry["first_channel"] = channels, first
        first += channels
    require(maps[0], "maps", FLOATS, None, None, None, None)
    require(features, "features", FLOATS, views, first + 1, 1, count)
    table["count"], table["channels"] = len(maps), first + 1
    return LaunchPlan(
        f"sample_features_{_SUFFIXES[maps[0].dtype]}_{_SUFFIXES[features.dtype]}",
        (-(-count // _TILE), views, 1),
        (_TILE, _WARPS, 1),
        (points, projections, features, np.int64(count), structure(table)),
    )


def sample_features(
    runtime: Runtime,
    maps: Sequence[DeviceArray],
    projections: DeviceArray,
    points: DeviceArray,
    features: DeviceArray,
    stream: Stream | None = None,
) -> None:
    """Fill ``features``; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused the launch.
    """
    runtime.run("sample_features", plan(maps, projections, points, features), stream)
