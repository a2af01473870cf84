"""One watertight outer surface around a figure or a scan: for occupancy and for metrics.

A node of a grid is inside where most of six axis-parallel rays say so, each by its signed crossings with all surfaces (parity
count and ray stabbing, Nooruddin and Turk 2003, with signs instead of parity, so that shells may overlap). Inner cavities are
filled, the largest piece is kept, and marching cubes runs on the distances to the outer faces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from h2k_rt.errors import DataError, MissingPackageError
from h2k_rt.surface.topology import keep_vertices, pieces

if TYPE_CHECKING:
    from h2k_rt.data.people.figure import Figure

_MARGIN = 3  # free nodes around the figure
_VOTES = 4  # of six rays that must say inside
#: The grid is shifted by this share of a cell, so that its lines miss vertices at round numbers.
_SHIFT = np.array([0.3719, 0.4157, 0.4831])


class ClosedMesh(NamedTuple):
    """A watertight surface.

    Attributes:
        vertices: (V, 3) float32 in the unit of the input.
        faces: (F, 3) int32, counter-clockwise seen from outside, one piece.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]


def closed_surface(figure: Figure, resolution: float = 0.005, threads: int = 1) -> ClosedMesh:
    """``closed_mesh`` of all surfaces of a figure, hair cards without their cut-outs, fine wrinkles left out."""
    first, faces = 0, []
    shown = [surface for surface in figure.surfaces if not surface.decal]
    for surface in shown:
        faces.append(surface.faces + first)
        first += len(surface.vertices)
    vertices = np.concatenate([surface.vertices for surface in shown])
    return closed_mesh(vertices, np.concatenate(faces), resolution, threads)


def closed_mesh(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], resolution: float = 0.005, threads: int = 1
) -> ClosedMesh:
    """The outer surface of triangles that may have holes, overlap, or hide inner shells.

    Args:
        vertices: (V, 3), metres; faces: (F, 3), counter-clockwise seen from outside.
        resolution: cell of the grid in the vertices' unit; parts thinner than this are lost.
        threads: for the distances.

    Raises:
        DataError: the faces enclose nothing at this resolution.
        MissingPackageError: open3d or scikit-image is not installed.
    """
    points = np.ascontiguousarray(vertices, np.float64)
    triangles = np.ascontiguousarray(faces, np.int32)
    used = points[triangles.ravel()]
    if len(used) == 0 or not np.isfinite(used).all():
        raise DataError("a surface without faces or with coordinates that are no numbers cannot be closed")
    origin = used.min(axis=0) - (_MARGIN + _SHIFT) * resolution
    shape = tuple(int(n) for n in np.ceil((used.max(axis=0) - origin) / resolution).astype(int) + _MARGIN + 1)
    inside = _solid(_votes((points - origin) / resolution, triangles, shape) >= _VOTES)
    if inside is None:
        raise DataError(f"the surface encloses nothing at a resolution of {resolution:g}; are its faces turned inside out?")
    field = _signed_distance((points - origin) / resolution, triangles, inside, threads)
    return _march(field, origin, resolution)


