"""Bilinear sampling with zero padding, shared by the CPU twins.

OpenCV's warps round coordinates to 1/32 pixel in the versions this package supports; the method's numbers need more, so the
sampling is done here: gathers of whole pixels (all channels at once) over blocks small enough to stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

#: Points sampled at a time: four gathered blocks of 8 float32 channels fit in a core's second-level cache.
BLOCK_POINTS = 16384

T = TypeVar("T")


def run_parallel(work: Callable[[T], None], items: Iterable[T], threads: int) -> None:
    """Call ``work`` for each item on ``threads`` threads (NumPy releases the interpreter lock in its loops)."""
    if threads <= 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass


def pixel_affine(matrix: NDArray, size: int) -> NDArray[np.float64]:
    """Normalised affine (2, 3) between two size x size canvases as an affine on pixel indices, float64.

    Normalised coordinates have half-pixel centres (``align_corners`` off): index i of n is at ``(2 i + 1) / n - 1``.
    For bounds and areas; samples take :func:`grid_indices`.
    """
    m = np.asarray(matrix, np.float64)
    to_norm = np.array([[2 / size, 0, 1 / size - 1], [0, 2 / size, 1 / size - 1], [0, 0, 1]])
    to_pixel = np.array([[size / 2, 0, (size - 1) / 2], [0, size / 2, (size - 1) / 2]])
    return to_pixel @ np.vstack([m, [0, 0, 1]]) @ to_norm


@lru_cache(maxsize=8)
def _normalised_centres(size: int) -> NDArray[np.float32]:
    """Pixel centres of ``size`` pixels in normalised coordinates, rounded as the published program's grid."""
    step = float(np.float32(2) / np.float32(size - 1))
    index = np.arange(size)
    line = np.where(index < size // 2, step * index - 1, 1 - step * (size - 1 - index)).astype(np.float32)
    return line * np.float32(size - 1) / np.float32(size)


def grid_indices(
    matrix: NDArray[np.float32], size: int, rows: range, columns: range
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixel indices (x, y) on the input canvas for a window of the output canvas; both (len(rows), len(columns)) float32.

    The arithmetic is in float32 in this very order on purpose: rounding moves a sample by up to 1e-4 pixel, which on a
    photo's edges is more than the tolerance of the parity tests.
    """
    x = _normalised_centres(size)[columns.start : columns.stop]
    y = _normalised_centres(size)[rows.start : rows.stop, None]
    m = np.asarray(matrix, np.float32)
    indices = []
    for row in m:
        g = row[0] * x + row[1] * y
        g += row[2] + np.float32(0)
        g += np.float32(1)
        g *= np.float32(size)
        g -= np.float32(1)
        g *= np.float32(0.5)
        indices.append(g)
    return indices[0], indices[1]


def zero_bordered(image: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """(h, w, c) in a frame of zeros, (h + 2, w + 2, channels): what sampling outside the image reads."""
    height, width, depth = image.shape
    framed = np.zeros((height + 2, width + 2, channels), np.float32)
    framed[1:-1, 1:-1, :depth] = image
    return framed


def sample_bilinear(
    framed: NDArray[np.float32],
    origin: tuple[int, int],
    matrix: NDArray[np.float32],
    size: int,
    rows: range,
    columns: range,
    out: NDArray[np.float32],
) -> None:
    """Sample a zero-bordered region of a canvas on an affine grid.

    Args:
        framed: (h + 2, w + 2, c) float32 from :func:`zero_bordered`: all of the canvas that is not zero.
        origin: canvas index (x, y) of the region's first pixel, the border not counted.
        matrix: (2, 3) float32, output -> input in normalised coordinates.
        size: side of both canvases.
        rows, columns: output indices to compute.
        out: (len(rows), len(columns), c) float32, C-contiguous, overwritten.
    """
    height, width, channels = framed.shape
    flat = framed.reshape(-1, channels)
    step = max(1, BLOCK_POINTS // max(1, len(columns)))
    gathered = np.empty((step * len(columns), channels), np.float32)
    # +1 for the border; beyond it everything is the border's zero.
    shift_x, shift_y = np.float32(1 - origin[0]), np.float32(1 - origin[1])
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        gx, gy = grid_indices(matrix, size, range(rows.start + start, rows.start + stop), columns)
        x0, fx = _split(gx, shift_x, width)
        y0, fy = _split(gy, shift_y, height)
        index = y0 * width + x0
        n = len(index)
        block = out[start:stop].reshape(n, channels)
        ex, ey = 1 - fx, 1 - fy
        np.take(flat, index, axis=0, out=block, mode="clip")
        block *= (ex * ey)[:, None]
        for offset, weight in ((1, fx * ey), (width, ex * fy), (width + 1, fx * fy)):
            np.take(flat, index + offset, axis=0, out=gathered[:n], mode="clip")
            gathered[:n] *= weight[:, None]
            block += gathered[:n]


def _split(index: NDArray[np.float32], shift: np.float32, count: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Whole and fractional part of canvas indices in a bordered region of ``count`` pixels, flattened and held at its ends."""
    whole = np.floor(index)
    fraction = (index - whole).ravel()
    whole += shift
    first = whole.ravel()
    outside = (first < 0) | (first > count - 2)
    if outside.any():
        fraction[outside] = first[outside] > 0
        first = np.clip(first, 0, count - 2)
    return first.astype(np.int32), fraction
