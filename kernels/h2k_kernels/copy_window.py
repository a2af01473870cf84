"""Copy the window of a picture that the trunk runs on (CPU twin)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def copy_window(source: NDArray, origin: NDArray[np.int32], height: int, width: int, divisor: int = 1) -> NDArray:
    """Windows of (B, C, H, W) pictures, (B, C, height, width).

    Args:
        origin: (B, 2) x, y of each window in pixels of a ``divisor`` times finer picture; multiples of it.

    Raises:
        ValueError: a window leaves its picture, or starts between two pixels.
    """
    out = np.empty((*source.shape[:2], height, width), source.dtype)
    for person, (x, y) in enumerate(np.asarray(origin, int)):
        left, top = x // divisor, y // divisor
        inside = 0 <= left <= source.shape[3] - width and 0 <= top <= source.shape[2] - height
        if x % divisor or y % divisor or not inside:
            raise ValueError(f"no window of {width} x {height} pixels starts at ({x}, {y}) / {divisor} of {source.shape}")
        out[person] = source[person, :, top : top + height, left : left + width]
    return out
