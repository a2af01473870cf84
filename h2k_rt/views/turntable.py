"""Cameras for photos around a person that nobody calibrated: a level turntable, shorthand ``--turntable K``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from h2k_rt.errors import CameraError
from h2k_rt.views.cameras import CalibratedCamera
from h2k_rt.views.subject import mask_box

#: Diagonal of a 35 mm film frame in mm.
_FILM_DIAGONAL = 43.267
#: Vertical or horizontal field of view, whichever is larger, where neither the user nor the photo says one.
DEFAULT_FOV = 50.0


def turntable_cameras(
    names: Sequence[str],
    masks: Sequence[NDArray[np.uint8]],
    count: int,
    *,
    height: float = 1.70,
    fov: float | None = None,
    focals_35mm: Sequence[float | None] | None = None,
) -> list[CalibratedCamera]:
    """Level cameras at equal angles around an upright person whose axis is the world's y axis, feet about y = 0, metres.

    Each camera looks at the middle of the person's outline (in truth the photographer aimed elsewhere; that is a rotation which
    the shifted principal point stands for) from the distance at which a person of ``height`` has the outline's size.

    Args:
        names: of the photos, in order.
        masks: (H, W) uint8 of each photo.
        count: photos of a full turn; the second one shows the person's left side turned toward the camera. Negative: the right.
        height: of the person in metres, standing upright.
        fov: of the photo's longer side in degrees; None: from ``focals_35mm``, else ``DEFAULT_FOV``.

    Raises:
        CameraError: the photos are not as many as the turn has, or a field of view is impossible.
        MaskError: a mask is empty.
    """
    if abs(count) != len(names) or abs(count) < 1:
        raise CameraError(f"--turntable {count} needs {abs(count)} photos, {len(names)} are given")
    cameras = []
    for k, (name, mask) in enumerate(zip(names, masks, strict=True)):
        rows, columns = mask.shape
        focal = _focal(name, rows, columns, fov, focals_35mm[k] if focals_35mm else None)
        left, top, right, bottom = mask_box(mask, name)
        distance = focal * height / (bottom - top)
        # The camera walks to the person's left (+x) as the angle grows.
        angle = 2 * math.pi * k / count
        towards = np.array([math.sin(angle), 0.0, math.cos(angle)])
        rotation = np.stack((np.array([towards[2], 0.0, -towards[0]]), np.array([0.0, -1.0, 0.0]), -towards))
        centre = distance * towards + np.array([0.0, height / 2, 0.0])
        intrinsics = np.array([[focal, 0, (left + right) / 2], [0, focal, (top + bottom) / 2], [0, 0, 1.0]])
        cameras.append(CalibratedCamera(name, columns, rows, intrinsics, rotation, -rotation @ centre))
    return cameras


def _focal(name: str, rows: int, columns: int, fov: float | None, focal_35mm: float | None) -> float:
    """Focal length in pixels."""
    if fov is None and focal_35mm:
        return focal_35mm / _FILM_DIAGONAL * math.hypot(rows, columns)
    degrees = DEFAULT_FOV if fov is None else fov
    if not 1 <= degrees <= 150:
        raise CameraError(f"{name}: a field of view of {degrees:g} degrees cannot be; give 1 to 150")
    return max(rows, columns) / 2 / math.tan(math.radians(degrees / 2))
