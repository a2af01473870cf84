"""Poses of people: natural standing in the main, walking and sport in small shares; on the ground, in balance, limbs apart.

A pose is put together from a stance (feet planted on the floor by inverse kinematics), a bent and turned trunk, a look, and
gestures of the arms that give way where they would touch the body; some take trunk and arms from MakeHuman's poses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people import arms, collision, gestures, stances
from h2k_rt.data.people.arms import Arm, Reached, Swung
from h2k_rt.data.people.body import SKIN_VERTICES, Body, Posed
from h2k_rt.data.people.bvh import Rotations, load_bvh
from h2k_rt.data.people.puppet import OUTWARD, SIDES, Puppet
from h2k_rt.data.people.stance import Stance, plant
from h2k_rt.data.people.turns import limited, turn_x, turn_y, turn_z
from h2k_rt.errors import DataError

Split = Literal["train", "holdout"]

#: MakeHuman's poses that only the split "holdout" draws, and those that only "train" draws.
HOLDOUT_POSES = ("standing02", "standing05", "fight03")
TRAIN_POSES = ("standing01", "standing03", "standing04", "standing06", "run01", "fight01", "tpose")
_STORED_SHARE = {"train": 0.15, "holdout": 0.4}  # of the figures take trunk and arms from one of MakeHuman's poses
_ATTEMPTS, _STEPS_AWAY = 12, 9
_SPINE = {"spine05": 0.1, "spine04": 0.2, "spine03": 0.25, "spine02": 0.25, "spine01": 0.2}
_NECK = {"neck01": 0.2, "neck02": 0.2, "neck03": 0.1, "head": 0.5}

_EVERYDAY = {
    "both_feet": 5.0, "one_leg_relaxed": 4.0, "step": 1.2, "swing": 0.4, "wide": 0.4, "bent": 0.35, "knee_up": 0.15, "run": 0.2,
}  # fmt: skip
_STORED_STANCES: Mapping[str, Mapping[str, float]] = {
    "standing": {"both_feet": 1.0, "one_leg_relaxed": 1.0},
    "run": {"run": 1.0},
    "fight": {"wide": 1.0},
    "tpose": {"both_feet": 1.0},
}
#: Bones of a stored pose that are taken over; legs come from the stance.
_STORED_BONES = ("spine", "neck", "head", "clavicle", "shoulder01", "upperarm", "lowerarm", "wrist", "finger", "metacarpal")


class PoseLibrary:
    """MakeHuman's BVH poses as bone rotations in world axes.

    Args:
        assets: the folder of MakeHuman's assets, with ``poses`` in it.

    Raises:
        DataError: a pose file is missing or malformed.
    """

    def __init__(self, assets: Path) -> None:
        folder = assets / "poses"
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; --assets must name the folder of MakeHuman's assets")
        self._frames = {name: load_bvh(folder / f"{name}.bvh") for name in (*TRAIN_POSES, *HOLDOUT_POSES)}

    def draw(self, rng: np.random.Generator, split: Split) -> tuple[str, Rotations]:
        """A pose of the split: its name and its rotations."""
        names = HOLDOUT_POSES if split == "holdout" else TRAIN_POSES
        weights = np.array([3.0 if name.startswith("standing") else 1.0 for name in names])
        name = names[rng.choice(len(names), p=weights / weights.sum())]
        frames = self._frames[name]
        return name, frames[rng.integers(len(frames))]


def sample_pose(rng: np.random.Generator, split: Split, body: Body, library: PoseLibrary) -> tuple[Posed, dict[str, Any]]:
    """A random pose on the ground (lowest point of the skin at y = 0), in balance, with no limb through the body.

    Returns:
        The posed bones, and about: stance, gestures, and why earlier draws were rejected.
    """
    rejected: list[str] = []
    while True:
        puppet = Puppet(body)
        # A body on which nothing fits still gets a pose: arms held off the trunk, which cannot fail.
        about, fault = _draw(rng, split, puppet, library, plain=len(rejected) >= _ATTEMPTS)
        if not fault or len(rejected) >= _ATTEMPTS:
            return _grounded(puppet), {**about, "rejected": rejected}
        rejected.append(fault)


def _draw(rng: np.random.Generator, split: Split, puppet: Puppet, library: PoseLibrary, plain: bool) -> tuple[dict[str, Any], str]:
    """Poses the puppet; returns what was drawn, and what is wrong with it or an empty text."""
    stored: Rotations | None = None
    kinds: Mapping[str, float] = {"both_feet": 1.0} if plain else _EVERYDAY
    name = "plain" if plain else ""
    if not plain and rng.random() < _STORED_SHARE[split]:
        name, stored = library.draw(rng, split)
        kinds = next(kinds for kind, kinds in _STORED_STANCES.items() if name.startswith(kind))
    width = float(puppet.rest_head("upperleg01.L")[0] - puppet.rest_head("upperleg01.R")[0])
    stance = stances.sample_stance(rng, width, kinds)
    puppet.set_world("root", stance.pelvis)
    if stored is not None:
        goals, names = _set_stored(rng, puppet, stored), name
    elif plain:
        goals, names = {side: Swung(25, 0, 20, 10) for side in SIDES}, name
    else:
        goals, names = _set_gestures(rng, split, puppet, stance)
    bends = {side: (float(rng.normal(0, 8)), float(rng.normal(0, 5))) for side in SIDES}
    for side, arm in goals.items():
        arms.set_arm(puppet, side, arm, bends[side])
    before = puppet.head("root")
    plant(puppet, stance)
    goals = {side: arms.shifted(arm, puppet.head("root") - before) for side, arm in goals.items()}
    return {"stance": stance.name, "gestures": names}, _fault(puppet, goals, bends)


def _set_gestures(rng: np.random.Generator, split: Split, puppet: Puppet, stance: Stance) -> tuple[dict[str, Arm], str]:
    """Trunk, fingers and the goals of the arms."""
    walking = stance.name[-1] if stance.name.startswith(("step_", "swing_")) else ""
    drawn = gestures.sample_gestures(rng, split == "holdout", walking)
    names = [drawn[side][0] for side in SIDES]
    _set_trunk(rng, puppet, stance, down=18.0 if any(name in ("phone", "both_phone") for name in names) else 0.0)
    goals = {}
    for side in SIDES:
        goals[side] = drawn[side][1](gestures.Setting(puppet, side, rng))
        arms.curl_fingers(puppet, side, rng, gestures.curl_of(rng, drawn[side][0]))
    return goals, names[0] if names[0] == names[1] else "+".join(names)


def _set_trunk(rng: np.random.Generator, puppet: Puppet, stance: Stance, down: float) -> None:
    """Bends the spine so that the trunk stands about upright on the pelvis, and turns the head. ``down``: degrees of the look."""
    pelvis = stance.pelvis
    lean = np.degrees(np.arctan2(pelvis[2, 1], pelvis[1, 1]))
    roll = np.degrees(np.arctan2(-pelvis[0, 1], pelvis[1, 1]))
    yaw = np.degrees(np.arctan2(pelvis[0, 2], pelvis[2, 2]))
    kept = 0.5 if lean > 12 else 0.1  # of the pelvis's lean: a bow goes on in the spine
    bend = (kept - 1.0) * lean + rng.normal(3, 4)
    sideways = -rng.uniform(0.9, 1.4) * roll + rng.normal(0, 1.5)
    twist = -rng.uniform(0.4, 1.2) * yaw + np.clip(rng.normal(0, 5), -14, 14)
    _share_out(puppet, _SPINE, twist, sideways, bend)
    puppet.update()
    chest = puppet.rotation("spine01")
    chest_lean = np.degrees(np.arctan2(chest[2, 1], chest[1, 1]))
    nod = np.clip(rng.normal(2, 6) + down - 0.75 * chest_lean, -40, 40)
    _share_out(puppet, _NECK, float(np.clip(rng.normal(0, 13), -40, 40)), float(rng.normal(0, 4)), float(nod))
    puppet.update()


def _share_out(puppet: Puppet, shares: Mapping[str, float], twist: float, sideways: float, bend: float) -> None:
    """Turns a chain of bones by angles in degrees, split among them."""
    for label, share in shares.items():
        puppet.local[puppet.index[label]] = turn_y(share * twist) @ turn_z(share * sideways) @ turn_x(share * bend)


def _set_stored(rng: np.random.Generator, puppet: Puppet, stored: Rotations) -> dict[str, Arm]:
    """Trunk, arms and fingers of a stored pose, each joint a little different."""
    for label, rotation in stored.items():
        if label not in puppet.index or not label.startswith(_STORED_BONES):
            continue
        noise = 4.0 if label.startswith(("upperarm01", "lowerarm01", "wrist")) else 1.5
        jitter = turn_x(rng.normal(0, noise)) @ turn_y(rng.normal(0, noise)) @ turn_z(rng.normal(0, noise))
        puppet.local[puppet.index[label]] = limited(rotation, 150.0) @ jitter
    puppet.update()
    return {}


def _fault(puppet: Puppet, goals: dict[str, Arm], bends: Mapping[str, tuple[float, float]]) -> str:
    """Moves colliding arms away from the body and from each other; returns what still collides, or an empty text."""
    vertices = puppet.vertices()
    if collision.legs_cross(puppet.body, vertices):
        return "legs"
    obstacles = collision.Obstacles(puppet.body, vertices)
    for side in SIDES:
        steps = 0
        while obstacles.hit_by_arm(puppet.posed, side):
            if steps == _STEPS_AWAY:
                return "arm"
            _give_way(puppet, side, goals, bends)
            steps += 1
    steps = 0
    while collision.arms_cross(puppet.body, puppet.posed):
        reached = {side: arm.wrist @ arm.away for side, arm in goals.items() if isinstance(arm, Reached)}
        if steps == _STEPS_AWAY or not reached:
            return "arms"
        _give_way(puppet, max(reached, key=lambda side: reached[side]), goals, bends)
        steps += 1
    return ""


def _give_way(puppet: Puppet, side: str, goals: dict[str, Arm], bends: Mapping[str, tuple[float, float]]) -> None:
    if side in goals:
        goals[side] = arms.moved_away(goals[side])
        arms.set_arm(puppet, side, goals[side], bends[side])
        return
    bone = puppet.index[f"upperarm01.{side}"]
    puppet.local[bone] = turn_z(OUTWARD[side] * 4.0) @ puppet.local[bone]
    puppet.update()


def _grounded(puppet: Puppet) -> Posed:
    """The pose with the lowest point of the skin at y = 0."""
    lowest = float(puppet.vertices()[:SKIN_VERTICES, 1].min())
    offset: NDArray[np.float64] = np.array([0.0, -lowest, 0.0])
    return puppet.posed.moved(offset)
