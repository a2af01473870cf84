"""Where face and hands are in a picture, from the joints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Radius of the face's disc as a share of the standing height: from chin to hairline, ear to ear.
FACE_RADIUS = 0.065
#: Radius of a hand's disc as a multiple of the distance from the wrist to the fingers' middle joints, and its least size as a share
#: of the standing height.
HAND_REACH, HAND_RADIUS = 1.0, 0.03

_NOSE, _EARS = 0, (3, 4)
_HANDS = ((9, (23, 24, 25, 26)), (10, (27, 28, 29, 30)))


def face_region(joints: NDArray[np.float64], standing_px: float, size: int) -> NDArray[np.bool_]:
    """(size, size) disc around the middle of nose and ears; empty where the nose is missing.

    Args:
        joints: (31, 3) in pixels of the picture, third column above 0 where present.
        standing_px: the person's standing height in pixels.
    """
    if joints[_NOSE, 2] <= 0:
        return np.zeros((size, size), bool)
    ears = [joints[i, :2] for i in _EARS if joints[i, 2] > 0]
    nose = joints[_NOSE, :2]
    middle = (nose + np.mean(ears, axis=0)) / 2 if ears else nose
    return _disc(middle, FACE_RADIUS * standing_px, size)


def hands_region(joints: NDArray[np.float64], standing_px: float, size: int) -> NDArray[np.bool_]:
    """(size, size) discs around the fingers' middle joints that reach back to the wrist; empty without wrists or fingers."""
    out = np.zeros((size, size), bool)
    for wrist, fingers in _HANDS:
        there = [joints[i, :2] for i in fingers if joints[i, 2] > 0]
        if joints[wrist, 2] > 0 and there:
            middle = np.mean(there, axis=0)
            reach = HAND_REACH * float(np.linalg.norm(middle - joints[wrist, :2]))
            out |= _disc(middle, max(reach, HAND_RADIUS * standing_px), size)
    return out


def _disc(middle: NDArray[np.float64], radius: float, size: int) -> NDArray[np.bool_]:
    centre = np.arange(size) + 0.5
    return (centre[None, :] - middle[0]) ** 2 + (centre[:, None] - middle[1]) ** 2 <= radius * radius
