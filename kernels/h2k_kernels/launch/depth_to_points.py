"""Launch of ``depth_to_points.cu``: point clouds of two depth maps, with the published clean-up and seam shells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.camera import CanvasCamera
from h2k_kernels.launch.checks import check_persons, check_scratch, colours_of, optional, structure
from h2k_kernels.launch.plan import LaunchPlan

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

#: Layers in the order of the points: front, back, and the seam shells.
LAYERS = ("front", "back", "c10", "c20", "c30", "c05", "c15", "c25", "c35")

#: ``SCAN_BLOCK``, ``SEAMS`` and ``REACH`` of the sources.
_SCAN_BLOCK, _SEAMS, _REACH = 256, 7, 4

_RULES = np.dtype(
    [
        ("published", "i4"),
        ("seams", "i4"),
        ("wrap", "i4"),
        ("erosion", "i4"),
        ("nu_px", "f4"),
        ("px_steps", "f4"),
        ("nearest", "f4"),
    ],
    align=True,
)
_MAPS_NAMES = ("height", "width", "words", "blocks", "select_blocks")
_MAPS = np.dtype([(name, "i4") for name in _MAPS_NAMES], align=True)
_SCRATCH_NAMES = ("steps", "front", "back", "inner", "bits", "before", "totals", "moments", "middles", "state")
_SCRATCH = np.dtype([(name, "u8") for name in _SCRATCH_NAMES], align=True)
_POINTS = np.dtype([("positions", "u8"), ("normals", "u8"), ("colours", "u8"), ("most", "i8")], align=True)


@dataclass(frozen=True)
class PointArrays:
    """Where the clouds go. A cloud that does not fit is not written; :attr:`counts` tells what it needs.

    Attributes:
        points: (B, V, 3) float32, scan frame.
        normals: (B, V, 3) float32.
        colors: (B, V, 3) uint8.
        counts: (B, 10) int64: points in all, and of each of :data:`LAYERS`.
    """

    points: DeviceArray
    normals: DeviceArray
    colors: DeviceArray
    counts: DeviceArray


def scratch_bytes(height: int, width: int, persons: int = 1) -> int:
    """Bytes of device memory that :func:`plan` needs beside its arguments."""
    return sum(_scratch_sizes(_maps(height, width), persons).values())


def plan(
    depth: DeviceArray,
    front_colors: DeviceArray,
    back_colors: DeviceArray,
    tangents: DeviceArray,
    camera: CanvasCamera,
    out: PointArrays,
    scratch: DeviceArray,
    *,
    origin: DeviceArray | None = None,
    published: bool = False,
    seams: bool = False,
    overflow: Literal["clip", "wrap"] = "clip",
    png_per_px: float = 32.0,
    erosion: int = 3,
    min_point_z: float = 0.3,
) -> list[LaunchPlan]:
    """How to launch the kernels. B persons on maps of H x W pixels, a window of the canvas that holds the person.

    Args:
        depth: (B, 2, H, W) float32 nu, front and back; 0 outside the person, or as the networks give it where ``published``.
        front_colors, back_colors: (B, H, W, C) uint8, C 3 or 4, the colour of each pixel's front and back point; or of the whole
            canvas, (B, N, N, C). They may be one array.
        tangents: (N,) float32 of :meth:`CanvasCamera.tangents`.
        out: written.
        scratch: (n,) uint8, at least :func:`scratch_bytes`.
        origin: (B, 2) int32 x, y of the maps on the canvas; None: 0.
        published: pixels whose front lies behind the back are dropped, depth is rounded to the steps of 16-bit pictures, and the
            back is kept ``erosion`` pixels away from the front's silhouette (SPEC 7).
        seams: add the grey shells that bridge the silhouette; implies ``published``.
        overflow: what becomes of depths beyond 16 bits, see h2k_rt.surface.points.
        png_per_px: steps of a 16-bit depth picture in one pixel of depth.
        min_point_z: points nearer than this are dropped.

    Raises:
        ValueError: an argument has another type or shape.
    """
    require(depth, "depth", np.float32, None, 2, None, None)
    persons, _, height, width = depth.shape
    require(tangents, "tangents", np.float32, camera.size)
    check_persons(persons)
    if not 0 < height * width < 1 << 31 or max(height, width) > camera.size:
        raise ValueError(f"the maps must have 1 to 2^31 - 1 pixels and fit the canvas of {camera.size}, not {width} x {height}")
    if not 0 <= erosion < _REACH:
        raise ValueError(f"the erosion must be 0 to {_REACH - 1} pixels, not {erosion}")
    if overflow not in ("clip", "wrap"):
        raise ValueError(f"overflow must be clip or wrap, not {overflow!r}")
    points = _check_out(out, persons)
    maps = _maps(height, width)
    sizes = _scratch_sizes(maps, persons)
    check_scratch(scratch, sum(sizes.values()))
    starts = scratch.pointer + np.concatenate([[0], np.cumsum(list(sizes.values()))[:-1]])
    memory, grid = structure(np.array(tuple(starts.tolist()), _SCRATCH)), structure(np.array(tuple(maps.values()), _MAPS))
    fields = (published or seams, seams, overflow == "wrap", erosion, camera.depth_unit_px, png_per_px, min_point_z)
    rules = structure(np.array(fields, _RULES))
    colours = colours_of(front_colors, back_colors, (persons, height, width), camera.size)
    place, packed = optional(origin, "origin", np.int32, persons, 2), camera.packed()
    by_warp, by_word, block = (maps["select_blocks"], persons, 1), (maps["blocks"], persons, 1), (256, 1, 1)
    return [
        LaunchPlan("points_steps", by_warp, block, (depth, rules, grid, memory)),
        LaunchPlan("points_erode", by_warp, block, (rules, grid, memory)),
        LaunchPlan("points_select", by_warp, block, (tangents, place, packed, rules, grid, memory)),
        LaunchPlan("points_places", by_word, block, (rules, grid, memory, out.counts)),
        LaunchPlan("points_write", by_warp, block, (tangents, place, colours, packed, rules, grid, memory, out.counts, points)),
    ]


def depth_to_points(
    runtime: Runtime,
    depth: DeviceArray,
    front_colors: DeviceArray,
    back_colors: DeviceArray,
    tangents: DeviceArray,
    camera: CanvasCamera,
    out: PointArrays,
    scratch: DeviceArray,
    *,
    origin: DeviceArray | None = None,
    published: bool = False,
    seams: bool = False,
    overflow: Literal["clip", "wrap"] = "clip",
    png_per_px: float = 32.0,
    erosion: int = 3,
    min_point_z: float = 0.3,
    stream: Stream | None = None,
) -> None:
    """Lift the depth maps; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused a launch.
    """
    steps = plan(
        depth,
        front_colors,
        back_colors,
        tangents,
        camera,
        out,
        scratch,
        origin=origin,
        published=published,
        seams=seams,
        overflow=overflow,
        png_per_px=png_per_px,
        erosion=erosion,
        min_point_z=min_point_z,
    )
    for step in steps:
        runtime.run("depth_to_points", step, stream)


def _maps(height: int, width: int) -> dict[str, int]:
    words = -(-width // 32)
    values = (height, width, words, -(-height * words // _SCAN_BLOCK), -(-height * words // 8))
    return dict(zip(_MAPS_NAMES, values, strict=True))


def _scratch_sizes(maps: dict[str, int], persons: int) -> dict[str, int]:
    """Bytes of each array of ``Scratch``, multiples of 16."""
    words, pixels, layers = maps["height"] * maps["words"], maps["height"] * maps["width"], len(LAYERS)
    counts = (
        2 * pixels, words, words, words, layers * words, layers * words, layers * maps["blocks"],
        2 * 2 * _SEAMS * maps["select_blocks"], 2 * _SEAMS, 1 + layers,
    )  # fmt: skip
    return {name: -(-4 * persons * count // 16) * 16 for name, count in zip(_SCRATCH_NAMES, counts, strict=True)}


def _check_out(out: PointArrays, persons: int) -> np.void:
    """Check the cloud's arrays; returns ``Points``."""
    require(out.points, "points", np.float32, persons, None, 3)
    most = out.points.shape[1]
    require(out.normals, "normals", np.float32, persons, most, 3)
    require(out.colors, "colors", np.uint8, persons, most, 3)
    require(out.counts, "counts", np.int64, persons, 1 + len(LAYERS))
    return structure(np.array((out.points.pointer, out.normals.pointer, out.colors.pointer, most), _POINTS))
