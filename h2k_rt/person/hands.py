"""The hand landmark network: where the fingers of one hand are, from a window derived from the body's landmarks.

First window, tracking window and their factors follow MediaPipe's holistic graph (Apache-2.0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from h2k_engines import Engine
from numpy.typing import NDArray

from h2k_rt.person.body import Body
from h2k_rt.person.crop import Pyramid, Roi, roi_matrix, transform

SIDE = 224
#: BlazePose landmarks of wrist, index and little finger's knuckle, for the left and the right hand.
BODY_POINTS = {"left": (15, 19, 17), "right": (16, 20, 18)}
#: Window sizes tried in turn. MediaPipe's 2.7 is meant for a network in between that finds the hand's box; without that one
#: smaller windows gave higher presence and smaller errors.
_FIRST_SCALES = (1.6, 2.3, 1.1)
_TRACK_SCALE = 2.0
#: The second looks, as factors on the tracking window, averaged by presence squared.
_TRACK_FACTORS = (0.85, 1.0, 1.2)
_PRESENT = 0.5
_SHIFT = -0.1  # of the window's height: towards the fingertips
#: The hand's joints that span the tracking window: all but the fingertips and the joints before them.
_SPAN = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)


@dataclass(frozen=True)
class Hand:
    """points (21, 2) photo pixels in the usual order (wrist, then thumb to little finger); score 0..1: a hand is there."""

    points: NDArray[np.float64]
    score: float


def first_roi(body: Body, side: str, scale: float) -> Roi:
    """Window from the body's wrist, index and little finger: centred on the knuckles' middle, up from the wrist to there."""
    wrist, index, pinky = (body.points[i, :2] for i in BODY_POINTS[side])
    middle = (2 * index + pinky) / 3
    dx, dy = middle - wrist
    return _shifted(middle, 2 * math.hypot(dx, dy), math.atan2(dx, -dy), scale)


def track_roi(points: NDArray[np.float64]) -> Roi:
    """Window from a hand's own 21 points: the turned box around its joints, up from the wrist to the middle joints."""
    up = ((points[6] + points[14]) / 2 + points[10]) / 2 - points[0]
    angle = math.atan2(up[0], -up[1])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    upright = points[list(_SPAN)] @ turn  # coordinates along the window's own axes
    low, high = upright.min(axis=0), upright.max(axis=0)
    centre = turn @ ((low + high) / 2)
    return _shifted(centre, float((high - low).max()), angle, _TRACK_SCALE)


def _shifted(centre: NDArray[np.float64], size: float, angle: float, scale: float) -> Roi:
    # MediaPipe shifts by a share of the box before it is enlarged.
    return Roi(
        float(centre[0] - _SHIFT * size * math.sin(angle)), float(centre[1] + _SHIFT * size * math.cos(angle)), size * scale, angle
    )


def look(engine: Engine, photo: Pyramid, roi: Roi) -> Hand:
    """Run once in the window ``roi``."""
    picture = photo.crop(roi, SIDE)
    out = engine.run({"input_1": picture[None].astype(np.float32) * np.float32(1 / 255)})
    points = out["Identity"].reshape(21, 3)[:, :2].astype(np.float64)
    return Hand(transform(roi_matrix(roi, SIDE), points), float(out["Identity_1"].reshape(-1)[0]))


def find_hand(engine: Engine, photo: Pyramid, body: Body, side: str) -> Hand | None:
    """One hand of ``body``, ``side`` "left" or "right", or None where the network sees none at that wrist."""
    for scale in _FIRST_SCALES:
        roi = first_roi(body, side, scale)
        if roi.size < 4:
            return None
        hand = look(engine, photo, roi)
        if hand.score >= _PRESENT:
            break
    else:
        return None
    own = track_roi(hand.points)
    looks = [look(engine, photo, Roi(own.x, own.y, own.size * factor, own.angle)) for factor in _TRACK_FACTORS]
    weights = np.array([h.score**2 for h in looks])
    score = max(h.score for h in looks)
    if score < _PRESENT:
        return None
    points = np.tensordot(weights / weights.sum(), np.stack([h.points for h in looks]), axes=1)
    # A window can catch the other hand: its wrist is then elsewhere.
    if math.hypot(*(points[0] - body.points[BODY_POINTS[side][0], :2])) > 0.4 * first_roi(body, side, _FIRST_SCALES[0]).size:
        return None
    return Hand(points, score)
