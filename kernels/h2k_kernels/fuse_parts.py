"""Blur-weighted fusion of the parts' normals, as one gather over the output (CPU twin).

For a band of canvas rows only the parts that reach it are sampled, their crop's six normal channels together with the blurred
window weight, and blended at once. No part is ever laid out on a canvas of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_kernels.sampling import grid_indices, pixel_affine, run_parallel, sample_bilinear, zero_bordered
from h2k_kernels.warp_parts import Crops

#: Canvas rows fused at a time.
BAND_ROWS = 32
#: Channels of a sampled pixel: six of normals, the weight, one unused so that a pixel is 32 bytes.
_CHANNELS = 8


def window_weight(
    to_canvas: NDArray[np.float32], size: int, height: int, width: int, trim: int, taps: int, sigma: float
) -> NDArray[np.float32]:
    """Blurred window of one part in its crop, (height, width) float32 (SPEC 5, steps 1 to 3).

    Ones where the canonical window lies on the canvas (bilinear at its border), kept on the centred
    (height - trim) x (width - trim) pixels, then blurred. ``trim`` leaves the blur room inside the crop.
    """
    top, left = size // 2 - height // 2, size // 2 - width // 2
    x, y = grid_indices(to_canvas, size, range(top, top + height), range(left, left + width))
    # Bilinear sampling of ones with zero padding: full inside, falling to 0 over the pixel beyond the border.
    inside = np.clip(x + 1, 0, 1) * np.clip(size - x, 0, 1) * np.clip(y + 1, 0, 1) * np.clip(size - y, 0, 1)
    half = trim // 2
    window = np.zeros((height, width), np.float32)
    window[half : height - half, half : width - half] = inside[half : height - half, half : width - half]
    k = np.arange(taps) - taps // 2
    kernel = np.exp(-0.5 * (k / sigma) ** 2)
    kernel /= kernel.sum()
    return np.asarray(cv2.sepFilter2D(window, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_CONSTANT), np.float32)


def fuse_parts(
    part_normals: Sequence[NDArray[np.float32]],
    groups: Sequence[Crops],
    to_canvas: NDArray[np.float32],
    to_part: NDArray[np.float32],
    size: int,
    *,
    usable: NDArray[np.bool_] | None = None,
    region: tuple[int, int, int, int] | None = None,
    fill: NDArray[np.float32] | None = None,
    fill_weight: float = 0.0,
    back_share: float = 0.0,
    trim: int = 16,
    taps: int = 15,
    sigma: float = 5.0,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Blend the parts' normals on the canvas, weights from their blurred windows (SPEC 5).

    Args:
        part_normals: for each group (B, 6, h, w) float32.
        to_canvas, to_part: (P, 2, 3) float32, canonical -> canvas and back, normalised coordinates.
        size: side N of the canvas.
        usable: (P,) parts to blend; None: all.
        region: (x0, y0, x1, y1) canvas pixels to compute; None: all. Outside it the result is 0.
        fill: (6, n, n) float32 normals, in the canvas's scale, for pixels that the parts do not cover; upsampled bilinearly.
        fill_weight: where the parts' weights sum to less, the fill makes up for it. With 0 (the published way) a
            pixel touched only by the tail of one window takes that part alone, and uncovered pixels are 0.
        back_share: share of the fill in the back's three channels wherever parts or fill are, in [0, 1).

    Returns:
        (6, N, N) float32; not renormalised.
    """
    x_min, y_min, x_max, y_max = region or (0, 0, size, size)
    sources = []
    for normals, group in zip(part_normals, groups, strict=True):
        for slot, part in enumerate(group.parts):
            if usable is None or usable[part]:
                sources.append(_prepare(normals[slot], to_canvas[part], to_part[part], size, trim, taps, sigma))
    if not 0 <= back_share < 1 or (back_share and fill is None):
        raise ValueError(f"back_share must be in [0, 1), and 0 without a fill, not {back_share}")
    out = np.zeros((6, size, size), np.float32)
    fill_rows = None if fill is None else np.ascontiguousarray(fill.transpose(1, 2, 0))

    def fuse(start: int) -> None:
        rows = range(start, min(start + BAND_ROWS, y_max))
        total = np.zeros((len(rows), x_max - x_min, _CHANNELS), np.float32)
        for framed, origin, matrix in sources:
            columns = _columns(matrix, size, origin, framed.shape, rows, x_min, x_max)
            if not columns:
                continue
            block = np.empty((len(rows), len(columns), _CHANNELS), np.float32)
            sample_bilinear(framed, origin, matrix, size, rows, columns, block)
            block[..., :6] *= block[..., 6:7]
            total[:, columns.start - x_min : columns.stop - x_min] += block
        weight = total[..., 6:7]
        if fill_rows is not None:
            lacking = np.maximum(fill_weight - weight, 0)
            if back_share or lacking.any():
                stand_in = _upsampled_rows(fill_rows, rows, size)[:, x_min:x_max]
                total[..., :6] += lacking * stand_in
                weight = weight + lacking
                total[..., 3:6] += back_share * (weight * stand_in[..., 3:6] - total[..., 3:6])
        total[..., :6] /= np.where(weight == 0, 1, weight)
        out[:, rows.start : rows.stop, x_min:x_max] = total[..., :6].transpose(2, 0, 1)

    run_parallel(fuse, range(y_min, y_max, BAND_ROWS), threads)
    return out


