"""Filling unknown pixels of a picture smoothly from the known ones, by a push-pull pyramid."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_EPSILON = 1e-6


def push_pull(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill the pixels of weight 0 from the others; near a known pixel the result is near its value, far away it is smooth.

    Gortler et al., "The Lumigraph" (1996), section 3.4: weighted averages are pulled down a pyramid until every pixel is known,
    then pushed up again into what is unknown on each level.

    Args:
        values: (H, W) or (H, W, C) float32; what stands at weight 0 is ignored.
        weight: (H, W) float32 in 0..1, how much a pixel is known.

    Returns:
        the filled picture, same shape; equal to ``values`` where the weight is 1. All 0 where no pixel is known at all.
    """
    height, width = weight.shape
    spread = weight if values.ndim == 2 else weight[..., None]
    if max(height, width) <= 2:
        total = float(weight.sum())
        mean = (values * spread).sum(axis=(0, 1)) / max(total, _EPSILON)
        return (values * spread + mean * (1 - spread)).astype(np.float32)
    size = ((width + 1) // 2, (height + 1) // 2)
    # Average of 2 x 2; an odd last row or column is doubled first so that no pixel is lost.
    pad = (0, height % 2, 0, width % 2)
    weighted = cv2.copyMakeBorder(values * spread, *pad, cv2.BORDER_CONSTANT, value=(0.0, 0.0, 0.0, 0.0))
    padded = cv2.copyMakeBorder(weight, *pad, cv2.BORDER_CONSTANT, value=0.0)
    coarse_weight = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA)
    divisor = np.maximum(coarse_weight, _EPSILON)
    coarse = coarse / (divisor if values.ndim == 2 else divisor[..., None])
    filled = push_pull(coarse.astype(np.float32), np.minimum(coarse_weight * 4, 1).astype(np.float32))
    up = cv2.resize(filled, (padded.shape[1], padded.shape[0]), interpolation=cv2.INTER_LINEAR)[:height, :width]
    return (values * spread + up.reshape(values.shape) * (1 - spread)).astype(np.float32)


def nearest_known(known: NDArray[np.bool_], at: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For the pixels of flat index ``at``: distance (px) to the nearest known pixel, and that pixel's flat index.

    Raises:
        ValueError: no pixel is known.
    """
    where = np.flatnonzero(known)
    if where.size == 0:
        raise ValueError("no pixel is known")
    distance, labels = cv2.distanceTransformWithLabels(
        (~known).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Known pixels are numbered from 1 in an order of OpenCV's own.
    source = np.zeros(where.size + 1, np.int64)
    source[labels.ravel()[where]] = where
    return distance.ravel()[at].astype(np.float32), source[labels.ravel()[at]]


def bounding_box(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns of the smallest window that holds the mask, enlarged by ``margin`` and cut at the picture's border.

    Raises:
        ValueError: the mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("the mask is empty")
    y0, y1 = max(int(rows[0]) - margin, 0), min(int(rows[-1]) + 1 + margin, mask.shape[0])
    x0, x1 = max(int(columns[0]) - margin, 0), min(int(columns[-1]) + 1 + margin, mask.shape[1])
    return slice(y0, y1), slice(x0, x1)
