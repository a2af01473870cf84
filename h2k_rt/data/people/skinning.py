"""Linear blend skinning with sparse weights, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array


def skin(
    points: NDArray[np.floating], weights: csr_array, rotations: NDArray[np.floating], translations: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Moves every point by the weighted mean of its bones' rigid motions: p' = sum_b w_b (R_b p + t_b).

    Args:
        points: (P, 3) float, rest pose.
        weights: (P, B) csr, rows sum to one.
        rotations: (B, 3, 3); translations: (B, 3), metres.

    Returns:
        (P, 3) of the points' dtype.
    """
    if weights.shape[0] != len(points):
        raise ValueError(f"{len(points)} points but skin weights for {weights.shape[0]}")
    moved = np.empty_like(points)
    _skin(points, weights.indptr, weights.indices, weights.data, rotations, translations, moved)
    return moved


@njit(cache=True, nogil=True)
def _skin(points, indptr, indices, data, rotations, translations, moved):
    for p in range(len(points)):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        a = b = c = 0.0
        for k in range(indptr[p], indptr[p + 1]):
            i, w = indices[k], data[k]
            a += w * (rotations[i, 0, 0] * x + rotations[i, 0, 1] * y + rotations[i, 0, 2] * z + translations[i, 0])
            b += w * (rotations[i, 1, 0] * x + rotations[i, 1, 1] * y + rotations[i, 1, 2] * z + translations[i, 1])
            c += w * (rotations[i, 2, 0] * x + rotations[i, 2, 1] * y + rotations[i, 2, 2] * z + translations[i, 2])
        moved[p, 0], moved[p, 1], moved[p, 2] = a, b, c


@njit(cache=True, nogil=True)
def chain(parents, heads, local, rotations, translations):
    """Forward kinematics into ``rotations`` (B, 3, 3) and ``translations`` (B, 3); parents come before their children."""
    for b in range(len(parents)):
        p = parents[b]
        for i in range(3):
            for j in range(3):
                if p < 0:
                    rotations[b, i, j] = local[b, i, j]
                else:
                    rotations[b, i, j] = (
                        rotations[p, i, 0] * local[b, 0, j]
                        + rotations[p, i, 1] * local[b, 1, j]
                        + rotations[p, i, 2] * local[b, 2, j]
                    )
        for i in range(3):
            # The head moves with the parent; the bone turns about it.
            if p < 0:
                moved = heads[b, i]
            else:
                moved = translations[p, i]
                for j in range(3):
                    moved += rotations[p, i, j] * heads[b, j]
            for j in range(3):
                moved -= rotations[b, i, j] * heads[b, j]
            translations[b, i] = moved