_Source = tuple[NDArray[np.float32], tuple[int, int], NDArray[np.float32]]


def _prepare(
    normals: NDArray[np.float32], to_canvas: NDArray, to_part: NDArray, size: int, trim: int, taps: int, sigma: float
) -> _Source:
    """Zero-bordered crop with its weight, the crop's first pixel (x, y) on the canonical canvas, and the matrix to there."""
    _, height, width = normals.shape
    weight = window_weight(to_canvas, size, height, width, trim, taps, sigma)
    framed = zero_bordered(np.concatenate([normals, weight[None]]).transpose(1, 2, 0), _CHANNELS)
    return framed, (size // 2 - width // 2, size // 2 - height // 2), to_part


def _columns(
    matrix: NDArray[np.float32], size: int, origin: tuple[int, int], shape: tuple[int, ...], rows: range, x_min: int, x_max: int
) -> range:
    """Canvas columns at which any of the rows falls inside the crop."""
    affine = pixel_affine(matrix, size)
    affine[:, 2] -= origin
    height, width = shape[0] - 2, shape[1] - 2
    low, high = float(x_min), float(x_max)
    y = np.array([rows.start, rows.stop - 1], np.float64)
    # Inside means -1 < index < n in both axes. For each row that is an interval of x; take the hull over the band's
    # rows (the bounds are linear in the row, so the first and the last row hold the extremes).
    lows, highs = np.full(2, low), np.full(2, high)
    for (a, b, c), n in zip(affine, (width, height), strict=True):
        offset = b * y + c
        if abs(a) < 1e-9:
            if (offset <= -1).all() or (offset >= n).all():
                return range(0)
            continue
        ends = np.sort(np.stack([(-1 - offset) / a, (n - offset) / a]), axis=0)
        lows, highs = _hull_intersection(lows, highs, ends)
    start, stop = max(x_min, int(np.floor(lows.min()))), min(x_max, int(np.ceil(highs.max())) + 1)
    return range(start, stop) if stop > start else range(0)


def _hull_intersection(
    lows: NDArray[np.float64], highs: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intersect the hulls of two bands of intervals; conservative (never too small)."""
    return np.full(2, max(lows.min(), ends[0].min())), np.full(2, min(highs.max(), ends[1].max()))


def _upsampled_rows(low: NDArray[np.float32], rows: range, size: int) -> NDArray[np.float32]:
    """Rows of (n, n, c) upsampled bilinearly to size x size, half-pixel centres, edge values held: (len(rows), size, c)."""
    n = low.shape[0]
    position = np.clip((np.arange(rows.start, rows.stop) + 0.5) * (n / size) - 0.5, 0, n - 1)
    first = np.minimum(position.astype(int), n - 2)
    fraction = (position - first).astype(np.float32)[:, None, None]
    mixed = low[first] * (1 - fraction) + low[first + 1] * fraction
    return cv2.resize(mixed, (size, len(rows)), interpolation=cv2.INTER_LINEAR)
