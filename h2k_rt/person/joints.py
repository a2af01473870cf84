"""From the networks' landmarks to the 31 joints of the method, and whether enough of a body can be seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import JOINT_NAMES, OPENPOSE_FINGERS
from h2k_rt.errors import PersonError
from h2k_rt.person.body import Body
from h2k_rt.person.hands import BODY_POINTS, Hand

#: Joint -> BlazePose landmark, for all joints that are landmarks. The foot index is the tip of the foot: the big toe.
BODY_LANDMARKS = {
    0: 0, 1: 2, 2: 5, 3: 7, 4: 8, 5: 11, 6: 12, 7: 13, 8: 14, 9: 15, 10: 16, 11: 23, 12: 24, 13: 25, 14: 26, 15: 27, 16: 28,
    17: 31, 19: 29, 20: 32, 22: 30,
}  # fmt: skip
#: For the left and the right small toe: its joint, the landmarks of heel, ankle, big toe and knee, and the side's sign.
_FEET = ((18, 29, 27, 31, 25, 1.0), (21, 30, 28, 32, 26, -1.0))
_TOE_OUT = 0.235  # of the foot's length, sideways
_TOE_BACK = 0.14  # of the foot, from the big toe back to the heel
#: The landmark's depth is exaggerated beside x and y; with this factor feet come out as long seen from the front as from the side.
_DEPTH_SCALE = 0.4
#: First finger joint of each hand in the joint array.
_FIRST_FINGER = {"left": 23, "right": 27}
#: A hand that the hand network does not see: each finger joint as wrist + a (index - wrist) + b (little finger - wrist) of the
#: body's landmarks, least squares over 62 hands of photos and rendered people that the hand network did see.
_FINGER_GUESS = ((1.45, -0.05), (0.9, 0.58), (0.4, 1.02), (-0.02, 1.28))
_GUESS_CONFIDENCE = 0.5
_TORSO_MEAN = 0.65  # of full bodies it is above 0.9; bodies imagined into a pair of legs stay below 0.6
_LEAST = 0.02  # below it a joint is unusable


def to_joints(body: Body, hands: Mapping[str, Hand | None], height: int, width: int) -> NDArray[np.float64]:
    """The (31, 3) joints of one person.

    Confidence is visible x present of the landmark, of a finger the hand's presence times the wrist's. A joint is missing
    (0, 0, 0) only where its confidence is below 0.02; one outside the photo stays, with a tenth of its confidence.

    The networks have no small toe. It is derived from the foot in 3D: from the big toe back towards the heel by 0.14 of the
    foot and outwards by 0.235 of its length, outwards being at right angles to foot and shin. The two numbers are fitted to
    OpenPose's toes in three photos and to 26 rendered feet; what remains is about 0.5 % (photos) and 1.8 % (rendered) of
    body height.
    """
    joints = np.zeros((len(JOINT_NAMES), 3))
    confidence = body.confidence
    for joint, landmark in BODY_LANDMARKS.items():
        joints[joint] = (*body.points[landmark, :2], confidence[landmark])
    for joint, heel, ankle, toe, knee, sign in _FEET:
        xy = small_toe(body.points[[heel, ankle, toe, knee]], sign)
        joints[joint] = (*xy, min(confidence[heel], confidence[toe]))
    for side, (wrist, index, pinky) in BODY_POINTS.items():
        first, hand = _FIRST_FINGER[side], hands.get(side)
        if hand is not None:
            joints[first : first + 4, :2] = hand.points[list(OPENPOSE_FINGERS)]
            joints[first : first + 4, 2] = hand.score * confidence[wrist]
        else:
            origin, *ends = body.points[[wrist, index, pinky], :2]
            joints[first : first + 4, :2] = origin + np.array(_FINGER_GUESS) @ (np.stack(ends) - origin)
            joints[first : first + 4, 2] = _GUESS_CONFIDENCE * confidence[[wrist, index, pinky]].min()
    inside = (joints[:, :2] >= 0).all(axis=1) & (joints[:, 0] <= width) & (joints[:, 1] <= height)
    joints[~inside, 2] *= 0.1
    joints[joints[:, 2] < _LEAST] = 0
    return joints


def small_toe(points: NDArray[np.float64], sign: float) -> NDArray[np.float64]:
    """(2,) photo pixels from heel, ankle, big toe and knee (4, 3); ``sign``: 1 for the left foot, -1 for the right."""
    heel, ankle, toe, knee = points * (1, 1, _DEPTH_SCALE)
    foot = toe - heel
    # x right, y down, z away is a right-handed frame: foot x shin points to the person's right.
    outward = -sign * np.cross(foot, knee - ankle)
    size = np.linalg.norm(outward)
    if size > 0:
        outward *= _TOE_OUT * np.linalg.norm(foot) / size
    return (toe - _TOE_BACK * foot + outward)[:2]


def visible_enough(joints: NDArray[np.float64], least: float = 0.5) -> None:
    """Check that a body can be reconstructed from ``joints`` (31, 3): the torso, and the head or the legs, are seen.

    Seen means confidence of at least ``least``: for the torso one shoulder and one hip (a body from the side may hide the
    others) and a mean of 0.65 over the four; for the head the nose or an ear; for the legs a knee and an ankle.

    Raises:
        PersonError: naming what is not seen.
    """
    seen = dict(zip(JOINT_NAMES, joints[:, 2] >= least, strict=True))

    def count(*names: str) -> int:
        return sum(bool(seen[n]) for n in names)

    shoulders, hips = count("left_shoulder", "right_shoulder"), count("left_hip", "right_hip")
    missing = [name for name, there in (("the shoulders", shoulders), ("the hips", hips)) if not there]
    if not missing and joints[[5, 6, 11, 12], 2].mean() < _TORSO_MEAN:
        missing = ["the torso"]
    head = count("nose", "left_ear", "right_ear") > 0
    legs = count("left_knee", "right_knee") > 0 and count("left_ankle", "right_ankle") > 0
    if not missing and not head and not legs:
        missing = ["the head", "the legs"]
    if missing:
        raise PersonError(
            f"Too little of the person can be seen: {' and '.join(missing)} cannot be found in the photo. "
            "Use a photo that shows the whole body, unobstructed and not too dark."
        )
