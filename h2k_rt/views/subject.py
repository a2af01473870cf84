"""Where the person is: the cube around them in the world, found from masks and cameras, and whether these fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2k_rt.errors import CameraError, MaskError
from h2k_rt.views.cameras import CalibratedCamera

#: The cube is so much larger than the largest outline.
MARGIN = 1.12
#: Below this angle between the views (degrees) their rays say nothing of the distance.
_LEAST_PARALLAX = 4.0
#: Rays and places on each that the check looks at.
_RAYS, _DEPTHS = 400, 96
#: Least share of an outline whose rays meet what the other photos see.
LEAST_COVERED = 0.75
#: Largest distance between the middle of an outline and the common middle, as a share of the outline's longer side.
LARGEST_OFFSET = 0.15


@dataclass(frozen=True)
class Cube:
    """A cube with sides along the world's axes.

    Attributes:
        centre: (3,) float64 in world units; radius: half a side.
    """

    centre: NDArray[np.float64]
    radius: float


def mask_box(mask: NDArray[np.uint8], name: str) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in pixel edge coordinates around the mask's pixels of at least 128.

    Raises:
        MaskError: there is none.
    """
    solid = mask >= 128
    columns, rows = np.flatnonzero(solid.any(axis=0)), np.flatnonzero(solid.any(axis=1))
    if not len(rows):
        raise MaskError(f"{name}: the mask is empty; give one in which the person is white")
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def find_cube(cameras: Sequence[CalibratedCamera], masks: Sequence[NDArray[np.uint8]], height: float = 1.70) -> Cube:
    """The cube around the person: where the rays through the middles of the outlines come nearest to each other.

    Args:
        cameras: without distortion, each for a mask of its own size.
        masks: (H, W) uint8, 255 = person.
        height: in world units, from which the distance follows where the views have no parallax (a single photo).

    Raises:
        MaskError: a mask is empty.
        CameraError: the rays meet behind a camera.
    """
    boxes = [mask_box(mask, camera.name) for camera, mask in zip(cameras, masks, strict=True)]
    rays = [camera.ray(((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)) for camera, b in zip(cameras, boxes, strict=True)]
    centre = _nearest_point([camera.centre for camera in cameras], rays)
    if centre is None:
        camera, box, ray = cameras[0], boxes[0], rays[0]
        depth = camera.focal * height / (box[3] - box[1])
        centre = camera.centre + ray * depth / float(camera.rotation[2] @ ray)
    radius = 0.0
    for camera, box in zip(cameras, boxes, strict=True):
        depth = float(camera.to_camera(centre)[2])
        if depth <= 0:
            raise CameraError(
                f"cameras and photos do not match: the person would stand behind the camera of {camera.name}; "
                "check that each photo has its own camera and that poses are world to camera"
            )
        radius = max(radius, max(box[2] - box[0], box[3] - box[1]) / 2 * depth / camera.focal)
    return Cube(centre, MARGIN * radius)


def _nearest_point(origins: Sequence[NDArray[np.float64]], rays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """The point with the least sum of squared distances to all rays; None where they are nearly parallel."""
    across = [np.eye(3) - np.outer(ray, ray) for ray in rays]
    total = np.sum(across, axis=0)
    # For two unit directions at an angle a the least eigenvalue is 1 - cos a.
    if np.linalg.eigvalsh(total)[0] < 1 - np.cos(np.radians(_LEAST_PARALLAX)):
        return None
    right = np.sum([a @ o for a, o in zip(across, origins, strict=True)], axis=0)
    return np.linalg.solve(total, right)


def check_views(cameras: Sequence[CalibratedCamera], masks: Sequence[NDArray[np.uint8]], cube: Cube) -> list[float]:
    """Whether the outlines are of one body under these cameras.

    The middle of the cube must fall near the middle of each outline, and each ray through an outline must meet the visual hull of
    the others. Beyond the edge of a photo is taken as the person's where the outline touches that photo's edge. Photos of an
    upright person in the middle of a ring can still be swapped unnoticed: their outlines are too much alike.

    Returns:
        for each photo the share of its outline's rays that do.

    Raises:
        CameraError: naming the photo that fits worst, and by how much.
    """
    offsets = []
    for camera, mask in zip(cameras, masks, strict=True):
        box = mask_box(mask, camera.name)
        x, y, w = camera.intrinsics @ camera.to_camera(cube.centre)
        away = np.hypot(x / w - (box[0] + box[2]) / 2, y / w - (box[1] + box[3]) / 2)
        offsets.append(float(away) / max(box[2] - box[0], box[3] - box[1]))
    worst = int(np.argmax(offsets))
    if offsets[worst] > LARGEST_OFFSET:
        raise CameraError(
            f"cameras and photos do not match: the point that all photos look at lies {100 * offsets[worst]:.0f} % of the person's "
            f"height beside the person in {cameras[worst].name}; {_ADVICE}"
        )
    covered = [_covered(i, cameras, masks, cube) for i in range(len(cameras))]
    worst = int(np.argmin(covered))
    if covered[worst] < LEAST_COVERED:
        raise CameraError(
            f"cameras and photos do not match: only {100 * covered[worst]:.0f} % of the person in {cameras[worst].name} is where "
            f"the other photos see one; {_ADVICE}"
        )
    return covered


_ADVICE = (
    "check which camera belongs to which photo, that poses are world to camera, and that all photos show the same person in the "
    "same pose"
)


def _covered(number: int, cameras: Sequence[CalibratedCamera], masks: Sequence[NDArray[np.uint8]], cube: Cube) -> float:
    """Share of the rays through one outline that meet the visual hull of the others."""
    camera = cameras[number]
    rows, columns = np.nonzero(masks[number] >= 128)
    chosen = np.linspace(0, len(rows) - 1, min(_RAYS, len(rows))).astype(int)
    pixels = np.stack((columns[chosen] + 0.5, rows[chosen] + 0.5, np.ones(len(chosen))), axis=1)
    directions = np.linalg.solve(camera.intrinsics, pixels.T).T  # depth 1
    middle = float(camera.to_camera(cube.centre)[2])
    depths = np.linspace(middle - 1.2 * cube.radius, middle + 1.2 * cube.radius, _DEPTHS)
    seen = directions[:, None, :] * depths[depths > 0][None, :, None]
    points = (seen - camera.translation) @ camera.rotation
    inside = np.ones(points.shape[:2], bool)
    for j, (other, outline) in enumerate(zip(cameras, masks, strict=True)):
        if j != number:
            inside &= seen_inside(other, outline, points.reshape(-1, 3)).reshape(inside.shape)
    return float(inside.any(axis=1).mean())


def seen_inside(camera: CalibratedCamera, mask: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(P,) whether the pixel of each point is the person's, or might be if the photo were larger."""
    seen = camera.to_camera(points) @ camera.intrinsics.T
    ahead = seen[:, 2] > 1e-9
    at = np.floor(seen[:, :2] / np.where(ahead, seen[:, 2], 1.0)[:, None])
    height, width = mask.shape
    shown = ahead & (at >= 0).all(axis=1) & (at[:, 0] < width) & (at[:, 1] < height)
    inside = np.full(len(points), touches_edge(mask))
    column, row = at[shown].astype(int).T
    inside[shown] = mask[row, column] >= 128
    return inside


def touches_edge(mask: NDArray[np.uint8]) -> bool:
    """Whether the photo may cut the person off."""
    return bool(max(mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) >= 128)
