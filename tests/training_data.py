"""Datasets of the capsule person for the trainer's tests, and configurations small enough for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import surface_bodies

from h2k_rt.data.dataset import DatasetWriter, Description
from h2k_rt.training.config import TrainingConfig, parse_config

WIDTH = 1 / 16


def capsule_dataset(folder: Path, size: int, count: int) -> Path:
    """``count`` capsule persons that differ in place, depth and colour."""
    writer = DatasetWriter(folder, Description(size, count, ("color", "mask", "depth")))
    # Rays are cast for 512 pixels; larger pictures repeat them, which is good enough for numbers to be compared.
    repeat = max(1, size // 512)
    front, back = (np.kron(side, np.ones((repeat, repeat), np.float32)) for side in surface_bodies.person(size // repeat))
    joints = surface_bodies.person_joints(size)
    # The body has no fingers; four near each hand, so that every part has its fit.
    for first, wrist in ((23, 9), (27, 10)):
        for finger in range(4):
            joints[first + finger] = joints[wrist] + (size * (finger - 1.5) / 400, size / 24, 0)
    for index in range(count):
        rng = np.random.default_rng(index)
        shift = int(rng.integers(-size // 32, size // 32 + 1))
        inside = np.roll(front <= back, shift, 1)
        offset = rng.normal(0, 0.1)
        depth = np.stack([np.where(inside, np.roll(side, shift, 1) + offset, 0) for side in (front, back)]).astype(np.float32)
        light = np.clip(0.7 - np.gradient(depth[0], axis=1) * size / 8, 0.1, 1)[..., None]
        rgb = np.where(inside[..., None], light * rng.uniform(80, 255, 3), rng.uniform(0, 255, (size, size, 3)))
        placed = joints.copy()
        placed[placed[:, 2] > 0, 0] += shift
        mask = np.where(inside, 255, 0).astype(np.uint8)
        maps = {"rgb": rgb.astype(np.uint8), "mask": mask, "depth": depth, "joints": placed}
        writer.write(index, SimpleNamespace(**maps, albedo=None, normals=None, camera={}))
    return folder


def tiny_config(**tables: Any) -> TrainingConfig:
    """A configuration for networks of a sixteenth of the width; ``tables`` are merged in."""
    raw: dict[str, Any] = {
        "model": {"width": WIDTH, "background_value": -2.0},
        "optimizer": {"warm_up": 2},
        "run": {"workers": 0, "checkpoint_minutes": 1000.0, "log_seconds": 1000.0},
        "low": {"batch": 2, "window": [48, 48]},
        "parts": {"batch": 1, "crops": [1, 0, 1, 0, 1]},
        "trunk": {"batch": 1, "crops": 1, "crop": [64, 64]},
    }
    for name, value in tables.items():
        raw[name] = raw[name] | value if isinstance(value, dict) and name in raw else value
    return parse_config(raw, "test")


def toml_of(config: TrainingConfig) -> str:
    """The configuration as a file's text."""

    def literal(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return f'"{value}"'
        return f"[{', '.join(map(literal, value))}]" if isinstance(value, tuple) else repr(value)

    def lines(table: dict[str, Any]) -> list[str]:
        return [f"{name} = {literal(value)}" for name, value in table.items() if value is not None and not isinstance(value, dict)]

    raw = config.to_dict()
    text = lines(raw)
    for name, table in raw.items():
        if isinstance(table, dict):
            text += [f"[{name}]", *lines(table)]
    return "\n".join(text) + "\n"
