"""What the networks see of a photo: a square picture around the person, and the matrix that projects the cube into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.views.cameras import CalibratedCamera
from h2k_rt.views.subject import Cube

#: Channels of a network's picture: R, G, B, mask, distance to the outline.
CHANNELS = 5
#: The distance's reach: this share of the picture's side is 1.
REACH = 1 / 8
#: Masks are widened by this share of the network's picture before what lies outside of one is taken as empty.
CARVING_MARGIN = 0.02


@dataclass(frozen=True)
class NetworkView:
    """A view as the networks take it.

    Attributes:
        picture: (5, S, S) float32: R, G, B in [-1, 1] times the mask's share, that share in [0, 1], and
            :func:`outline_distance`.
        projection: (3, 4) float32, see :func:`projection_of`.
    """

    picture: NDArray[np.float32]
    projection: NDArray[np.float32]


def network_view(camera: CalibratedCamera, rgb: NDArray[np.uint8], mask: NDArray[np.uint8], cube: Cube, size: int) -> NetworkView:
    """Cut the square out of a photo and shrink it by averaging.

    Args:
        camera: without distortion, for a photo of this size.
        rgb: (H, W, 3) uint8 sRGB; mask: (H, W) uint8, 255 = person.
        size: side S in pixels.
    """
    share = square(mask, camera, cube, size).astype(np.float32) / np.float32(255)
    colour = square(rgb, camera, cube, size).astype(np.float32) / np.float32(127.5) - np.float32(1)
    picture = np.concatenate(((colour * share[..., None]).transpose(2, 0, 1), share[None], outline_distance(share)[None]))
    return NetworkView(np.ascontiguousarray(picture), projection_of(camera, cube))


def outline_distance(share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance to the outline, positive inside; (S, S) float32 in -1..1, where 1 is ``REACH`` of the side.

    A coarse map of a mask tells where the outline is to some pixels only; one of its distance, which is smooth, to a fraction of
    one, and how thick the body is there.
    """
    inside = (share > 0.5).astype(np.uint8)
    # Distances are to the middle of the nearest pixel on the other side; the outline is half a pixel nearer.
    signed = np.where(inside, _distance(inside) - 0.5, 0.5 - _distance(1 - inside))
    return np.clip(signed / (REACH * share.shape[-1]), -1, 1).astype(np.float32)


def _distance(inside: NDArray[np.uint8]) -> NDArray[np.float32]:
    """To the nearest 0; far where there is none."""
    found = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)
    # Its threads differ in the last bits; squares of distances are whole numbers.
    return np.sqrt(np.rint(found * found))


def crop_of(camera: CalibratedCamera, cube: Cube) -> tuple[int, int, int]:
    """x, y of the first pixel and side of the square that shows the cube's sphere, in whole pixels of the photo; may leave it."""
    seen = camera.to_camera(cube.centre)
    x, y, _ = camera.intrinsics @ (seen / seen[2])
    half = camera.focal * cube.radius / float(seen[2])
    side = max(2, int(np.ceil(2 * half)))
    return int(np.floor(x - side / 2)), int(np.floor(y - side / 2)), side


def projection_of(camera: CalibratedCamera, cube: Cube) -> NDArray[np.float32]:
    """(3, 4) float32: cube coordinates q (-1..1 between its sides) to (u w, v w, w).

    u and v run from 0 to 1 over the network's picture (edge coordinates), w is the depth in radii of the cube.
    """
    x0, y0, side = crop_of(camera, cube)
    to_square = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, side]]) / side
    matrix = to_square @ camera.intrinsics @ np.column_stack((camera.rotation, camera.to_camera(cube.centre) / cube.radius))
    return matrix.astype(np.float32)


def stacked(views: Sequence[NetworkView]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(V, 5, S, S) pictures and (V, 3, 4) projections."""
    return np.stack([view.picture for view in views]), np.stack([view.projection for view in views])


def square(picture: NDArray[np.uint8], camera: CalibratedCamera, cube: Cube, size: int, beyond: int = 0) -> NDArray[np.uint8]:
    """The square of a photo (H, W) or (H, W, 3) that shows the cube, at ``size`` pixels; ``beyond`` stands for what is no photo."""
    x0, y0, side = crop_of(camera, cube)
    height, width = picture.shape[:2]
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + side, width), min(y0 + side, height)
    window = np.full((side, side, *picture.shape[2:]), beyond, np.uint8)
    if right > left and bottom > top:
        window[top - y0 : bottom - y0, left - x0 : right - x0] = picture[top:bottom, left:right]
    return np.asarray(cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR), np.uint8)
