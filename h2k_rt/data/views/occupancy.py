"""Points around a closed mesh with inside and outside, as PIFu draws them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.views.viewset import OccupancySamples
from h2k_rt.metrics.mesh import encloses, sample_points
from h2k_rt.metrics.shape import Shape

#: Points near the surface for each one anywhere in the box.
NEAR_SHARE = 16
#: Standard deviation of the distance from the surface, as a share of half the box's side (4 to 5 cm for a standing person).
SIGMA = 0.05
#: The box is so much larger than the mesh.
MARGIN = 1.1
#: Points that are kept of a person; training draws some thousands of them for each example.
COUNT = 34_000


def sample_occupancy(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], rng: np.random.Generator, count: int = COUNT, threads: int = 1
) -> OccupancySamples:
    """Points of the surface moved by a normal deviate along each axis, and uniform ones in the cube around it, 16 to 1.

    Args:
        vertices: (V, 3) metres; faces: (F, 3), closed.

    Raises:
        MissingPackageError: Open3D or trimesh is not installed.
    """
    shape = Shape(np.asarray(vertices, np.float32), np.asarray(faces, np.int32))
    low, high = shape.bounds
    centre, half = (low + high) / 2, float((high - low).max()) / 2
    anywhere = count // (NEAR_SHARE + 1)
    near = sample_points(shape, count - anywhere, rng) + rng.normal(0, SIGMA * half, (count - anywhere, 3))
    uniform = centre + rng.uniform(-MARGIN * half, MARGIN * half, (anywhere, 3))
    points = np.concatenate((near, uniform)).astype(np.float32)
    return OccupancySamples(points, encloses(shape, points, threads))
