"""The canvas camera: which point of space a pixel and its depth stand for (SPEC 7).

Two frames. *Lift frame*: origin at the camera, x right, y down, z away from it. *Scan frame*: origin at distance 1 before the
camera, x right, y up, z towards the camera, lengths divided by the method's ``world_scale``; meshes leave the surface stage in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method


def tangents(size: int, method: Method = METHOD) -> NDArray[np.float32]:
    """(size,) float32: tangent of the ray through each pixel centre, from left to right and from top to bottom (SPEC 7)."""
    edge = method.half_tan * (1 - 1 / size)
    return np.linspace(-edge, edge, size).astype(np.float32)


def distance_from_nu(depth: NDArray[np.float32], method: Method = METHOD) -> NDArray[np.float32]:
    """Depth in nu -> Euclidean distance r from the camera in scan units: ``r = (512 nu - N/2) / f + 1`` (SPEC 7).

    Depth is measured in pixels of the full canvas whatever the size of the map is.
    """
    scale = np.float32(method.depth_unit_px / method.focal_px)
    offset = np.float32(1 - method.size / 2 / method.focal_px)
    return depth * scale + offset


def nu_from_distance(distance: NDArray[np.floating], method: Method = METHOD) -> NDArray[np.float32]:
    """The inverse of :func:`distance_from_nu`."""
    return (((distance - 1) * method.focal_px + method.size / 2) / method.depth_unit_px).astype(np.float32)


def to_scan(points: NDArray[np.float32], method: Method = METHOD) -> NDArray[np.float32]:
    """(P, 3) lift frame -> scan frame: ``X = q_x / s``, ``Y = -q_y / s``, ``Z = (1 - q_z) / s`` (SPEC 7)."""
    scale = np.float32(1 / method.world_scale)
    return np.stack((points[:, 0] * scale, points[:, 1] * -scale, (1 - points[:, 2]) * scale), axis=1)


def lift_to_scan(
    distance: NDArray[np.float32], tan_x: NDArray[np.float32], tan_y: NDArray[np.float32], method: Method, out: NDArray[np.float32]
) -> None:
    """Write the scan-frame points at ``distance`` along the rays through (tan_x, tan_y, 1) into ``out``."""
    scale = np.float32(1 / method.world_scale)
    z = distance / np.sqrt(tan_x * tan_x + tan_y * tan_y + np.float32(1))
    z *= scale
    np.multiply(z, tan_x, out=out[:, 0])
    np.multiply(z, -tan_y, out=out[:, 1])
    np.subtract(scale, z, out=out[:, 2])
