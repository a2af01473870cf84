"""Calibrated cameras around a figure, and what they see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.closed import ClosedMesh
from h2k_rt.data.people.figure import Figure
from h2k_rt.data.people.render import frame_figure, render
from h2k_rt.data.people.scene import sample_scene
from h2k_rt.data.people.view import View, ViewCamera
from h2k_rt.data.views.occupancy import sample_occupancy
from h2k_rt.data.views.viewset import Drawing
from h2k_rt.views.cameras import CalibratedCamera

#: Degrees by which a camera stands off its place in the ring, and looks down or up.
_YAW_JITTER, _PITCH = 6.0, (2.0, 5.0)
_FOV = (25.0, 55.0)

#: View axes (x right, y up, z toward the camera) -> camera axes (x right, y down, z forward).
_TO_CAMERA = np.diag([1.0, -1.0, -1.0])


def sample_rig(rng: np.random.Generator, count: int) -> list[View]:
    """``count`` views in a ring with one lens; the first from the front."""
    fov = float(rng.uniform(*_FOV))
    return [
        View(
            yaw=360 * k / count + float(rng.uniform(-_YAW_JITTER, _YAW_JITTER)),
            pitch=float(np.clip(rng.normal(*_PITCH), -12, 20)),
            roll=float(np.clip(rng.normal(0, 1), -3, 3)),
            fov=fov,
            scale=float(rng.uniform(0.9, 1.04)),
        )
        for k in range(count)
    ]


def calibrated(camera: ViewCamera, name: str) -> CalibratedCamera:
    """A renderer's camera in the convention of camera files."""
    rotation = _TO_CAMERA @ camera.rotation
    translation = np.array([0.0, 0.0, camera.distance_metres]) - rotation @ camera.centre
    focal, middle = camera.focal_px, camera.size / 2
    intrinsics = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]])
    return CalibratedCamera(name, camera.size, camera.size, intrinsics, rotation, translation)


def draw_rig(
    figure: Figure, mesh: ClosedMesh, rng: np.random.Generator, count: int, size: int, backgrounds: Sequence[Path] = ()
) -> Drawing:
    """Photos of a figure from ``count`` cameras in one scene (its lights turn with the camera), and points of its mesh.

    Args:
        size: side of the photos in pixels.
    """
    scene = sample_scene(rng, backgrounds)
    photos, masks, cameras, depths = [], [], [], []
    for number, view in enumerate(sample_rig(rng, count)):
        camera = frame_figure(figure, view, size)
        drawn = render(figure, view, scene, size, camera=camera)
        photos.append(drawn.rgb)
        masks.append(drawn.mask)
        cameras.append(calibrated(camera, f"{number:02d}.png"))
        depths.append(
            np.where(drawn.mask > 0, [_along_axis(camera, cameras[-1], side) for side in drawn.depth], 0).astype(np.float32)
        )
    return Drawing(photos, masks, cameras, sample_occupancy(mesh.vertices, mesh.faces, rng), depths)


def _along_axis(camera: ViewCamera, photo: CalibratedCamera, depth: NDArray[np.float32]) -> NDArray[np.float64]:
    """The renderer's depth of one side as metres along the axis of its photo's camera."""
    return np.asarray(photo.to_camera(camera.lift(depth).reshape(-1, 3))[:, 2].reshape(depth.shape), np.float64)
