"""Where head, trunk and arms are in the picture, from the joints, for colouring the back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import JOINT_NAMES

_AT = {name: index for index, name in enumerate(JOINT_NAMES)}

#: Lengths of a grown person in metres, for the picture's scale.
_EAR_TO_EAR, _EYES_TO_SHOULDERS, _SHOULDERS = 0.15, 0.21, 0.34
#: A nose this far (in eye distances) beside the middle of the eyes belongs to a face seen from the side.
_TURNED = 0.9
#: Up to this much turned, both ears show from the front as from the back.
_EARS_SHOW = 0.3
#: Trunks with narrower shoulders than this (metres) are seen from the side.
_NARROW = 0.2


@dataclass(frozen=True)
class BodyFrame:
    """A person who faces the camera.

    Attributes:
        scale: pixels per metre at the person.
        eyes: (2,) px, the middle of the eyes; None where the face is not seen from the front.
        ears: (K, 2) px, the ears if they stand at both sides of a face that is not turned, else empty.
        up, right: (2,) unit vectors of the head in the picture; ``right`` is the picture's right for an upright head.
        shoulders, hips: (2, 2) px, the picture's left one first; None where the trunk is not seen from the front.
        forearms: (K, 2, 2) px, segments elbow - wrist and wrist - fingers.
    """

    scale: float
    eyes: NDArray[np.float64] | None
    ears: NDArray[np.float64]
    up: NDArray[np.float64]
    right: NDArray[np.float64]
    shoulders: NDArray[np.float64] | None
    hips: NDArray[np.float64] | None
    forearms: NDArray[np.float64]

    def head_coordinates(self, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Metres to the right of, and above, the middle of the eyes for each pixel centre; both (h, w) float32."""
        assert self.eyes is not None
        x = (np.arange(shape[1], dtype=np.float32) + 0.5 - np.float32(self.eyes[0])) / np.float32(self.scale)
        y = (np.arange(shape[0], dtype=np.float32) + 0.5 - np.float32(self.eyes[1]))[:, None] / np.float32(self.scale)
        right, up = self.right.astype(np.float32), self.up.astype(np.float32)
        return x * right[0] + y * right[1], x * up[0] + y * up[1]

    def forearm_mask(self, shape: tuple[int, int], radius: float = 0.055) -> NDArray[np.bool_]:
        """(h, w) bool: pixels within ``radius`` metres of a forearm or hand."""
        canvas = np.zeros(shape, np.uint8)
        thickness = max(round(2 * radius * self.scale), 1)
        for start, end in self.forearms:
            a, b = (tuple(round(float(v)) for v in p) for p in (start, end))
            cv2.line(canvas, a, b, 255, thickness)
        return canvas > 0


def find_body_frame(joints: NDArray[np.float64], present: NDArray[np.bool_]) -> BodyFrame | None:
    """The frame of a person who faces the camera; None for one seen from behind or with too few joints.

    Args:
        joints: (31, 3) px of the picture to be worked on.
        present: (31,) bool, False for a missing joint.
    """

    def point(name: str) -> NDArray[np.float64] | None:
        return joints[_AT[name], :2] if present[_AT[name]] else None

    def pair(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        # The person's right side is on the picture's left when the person faces the camera.
        right, left = point("right_" + name), point("left_" + name)
        return None if right is None or left is None else (right, left)

    eyes, ears, shoulders, hips = pair("eye"), pair("ear"), pair("shoulder"), pair("hip")
    if shoulders is None or shoulders[0][0] >= shoulders[1][0]:
        return None
    middle = (shoulders[0] + shoulders[1]) / 2
    lengths = [float(np.linalg.norm(shoulders[1] - shoulders[0])) / _SHOULDERS]
    if eyes is not None:
        lengths.append(float(np.linalg.norm((eyes[0] + eyes[1]) / 2 - middle)) / _EYES_TO_SHOULDERS)
    if ears is not None:
        lengths.append(float(np.linalg.norm(ears[1] - ears[0])) / _EAR_TO_EAR)
    scale = float(np.median(lengths)) if len(lengths) == 3 else max(lengths)
    if scale <= 0:
        return None
    turned = _turn(eyes, point("nose"))
    face = turned < _TURNED
    straight = turned < _EARS_SHOW and ears is not None and ears[0][0] < ears[1][0]
    trunk = hips is not None and float(np.linalg.norm(shoulders[1] - shoulders[0])) > _NARROW * scale and hips[0][0] < hips[1][0]
    right = _unit(eyes[1] - eyes[0]) if face and eyes is not None else np.array([1.0, 0.0])
    return BodyFrame(
        scale=scale,
        eyes=(eyes[0] + eyes[1]) / 2 if face and eyes is not None else None,
        ears=np.array(ears) if straight else np.zeros((0, 2)),
        up=np.array([right[1], -right[0]]),
        right=right,
        shoulders=np.array(shoulders) if trunk else None,
        hips=np.array(hips) if trunk else None,
        forearms=_forearms(joints, present),
    )


def _turn(eyes: tuple[NDArray[np.float64], NDArray[np.float64]] | None, nose: NDArray[np.float64] | None) -> float:
    """How far the nose lies beside the middle of the eyes, in eye distances; infinite without a face from the front."""
    if eyes is None or nose is None or eyes[0][0] >= eyes[1][0]:
        return float("inf")
    across = eyes[1] - eyes[0]
    return abs(float((nose - (eyes[0] + eyes[1]) / 2) @ across)) / float(across @ across)


def _forearms(joints: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    segments = []
    for side in ("left", "right"):
        elbow, wrist, first = _AT[side + "_elbow"], _AT[side + "_wrist"], _AT[side + "_index"]
        if not present[wrist]:
            continue
        start = joints[wrist, :2]
        fingers = joints[first : first + 4, :2][present[first : first + 4]]
        if len(fingers):
            # Hands reach about as far beyond the finger bases as those are from the wrist.
            segments.append((start, start + 1.6 * (fingers.mean(axis=0) - start)))
        if present[elbow]:
            if not len(fingers):
                segments.append((start, start + 0.35 * (start - joints[elbow, :2])))
            segments.append((joints[elbow, :2], start))
    return np.array(segments, np.float64).reshape(-1, 2, 2)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
