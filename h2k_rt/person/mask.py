"""The person's mask at the photo's resolution, from several coarse looks of the landmark network.

The network gives 256 x 256 probabilities. They are averaged over windows of several sizes, over the upper and the lower half
of the body, and over mirrored windows with dark tones lifted. The mean is then aligned with the photo's own edges by
a guided filter (He, Sun and Tang 2013), run at reduced resolution and applied at full (He and Sun 2015, "Fast guided filter").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from h2k_engines import Engine
from numpy.typing import NDArray

from h2k_rt.person.body import SIDE, Body, look
from h2k_rt.person.crop import Pyramid, Roi, Window, invert, roi_matrix, warp
from h2k_rt.person.guided import GuidedFilter

_WORK = 768
"""Long side of the window in which the filter is computed."""
_MARGIN = 0.06
"""Of the coarse mask's long side, around it."""
_RADIUS = 0.012
"""Of the coarse mask's long side: the filter's radius."""
_EPSILON = 2e-4
"""Of the squared brightness range: edges weaker than this are smoothed over."""
_SHARPEN = 4.0
"""Steepening between the filter's two passes; the second then meets less of the coarse mask's blur."""
_SURE = 0.018
"""Of the coarse mask's long side: so far inside (outside) its outline the filter cannot open holes (grow islands)."""
_HALF, _HALF_SHIFT = 0.7, 0.05
"""Size of the windows on the upper and the lower half, and their shift, relative to the body's window."""


@dataclass(frozen=True)
class _Refined:
    """Filter coefficients (a: h, w, 3; b: h, w) and the limits low and high (h, w) of the result, in ``window``."""

    window: Window
    a: NDArray[np.float32]
    b: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]


def more_looks(engine: Engine, photo: Pyramid, body: Body) -> list[Body]:
    """Eight more looks: in two smaller windows and in two halves, each plain, and mirrored with dark tones lifted.

    Measured on rendered people, the halves are worth 0.004 of IoU, the lifted tones up to 0.025 where black meets black.
    """
    roi = body.roi
    up_x, up_y = math.sin(roi.angle) * roi.size * _HALF_SHIFT, -math.cos(roi.angle) * roi.size * _HALF_SHIFT
    windows = [Roi(roi.x, roi.y, roi.size * factor, roi.angle) for factor in (0.85, 0.7)]
    windows += [Roi(roi.x + s * up_x, roi.y + s * up_y, roi.size * _HALF, roi.angle) for s in (1, -1)]
    return [look(engine, photo, window, mirror=second, lift=second) for window in windows for second in (False, True)]


def person_mask(
    photo: Pyramid, body: Body, looks: Sequence[Body] = (), others: Sequence[Body] = ()
) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]] | None:
    """The soft alpha of ``body`` (H, W) uint8 in the photo, and x0, y0, x1, y1 around its pixels of at least 128.

    Args:
        looks: more looks at the same person (``more_looks``), averaged with the body's own, weighted by their scores.
        others: other people; a pixel that is more surely theirs is taken away.

    Returns:
        None where the networks see no outline inside the photo.
    """
    height, width = photo.shape
    box = _coarse_box(body, width, height)
    if box is None:
        return None
    window = Window.around(*box, margin=_MARGIN, side=_WORK)
    coarse = probability(window, [body, *looks])
    for other in others:
        rival = probability(window, [other])
        coarse = np.where((rival > 0.5) & (rival > coarse), np.float32(0), coarse)
    refined = _refine(photo, window, coarse)
    return None if refined is None else _apply(photo, refined)


def probability(window: Window, bodies: Sequence[Body]) -> NDArray[np.float32]:
    """(h, w) of ``window``: the mean of the bodies' mask probabilities, each weighted by its score where its window covers."""
    shape = (window.height, window.width)
    total, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for body in bodies:
        to_body = window.then(invert(roi_matrix(body.roi, SIDE)))
        # One warp for both: the second channel is 1 inside the body's window and falls to 0 at its rim.
        pair = np.dstack([body.mask, np.ones_like(body.mask)])
        here = warp(pair, to_body, window.width, window.height, cv2.INTER_LINEAR)
        total += np.float32(body.score) * here[..., 0]
        weight += np.float32(body.score) * here[..., 1]
    return np.asarray(total / np.maximum(weight, 1e-6), np.float32)


