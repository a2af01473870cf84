"""Gestures of the arms: where the hands go, relative to the body they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from h2k_rt.data.people.anchors import Place, skin_point, trunk_place
from h2k_rt.data.people.arms import Arm, Reached, Swung
from h2k_rt.data.people.joints import landmarks
from h2k_rt.data.people.puppet import OUTWARD, SIDES, Puppet
from h2k_rt.data.people.turns import Vector, across, unit

#: Gestures that only the split "holdout" draws.
HOLDOUT_GESTURES = ("phone_ear", "on_chest", "presenting", "both_raised")
_UP = np.array([0.0, 1.0, 0.0])
_BOTH_SHARE = 0.62  # of the figures do the same with both arms


@dataclass(frozen=True)
class Setting:
    """What a gesture may look at: the puppet with its trunk set, and a side; ``vary`` draws around zero."""

    puppet: Puppet
    side: str
    rng: np.random.Generator

    @property
    def out(self) -> Vector:
        """The side's direction, seen from the chest."""
        return OUTWARD[self.side] * self.puppet.rotation("spine01")[:, 0]

    @property
    def front(self) -> Vector:
        return self.puppet.rotation("spine01")[:, 2]

    @property
    def reach(self) -> float:
        """Length of the arm to the wrist, metres."""
        return sum(self.puppet.arms[self.side].lengths)

    @property
    def shoulder(self) -> Vector:
        return self.puppet.head(f"upperarm01.{self.side}")

    def vary(self, deviation: float) -> float:
        return float(np.clip(self.rng.normal(), -2, 2) * deviation)

    def scatter(self, deviation: float) -> Vector:
        return np.clip(self.rng.normal(size=3), -2, 2) * deviation

    def place(self, level: float, azimuth: float) -> Place:
        """A place of the trunk on this side; see ``trunk_place``."""
        return trunk_place(self.puppet.body, self.puppet.posed, level, OUTWARD[self.side] * azimuth)

    def landmark(self, name: str) -> Vector:
        return skin_point(self.puppet.body, self.puppet.posed, landmarks(self.puppet.body.model)[name])


def _palm_on(at: Place, fingers: Vector, elbow: Vector, distance: float = 0.035, wrist_back: float = 0.08) -> Reached:
    """A palm laid on the body: the wrist behind the place, against the fingers' direction."""
    along = across(fingers, at.outward)
    return Reached(at.point + distance * at.outward - wrist_back * along, at.outward, elbow, along, -at.outward)


def hanging(s: Setting) -> Arm:
    return Swung(7 + abs(s.vary(6)), s.vary(8), 22 + s.vary(12), 12 + abs(s.vary(9)), -35 + s.vary(15))


def a_pose(s: Setting) -> Arm:
    return Swung(s.rng.uniform(22, 52), s.vary(6), 20 + s.vary(10), 6 + abs(s.vary(7)), -25 + s.vary(15))


def t_pose(s: Setting) -> Arm:
    return Swung(88 + s.vary(4), s.vary(4), s.vary(10), 4 + abs(s.vary(4)), 25 + s.vary(15))


def on_hip(s: Setting) -> Arm:
    at = s.place(0.27 + s.vary(0.03), 85 + s.vary(12))
    fingers = 0.8 * s.front - 0.45 * _UP - 0.3 * s.out if s.rng.random() < 0.75 else -0.7 * s.front - 0.5 * _UP
    return _palm_on(at, fingers + s.scatter(0.12), 0.75 * s.out - 0.7 * s.front + s.scatter(0.12), wrist_back=0.07)


def in_pocket(s: Setting) -> Arm:
    at = s.place(-0.02 + s.vary(0.04), 72 + s.vary(12))
    return _palm_on(at, -_UP + 0.35 * s.front, 0.6 * s.out - 0.9 * s.front + s.scatter(0.1), 0.03, 0.09)


def on_thigh_front(s: Setting) -> Arm:
    at = s.place(-0.05 + s.vary(0.04), 40 + s.vary(10))
    return _palm_on(at, -_UP + 0.2 * s.front - 0.3 * s.out, 0.9 * s.out - 0.4 * s.front, 0.035, 0.09)


def on_chest(s: Setting) -> Arm:
    at = s.place(0.78 + s.vary(0.05), 8 + s.vary(8))
    return _palm_on(at, -0.9 * s.out + 0.3 * _UP + s.scatter(0.1), 0.6 * s.out - 0.8 * _UP, 0.04, 0.10)


def on_belly(s: Setting) -> Arm:
    at = s.place(0.35 + s.vary(0.06), 10 + s.vary(10))
    return _palm_on(at, -0.95 * s.out - 0.1 * _UP + s.scatter(0.1), 0.9 * s.out - 0.4 * _UP - 0.3 * s.front, 0.04, 0.10)


