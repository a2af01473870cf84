"""The person's mask at the photo's resolution, from the landmark network's coarse one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.person.body import SIDE, Body
from h2k_rt.person.crop import Pyramid, Roi, invert, roi_matrix, warp

_EMPTY = -12.0  # logit outside every window
_WORK = 768  # side of the window in which the coefficients of the filter are computed
_RADIUS = 8
_EPSILON = 1e-4
_STRIP = 512  # rows of the photo refined at once


def person_mask(photo: Pyramid, body: Body, looks: Sequence[Body] = (), others: Sequence[Body] = ()) -> NDArray[np.uint8]:
    """(H, W) uint8 soft alpha of ``body`` in the photo.

    Args:
        looks: more views of the same person whose logits are averaged with the body's own.
        others: other people; a pixel that is more surely theirs is taken away.
    """
    window = Roi(body.roi.x, body.roi.y, body.roi.size, body.roi.angle)
    coarse = _logits(window, [body, *looks])
    for other in others:
        rival = _logits(window, [other])
        coarse = np.where((rival > coarse) & (rival > 0), np.minimum(coarse, -rival), coarse)
    alpha = 1 / (1 + np.exp(-np.clip(coarse, -30, 30)))
    guide = photo.crop(window, _WORK).astype(np.float32) * np.float32(1 / 255)
    a, b = guided_coefficients(guide, alpha.astype(np.float32), _RADIUS, _EPSILON)
    return _apply(photo, window, a, b)


def _logits(window: Roi, bodies: Sequence[Body]) -> NDArray[np.float32]:
    """(WORK, WORK) mean mask logits of the bodies, resampled into ``window``."""
    total = np.zeros((_WORK, _WORK), np.float32)
    weight = np.zeros((_WORK, _WORK), np.float32)
    for body in bodies:
        matrix = np.vstack([roi_matrix(window, _WORK), (0, 0, 1)])
        to_body = invert(roi_matrix(body.roi, SIDE)) @ matrix
        here = warp(np.ones((SIDE, SIDE), np.float32), to_body, _WORK, _WORK, cv2.INTER_LINEAR)
        total += here * warp(body.logits, to_body, _WORK, _WORK, cv2.INTER_CUBIC)
        weight += here
    return np.where(weight > 0, total / np.maximum(weight, 1e-6), _EMPTY).astype(np.float32)


def guided_coefficients(
    guide: NDArray[np.float32], target: NDArray[np.float32], radius: int, epsilon: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Guided filter (He, Sun, Tang 2010) with a colour guide: a (H, W, 3) and b (H, W) such that a . guide + b is the result.

    ``guide`` (H, W, 3) 0..1, ``target`` (H, W); windows of 2 radius + 1; ``epsilon`` is the guide's variance below which edges
    are smoothed away.
    """
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(x: NDArray) -> NDArray[np.float32]:
        return cv2.blur(x, size, borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_target = mean(guide), mean(target)
    covariance = mean(guide * target[..., None]) - mean_guide * mean_target[..., None]
    variance = np.empty((*guide.shape[:2], 3, 3), np.float32)
    for i, j in _PAIRS:
        variance[..., i, j] = variance[..., j, i] = mean(guide[..., i] * guide[..., j]) - mean_guide[..., i] * mean_guide[..., j]
    variance += epsilon * np.eye(3, dtype=np.float32)
    a = np.linalg.solve(variance, covariance[..., None])[..., 0]
    b = mean_target - (a * mean_guide).sum(axis=-1)
    return mean(a), mean(b)


_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def _apply(photo: Pyramid, window: Roi, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Coefficients of ``window`` applied to the full photo, strip by strip (fast guided filter, He and Sun 2015)."""
    height, width = photo.shape
    rgb = photo.level(0)
    to_window = invert(roi_matrix(window, _WORK))
    result = np.zeros((height, width), np.uint8)
    for top in range(0, height, _STRIP):
        rows = min(_STRIP, height - top)
        matrix = to_window.copy()
        matrix[:, 2] += to_window[:, 1] * top
        strip = rgb[top : top + rows].astype(np.float32) * np.float32(1 / 255)
        alpha = (warp(a, matrix, width, rows, cv2.INTER_LINEAR) * strip).sum(axis=-1)
        alpha += warp(b, matrix, width, rows, cv2.INTER_LINEAR)
        result[top : top + rows] = np.clip(alpha * 255 + 0.5, 0, 255)
    return result