def same_outline(one: Body, other: Body) -> bool:
    """Whether more than half of the smaller one's coarse mask lies in the other's."""
    small = min(one, other, key=lambda body: body.roi.size).roi
    half = small.size / 2 * math.sqrt(2)
    window = Window(small.x - half, small.y - half, small.x + half, small.y + half, SIDE // 2, SIDE // 2)
    a, b = (probability(window, [body]) > 0.5 for body in (one, other))
    return bool(np.count_nonzero(a & b) > 0.5 * min(np.count_nonzero(a), np.count_nonzero(b)))


def _coarse_box(body: Body, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Box in photo pixels, inside the photo, around the body's own mask."""
    rows, columns = np.nonzero(body.mask > 0.5)
    if not rows.size:
        return None
    corners = np.array([(x, y) for x in (columns.min(), columns.max() + 1) for y in (rows.min(), rows.max() + 1)], np.float64)
    matrix = roi_matrix(body.roi, SIDE)
    corners = corners @ matrix[:, :2].T + matrix[:, 2]
    x0, y0 = np.clip(corners.min(axis=0), 0, (width, height))
    x1, y1 = np.clip(corners.max(axis=0), 0, (width, height))
    return (float(x0), float(y0), float(x1), float(y1)) if x1 - x0 >= 1 and y1 - y0 >= 1 else None


def _refine(photo: Pyramid, window: Window, coarse: NDArray[np.float32]) -> _Refined | None:
    inside = coarse > 0.5
    if not inside.any():
        return None
    reach = max(window.height, window.width) / (1 + 2 * _MARGIN)
    guide = photo.resample(window).astype(np.float32) * np.float32(1 / 255)
    guided = GuidedFilter(guide, max(2, round(_RADIUS * reach)), _EPSILON)
    first = guided.apply(coarse)
    second = guided.coefficients(np.clip((first - 0.5) * _SHARPEN + 0.5, 0, 1))
    alpha = guided.result(*second)

    low = (_distance(inside) > _SURE * reach).astype(np.float32)
    high = (_distance(~inside) <= _SURE * reach).astype(np.float32)
    person = np.maximum(np.minimum(alpha, high), low) >= 0.5
    high[_islands(person, inside)] = 0
    low[_islands(~person, ~inside)] = 1
    return _Refined(window, *second, low, high)


def _distance(mask: NDArray[np.bool_]) -> NDArray:
    """Distance in pixels of each pixel of ``mask`` to its outside; 0 outside."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)


def _islands(mask: NDArray[np.bool_], coarse: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected pieces of ``mask`` that the coarse mask knows nothing of: less than a tenth of their pixels are in it."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    size = np.bincount(labels.ravel(), minlength=count)
    known = np.bincount(labels[coarse].ravel(), minlength=count)
    island = known < 0.1 * size
    island[0] = False  # what is not in the mask
    return island[labels]


def _apply(photo: Pyramid, refined: _Refined) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]] | None:
    """The filter's coefficients applied to the photo at full resolution, in strips so that memory stays small."""
    height, width = photo.shape
    rgb, window = photo.level(0), refined.window
    result = np.zeros((height, width), np.uint8)
    left, right = max(0, math.floor(window.x0)), min(width, math.ceil(window.x1))
    first, last = max(0, math.floor(window.y0)), min(height, math.ceil(window.y1))
    fields = (refined.a, np.dstack([refined.b, refined.low, refined.high]))
    strip_rows = max(16, 1_000_000 // max(1, right - left))
    for top in range(first, last, strip_rows):
        bottom = min(last, top + strip_rows)
        strip = rgb[top:bottom, left:right].astype(np.float32) * np.float32(1 / 255)
        to_window = invert(window.matrix)
        to_window[:, 2] += to_window[:, :2] @ (left, top)
        a, rest = (warp(field, to_window, right - left, bottom - top, cv2.INTER_LINEAR) for field in fields)
        b, low, high = cv2.split(rest)
        alpha = cv2.transform(cv2.multiply(a, strip), np.ones((1, 3), np.float32)).reshape(b.shape) + b
        alpha = np.maximum(np.minimum(alpha, high), low)
        result[top:bottom, left:right] = np.clip(alpha, 0, 1) * 255 + 0.5
    solid = result[first:last, left:right] >= 128
    columns, rows = np.flatnonzero(solid.any(axis=0)), np.flatnonzero(solid.any(axis=1))
    if not rows.size:
        return None
    box = (float(left + columns[0]), float(first + rows[0]), float(left + columns[-1] + 1), float(first + rows[-1] + 1))
    return result, box
