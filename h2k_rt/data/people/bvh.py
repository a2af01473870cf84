"""MakeHuman's BVH pose files as bone rotations in world axes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.body import rotation_to_world
from h2k_rt.errors import DataError

Rotations = Mapping[str, NDArray[np.float64]]


def load_bvh(path: Path) -> list[dict[str, NDArray[np.float64]]]:
    """Reads a BVH file with z up, facing -y; positions are left out, they belong to another body.

    Returns:
        For each frame the local rotation (3, 3) of every bone by its name, in world axes; see ``Body.pose``.

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
        rotations[name] = rotation_to_world(rotation)
    return rotations


def _axis_rotation(axis: int, angle: float) -> NDArray[np.float64]:
    rotation = np.eye(3)
    b, c = (axis + 1) % 3, (axis + 2) % 3
    rotation[b, b] = rotation[c, c] = np.cos(angle)
    rotation[c, b] = np.sin(angle)
    rotation[b, c] = -rotation[c, b]
    return rotation
