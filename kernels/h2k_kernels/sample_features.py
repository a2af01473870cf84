"""Project points into every view and sample all feature maps there (CPU twin)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from h2k_kernels.sampling import run_parallel

#: Nearer to the camera's plane than this (in radii of the cube), a point is not seen.
LEAST_DEPTH = 1e-6
#: Points sampled at a time: what they read stays in the second-level cache.
_BLOCK = 2048


def sample_features(
    maps: Sequence[NDArray[np.float32]], projections: NDArray[np.float32], points: NDArray[np.float32], threads: int = 1
) -> NDArray[np.float32]:
    """Features of points in V views, with the points' depth.

    Bilinear, half-pixel centres, 0 beyond a map's edge and behind the camera. All scales are read in one pass over the points.

    Args:
        maps: for each scale (V, h, w, C) float32, channels last.
        projections: (V, 3, 4) float32, homogeneous: cube coordinates -> (u w, v w, w), u and v 0..1 over the picture.
        points: (N, 3) float32, cube coordinates.

    Returns:
        (V, C of all scales + 1, N) float32; the last channel is w less the w of the cube's centre.
    """
    views, count = len(projections), len(points)
    channels = sum(m.shape[3] for m in maps)
    out = np.empty((views, channels + 1, count), np.float32)

    def sample(job: tuple[int, int]) -> None:
        view, start = job
        block = slice(start, min(start + _BLOCK, count))
        matrix = projections[view]
        u, v, w = matrix[:, :3] @ points[block].T + matrix[:, 3:]
        out[view, channels, block] = w - matrix[2, 3]
        ahead = w > LEAST_DEPTH
        w = np.where(ahead, w, np.float32(1))
        u, v = np.where(ahead, u / w, np.float32(-1)), np.where(ahead, v / w, np.float32(-1))
        first = 0
        for scale in maps:
            value = _bilinear(scale[view], u, v)
            out[view, first : first + value.shape[1], block] = value.T
            first += value.shape[1]

    run_parallel(sample, [(view, start) for view in range(views) for start in range(0, count, _BLOCK)], threads)
    return out


def _bilinear(picture: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, C) values of a map (h, w, C) at u, v in 0..1."""
    height, width, channels = picture.shape
    flat = picture.reshape(-1, channels)
    columns, rows = _taps(u, width), _taps(v, height)
    total = np.zeros((len(u), channels), np.float32)
    for row, row_weight in rows:
        for column, column_weight in columns:
            total += flat[row * width + column] * (row_weight * column_weight)[:, None]
    return total


def _taps(share: NDArray[np.float32], count: int) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The two pixels beside each position with their weights; 0 beyond the edge."""
    at = np.clip(share * np.float32(count) - np.float32(0.5), np.float32(-2), np.float32(count + 1))
    whole = np.floor(at)
    fraction = (at - whole).astype(np.float32)
    first = whole.astype(np.int64)
    taps = []
    for pixel, weight in ((first, 1 - fraction), (first + 1, fraction)):
        inside = (pixel >= 0) & (pixel < count)
        taps.append((np.clip(pixel, 0, count - 1), np.where(inside, weight, np.float32(0)).astype(np.float32)))
    return taps
