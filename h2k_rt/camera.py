"""The photo's camera in the coordinates of the mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import Method
from h2k_rt.framing import Framing
from h2k_rt.surface.placement import Camera, Placement


@dataclass(frozen=True)
class PhotoCamera:
    """Pinhole camera of the photo, OpenCV convention (x right, y down, z forward), without distortion.

    Attributes:
        width, height: of the photo in pixels.
        focal: focal length in pixels, the same in x and y.
        cx, cy: principal point in pixels (edge coordinates); off the middle where the person was.
        rotation, translation: (3, 3) and (3,) float64, mesh metres -> camera metres: ``R p + t``.
    """

    width: int
    height: int
    focal: float
    cx: float
    cy: float
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def project(self, points: NDArray) -> NDArray[np.float64]:
        """(P, 3) mesh points in metres -> (P, 2) photo pixels."""
        seen = np.asarray(points, np.float64) @ self.rotation.T + self.translation
        return self.focal * seen[:, :2] / seen[:, 2:] + (self.cx, self.cy)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for a file's metadata."""
        return {
            "convention": "OpenCV: x right, y down, z forward; world to camera: R p + t, metres",
            "image_size": [self.width, self.height],
            "intrinsics": [[self.focal, 0.0, self.cx], [0.0, self.focal, self.cy], [0.0, 0.0, 1.0]],
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }

    def gltf_camera(self) -> Camera:
        """The nearest camera that glTF can express: it has no principal point, so the view is centred on the person's axis."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation.T @ np.diag([1.0, -1.0, -1.0])
        matrix[:3, 3] = -self.rotation.T @ self.translation
        return Camera(matrix, 2 * math.atan(self.height / (2 * self.focal)), self.width / self.height)


def photo_camera(framing: Framing, placement: Placement, method: Method, photo_shape: tuple[int, int]) -> PhotoCamera:
    """The camera under which the placed mesh falls on the photo it was made from.

    The canvas camera (SPEC 10) stands at distance 1 from the scan's origin; the canvas is the photo scaled and shifted, which
    changes the focal length and moves the principal point.

    Args:
        photo_shape: (height, width) in pixels.
    """
    height, width = photo_shape
    half = method.size / 2
    centre = np.asarray(placement.apply(np.array([[0.0, 0.0, 1 / method.world_scale]])), np.float64)[0]
    rotation = np.diag([1.0, -1.0, -1.0])
    return PhotoCamera(
        width=width,
        height=height,
        focal=method.focal_px / framing.scale,
        cx=(half - framing.dx) / framing.scale,
        cy=(half - framing.dy) / framing.scale,
        rotation=rotation,
        translation=-rotation @ centre,
    )
