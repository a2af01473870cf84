"""A body of balls seen by calibrated cameras around it, drawn without any of the code under test."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from h2k_rt.views.cameras import CalibratedCamera

#: Balls (x, y, z, radius) in metres: head, trunk, left arm, two legs, feet; 1.7 m tall.
BALLS = np.array(
    [
        (0, 1.55, 0, 0.15),
        (0, 1.15, 0, 0.27),
        (0.42, 1.3, 0.05, 0.12),
        (-0.12, 0.62, 0, 0.3),
        (0.14, 0.55, 0.1, 0.27),
        (0, 0.2, 0, 0.2),
    ]
)


def ring(count: int, size: tuple[int, int] = (240, 320), distance: float = 3.0, lift: float = 0.2) -> list[CalibratedCamera]:
    """Cameras at equal angles, looking at (0, 0.9, 0) from a height of 0.9 + lift; size is width and height."""
    width, height = size
    cameras = []
    for k in range(count):
        angle = 2 * math.pi * k / count + 0.1
        eye = np.array([distance * math.sin(angle), 0.9 + lift, distance * math.cos(angle)])
        forward = np.array([0, 0.9, 0]) - eye
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0, 1, 0))
        right /= np.linalg.norm(right)
        rotation = np.stack((right, np.cross(forward, right), forward))
        intrinsics = np.array([[400.0, 0, width / 2 + 3], [0, 405.0, height / 2 - 2], [0, 0, 1]])
        cameras.append(CalibratedCamera(f"{k}.png", width, height, intrinsics, rotation, -rotation @ eye))
    return cameras


def draw(camera: CalibratedCamera, balls: NDArray[np.float64] = BALLS) -> NDArray[np.uint8]:
    """The mask (H, W): a pixel is set where its ray passes a ball's centre nearer than the radius."""
    ys, xs = np.mgrid[: camera.height, : camera.width] + 0.5
    rays = np.stack((xs, ys, np.ones_like(xs)), axis=-1) @ np.linalg.inv(camera.intrinsics).T @ camera.rotation
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    out = np.zeros((camera.height, camera.width), np.uint8)
    for *centre, radius in balls:
        to_ball = np.array(centre) - camera.centre
        along = rays @ to_ball
        out[(along > 0) & (to_ball @ to_ball - along**2 < radius**2)] = 255
    return out


def occupied(points: NDArray[np.floating], balls: NDArray[np.float64] = BALLS) -> NDArray[np.float64]:
    """(P,) signed distance to the nearest ball's surface, positive inside."""
    away = np.linalg.norm(np.asarray(points, np.float64)[:, None, :] - balls[None, :, :3], axis=2)
    return (balls[None, :, 3] - away).max(axis=1)
