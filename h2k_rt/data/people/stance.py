"""Legs and pelvis: feet planted on the floor, knees by inverse kinematics, the centre of mass above the feet."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from h2k_rt.data.people.body import SKIN_VERTICES, Body, BodyModel
from h2k_rt.data.people.puppet import OUTWARD, SIDES, Puppet
from h2k_rt.data.people.turns import Matrix, Vector, turn_x, turn_y

_BALANCE_STEPS = 3
_LIFTED_CLEARANCE = 0.015  # of a lifted foot above the floor, metres
_TOES = tuple(f"toe{toe}-1" for toe in range(1, 6))


@dataclass(frozen=True)
class Planted:
    """A foot that stands on the floor.

    Attributes:
        spot: (x, z) of the ankle of the flat foot, metres, relative to the middle between the feet.
        yaw: degrees, positive to the person's left.
        heel: degrees by which the heel is raised about the ball of the foot; negative: the toes raised about the heel.
        share: of the weight.
        bend: the least bending of the knee in degrees.
    """

    spot: tuple[float, float]
    yaw: float
    heel: float = 0.0
    share: float = 0.5
    bend: float = 4.0


@dataclass(frozen=True)
class Lifted:
    """A leg in the air; all in degrees relative to the pelvis: hip flexion, abduction, outward turn, knee bending, toes down."""

    flexion: float
    abduction: float
    turn: float
    knee: float
    point: float


Leg = Planted | Lifted


@dataclass(frozen=True)
class Stance:
    """Both legs and the pelvis.

    Attributes:
        legs: by side, "L" and "R"; at least one planted.
        pelvis: world rotation.
        name: for the record.
    """

    legs: Mapping[str, Leg]
    pelvis: Matrix
    name: str


@dataclass(frozen=True)
class Foot:
    """Rest measures of a foot below its ankle, relative to the ankle: ball and heel where they touch the floor."""

    height: float
    ball: Vector
    heel: Vector


def measure_foot(body: Body, side: str) -> Foot:
    """The foot of a body at rest, where the sole is flat."""
    ankle = body.heads[body.model.bone_index[f"foot.{side}"]]
    sole = body.rest[foot_vertices(body.model)[side]]
    height = float(ankle[1] - sole[:, 1].min())
    ball = np.mean([body.heads[body.model.bone_index[f"{toe}.{side}"]] for toe in _TOES], axis=0) - ankle
    heel = sole[sole[:, 2].argmin()] - ankle
    return Foot(height, np.array([ball[0], -height, ball[2]]), np.array([heel[0], -height, heel[2] + 0.02]))


@functools.cache
def foot_vertices(model: BodyModel) -> dict[str, NDArray[np.int64]]:
    """Skin vertices that follow the foot or a toe, by side."""
    main = [model.bone_labels[bone] for bone in model.main_bone[:SKIN_VERTICES]]
    return {
        side: np.flatnonzero([label.startswith(("foot.", "toe")) and label.endswith(f".{side}") for label in main])
        for side in SIDES
    }


@functools.cache
def _foot_weights(model: BodyModel) -> dict[str, csr_array]:
    return {side: csr_array(model.skin_weights[vertices]) for side, vertices in foot_vertices(model).items()}


def plant(puppet: Puppet, stance: Stance) -> None:
    """Sets pelvis and legs: planted feet exactly on the floor, the centre of mass over the point that the shares ask for.

    The upper body should be set before, for its mass counts.
    """
    feet = {side: measure_foot(puppet.body, side) for side in SIDES}
    puppet.set_world("root", stance.pelvis)
    puppet.shift = np.zeros(3)
    puppet.update()
    planted = {side: leg for side, leg in stance.legs.items() if isinstance(leg, Planted)}
    ankles = {side: _ankle(leg, feet[side]) for side, leg in planted.items()}
    goal = _support(planted, feet)
    lifted = {side: leg for side, leg in stance.legs.items() if isinstance(leg, Lifted)}
    for side, leg in lifted.items():
        _lift(puppet, side, leg)
    start = np.mean([puppet.head(f"upperleg01.{side}") for side in SIDES], axis=0)
    offset = goal - start[[0, 2]]
    for step in range(_BALANCE_STEPS):
        _stand(puppet, planted, ankles, offset)
        _clear_floor(puppet, lifted)
        if step + 1 < _BALANCE_STEPS:
            offset = offset + goal - centre_of_mass(puppet)[[0, 2]]
            for side in planted:
                # A raised heel bends the sole a little: what is lowest comes to the floor.
                ankles[side][1] -= _lowest(puppet, side)


def _clear_floor(puppet: Puppet, lifted: dict[str, Lifted]) -> None:
    """Bends hip and knee of a lifted leg further until its foot is above the floor, y = 0; keeps the new angles."""
    for side in lifted:
        while _lowest(puppet, side) < _LIFTED_CLEARANCE and lifted[side].knee < 120:
            lifted[side] = replace(lifted[side], flexion=lifted[side].flexion + 5, knee=lifted[side].knee + 8)
            _lift(puppet, side, lifted[side])


def _lowest(puppet: Puppet, side: str) -> float:
    """Height of the lowest point of a foot, metres."""
    model = puppet.body.model
    return float(puppet.posed.skin(puppet.body.rest[foot_vertices(model)[side]], _foot_weights(model)[side])[:, 1].min())


def _stand(puppet: Puppet, planted: Mapping[str, Planted], ankles: Mapping[str, Vector], offset: NDArray[np.float64]) -> None:
    """Puts the pelvis at ``offset`` (x, z), as high as the legs reach, and the feet where they belong."""
    puppet.shift = np.array([offset[0], 0.0, offset[1]])
    puppet.update()
    puppet.shift[1] = min(_lift_room(puppet, side, leg, ankles[side]) for side, leg in planted.items())
    puppet.update()
    for side, leg in planted.items():
        knee = turn_y(leg.yaw) @ np.array([0.0, 0.0, 1.0])
        puppet.reach(puppet.legs[side], ankles[side], knee, 1.0)
    puppet.update()
    for side, leg in planted.items():
        flat = turn_y(leg.yaw)
        foot = flat @ turn_x(leg.heel)
        shin = puppet.posed.rotations[puppet.body.model.bone_parents[puppet.index[f"foot.{side}"]]]
        puppet.local[puppet.index[f"foot.{side}"]] = shin.T @ foot
        toes = turn_x(-max(0.0, leg.heel))  # the toes stay on the floor while the heel is raised
        for toe in _TOES:
            puppet.local[puppet.index[f"{toe}.{side}"]] = toes
    puppet.update()


def _lift_room(puppet: Puppet, side: str, leg: Planted, ankle: Vector) -> float:
    """How far the pelvis may rise until this leg is as straight as it may be."""
    limb = puppet.legs[side]
    hip = puppet.posed.heads[limb.upper]
    a, b = limb.lengths
    longest = a * a + b * b + 2 * a * b * math.cos(math.radians(leg.bend))
    sideways = (ankle[0] - hip[0]) ** 2 + (ankle[2] - hip[2]) ** 2
    return float(ankle[1] + math.sqrt(max(longest - sideways, 0.01)) - hip[1])


def _ankle(leg: Planted, foot: Foot) -> Vector:
    """World position of the ankle, with the heel or the toes raised about the point that stays on the floor."""
    flat = np.array([leg.spot[0], foot.height, leg.spot[1]])
    pivot = foot.ball if leg.heel >= 0 else foot.heel
    turned = turn_y(leg.yaw)
    return flat + turned @ (pivot - turn_x(leg.heel) @ pivot)


def _support(planted: Mapping[str, Planted], feet: Mapping[str, Foot]) -> NDArray[np.float64]:
    """(x, z) below the centre of mass: a little behind the middle of each sole, or under the ball where the heel is raised."""
    total = sum(leg.share for leg in planted.values())
    goal = np.zeros(2)
    for side, leg in planted.items():
        foot = feet[side]
        forward = 0.45 if leg.heel < 3 else 0.9
        middle = turn_y(leg.yaw) @ (foot.heel + forward * (foot.ball - foot.heel))
        goal += leg.share / total * (np.array(leg.spot) + middle[[0, 2]])
    return goal


def _lift(puppet: Puppet, side: str, leg: Lifted) -> None:
    """Sets a leg in the air from its joint angles."""
    limb, outward = puppet.legs[side], OUTWARD[side]
    pelvis = puppet.rotation("root")
    thigh_turn = pelvis @ turn_y(outward * leg.turn)
    swing = turn_x(-leg.flexion)
    down = np.array([outward * math.sin(math.radians(leg.abduction)), -math.cos(math.radians(leg.abduction)), 0.0])
    upper = thigh_turn @ swing @ down
    hinge = thigh_turn @ np.array([1.0, 0.0, 0.0])
    lower = thigh_turn @ turn_x(leg.knee) @ swing @ down
    puppet.aim(limb, upper, lower, hinge)
    puppet.local[limb.end] = turn_x(leg.point)
    puppet.update()


def centre_of_mass(puppet: Puppet) -> Vector:
    """Centroid of the skin's volume, world metres: a body is of nearly even density."""
    return volume_centroid(puppet.vertices(), puppet.body.model.quads)


@njit(cache=True, nogil=True)
def volume_centroid(vertices, quads):
    """Centroid (3,) of the volume inside quads (F, 4), as the sum of tetrahedra with the mean vertex; small holes matter little."""
    origin = np.zeros(3)
    for q in range(len(quads)):
        for k in range(3):
            origin[k] += vertices[quads[q, 0], k] / len(quads)
    total, moment = 0.0, np.zeros(3)
    x, y, z = origin
    for q in range(len(quads)):
        i = quads[q, 0]
        ax, ay, az = vertices[i, 0] - x, vertices[i, 1] - y, vertices[i, 2] - z
        for corner in (1, 2):
            i, j = quads[q, corner], quads[q, corner + 1]
            bx, by, bz = vertices[i, 0] - x, vertices[i, 1] - y, vertices[i, 2] - z
            cx, cy, cz = vertices[j, 0] - x, vertices[j, 1] - y, vertices[j, 2] - z
            volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
            total += volume
            moment[0] += volume * (ax + bx + cx)
            moment[1] += volume * (ay + by + cy)
            moment[2] += volume * (az + bz + cz)
    return origin + moment / (4 * total)