def _votes(points: NDArray[np.float64], triangles: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """For each node, how many of six rays along the axes leave more surfaces than they enter; points in cells of the grid."""
    votes = np.zeros(shape, np.uint8)
    for axis in range(3):
        order = np.array([(axis + 1) % 3, (axis + 2) % 3, axis])
        crossings = np.zeros([shape[k] for k in order], np.int8)
        _mark_crossings(np.ascontiguousarray(points[:, order]), triangles, crossings)
        _count_votes(crossings, votes.transpose(order))
    return votes


@njit(cache=True, nogil=True)
def _mark_crossings(points, triangles, crossings):
    """Adds +1 (left) or -1 (entered) at the first node after each crossing of the lines along the last axis."""
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = points[i, 0], points[i, 1], points[j, 0], points[j, 1], points[k, 0], points[k, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        sign = 1 if area > 0 else -1
        for column in range(int(np.ceil(min(ax, bx, cx))), int(np.floor(max(ax, bx, cx))) + 1):
            for row in range(int(np.ceil(min(ay, by, cy))), int(np.floor(max(ay, by, cy))) + 1):
                u = ((bx - column) * (cy - row) - (by - row) * (cx - column)) / area
                v = ((cx - column) * (ay - row) - (cy - row) * (ax - column)) / area
                w = 1 - u - v
                if u >= 0 and v >= 0 and w >= 0:
                    depth = u * points[i, 2] + v * points[j, 2] + w * points[k, 2]
                    crossings[column, row, int(np.ceil(depth))] += sign


@njit(cache=True, nogil=True)
def _count_votes(crossings, votes):
    columns, rows, nodes = crossings.shape
    for column in range(columns):
        for row in range(rows):
            total = 0
            for n in range(nodes):
                total += crossings[column, row, n]
            before = 0
            for n in range(nodes):
                before += crossings[column, row, n]
                votes[column, row, n] += (total - before > 0) + (-before > 0)


def _solid(inside: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest piece without cavities; None where nothing is inside."""
    pieces, count = ndimage.label(inside)
    if count == 0:
        return None
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    empty, _ = ndimage.label(pieces != sizes.argmax())
    return empty != empty[0, 0, 0]


def _signed_distance(
    points: NDArray[np.float64], triangles: NDArray[np.int32], inside: NDArray[np.bool_], threads: int
) -> NDArray[np.float32]:
    """Distances in cells at the nodes beside the surface, negative inside; other nodes hold only the sign."""
    o3d = _open3d()
    near = _beside_surface(inside)
    outer = triangles[_faces_outside(points, triangles, inside)]
    scene = o3d.t.geometry.RaycastingScene(nthreads=threads)
    scene.add_triangles(o3d.core.Tensor(points.astype(np.float32)), o3d.core.Tensor(np.ascontiguousarray(outer, np.uint32)))
    queries = o3d.core.Tensor(np.argwhere(near).astype(np.float32))
    distances = scene.compute_distance(queries, nthreads=threads).numpy()
    field = np.where(inside, np.float32(-1), np.float32(1))
    # A distance of zero would give marching cubes a face without area.
    field[near] *= np.clip(distances, 0.02, 1.8)
    return field


def _beside_surface(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Nodes with a neighbour along an axis on the other side: all that marching cubes interpolates between."""
    near = np.zeros(inside.shape, np.bool_)
    for axis in range(3):
        crossed = np.diff(inside, axis=axis)
        for first in (0, 1):
            here = tuple(slice(first, first + n) if k == axis else slice(n) for k, n in enumerate(crossed.shape))
            near[here] |= crossed
    return near


def _faces_outside(points: NDArray[np.float64], triangles: NDArray[np.int32], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(F,) faces with a free node in front of them: those of inner shells and of skin under cloth are left out."""
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    free = np.zeros(len(triangles), np.bool_)
    limits = np.array(inside.shape) - 1
    for samples in (corners.mean(axis=1), corners[:, 0], corners[:, 1], corners[:, 2]):
        nodes = np.clip(np.rint(samples + 0.6 * normals).astype(int), 0, limits)
        free |= ~inside[nodes[:, 0], nodes[:, 1], nodes[:, 2]]
    return free if free.any() else np.ones(len(triangles), np.bool_)


def _open3d() -> Any:
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise MissingPackageError("closing a surface needs open3d; install it with: pip install 'h2k-rt[people]'") from error
    return open3d


def _march(field: NDArray[np.float32], origin: NDArray[np.float64], resolution: float) -> ClosedMesh:
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise MissingPackageError("closing a surface needs scikit-image; install it with: pip install 'h2k-rt[people]'") from error
    nodes, faces, _, _ = marching_cubes(field, 0.0, gradient_direction="descent")
    faces = faces.astype(np.int32)
    piece = pieces(faces, len(nodes))
    keep = piece == np.bincount(piece).argmax()
    return ClosedMesh((origin + nodes[keep] * resolution).astype(np.float32), keep_vertices(faces, keep))