def phone(s: Setting) -> Arm:
    chest = s.place(0.72, 0).point
    wrist = chest + (0.20 + s.vary(0.03)) * s.front + (0.09 + s.vary(0.02)) * s.out + s.vary(0.05) * _UP
    fingers = 0.75 * _UP - 0.4 * s.out + 0.35 * s.front + s.scatter(0.1)
    return Reached(wrist, s.front, 0.5 * s.out - 0.8 * _UP, fingers, -0.8 * s.front - 0.3 * s.out + 0.4 * _UP)


def phone_ear(s: Setting) -> Arm:
    ear = s.landmark(("left" if s.side == "L" else "right") + "_ear")
    fingers = 0.8 * _UP - 0.35 * s.front - 0.1 * s.out + s.scatter(0.08)
    wrist = ear + 0.05 * s.out - 0.09 * unit(fingers) + 0.02 * s.front
    return Reached(wrist, s.out, 0.6 * s.out - 0.8 * _UP + 0.3 * s.front, fingers, -s.out + 0.2 * s.front)


def at_chin(s: Setting) -> Arm:
    at = s.landmark("nose") - 0.055 * _UP
    fingers = 0.8 * _UP - 0.5 * s.out + 0.1 * s.front + s.scatter(0.08)
    wrist = at + 0.04 * s.front - 0.13 * unit(fingers)
    return Reached(wrist, s.front, 0.4 * s.out - 0.9 * _UP, fingers, -0.8 * s.front - 0.4 * s.out)


def waving(s: Setting) -> Arm:
    wrist = s.shoulder + s.reach * ((0.45 + s.vary(0.08)) * s.out + (0.45 + s.vary(0.15)) * _UP + (0.2 + s.vary(0.06)) * s.front)
    fingers = _UP + s.vary(0.25) * s.out + s.vary(0.15) * s.front
    return Reached(wrist, s.out, s.out - 0.8 * _UP - 0.2 * s.front, fingers, s.front + s.vary(0.3) * s.out)


def saluting(s: Setting) -> Arm:
    brow = s.landmark(("left" if s.side == "L" else "right") + "_eye") + 0.04 * _UP + 0.03 * s.out
    fingers = -0.8 * s.out + 0.5 * _UP + 0.15 * s.front
    wrist = brow + 0.035 * s.front - 0.19 * unit(fingers)
    return Reached(wrist, s.front, s.out - 0.3 * _UP, fingers, -0.7 * _UP + 0.6 * s.front)


def holding(s: Setting) -> Arm:
    belly = s.place(0.42, 0).point
    wrist = belly + (0.18 + s.vary(0.04)) * s.front + (0.12 + s.vary(0.03)) * s.out + s.vary(0.05) * _UP
    return Reached(
        wrist, s.front, 0.5 * s.out - 0.6 * _UP - 0.4 * s.front, s.front - 0.25 * s.out + s.scatter(0.15), -s.out + 0.5 * _UP
    )


def presenting(s: Setting) -> Arm:
    return Swung(s.rng.uniform(25, 75), s.rng.uniform(10, 60), 40 + s.vary(20), s.rng.uniform(5, 60), -35 + s.vary(25))


def pointing(s: Setting) -> Arm:
    return Swung(s.rng.uniform(15, 85), s.rng.uniform(10, 75), 20 + s.vary(15), 5 + abs(s.vary(8)), 15 + s.vary(20))


def raised(s: Setting) -> Arm:
    return Swung(s.rng.uniform(125, 160), s.vary(10), 40 + s.vary(20), s.rng.uniform(5, 60), s.vary(20))


def flexed(s: Setting) -> Arm:
    return Swung(s.rng.uniform(60, 95), s.vary(12), s.vary(15) - 60, s.rng.uniform(70, 115), -30 + s.vary(15))


def swinging_forward(s: Setting) -> Arm:
    return Swung(9 + abs(s.vary(5)), s.rng.uniform(12, 32), 30 + s.vary(12), s.rng.uniform(12, 50), -30 + s.vary(12))


def swinging_back(s: Setting) -> Arm:
    return Swung(9 + abs(s.vary(5)), -s.rng.uniform(10, 28), 25 + s.vary(12), s.rng.uniform(8, 30), -30 + s.vary(12))


Gesture = Callable[[Setting], Arm]


def clasped_front(rng: np.random.Generator) -> Gesture:
    """Both hands in front of the belly, one on the other."""
    level, upper_hand, distance = rng.uniform(0.02, 0.4), SIDES[int(rng.integers(2))], rng.uniform(0.045, 0.08)

    def gesture(s: Setting) -> Arm:
        at = s.place(level, 0)
        wrist = at.point + 0.065 * s.out + (distance + 0.035 * (s.side == upper_hand)) * at.outward + 0.02 * _UP
        fingers = -0.9 * s.out - (0.5 - level) * _UP
        return Reached(wrist, at.outward, 0.8 * s.out - 0.5 * s.front - 0.2 * _UP, fingers, -at.outward)

    return gesture


