"""Vertex colours from several photos: each photo where it sees the surface best."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from h2k_kernels import sample_features
from numpy.typing import NDArray

from h2k_rt.views.cameras import CalibratedCamera
from h2k_rt.views.network_picture import projection_of, square
from h2k_rt.views.subject import Cube

#: Side of the photos that colours are read from, and of the depth buffer (about a vertex a pixel at a grid of 256).
_PHOTO, _BUFFER = 1024, 256
#: A vertex so much behind the nearest one (radii of the cube) is hidden.
_HIDDEN = 0.03
#: Share of the weight that a view keeps where the surface is hidden from it, or turned away: every vertex gets a colour.
_LEFT, _LEAST = 1e-3, 1e-6
#: Pixels of ``_PHOTO`` along the outline whose colour is mixed with the background's.
_MIXED = 7


def view_colours(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    cameras: Sequence[CalibratedCamera],
    photos: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.uint8]],
    cube: Cube,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """(V, 3) uint8 sRGB: mean of the photos, weighted by how squarely and how visibly each sees the vertex.

    Args:
        points: (V, 3) cube coordinates; normals: (V, 3) unit, outward, in world axes.
        cameras: without distortion; photos: (H, W, 3) uint8; masks: (H, W) uint8.
    """
    total, weights = np.zeros((len(points), 3), np.float32), np.zeros((len(points), 1), np.float32)
    for camera, photo, mask in zip(cameras, photos, masks, strict=True):
        core = cv2.erode(square(mask, camera, cube, _PHOTO), np.ones((_MIXED, _MIXED), np.uint8))
        layers = np.dstack((square(photo, camera, cube, _PHOTO), core)).astype(np.float32)
        projection = projection_of(camera, cube)
        sampled = sample_features([layers[None]], projection[None], points, threads)[0]
        toward = camera.centre - (points * cube.radius + cube.centre)
        facing = np.einsum("ij,ij->i", normals, toward / np.linalg.norm(toward, axis=1, keepdims=True))
        squarely = np.maximum(facing, 0).astype(np.float32) ** 2
        visible = _visible(points, projection, sampled[4])
        weight = squarely * np.where(visible, 1, _LEFT) * (sampled[3] / 255) + _LEAST * (sampled[3] / 255 + _LEFT)
        total += weight[:, None] * sampled[:3].T
        weights += weight[:, None]
    return np.clip(np.rint(total / weights), 0, 255).astype(np.uint8)


def _visible(points: NDArray[np.float32], projection: NDArray[np.float32], depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(V,) whether no other vertex lies clearly before each, by a small depth buffer."""
    u, v, w = projection[:, :3] @ points.T + projection[:, 3:]
    column, row = (np.clip(share / w * _BUFFER, 0, _BUFFER - 1).astype(int) for share in (u, v))
    nearest = np.full((_BUFFER, _BUFFER), np.float32(1e9))
    np.minimum.at(nearest, (row, column), depth)
    closed = cv2.erode(nearest, np.ones((3, 3), np.uint8))  # vertices leave gaps between them
    return np.asarray(depth < closed[row, column] + _HIDDEN)
