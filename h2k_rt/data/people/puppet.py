"""A body being posed: bones set by world directions, limbs reached by two-bone inverse kinematics."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.body import Body, Posed
from h2k_rt.data.people.turns import Matrix, Vector, across, cross, frame_turn, limited, turn, twist_angle, two_bones, unit

SIDES = ("L", "R")
#: Sideways direction of each side: the person's left is +x.
OUTWARD = {"L": 1.0, "R": -1.0}
_TWIST_LIMIT = 80.0  # degrees of pronation or supination from MakeHuman's rest
_WRIST_LIMIT = 65.0  # degrees of bending
_FOREARM_SHARE = 0.6  # of the twist, taken by the forearm's second bone; the rest by the wrist


@dataclass(frozen=True)
class Limb:
    """Rest measures of an arm or a leg.

    Attributes:
        upper, lower, end: indices of the bones that start at the limb's root, its middle joint and its end.
        lengths: of the two segments, metres.
        directions: unit directions of the two segments at rest.
        hinge: rest axis of the middle joint; a positive turn bends it.
    """

    upper: int
    lower: int
    end: int
    lengths: tuple[float, float]
    directions: tuple[Vector, Vector]
    hinge: Vector


@dataclass(frozen=True)
class Hand:
    """Rest directions of a hand: along the fingers, and out of the palm."""

    fingers: Vector
    palm: Vector


class Puppet:
    """Local bone rotations that are changed step by step, and where they put the bones.

    Attributes:
        local: (B, 3, 3) float64, see ``Body.pose_local``; change it, then call ``update``.
        shift: (3,) metres, moves the whole figure.
        posed: where the bones are since the last ``update``.
    """

    posed: Posed

    def __init__(self, body: Body) -> None:
        self.body = body
        self.index = body.model.bone_index
        self.local = np.broadcast_to(np.eye(3), (len(body.heads), 3, 3)).copy()
        self.shift = np.zeros(3)
        self.update()

    def update(self) -> Posed:
        """Recomputes ``posed`` from ``local`` and ``shift``."""
        self.posed = self.body.pose_local(self.local).moved(self.shift)
        return self.posed

    def rest_head(self, label: str) -> Vector:
        return self.body.heads[self.index[label]]

    def head(self, label: str) -> Vector:
        return self.posed.heads[self.index[label]]

    def rotation(self, label: str) -> Matrix:
        return self.posed.rotations[self.index[label]]

    @functools.cached_property
    def arms(self) -> dict[str, Limb]:
        return {side: self._limb(f"upperarm01.{side}", f"lowerarm01.{side}", f"wrist.{side}", None) for side in SIDES}

    @functools.cached_property
    def legs(self) -> dict[str, Limb]:
        # At rest the knees are nearly straight, so their axis is taken from the side.
        sideways = np.array([1.0, 0.0, 0.0])
        return {side: self._limb(f"upperleg01.{side}", f"lowerleg01.{side}", f"foot.{side}", sideways) for side in SIDES}

    @functools.cached_property
    def hands(self) -> dict[str, Hand]:
        hands = {}
        for side in SIDES:
            wrist = self.rest_head(f"wrist.{side}")
            knuckles = [self.rest_head(f"finger{finger}-1.{side}") - wrist for finger in (2, 3, 4, 5)]
            fingers = unit(np.mean(knuckles, axis=0))
            back = cross(knuckles[0], knuckles[3]) * OUTWARD[side]
            hands[side] = Hand(fingers, -across(back, fingers))
        return hands

    def _limb(self, upper: str, lower: str, end: str, hinge: Vector | None) -> Limb:
        a, b, c = (self.rest_head(label) for label in (upper, lower, end))
        first, second = b - a, c - b
        axis = unit(cross(first, second)) if hinge is None else hinge
        lengths = (math.sqrt(float(first @ first)), math.sqrt(float(second @ second)))
        return Limb(self.index[upper], self.index[lower], self.index[end], lengths, (unit(first), unit(second)), axis)

    def reach(self, limb: Limb, target: Vector, pole: Vector, bend: float = 3.0) -> Matrix:
        """Bends a limb so that its end comes to a world point (or as near as it can) with the middle joint toward ``pole``.

        Returns:
            World rotation of the lower segment.
        """
        start = self.posed.heads[limb.upper]
        middle, end = two_bones(start, target, *limb.lengths, pole, bend)
        hinge = unit(cross(across(pole, unit(end - start)), unit(end - start)))
        return self.aim(limb, unit(middle - start), unit(end - middle), hinge)

    def aim(self, limb: Limb, upper: Vector, lower: Vector, hinge: Vector) -> Matrix:
        """Points the two segments of a limb in world directions, the joint's axis along ``hinge``; see ``reach``."""
        parents = self.body.model.bone_parents
        first = frame_turn(limb.directions[0], limb.hinge, upper, hinge)
        second = frame_turn(limb.directions[1], limb.hinge, lower, hinge)
        self.local[limb.upper] = self.posed.rotations[parents[limb.upper]].T @ first
        self._straighten_between(limb.upper, limb.lower)
        self.local[limb.lower] = first.T @ second
        self._straighten_between(limb.lower, limb.end)
        return second

    def _straighten_between(self, upper: int, lower: int) -> None:
        bone = int(self.body.model.bone_parents[lower])
        while bone != upper:
            self.local[bone] = np.eye(3)
            bone = int(self.body.model.bone_parents[bone])

    def turn_hand(self, side: str, forearm: Matrix, fingers: Vector, palm: Vector) -> None:
        """Turns a hand to world directions as far as forearm and wrist allow.

        Args:
            forearm: world rotation of the forearm from ``reach`` or ``aim``.
            fingers: where the fingers point; palm: where the palm faces.
        """
        hand = self.hands[side]
        self._set_hand(side, forearm.T @ frame_turn(hand.fingers, hand.palm, fingers, palm))

    def relax_hand(self, side: str, pronation: float, bend: Matrix) -> None:
        """Turns a hand relative to its forearm: ``pronation`` degrees (thumb inward) and a small bending of the wrist."""
        axis = self.arms[side].directions[1]
        self._set_hand(side, bend @ turn(axis, OUTWARD[side] * pronation))

    def _set_hand(self, side: str, wanted: Matrix) -> None:
        """``wanted``: rotation of the hand relative to the forearm; kept within the limits, the twist shared with the forearm."""
        axis = self.arms[side].directions[1]
        angle = twist_angle(wanted, axis)
        swing = limited(wanted @ turn(axis, -angle), _WRIST_LIMIT)
        angle = min(max(angle, -_TWIST_LIMIT), _TWIST_LIMIT)
        self.local[self.index[f"lowerarm02.{side}"]] = turn(axis, _FOREARM_SHARE * angle)
        self.local[self.index[f"wrist.{side}"]] = turn(axis, -_FOREARM_SHARE * angle) @ swing @ turn(axis, angle)

    def set_world(self, label: str, rotation: Matrix) -> None:
        """Gives one bone a world rotation; its parent must be up to date."""
        bone = self.index[label]
        parent = int(self.body.model.bone_parents[bone])
        self.local[bone] = rotation if parent < 0 else self.posed.rotations[parent].T @ rotation

    def vertices(self) -> NDArray[np.floating]:
        """(19158, 3) skinned with the bones of the last ``update``."""
        return self.body.vertices(self.posed)
