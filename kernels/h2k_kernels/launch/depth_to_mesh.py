"""Launch of ``depth_to_mesh.cu``: the closed grid mesh of two depth maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.camera import CanvasCamera
from h2k_kernels.launch.checks import check_persons, check_scratch, colours_of, optional, structure
from h2k_kernels.launch.plan import LaunchPlan

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

#: ``SCAN_BLOCK``, ``STREAMS``, ``STATE_SIZE``, ``CELL_BLOCK_ROWS`` and ``OUTLINE_RADIUS`` of the sources.
_SCAN_BLOCK, _STREAMS, _STATE_SIZE, _CELL_BLOCK_ROWS, _OUTLINE_RADIUS = 256, 7, 9, 32, 8

#: Arrays of ``Scratch`` in depth_to_mesh.cu.
_SCRATCH_NAMES = (
    "cells", "kept", "used", "border", "before", "totals", "parent", "area", "first_list", "second_list", "pairs", "state",
)  # fmt: skip
_SCRATCH = np.dtype([(name, "u8") for name in _SCRATCH_NAMES], align=True)
_MAPS_NAMES = ("height", "width", "words", "blocks", "cell_blocks_x", "cell_blocks_y")
_MAPS = np.dtype([(name, "i4") for name in _MAPS_NAMES], align=True)
_OUTLINE = np.dtype(
    [
        ("taps", "f4", (_OUTLINE_RADIUS + 1,)),
        ("shift", "f4"),
        ("bulge", "f4"),
        ("tight_shift", "f4"),
        ("tight_bulge", "f4"),
        ("smooth", "i4"),
    ],
    align=True,
)
_VERTICES = np.dtype([("positions", "u8"), ("normals", "u8"), ("colours", "u8"), ("most", "i8")], align=True)

#: Deviation of the blur of the outline, and limits of the vertices' moves in pixels: as in h2k_rt.surface.silhouette.
_OUTLINE_SIGMA, _SHIFT, _BULGE, _TIGHT_SHIFT, _TIGHT_BULGE = 2.0, 0.5, 0.4, 0.25, 0.2


@dataclass(frozen=True)
class MeshArrays:
    """Where the meshes go. A mesh that does not fit is not written; :attr:`counts` tells what it needs.

    Attributes:
        vertices: (B, V, 3) float32.
        normals: (B, V, 3) float32.
        colors: (B, V, 3) uint8.
        faces: (B, F, 3) int32.
        counts: (B, 4) int64: vertices and faces of each mesh, pixels of one side, border pixels.
    """

    vertices: DeviceArray
    normals: DeviceArray
    colors: DeviceArray
    faces: DeviceArray
    counts: DeviceArray


def scratch_bytes(height: int, width: int, persons: int = 1) -> int:
    """Bytes of device memory that :func:`plan` needs beside its arguments."""
    return sum(_scratch_sizes(_maps(height, width), persons).values())


def plan(
    depth: DeviceArray,
    mask: DeviceArray,
    front_colors: DeviceArray,
    back_colors: DeviceArray,
    tangents: DeviceArray,
    camera: CanvasCamera,
    out: MeshArrays,
    scratch: DeviceArray,
    *,
    origin: DeviceArray | None = None,
    rings: int = 3,
    smooth: bool = True,
    min_share: float = 0.05,
) -> list[LaunchPlan]:
    """How to launch the kernels. B persons on maps of H x W pixels, a window of the canvas.

    Args:
        depth: (B, 2, H, W) float32 nu, front and back, front < back inside the mask.
        mask: (B, H, W) uint8, 0 or not.
        front_colors, back_colors: (B, H, W, C) uint8, C 3 or 4, the colour of each pixel's front and back point; or of the whole
            canvas, (B, N, N, C). They may be one array.
        tangents: (N,) float32 of :meth:`CanvasCamera.tangents`.
        out: written.
        scratch: (n,) uint8, at least :func:`scratch_bytes`.
        origin: (B, 2) int32 x, y of the maps on the canvas; None: 0.
        rings: of vertices between the front's and the back's border.
        smooth: move the border onto the smooth outline.
        min_share: pieces with less than this share of the largest one's cells are dropped.

    Raises:
        ValueError: an argument has another type or shape.
    """
    require(depth, "depth", np.float32, None, 2, None, None)
    persons, _, height, width = depth.shape
    require(mask, "mask", np.uint8, persons, height, width)
    require(tangents, "tangents", np.float32, camera.size)
    check_persons(persons)
    if not 0 < height * width < 1 << 29 or max(height, width) > camera.size:
        raise ValueError(f"the maps must have 1 to 2^29 - 1 pixels and fit the canvas of {camera.size}, not {width} x {height}")
    if rings < 0:
        raise ValueError(f"the number of rings must not be negative: {rings}")
    vertices = _check_out(out, persons)
    maps = _maps(height, width)
    sizes = _scratch_sizes(maps, persons)
    check_scratch(scratch, sum(sizes.values()))
    starts = scratch.pointer + np.concatenate([[0], np.cumsum(list(sizes.values()))[:-1]])
    memory, grid = structure(np.array(tuple(starts.tolist()), _SCRATCH)), structure(np.array(tuple(maps.values()), _MAPS))
    by_word, words = (maps["blocks"], persons, 1), -(-height * maps["words"] // 8)
    colours = colours_of(front_colors, back_colors, (persons, height, width), camera.size)
    faces, most_faces = out.faces, np.int64(out.faces.shape[1])
    packed = camera.packed()
    place = optional(origin, "origin", np.int32, persons, 2)
    vertex_args = (depth, tangents, place, colours, packed, _outline(smooth), np.int32(rings), grid, memory, out.counts, vertices)
    face_args = (depth, packed, np.int32(rings), grid, memory, out.counts, np.int64(vertices["most"]), faces)
    return [
        LaunchPlan("mesh_cells", (maps["cell_blocks_x"], maps["cell_blocks_y"], persons), (32, 8, 1), (mask, grid, memory)),
        LaunchPlan("mesh_open", (persons, 1, 1), (512, 1, 1), (grid, memory)),
        LaunchPlan("mesh_unite", by_word, (_SCAN_BLOCK, 1, 1), (grid, memory)),
        LaunchPlan("mesh_count", by_word, (_SCAN_BLOCK, 1, 1), (grid, memory)),
        LaunchPlan("mesh_places", by_word, (_SCAN_BLOCK, 1, 1), (grid, memory, np.float64(min_share), np.int32(rings), out.counts)),
        LaunchPlan("mesh_vertices", (words, persons, 1), (256, 1, 1), (*vertex_args, most_faces)),
        LaunchPlan("mesh_faces", (words, persons, 1), (256, 1, 1), (*face_args, most_faces)),
    ]


def depth_to_mesh(
    runtime: Runtime,
    depth: DeviceArray,
    mask: DeviceArray,
    front_colors: DeviceArray,
    back_colors: DeviceArray,
    tangents: DeviceArray,
    camera: CanvasCamera,
    out: MeshArrays,
    scratch: DeviceArray,
    *,
    origin: DeviceArray | None = None,
    rings: int = 3,
    smooth: bool = True,
    min_share: float = 0.05,
    stream: Stream | None = None,
) -> None:
    """Mesh the depth maps; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused a launch.
    """
    steps = plan(
        depth,
        mask,
        front_colors,
        back_colors,
        tangents,
        camera,
        out,
        scratch,
        origin=origin,
        rings=rings,
        smooth=smooth,
        min_share=min_share,
    )
    for step in steps:
        runtime.run("depth_to_mesh", step, stream)


def _maps(height: int, width: int) -> dict[str, int]:
    words = -(-width // 32)
    values = (height, width, words, -(-height * words // _SCAN_BLOCK), words, -(-height // _CELL_BLOCK_ROWS))
    return dict(zip(_MAPS_NAMES, values, strict=True))


def _scratch_sizes(maps: dict[str, int], persons: int) -> dict[str, int]:
    """Bytes of each array of ``Scratch``, multiples of 16."""
    words, pixels = maps["height"] * maps["words"], maps["height"] * maps["width"]
    cell_blocks = maps["cell_blocks_x"] * maps["cell_blocks_y"]
    counts = (
        words, words, words, words, _STREAMS * words, _STREAMS * maps["blocks"],
        pixels, pixels, cell_blocks * 32 * _CELL_BLOCK_ROWS, pixels, cell_blocks, _STATE_SIZE,
    )  # fmt: skip
    return {name: -(-4 * persons * count // 16) * 16 for name, count in zip(_SCRATCH_NAMES, counts, strict=True)}


def _check_out(out: MeshArrays, persons: int) -> np.void:
    """Check the mesh's arrays; returns ``Vertices``."""
    require(out.vertices, "vertices", np.float32, persons, None, 3)
    most = out.vertices.shape[1]
    if most >= 1 << 31:
        raise ValueError(f"faces number at most 2^31 - 1 vertices in 32 bits, not {most}")
    require(out.normals, "normals", np.float32, persons, most, 3)
    require(out.colors, "colors", np.uint8, persons, most, 3)
    require(out.faces, "faces", np.int32, persons, None, 3)
    require(out.counts, "counts", np.int64, persons, 4)
    return structure(np.array((out.vertices.pointer, out.normals.pointer, out.colors.pointer, most), _VERTICES))


def _outline(smooth: bool) -> np.void:
    k = np.arange(-_OUTLINE_RADIUS, _OUTLINE_RADIUS + 1)
    kernel = np.exp(-(k**2) / (2 * _OUTLINE_SIGMA**2))
    taps = (kernel / kernel.sum())[_OUTLINE_RADIUS:]
    return structure(np.array((taps, _SHIFT, _BULGE, _TIGHT_SHIFT, _TIGHT_BULGE, smooth), _OUTLINE))
