"""From scan units before the camera to metres on the floor, and back to the photo's camera."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method
from h2k_rt.surface.mesh import Mesh

#: Height of the placed person in metres where none is given.
DEFAULT_HEIGHT = 1.70


@dataclass(frozen=True)
class Camera:
    """A pinhole camera as glTF has it: looks along its -z, y up.

    Attributes:
        matrix: (4, 4) float64, camera to world.
        yfov: vertical field of view in radians.
        aspect: width / height.
    """

    matrix: NDArray[np.float64]
    yfov: float
    aspect: float


@dataclass(frozen=True)
class Placement:
    """The similarity from the scan frame to metres: ``scale * p + translation``."""

    scale: float
    translation: tuple[float, float, float]

    def apply(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """(P, 3) scan frame -> metres."""
        out = np.multiply(points, np.float32(self.scale), dtype=np.float32)
        out += np.array(self.translation, np.float32)
        return out

    def invert(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """(P, 3) metres -> scan frame."""
        return ((np.asarray(points, np.float64) - np.array(self.translation)) / self.scale).astype(np.float32)

    def matrix(self) -> NDArray[np.float64]:
        """(4, 4) scan frame -> metres, for column vectors."""
        out = np.diag([self.scale, self.scale, self.scale, 1.0])
        out[:3, 3] = self.translation
        return out

    def camera(self, method: Method = METHOD) -> Camera:
        """The camera of the canvas, in metres: through it the mesh covers the canvas picture."""
        pose = np.eye(4)
        pose[:3, 3] = self.scale * np.array([0.0, 0.0, 1 / method.world_scale]) + np.array(self.translation)
        return Camera(pose, math.radians(method.fov_degrees), 1.0)


def place(mesh: Mesh, height: float = DEFAULT_HEIGHT, scale: float | None = None) -> tuple[Mesh, Placement]:
    """Put a scan-frame mesh on the floor: metres, y up, facing +z, lowest point at y = 0, centred in x and z.

    Args:
        height: what the mesh measures from its lowest to its highest point afterwards, in metres.
        scale: metres per scan unit, instead of ``height`` (a seated or bent person is lower than the standing height).

    Raises:
        ValueError: the mesh is empty or flat, or a number is not positive.
    """
    if mesh.vertices.shape[0] == 0:
        raise ValueError("an empty mesh cannot be placed")
    low, high = mesh.bounds()
    extent = float(high[1] - low[1])
    factor = scale if scale is not None else (height / extent if extent > 0 else math.nan)
    if not (factor > 0 and math.isfinite(factor)):
        raise ValueError(f"height {height} m and scale {scale} give no size for a mesh of extent {extent}")
    centre = (low + high) / 2
    placement = Placement(float(factor), (float(-factor * centre[0]), float(-factor * low[1]), float(-factor * centre[2])))
    return replace(mesh, vertices=placement.apply(mesh.vertices)), placement
