"""Catmull-Clark subdivision as a sparse matrix, made once per mesh: rounded figures cost one product per pose.

E. Catmull, J. Clark: Recursively generated B-spline surfaces on arbitrary topological meshes, 1978. Boundary edges follow the cubic
B-spline of the boundary alone, so that parts cut from one mesh still meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, identity


@dataclass(frozen=True)
class Refined:
    """A mesh after subdivision.

    Attributes:
        matrix: (fine, coarse) csr float32; fine positions are ``matrix @ positions``.
        quads: (F, 4) int32; uv: (T, 2) float32; uv_quads: (F, 4) int32.
        source: (F,) int32, the coarse quad that each quad came from.
    """

    matrix: csr_array
    quads: NDArray[np.int32]
    uv: NDArray[np.float32]
    uv_quads: NDArray[np.int32]
    source: NDArray[np.int32]


def refine(count: int, quads: NDArray[np.int32], uv: NDArray[np.float32], uv_quads: NDArray[np.int32], levels: int) -> Refined:
    """Subdivides ``levels`` times; texture places are interpolated linearly.

    Args:
        count: number of vertices.
        quads: (F, 4) int32, a triangle has its first corner twice; uv: (T, 2) float32; uv_quads: (F, 4) int32.
    """
    matrix = csr_array(identity(count, np.float32, "csr"))
    source = np.arange(len(quads), dtype=np.int32)
    for _ in range(levels):
        coarse = quads
        step, quads, parents = catmull_clark(matrix.shape[0], coarse)
        spread, uv_quads, _ = catmull_clark(len(uv), uv_quads, like=coarse)
        matrix, uv, source = csr_array(step @ matrix), (spread @ uv).astype(np.float32), source[parents]
    matrix.sort_indices()
    return Refined(matrix, quads, uv, uv_quads, source)


def triangles(quads: NDArray[np.int32]) -> NDArray[np.int32]:
    """(F, 4) quads as (2 F, 3) triangles, the two of a quad side by side."""
    return np.ascontiguousarray(quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3))


def catmull_clark(
    count: int, quads: NDArray[np.int32], like: NDArray[np.int32] | None = None
) -> tuple[csr_array, NDArray[np.int32], NDArray[np.int32]]:
    """One step: (matrix (count + faces + edges, count) float32, new quads, the face that each came from).

    New points are the old vertices, then one per face, then one per edge.

    Args:
        like: for texture places, the mesh's quads: they tell which faces are triangles, and nothing is rounded.
    """
    linear = like is not None
    corners = _Corners(quads, quads if like is None else like)
    faces, edges = len(quads), corners.edge_count
    sizes = np.bincount(corners.face, minlength=faces).astype(np.float64)
    face_points = _sparse(corners.face, corners.vertex, 1 / sizes[corners.face], (faces, count))
    first, second = corners.edge_ends
    ends = np.concatenate([first, second])
    middles = _sparse(np.tile(np.arange(edges), 2), ends, np.full(2 * edges, 0.5), (edges, count))
    on_edge = np.bincount(corners.edge, minlength=edges)
    inner = on_edge == 2
    if linear:
        vertex_points, edge_points = csr_array(identity(count, format="csr")), middles
    else:
        touching = _sparse(corners.edge, corners.face, 1 / on_edge[corners.edge], (edges, faces))
        edge_points = _rows(inner * 0.5) @ (touching @ face_points) + _rows(1 - inner * 0.5) @ middles
        vertex_points = _vertex_points(count, corners, face_points, middles, inner)
    matrix = csr_array(_stack(vertex_points, face_points, edge_points), dtype=np.float32)
    new = np.stack(
        [corners.vertex, count + faces + corners.edge, count + corners.face, count + faces + corners.edge[corners.previous]], axis=1
    )
    return matrix, new.astype(np.int32), corners.face.astype(np.int32)


class _Corners:
    """The corners of all faces in a row, with their face, vertex, outgoing edge and neighbours."""

    def __init__(self, quads: NDArray[np.int32], shape: NDArray[np.int32]) -> None:
        kept = np.ones(quads.shape, np.bool_)
        kept[:, 1:] = shape[:, 1:] != shape[:, :-1]
        kept[:, 3] &= shape[:, 3] != shape[:, 0]
        sizes = kept.sum(axis=1)
        self.face = np.repeat(np.arange(len(quads)), sizes)
        self.vertex = quads[kept].astype(np.int64)
        start = np.cumsum(sizes) - sizes
        index = np.arange(len(self.vertex))
        last = start + sizes - 1
        following = np.where(index == last[self.face], start[self.face], index + 1)
        self.previous = np.where(index == start[self.face], last[self.face], index - 1)
        a, b = self.vertex, self.vertex[following]
        base = int(quads.max()) + 1
        keys, self.edge = np.unique(np.minimum(a, b) * base + np.maximum(a, b), return_inverse=True)
        self.edge_ends = keys // base, keys % base
        self.edge_count = len(keys)


def _vertex_points(
    count: int, corners: _Corners, face_points: csr_array, middles: csr_array, inner: NDArray[np.bool_]
) -> csr_array:
    """Old vertices: (F + 2 R + (n - 3) P) / n inside, the B-spline of the boundary on it, corners and loose points stay."""
    first, second = corners.edge_ends
    ends, edges = np.concatenate([first, second]), np.tile(np.arange(len(inner)), 2)
    valence = np.bincount(corners.vertex, minlength=count)
    outer = ~inner[edges]
    open_edges = np.bincount(ends[outer], minlength=count)
    inside = (open_edges == 0) & (valence > 0)
    rim = open_edges == 2
    n = np.maximum(valence, 1).astype(np.float64)
    mean_face = _sparse(corners.vertex, corners.face, 1 / n[corners.vertex], (count, face_points.shape[0])) @ face_points
    mean_edge = _sparse(ends, edges, 1 / n[ends], (count, len(inner))) @ middles
    mean_rim = _sparse(ends[outer], edges[outer], np.full(int(outer.sum()), 0.5), (count, len(inner))) @ middles
    stay = np.where(inside, (n - 3) / n, np.where(rim, 0.5, 1.0))
    return csr_array(_rows(inside / n) @ mean_face + _rows(2 * inside / n) @ mean_edge + _rows(rim * 0.5) @ mean_rim + _rows(stay))


def _rows(factors: NDArray[np.floating]) -> csr_array:
    count = len(factors)
    return _sparse(np.arange(count), np.arange(count), factors, (count, count))


def _sparse(
    rows: NDArray[np.integer], columns: NDArray[np.integer], values: NDArray[np.floating], shape: tuple[int, int]
) -> csr_array:
    return csr_array(coo_array((values, (rows, columns)), shape=shape))


def _stack(*blocks: csr_array) -> csr_array:
    from scipy.sparse import vstack

    stacked = csr_array(vstack(blocks, format="csr"))
    stacked.eliminate_zeros()
    return stacked
