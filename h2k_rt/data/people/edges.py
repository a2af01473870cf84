"""Silhouettes without stairs: pixels along steps of depth are averaged with their neighbours."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: A step of depth in nu (about 2 cm) that counts as an edge.
_STEP = np.float32(0.035)


@njit(cache=True, nogil=True)
def _soften(source, depth, out):
    height, width = depth.shape
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            here, right, below = depth[y, x], depth[y, x + 1], depth[y + 1, x]
            left, above = depth[y, x - 1], depth[y - 1, x]
            if here == 0 and right == 0 and below == 0 and left == 0 and above == 0:
                continue
            step = max(max(abs(here - right), abs(here - left)), max(abs(here - below), abs(here - above)))
            if step < _STEP:
                continue
            for c in range(3):
                total = np.int32(8)
                for dy in range(-1, 2):
                    for dx in range(-1, 2):
                        total += np.int32(source[y + dy, x + dx, c]) * np.int32((2 - abs(dy)) * (2 - abs(dx)))
                out[y, x, c] = total >> 4


def soften_edges(picture: NDArray[np.uint8], depth: NDArray[np.float32]) -> None:
    """Average the pixels of (S, S, 3) ``picture`` along the edges of (S, S) ``depth`` (nu, 0: background) with the 3 x 3 around
    them, weights 1 2 1, in place: silhouettes against the background, and limbs before the body."""
    rows, columns = np.flatnonzero(depth.any(axis=1)), np.flatnonzero(depth.any(axis=0))
    if not len(rows):
        return
    # The figure's box and two pixels around it: one that is averaged and one that is only read.
    box = (slice(max(rows[0] - 2, 0), rows[-1] + 3), slice(max(columns[0] - 2, 0), columns[-1] + 3))
    _soften(picture[box].copy(), depth[box], picture[box])
