"""The guided filter with a colour guide (He, Sun and Tang, "Guided Image Filtering", 2013), on OpenCV's box filter."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
_CONJUGATE = {pair: k for k, pair in enumerate(_PAIRS)}


class GuidedFilter:
    """Filters with one guide; what depends only on the guide is computed once.

    Args:
        guide: (H, W, 3) float32, 0..1.
        radius: windows are 2 radius + 1 wide, mirrored at the border.
        epsilon: variance of the guide below which its edges are smoothed over.
    """

    def __init__(self, guide: NDArray[np.float32], radius: int, epsilon: float) -> None:
        self._size = (2 * radius + 1, 2 * radius + 1)
        self._guide = [np.ascontiguousarray(guide[..., k]) for k in range(3)]
        self._means = [self._mean(channel) for channel in self._guide]
        variance = []
        for i, j in _PAIRS:
            entry = self._mean(self._guide[i] * self._guide[j]) - self._means[i] * self._means[j]
            variance.append(entry + np.float32(epsilon) if i == j else entry)
        self._inverse = _invert_symmetric(variance)

    def coefficients(self, target: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """a (H, W, 3) and b (H, W): the filtered ``target`` (H, W) is a . guide + b, also for the guide at another resolution."""
        mean = self._mean(target)
        covariance = [self._mean(g * target) - m * mean for g, m in zip(self._guide, self._means, strict=True)]
        a = [sum(self._inverse[_CONJUGATE[min(i, j), max(i, j)]] * covariance[j] for j in range(3)) for i in range(3)]
        b = mean - sum(slope * m for slope, m in zip(a, self._means, strict=True))
        return np.dstack([self._mean(np.asarray(slope)) for slope in a]), self._mean(b)

    def result(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        """a . guide + b, (H, W)."""
        return np.asarray(sum(a[..., k] * self._guide[k] for k in range(3)) + b, np.float32)

    def apply(self, target: NDArray[np.float32]) -> NDArray[np.float32]:
        """``target`` (H, W) filtered."""
        return self.result(*self.coefficients(target))

    def _mean(self, x: NDArray) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(x, self._size, borderType=cv2.BORDER_REFLECT), np.float32)


def _invert_symmetric(m: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Inverse of symmetric 3 x 3 matrices given by their six planes in the order of ``_PAIRS``, in the same order."""
    xx, xy, xz, yy, yz, zz = m
    minors = [yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy, xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy]
    determinant = xx * minors[0] + xy * minors[1] + xz * minors[2]
    return [minor / determinant for minor in minors]
