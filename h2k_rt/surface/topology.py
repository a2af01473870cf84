"""Facts about a triangle mesh that follow from its faces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def is_closed(faces: NDArray[np.int32]) -> bool:
    """Whether each edge borders exactly two faces that run along it in opposite directions."""
    if len(faces) == 0:
        return False
    start = faces.astype(np.int64).ravel()
    end = np.roll(faces.astype(np.int64), -1, axis=1).ravel()
    count = int(faces.max()) + 1
    forward, backward = np.sort(start * count + end), np.sort(end * count + start)
    # Each directed edge occurs once, and its opposite occurs, too.
    return bool((np.diff(forward) > 0).all() and (forward == backward).all())


def vertex_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """(V, 3) float32 unit normals: mean of the adjoining faces' normals, weighted by area; (0, 0, 1) where there is none."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    out = np.empty(vertices.shape, np.float32)
    for axis in range(3):
        weight = np.tile(normal[:, axis], 3)
        out[:, axis] = np.bincount(faces.T.ravel(), weight, len(vertices))
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return np.where(length > 1e-20, out / np.maximum(length, 1e-20), np.array([0, 0, 1], np.float32)).astype(np.float32)


def pieces(faces: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """(count,) label of the connected piece of each vertex: the smallest vertex of the piece."""
    label = np.arange(count, dtype=np.int64)
    edges = np.concatenate((faces[:, :2], faces[:, 1:])).astype(np.int64)
    while True:
        # Hook each root onto the smallest label seen over an edge, then let every vertex point to its root.
        low = np.minimum(label[edges[:, 0]], label[edges[:, 1]])
        new = label.copy()
        np.minimum.at(new, label[edges[:, 0]], low)
        np.minimum.at(new, label[edges[:, 1]], low)
        while True:
            jumped = new[new]
            if (jumped == new).all():
                break
            new = jumped
        if (new == label).all():
            return label
        label = new


def keep_vertices(faces: NDArray[np.int32], keep: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The faces all of whose vertices are kept, renumbered to the kept vertices."""
    number = np.cumsum(keep, dtype=np.int32) - 1
    return number[faces[keep[faces].all(axis=1)]].astype(np.int32)
