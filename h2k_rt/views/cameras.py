"""Calibrated cameras: pinhole with OpenCV's distortion, in one convention whatever file they came from.

World to camera: ``R p + t``; camera axes x right, y down, z forward. Pixels are edge coordinates: the upper left corner of the
picture is (0, 0), the middle of its first pixel (0.5, 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.errors import CameraError

#: Largest difference between a photo's and its camera's ratio of width to height.
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class CalibratedCamera:
    """One calibrated camera.

    Attributes:
        name: of the photo it belongs to, or of the camera; for matching and messages.
        width, height: of the pictures it was calibrated with, in pixels.
        intrinsics: (3, 3) float64: fx, fy, skew, cx, cy in pixels, edge coordinates.
        rotation, translation: (3, 3) and (3,) float64, world -> camera.
        distortion: k1, k2, p1, p2, k3 as OpenCV takes them; all 0 for none.

    Raises:
        CameraError: a number is not finite, the focal length not positive, or the rotation is none.
    """

    name: str
    width: int
    height: int
    intrinsics: NDArray[np.float64]
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    distortion: tuple[float, ...] = field(default=(0.0,) * 5)

    def __post_init__(self) -> None:
        numbers = np.concatenate([a.ravel() for a in (self.intrinsics, self.rotation, self.translation)])
        if not np.isfinite(numbers).all() or not all(map(math.isfinite, self.distortion)):
            raise CameraError(f"camera {self.name}: a number is not finite")
        if self.width < 1 or self.height < 1:
            raise CameraError(f"camera {self.name}: the picture size {self.width} x {self.height} must be positive")
        if self.intrinsics[0, 0] <= 0 or self.intrinsics[1, 1] <= 0:
            raise CameraError(f"camera {self.name}: the focal lengths must be positive")
        if abs(self.rotation @ self.rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(self.rotation) < 0:
            raise CameraError(f"camera {self.name}: its rotation is no rotation matrix (orthogonal, determinant 1)")

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) where the camera stands in the world."""
        return -self.rotation.T @ self.translation

    @property
    def focal(self) -> float:
        """Mean focal length in pixels."""
        return float(math.sqrt(self.intrinsics[0, 0] * self.intrinsics[1, 1]))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 4) world -> homogeneous pixels, without distortion; the third row gives the depth."""
        return self.intrinsics @ np.column_stack((self.rotation, self.translation))

    def to_camera(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """(..., 3) world -> camera axes."""
        return np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def project(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """(P, 3) world -> (P, 2) pixels, distortion included; not a number behind the camera."""
        seen = self.to_camera(points)
        ahead = seen[:, 2] > 0
        flat = np.full((len(seen), 2), np.nan)
        flat[ahead] = seen[ahead, :2] / seen[ahead, 2:]
        flat = _distorted(flat, self.distortion)
        homogeneous = np.column_stack((flat, np.ones(len(flat))))
        return (homogeneous @ self.intrinsics.T)[:, :2]

    def ray(self, pixel: Sequence[float]) -> NDArray[np.float64]:
        """(3,) unit direction in the world of a pixel of an undistorted picture."""
        towards = self.rotation.T @ np.linalg.solve(self.intrinsics, np.array([pixel[0], pixel[1], 1.0]))
        return towards / np.linalg.norm(towards)

    def for_photo(self, width: int, height: int) -> CalibratedCamera:
        """The camera for a photo of another resolution.

        Raises:
            CameraError: the photo has another shape than the camera's pictures.
        """
        if (width, height) == (self.width, self.height):
            return self
        across, down = width / self.width, height / self.height
        if abs(across / down - 1) > _ASPECT_TOLERANCE:
            turned = (
                "; the photo seems to be turned by 90 degrees"
                if abs(self.width * down / height - 1) < 0.5 and ((width > height) != (self.width > self.height))
                else ""
            )
            raise CameraError(
                f"{self.name}: the photo has {width} x {height} pixels, its camera was calibrated for "
                f"{self.width} x {self.height}, which is another shape{turned}"
            )
        return replace(self, width=width, height=height, intrinsics=np.diag([across, down, 1.0]) @ self.intrinsics)

    def undistorted(self, picture: NDArray[np.uint8]) -> tuple[CalibratedCamera, NDArray[np.uint8]]:
        """The camera without distortion, and the picture (H, W) or (H, W, 3) as it sees it."""
        if not any(self.distortion):
            return self, picture
        centred = self.intrinsics.copy()
        centred[:2, 2] -= 0.5  # OpenCV counts from the middle of the first pixel
        straight = cv2.undistort(picture, centred, np.array(self.distortion))
        return replace(self, distortion=(0.0,) * 5), np.asarray(straight, np.uint8)

    def as_dict(self) -> dict[str, Any]:
        """One entry of a camera file (``camera_files.save_cameras``)."""
        return {
            "image": self.name,
            "size": [self.width, self.height],
            "intrinsics": self.intrinsics.tolist(),
            "distortion": list(self.distortion),
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }


def _distorted(flat: NDArray[np.float64], distortion: Sequence[float]) -> NDArray[np.float64]:
    """(P, 2) ideal image plane coordinates -> distorted ones (OpenCV's model of five numbers)."""
    if not any(distortion):
        return flat
    k1, k2, p1, p2, k3 = distortion
    x, y = flat.T
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack((bent_x, bent_y), axis=1)


def camera_of_matrix(name: str, matrix: NDArray[np.float64], width: int, height: int) -> CalibratedCamera:
    """The camera of a (3, 4) projection matrix in pixels, edge coordinates: ``K [R | t]`` up to a factor.

    Raises:
        CameraError: the matrix is of no camera.
    """
    if matrix.shape != (3, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :3])) < 1e-20:
        raise CameraError(f"camera {name}: its projection matrix is not 3 x 4 numbers of a camera")
    # RQ by way of QR of the reversed matrix; signs so that the focal lengths are positive.
    flip = np.eye(3)[::-1]
    q, r = np.linalg.qr((flip @ matrix[:, :3]).T)
    upper, rotation = flip @ r.T @ flip, flip @ q.T
    signs = np.diag(np.where(np.diag(upper) < 0, -1.0, 1.0))
    upper, rotation = upper @ signs, signs @ rotation
    translation = np.linalg.solve(upper, matrix[:, 3])
    if np.linalg.det(rotation) < 0:  # the matrix was given with a negative factor
        rotation, translation = -rotation, -translation
    return CalibratedCamera(name, width, height, upper / upper[2, 2], rotation, translation)