def clasped_back(rng: np.random.Generator) -> Gesture:
    """Both hands behind the back."""
    level, outer_hand = rng.uniform(0.05, 0.3), SIDES[int(rng.integers(2))]

    def gesture(s: Setting) -> Arm:
        at = s.place(level, 180)
        wrist = at.point + 0.07 * s.out + (0.045 + 0.035 * (s.side == outer_hand)) * at.outward
        return Reached(wrist, at.outward, 0.9 * s.out - 0.5 * s.front, -0.9 * s.out - 0.3 * _UP, at.outward)

    return gesture


def crossed(rng: np.random.Generator) -> Gesture:
    """Arms crossed in front of the chest: one forearm lies on the other."""
    level, outer = rng.uniform(0.42, 0.55), SIDES[int(rng.integers(2))]

    def gesture(s: Setting) -> Arm:
        is_outer = s.side == outer
        at = s.place(level + 0.06 * is_outer, -12 if is_outer else 14)
        wrist = at.point + (0.12 if is_outer else 0.045) * s.front
        fingers = -s.out + (0.1 if is_outer else -0.15) * _UP - (0.3 if is_outer else 0.1) * s.front
        return Reached(wrist, s.front, 0.5 * s.out - 0.8 * _UP + 0.35 * s.front * is_outer, fingers, -s.front)

    return gesture


#: Gestures of one arm with their shares, and of both arms together.
ONE_ARM: Mapping[str, tuple[float, Gesture]] = {
    "hanging": (10.0, hanging),
    "a_pose": (1.0, a_pose),
    "on_hip": (1.6, on_hip),
    "in_pocket": (1.6, in_pocket),
    "on_thigh_front": (0.6, on_thigh_front),
    "on_chest": (0.4, on_chest),
    "on_belly": (0.5, on_belly),
    "phone": (1.2, phone),
    "phone_ear": (0.5, phone_ear),
    "at_chin": (0.5, at_chin),
    "waving": (0.8, waving),
    "saluting": (0.2, saluting),
    "holding": (0.8, holding),
    "presenting": (0.9, presenting),
    "pointing": (0.5, pointing),
    "raised": (0.3, raised),
}
BOTH_ARMS: Mapping[str, tuple[float, Callable[[np.random.Generator], Gesture]]] = {
    "both_hanging": (9.0, lambda rng: hanging),
    "both_a_pose": (1.5, lambda rng: a_pose),
    "both_t_pose": (0.5, lambda rng: t_pose),
    "both_on_hips": (1.5, lambda rng: on_hip),
    "both_in_pockets": (1.2, lambda rng: in_pocket),
    "both_holding": (1.2, lambda rng: holding),
    "both_phone": (0.4, lambda rng: phone),
    "both_raised": (0.4, lambda rng: raised),
    "both_flexed": (0.2, lambda rng: flexed),
    "clasped_front": (2.0, clasped_front),
    "clasped_back": (0.8, clasped_back),
    "crossed": (2.6, crossed),
}


_CURLS = {
    "in_pocket": 0.25,
    "phone": 0.5,
    "phone_ear": 0.55,
    "both_phone": 0.5,
    "both_t_pose": 0.05,
    "waving": 0.08,
    "both_flexed": 0.9,
}


def sample_gestures(rng: np.random.Generator, holdout: bool, walking: str) -> dict[str, tuple[str, Gesture]]:
    """A gesture and its name for each side.

    Args:
        holdout: whether the reserved gestures are drawn (at least one of them) or none of them.
        walking: side of the leg in front while walking, "" else; arms then mostly swing against the legs.
    """
    if walking and not holdout and rng.random() < 0.7:
        return {
            side: ("swinging_back", swinging_back) if side == walking else ("swinging_forward", swinging_forward) for side in SIDES
        }
    if holdout:
        return _reserved(rng)
    if rng.random() < _BOTH_SHARE:
        name = _pick(rng, {name: share for name, (share, _) in BOTH_ARMS.items() if name not in HOLDOUT_GESTURES})
        both = BOTH_ARMS[name][1](rng)
        return dict.fromkeys(SIDES, (name, both))
    return {side: _one_arm(rng, reserved=False) for side in SIDES}


def _reserved(rng: np.random.Generator) -> dict[str, tuple[str, Gesture]]:
    if rng.random() < 0.1:
        return dict.fromkeys(SIDES, ("both_raised", raised))
    first = int(rng.integers(2))
    return {SIDES[first]: _one_arm(rng, reserved=True), SIDES[1 - first]: _one_arm(rng, reserved=False)}


def _one_arm(rng: np.random.Generator, reserved: bool) -> tuple[str, Gesture]:
    name = _pick(rng, {name: share for name, (share, _) in ONE_ARM.items() if (name in HOLDOUT_GESTURES) == reserved})
    return name, ONE_ARM[name][1]


def _pick(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    weights = np.array(list(shares.values()))
    return list(shares)[rng.choice(len(weights), p=weights / weights.sum())]


def curl_of(rng: np.random.Generator, name: str) -> float:
    """How far the fingers are bent in a gesture; relaxed where it does not say."""
    return float(abs(rng.normal(_CURLS.get(name, 0.21), 0.03 if name in _CURLS else 0.1)))
