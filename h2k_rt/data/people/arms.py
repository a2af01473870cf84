"""Arms set by angles or by the place that the hand goes to, and fingers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from h2k_rt.data.people.puppet import OUTWARD, Puppet
from h2k_rt.data.people.turns import Vector, across, cross, turn, turn_z, unit

#: Lift of the collar bone by how far the arm is raised, degrees.
_CLAVICLE_RAISED, _CLAVICLE_LIFT = (0.0, 30.0, 60.0, 150.0), (-6.0, -5.0, 1.0, 27.0)


@dataclass(frozen=True)
class Swung:
    """An arm by its angles, in degrees, relative to the chest.

    Attributes:
        out: of the upper arm away from straight down, sideways; forward: to the front (negative: to the back).
        inward: where the elbow bends to: 0 to the front, 90 across the body.
        elbow: bending of the elbow.
        pronation: of the hand, from MakeHuman's rest.
    """

    out: float
    forward: float
    inward: float
    elbow: float
    pronation: float = 0.0


@dataclass(frozen=True)
class Reached:
    """An arm by where the hand goes, world axes and metres.

    Attributes:
        wrist: target of the wrist; away: direction in which the target gives way when the arm touches the body.
        elbow: direction in which the elbow points.
        fingers, palm: directions of the hand.
    """

    wrist: Vector
    away: Vector
    elbow: Vector
    fingers: Vector
    palm: Vector


Arm = Swung | Reached


def moved_away(arm: Arm) -> Arm:
    """The same gesture a little further from the body."""
    if isinstance(arm, Swung):
        return replace(arm, out=arm.out + 4.0)
    return replace(arm, wrist=arm.wrist + 0.012 * arm.away)


def shifted(arm: Arm, offset: Vector) -> Arm:
    """The same gesture after the whole body was moved by ``offset``."""
    return arm if isinstance(arm, Swung) else replace(arm, wrist=arm.wrist + offset)


def set_arm(puppet: Puppet, side: str, arm: Arm, bend: tuple[float, float] = (0.0, 0.0)) -> None:
    """Brings one arm into place, the collar bone following a raised arm. ``bend``: degrees of the wrist of a swung arm."""
    puppet.local[puppet.index[f"shoulder01.{side}"]] = np.eye(3)
    # Where the arm ends up depends a little on the collar bone, which depends on the arm: two rounds are enough.
    for _ in range(2):
        lift = float(np.interp(_raised(puppet, side), _CLAVICLE_RAISED, _CLAVICLE_LIFT))
        puppet.local[puppet.index[f"clavicle.{side}"]] = turn_z(OUTWARD[side] * lift)
        puppet.update()
        _place(puppet, side, arm, bend)
        puppet.update()


def _raised(puppet: Puppet, side: str) -> float:
    """Degrees between the upper arm and straight down along the chest."""
    limb = puppet.arms[side]
    along = unit(puppet.posed.heads[limb.lower] - puppet.posed.heads[limb.upper])
    return float(np.degrees(np.arccos(np.clip(-along @ puppet.rotation("spine01")[:, 1], -1.0, 1.0))))


def _place(puppet: Puppet, side: str, arm: Arm, bend: tuple[float, float]) -> None:
    limb = puppet.arms[side]
    if isinstance(arm, Reached):
        forearm = puppet.reach(limb, arm.wrist, arm.elbow, 8.0)
        puppet.turn_hand(side, forearm, arm.fingers, arm.palm)
        return
    chest, outward = puppet.rotation("spine01"), OUTWARD[side]
    out, forward, inward = np.radians((arm.out, arm.forward, arm.inward))
    upper = np.array([outward * np.sin(out), -np.cos(out) * np.cos(forward), np.cos(out) * np.sin(forward)])
    # Seen from an arm that is raised sideways, "to the front" is still the front; from one that points to the front, it is up.
    front = across(np.array([-outward * np.sin(inward), max(0.0, np.sin(forward)), np.cos(inward)]), upper)
    hinge = cross(upper, front)
    lower = turn(hinge, arm.elbow) @ upper
    puppet.aim(limb, chest @ upper, chest @ lower, chest @ hinge)
    hand = puppet.hands[side]
    sideways = cross(hand.fingers, hand.palm)
    puppet.relax_hand(side, arm.pronation, turn(sideways, bend[0]) @ turn(hand.palm, bend[1]))


def curl_fingers(puppet: Puppet, side: str, rng: np.random.Generator, curl: float) -> None:
    """Bends the fingers: ``curl`` 0 flat, about 0.3 relaxed, 1 a fist; the little finger bends more than the index."""
    hand = puppet.hands[side]
    for finger in range(2, 6):
        amount = np.clip(curl + 0.05 * (finger - 3) * (curl < 0.8) + rng.normal(0, 0.06), -0.05, 1.0)
        spread = turn(hand.palm, float(rng.normal(0, 2.5)))
        for joint, most in ((1, 75.0), (2, 95.0), (3, 60.0)):
            axis = unit(cross(_along(puppet, f"finger{finger}-{joint}.{side}"), hand.palm))
            bend = turn(axis, most * float(amount) + float(rng.normal(0, 2)))
            puppet.local[puppet.index[f"finger{finger}-{joint}.{side}"]] = bend @ spread if joint == 1 else bend
    # MakeHuman's thumb stands off at rest; a relaxed one lies nearer to the index.
    thumb = _along(puppet, f"finger1-1.{side}")
    nearer = turn(unit(cross(thumb, hand.fingers)), float(np.clip(rng.normal(14, 6), 0, 28)))
    for joint, most in ((1, 15.0), (2, 25.0), (3, 45.0)):
        axis = unit(cross(_along(puppet, f"finger1-{joint}.{side}"), hand.palm - 0.6 * hand.fingers))
        bend = turn(axis, most * float(np.clip(curl + rng.normal(0, 0.1), 0, 1)))
        puppet.local[puppet.index[f"finger1-{joint}.{side}"]] = bend @ nearer if joint == 1 else bend
    puppet.update()


def _along(puppet: Puppet, label: str) -> Vector:
    """Rest direction of a finger bone: to the next, or of the one before for the last."""
    name, _, side = label.partition(".")
    finger, joint = name.split("-")
    following = f"{finger}-{int(joint) + 1}.{side}"
    first, second = (label, following) if following in puppet.index else (f"{finger}-{int(joint) - 1}.{side}", label)
    return unit(puppet.rest_head(second) - puppet.rest_head(first))
