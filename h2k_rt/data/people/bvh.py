"""MakeHuman's BVH pose files as bone rotations in world axes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.body import rotation_to_world
from h2k_rt.errors import DataError

Rotations = Mapping[str, NDArray[np.float64]]

#: Bones of the rig of ``walk1`` under the names of the rig ``makehuman``; a name may turn several bones.
_OTHER_RIG: dict[str, tuple[str, ...]] = {
    "Root": ("root",), "Hips": ("pelvis.L", "pelvis.R"), "Spine1": ("spine05",), "Spine2": ("spine03",), "Spine3": ("spine01",),
    "Neck": ("neck01",), "Head": ("head",),
    **{
        f"{theirs}_{side}": tuple(f"{bone}.{side}" for bone in ours)
        for side in "LR"
        for theirs, ours in {
            "Clavicle": ("clavicle",), "UpArm": ("upperarm01",), "LoArm": ("lowerarm01",), "Hand": ("wrist",),
            "UpLeg": ("upperleg01",), "LoLeg": ("lowerleg01",), "Foot": ("foot",),
            "Toe": ("toe1-1", "toe2-1", "toe3-1", "toe4-1", "toe5-1"),
        }.items()
    },
}  # fmt: skip


def load_bvh(path: Path) -> list[dict[str, NDArray[np.float64]]]:
    """Reads a BVH file with z up, facing -y; positions are left out, they belong to another body.

    Returns:
        For each frame the local rotation (3, 3) of every bone by its ``makehuman`` name, in world axes; see ``Body.pose``.

    Raises:
        DataError: the file is missing or is no BVH file with as many numbers as its header says.
    """
    try:
        header, _, motion = path.read_text(encoding="utf-8").partition("MOTION")
        names, channels = _read_header(header)
        lines = motion.split("\n")
        frames = [_frame(names, channels, line.split()) for line in lines if line.strip() and line.strip()[0] in "-0123456789"]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable BVH pose ({error}); get the pose files of MakeHuman's assets again") from error
    if not frames:
        raise DataError(f"{path}: a BVH file without a frame; get the pose files of MakeHuman's assets again")
    return frames


def _read_header(header: str) -> tuple[list[str], list[list[str]]]:
    names, channels = [], []
    for line in header.splitlines():
        words = line.split()
        if words and words[0] in ("ROOT", "JOINT"):
            names.append(words[1])
        elif words and words[0] == "CHANNELS":
            channels.append(words[2:])
    if not names or len(names) != len(channels):
        raise ValueError(f"{len(names)} joints, channels for {len(channels)}")
    return names, channels


def _frame(names: list[str], channels: list[list[str]], words: list[str]) -> dict[str, NDArray[np.float64]]:
    values = [float(word) for word in words]
    if len(values) != sum(map(len, channels)):
        raise ValueError(f"a frame of {len(values)} numbers instead of {sum(map(len, channels))}")
    rotations, first = {}, 0
    for name, kinds in zip(names, channels, strict=True):
        rotation = np.eye(3)
        for kind, value in zip(kinds, values[first : first + len(kinds)], strict=True):
            if kind.endswith("rotation"):
                rotation = rotation @ _axis_rotation("XYZ".index(kind[0]), np.radians(value))
        first += len(kinds)
        for bone in _OTHER_RIG.get(name, (name,)):
            rotations[bone] = rotation_to_world(rotation)
    return rotations


def _axis_rotation(axis: int, angle: float) -> NDArray[np.float64]:
    rotation = np.eye(3)
    b, c = (axis + 1) % 3, (axis + 2) % 3
    rotation[b, b] = rotation[c, c] = np.cos(angle)
    rotation[c, b] = np.sin(angle)
    rotation[b, c] = -rotation[c, b]
    return rotation
