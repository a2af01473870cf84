"""The default surface: both depth maps as pixel grids, joined along the silhouette to one closed mesh.

Front and back share the grid, so the mesh is closed by construction, the same on every machine, and made in a fraction of a second.
A *cell* is the square between four pixel centres of the mask. Every edge of the mesh borders exactly two faces, because cells that
touch at a single corner only (which would share the silhouette strip's edge there) are opened first.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method
from h2k_rt.errors import PersonError
from h2k_rt.surface.clean import CleanDepth
from h2k_rt.surface.fill import bounding_box
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.normals import grid_normals
from h2k_rt.surface.rays import distance_from_nu, lift_to_scan, tangents
from h2k_rt.surface.silhouette import Border, find_border, manifold_cells, pixels_of


@dataclass(frozen=True)
class GridOptions:
    """How the silhouette is closed, and which pieces stay."""

    rings: int = 3
    """Rings of vertices between the front's and the back's border, bulging outwards; 0 gives one flat strip."""
    smooth: bool = True
    """Move the border by less than half a pixel onto the smooth outline, so that it shows no pixel stairs."""
    min_share: float = 0.05
    """Pieces of the mesh with less than this share of the largest one's cells are dropped."""


def grid_mesh(
    depth: CleanDepth,
    front_colors: NDArray[np.uint8],
    back_colors: NDArray[np.uint8],
    *,
    method: Method = METHOD,
    options: GridOptions | None = None,
) -> Mesh:
    """Mesh front, back and silhouette at the full resolution of the maps.

    Args:
        depth: as :func:`h2k_rt.surface.clean.clean_depth` makes it.
        front_colors, back_colors: (N, N, 3) uint8 sRGB, the colour of each pixel's front and back point.

    Returns:
        a closed mesh in the scan frame (:mod:`h2k_rt.surface.rays`): every edge in two faces, faces counter-clockwise from outside.
        Vertices: front points row by row, the back points in the same order, then the rings of the silhouette.

    Raises:
        PersonError: the mask holds no 2 x 2 block of pixels, so there is nothing to mesh.
    """
    options = options or GridOptions()
    cells = manifold_cells(depth.mask, options.min_share)
    if not cells.any():
        raise PersonError("the person is too small to be meshed: no 2 x 2 pixels of the depth maps belong to one piece")
    rows, columns = bounding_box(np.pad(cells, 1), margin=1)  # padded, so that a cell's four pixels are all inside
    rows, columns = slice(max(rows.start - 1, 0), rows.stop), slice(max(columns.start - 1, 0), columns.stop)
    cells = np.pad(cells, ((0, 1), (0, 1)))[rows, columns][:-1, :-1]
    size = depth.mask.shape[0]
    used = pixels_of(cells)
    pixels = np.flatnonzero(used)
    border = find_border(cells, used, options.smooth)

    tan_x, tan_y = tangents(size, method)[columns], tangents(size, method)[rows]
    step = float(tangents(size, method)[1] - tangents(size, method)[0]) if size > 1 else 1.0
    shift = (border.outward * border.shift[:, None] * np.float32(step)).astype(np.float32)
    grid_x = np.broadcast_to(tan_x, used.shape).ravel()[pixels]
    grid_y = np.broadcast_to(tan_y[:, None], used.shape).ravel()[pixels]
    number = np.empty(used.size, np.int32)
    number[pixels] = np.arange(pixels.size, dtype=np.int32)
    on_border = number[border.pixels]
    grid_x[on_border] += shift[:, 0]
    grid_y[on_border] += shift[:, 1]

    near, far = distance_from_nu(depth.front[rows, columns], method), distance_from_nu(depth.back[rows, columns], method)
    count, rings = pixels.size, options.rings
    total = 2 * count + rings * border.pixels.size
    vertices, normals = np.empty((total, 3), np.float32), np.empty((total, 3), np.float32)
    colors = np.empty((total, 3), np.uint8)
    for block, r, sign, picture in ((slice(0, count), near, 1, front_colors), (slice(count, 2 * count), far, -1, back_colors)):
        lift_to_scan(r.ravel()[pixels], grid_x, grid_y, method, vertices[block])
        grid_normals(r, used, pixels, tan_x, tan_y, step, sign, normals[block])
        colors[block] = np.ascontiguousarray(picture[rows, columns]).reshape(-1, 3)[pixels]

    near_edge, far_edge = near.ravel()[border.pixels], far.ravel()[border.pixels]
    side = np.column_stack((border.outward[:, 0], -border.outward[:, 1], np.zeros(border.pixels.size, np.float32)))
    near_normal, far_normal = normals[on_border].copy(), normals[on_border + count].copy()
    normals[on_border] = _unit(near_normal + side)
    normals[on_border + count] = _unit(far_normal + side)
    for ring in range(rings):
        block = slice(2 * count + ring * border.pixels.size, 2 * count + (ring + 1) * border.pixels.size)
        t = (ring + 1) / (rings + 1)
        bulge = np.float32(step * math.sqrt(1 - (2 * t - 1) ** 2)) * border.bulge[:, None] * border.outward
        x, y = grid_x[on_border] + bulge[:, 0], grid_y[on_border] + bulge[:, 1]
        lift_to_scan(near_edge + np.float32(t) * (far_edge - near_edge), x, y, method, vertices[block])
        lean = 2 * t - 1  # -1 at the front, 1 at the back
        normals[block] = _unit(side + (max(-lean, 0.0) * near_normal + max(lean, 0.0) * far_normal))
        mix = colors[on_border] * (1 - t) + colors[on_border + count] * t
        colors[block] = np.rint(mix).astype(np.uint8)

    faces = _faces(cells, number, count, border, on_border, rings, (near, far))
    return Mesh(vertices, faces, normals, colors)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    fallback = np.array([0, 0, 1], np.float32)
    return np.where(length > 1e-6, vectors / np.maximum(length, 1e-6), fallback).astype(np.float32)


