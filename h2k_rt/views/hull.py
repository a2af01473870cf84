"""The visual hull: what all photos see as the person. A baseline, and the box outside of which nobody need look."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from h2k_kernels import sample_features
from numpy.typing import NDArray

from h2k_rt.errors import CameraError
from h2k_rt.views.cameras import CalibratedCamera
from h2k_rt.views.network_picture import projection_of, square
from h2k_rt.views.subject import Cube, touches_edge

#: Nodes along the cube's side among which the box is looked for.
_BOX_NODES = 49


class VisualHull:
    """Occupancy of the visual hull, the least share that any mask gives to a point.

    What lies beyond a photo's edge counts as the person's where the person's mask touches that photo's edge.

    Args:
        cameras: without distortion, each for a mask of its size; masks: (H, W) uint8, 255 = person.
        size: side in pixels of the masks that are sampled.
        margin: widens the masks by so much of their side, for masks that are too narrow.
    """

    def __init__(
        self,
        cameras: Sequence[CalibratedCamera],
        masks: Sequence[NDArray[np.uint8]],
        cube: Cube,
        size: int = 512,
        margin: float = 0.0,
        threads: int = 1,
    ) -> None:
        pictures = [_picture(camera, mask, cube, size, margin) for camera, mask in zip(cameras, masks, strict=True)]
        self._maps = [np.stack(pictures)[..., None]]
        self._projections = np.stack([projection_of(camera, cube) for camera in cameras])
        self._threads = threads

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3) cube coordinates -> (N,) float32 in 0..1."""
        return sample_features(self._maps, self._projections, points, self._threads)[:, 0].min(axis=0)

    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest cube coordinates of the hull, enlarged by a cell of the grid it was looked for on.

        Raises:
            CameraError: the hull is empty.
        """
        line = np.linspace(-1, 1, _BOX_NODES, dtype=np.float32)
        points = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
        found = points[self(points) > 0.02]
        if not len(found):
            raise CameraError("cameras and photos do not match: no place in the world is the person's in all photos")
        cell = 2 / (_BOX_NODES - 1)
        return found.min(axis=0).astype(np.float64) - cell, found.max(axis=0).astype(np.float64) + cell


def _picture(camera: CalibratedCamera, mask: NDArray[np.uint8], cube: Cube, size: int, margin: float) -> NDArray[np.float32]:
    """(size, size) float32 share of the person."""
    share = square(mask, camera, cube, size, beyond=255 if touches_edge(mask) else 0)
    if margin > 0:
        reach = 2 * max(1, round(margin * size)) + 1
        share = np.asarray(cv2.dilate(share, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))), np.uint8)
    return share.astype(np.float32) / np.float32(255)
