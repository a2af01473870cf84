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


def warp(
    image: NDArray, matrix: NDArray[np.float64], width: int, height: int, interpolation: int, border: int = cv2.BORDER_CONSTANT
) -> NDArray:
    """Resample ``image``; ``matrix`` (2, 3) maps output edge coordinates to those of ``image``; outside it is 0 or ``border``."""
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, index_matrix(matrix), (width, height), flags=flags, borderMode=border)


@dataclass(frozen=True)
class Window:
    """An upright rectangle x0, y0, x1, y1 of a photo (edge coordinates), sampled on width x height pixels."""

    x0: float
    y0: float
    x1: float
    y1: float
    width: int
    height: int

    @staticmethod
    def around(x0: float, y0: float, x1: float, y1: float, margin: float, side: int) -> Window:
        """The box enlarged on all sides by ``margin`` of its long side, the long side sampled on ``side`` pixels."""
        extra = margin * max(x1 - x0, y1 - y0)
        x0, y0, x1, y1 = x0 - extra, y0 - extra, x1 + extra, y1 + extra
        scale = side / max(x1 - x0, y1 - y0)
        return Window(x0, y0, x1, y1, max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3): window pixel -> photo pixel, both edge coordinates."""
        return np.array([[(self.x1 - self.x0) / self.width, 0, self.x0], [0, (self.y1 - self.y0) / self.height, self.y0]])

    def then(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2, 3): window pixel -> photo pixel -> where ``matrix`` (2, 3) takes it."""
        return matrix @ np.vstack([self.matrix, (0, 0, 1)])


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
            self._levels.append(np.asarray(cv2.resize(last, half, interpolation=cv2.INTER_AREA), np.uint8))
        return self._levels[number]

    def crop(self, roi: Roi, side: int) -> NDArray[np.uint8]:
        """(side, side, 3) uint8: the window, black outside the photo."""
        return self._sample(roi_matrix(roi, side), roi.size / side, side, side, cv2.BORDER_CONSTANT)

    def resample(self, window: Window) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 of ``window``, the photo's border repeated outside it."""
        scale = (window.x1 - window.x0) / window.width
        return self._sample(window.matrix, scale, window.width, window.height, cv2.BORDER_REPLICATE)

    def _sample(self, matrix: NDArray[np.float64], scale: float, width: int, height: int, border: int) -> NDArray[np.uint8]:
        rows, columns = self.shape
        # From 1.4 photo pixels an output pixel on, bilinear sampling skips pixels: take the next level.
        number = max(0, math.floor(math.log2(max(scale, 1e-6)) + 0.5))
        picture = self.level(min(number, max(0, int(math.log2(max(1, min(rows, columns)))))))
        to_level = np.array([[picture.shape[1] / columns], [picture.shape[0] / rows]])
        return warp(picture, matrix * to_level, width, height, cv2.INTER_LINEAR, border)
