"""Cutting a mesh along a line: where a field on its vertices is zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cut:
    """What is left of a mesh.

    Attributes:
        faces: (F, 3) int32 into the vertices that are left; uv_faces: (F, 3) int32 into all
            texture places, the new ones at the end.
        ends: (N, 2) int32 edges that were cut, share: (N,) float32 of the way along them; the new vertices.
        uv_ends: (M, 2) int32, uv_share: (M,) float32, the same for texture places.
        kept: which of all vertices, old and new, are left.
    """

    faces: NDArray[np.int32]
    uv_faces: NDArray[np.int32]
    ends: NDArray[np.int32]
    share: NDArray[np.float32]
    uv_ends: NDArray[np.int32]
    uv_share: NDArray[np.float32]
    kept: NDArray[np.int32]

    def carry(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Values (V, ...) of the whole mesh at the vertices that are left."""
        values = values.astype(np.float32, copy=False)
        return np.concatenate([values, _between(values, self.ends, self.share)])[self.kept]

    def carry_uv(self, uv: NDArray[np.float32]) -> NDArray[np.float32]:
        """Texture places (T, 2) with those on the new border behind them."""
        return np.concatenate([uv, _between(uv, self.uv_ends, self.uv_share)])


def _between(values: NDArray[np.float32], ends: NDArray[np.int32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    share = share.reshape(-1, *(1,) * (values.ndim - 1))
    return values[ends[:, 0]] * (1 - share) + values[ends[:, 1]] * share


def cut(field: NDArray[np.floating], faces: NDArray[np.int32], uv_faces: NDArray[np.int32], uv_count: int) -> Cut:
    """Keeps the part of a triangle mesh where ``field`` (V,) is below zero; triangles across the line are divided."""
    inside = field < 0
    count = inside[faces].sum(axis=1)
    whole = count == 3
    cases = [_rotated(faces, uv_faces, inside, count == number, lone=number == 1) for number in (1, 2)]
    (a1, u1), (a2, u2) = cases
    # One corner inside: it stays with two points on its edges. Two inside: the far corner is replaced by two points.
    edges = np.concatenate([a1[:, [0, 1]], a1[:, [0, 2]], a2[:, [1, 2]], a2[:, [0, 2]]])
    uv_edges = np.concatenate([u1[:, [0, 1]], u1[:, [0, 2]], u2[:, [1, 2]], u2[:, [0, 2]]])
    ordered = np.sort(edges, axis=1)
    ends, point = np.unique(ordered, axis=0, return_inverse=True)
    point = point.ravel()
    share = _zero(field, ends)
    new, uv_new = len(field) + point, uv_count + np.arange(len(edges))
    n1, n2 = len(a1), len(a2)
    parts = np.split(new, [n1, 2 * n1, 2 * n1 + n2]), np.split(uv_new, [n1, 2 * n1, 2 * n1 + n2])
    made = [_pieces(a, p) for a, p in zip(((a1, a2), (u1, u2)), parts, strict=True)]
    all_faces = np.concatenate([faces[whole], *made[0]]).astype(np.int32)
    all_uv = np.concatenate([uv_faces[whole], *made[1]]).astype(np.int32)
    used = np.zeros(len(field) + len(ends), np.bool_)
    used[all_faces] = True
    kept = np.flatnonzero(used)
    number = np.cumsum(used, dtype=np.int32) - 1
    return Cut(
        number[all_faces], all_uv, ends.astype(np.int32), share, uv_edges.astype(np.int32),
        _zero(field, edges), kept.astype(np.int32),
    )  # fmt: skip


def _zero(field: NDArray[np.floating], ends: NDArray[np.integer]) -> NDArray[np.float32]:
    a, b = field[ends[:, 0]], field[ends[:, 1]]
    return np.clip(a / np.where(a == b, 1, a - b), 0, 1).astype(np.float32)


def _rotated(
    faces: NDArray[np.int32], uv_faces: NDArray[np.int32], inside: NDArray[np.bool_], chosen: NDArray[np.bool_], lone: bool
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The chosen triangles, turned so that the lone inside corner is first, or the lone outside corner last."""
    own, own_uv = faces[chosen], uv_faces[chosen]
    flags = inside[own]
    first = flags.argmax(axis=1) if lone else ((~flags).argmax(axis=1) + 1) % 3
    order = (first[:, None] + np.arange(3)) % 3
    return np.take_along_axis(own, order, 1), np.take_along_axis(own_uv, order, 1)


def _pieces(corners: tuple[NDArray, NDArray], points: list[NDArray]) -> list[NDArray]:
    one, two = corners
    ab, ac, bc, ca = points
    return [
        np.stack([one[:, 0], ab, ac], axis=1),
        np.stack([two[:, 0], two[:, 1], bc], axis=1),
        np.stack([two[:, 0], bc, ca], axis=1),
    ]