def _faces(
    cells: NDArray[np.bool_],
    number: NDArray[np.int32],
    count: int,
    border: Border,
    on_border: NDArray[np.int32],
    rings: int,
    distances: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> NDArray[np.int32]:
    """(F, 3) int32: two triangles per cell in front and back, split along the flatter diagonal, and the silhouette strip."""
    width = cells.shape[1] + 1
    y, x = np.nonzero(cells)
    corner = y * width + x
    a, b, c, d = number[corner], number[corner + 1], number[corner + width], number[corner + width + 1]
    k, e = corner.size, border.start.size
    faces = np.empty((4 * k + 2 * (rings + 1) * e, 3), np.int32)
    for side, distance in enumerate(distances):
        z = distance.ravel()
        falling = np.abs(z[corner] - z[corner + width + 1]) <= np.abs(z[corner + 1] - z[corner + width])
        # falling: the shared edge is a-d, faces (a, c, d) and (a, d, b); else b-c, faces (a, c, b) and (b, c, d).
        base = np.int32(side * count)
        first, second = faces[2 * side * k : (2 * side + 1) * k], faces[(2 * side + 1) * k : (2 * side + 2) * k]
        middle, last = (1, 2) if side == 0 else (2, 1)  # the back is seen from the other side
        first[:, 0], first[:, middle], first[:, last] = a + base, c + base, np.where(falling, d, b) + base
        second[:, 0], second[:, middle], second[:, last] = (
            np.where(falling, a, b) + base,
            np.where(falling, d, c) + base,
            np.where(falling, b, d) + base,
        )
    ring_base = 2 * count + np.arange(rings, dtype=np.int32)[:, None] * np.int32(border.pixels.size)
    own = np.arange(border.pixels.size, dtype=np.int32)
    levels = [on_border, *(ring_base[i] + own for i in range(rings)), on_border + np.int32(count)]
    at = 4 * k
    for upper, lower in itertools.pairwise(levels):
        faces[at : at + e] = np.stack((upper[border.end], upper[border.start], lower[border.end]), axis=1)
        faces[at + e : at + 2 * e] = np.stack((upper[border.start], lower[border.start], lower[border.end]), axis=1)
        at += 2 * e
    return faces
