"""Square, turned windows of a photo, resampled without aliasing: what every BlazePose network reads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Roi:
    """A square window. x, y: its centre (photo pixels, edge coordinates); size: its side in photo pixels;
    angle: radians by which its up direction is turned clockwise from the photo's."""

    x: float
    y: float
    size: float
    angle: float = 0.0


def roi_matrix(roi: Roi, side: int) -> NDArray[np.float64]:
    """(2, 3): crop pixel (edge coordinates, 0..side) -> photo pixel (edge coordinates)."""
    scale = roi.size / side
    c, s = math.cos(roi.angle) * scale, math.sin(roi.angle) * scale
    half = side / 2
    return np.array([[c, -s, roi.x - c * half + s * half], [s, c, roi.y - s * half - c * half]])


def transform(matrix: NDArray[np.float64], points: NDArray) -> NDArray[np.float64]:
    """Points (..., 2) through a (2, 3) matrix."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of a (2, 3) affine matrix."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def index_matrix(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same map between pixel *indices* (centre of pixel i at i), which OpenCV's warps use, from edge coordinates."""
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return shifted


def warp(image: NDArray, matrix: NDArray[np.float64], width: int, height: int, interpolation: int, border: float = 0.0) -> NDArray:
    """Resample ``image``; ``matrix`` (2, 3) maps output edge coordinates to those of ``image``; ``border`` fills the outside."""
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, index_matrix(matrix), (width, height), flags=flags, borderValue=(border,) * 4)


class Pyramid:
    """A photo and its halvings, made when first needed, so that a crop is never taken from a picture much finer than itself."""

    def __init__(self, rgb: NDArray[np.uint8]) -> None:
        self._levels = [np.ascontiguousarray(rgb)]

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the photo."""
        return self._levels[0].shape[0], self._levels[0].shape[1]

    def level(self, number: int) -> NDArray[np.uint8]:
        """The photo halved ``number`` times (area mean); never smaller than one pixel."""
        while len(self._levels) <= number:
            last = self._levels[-1]
            half = (max(1, last.shape[1] // 2), max(1, last.shape[0] // 2))
            self._levels.append(cv2.resize(last, half, interpolation=cv2.INTER_AREA))
        return self._levels[number]

    def crop(self, roi: Roi, side: int) -> NDArray[np.uint8]:
        """(side, side, 3) uint8: the window, black outside the photo."""
        height, width = self.shape
        # From 1.4 photo pixels a crop pixel on, bilinear sampling skips pixels: take the next level.
        number = max(0, math.floor(math.log2(max(roi.size / side, 1e-6)) + 0.5))
        picture = self.level(min(number, max(0, int(math.log2(max(1, min(height, width)))))))
        to_level = np.array([[picture.shape[1] / width], [picture.shape[0] / height]])
        return warp(picture, roi_matrix(roi, side) * to_level, side, side, cv2.INTER_LINEAR)
