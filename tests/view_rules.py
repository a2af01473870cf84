"""Maps, projections and points for tests of feature sampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def feature_case(
    views: int, channels: tuple[int, ...], count: int, seed: int = 5
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]:
    """Random maps (V, h, w, C) of several sizes, cameras around the cube, and points in and around it, one behind a camera."""
    rng = np.random.default_rng(seed)
    maps = [rng.normal(0, 1, (views, 9 + 4 * i, 12 - 3 * i, c)).astype(np.float32) for i, c in enumerate(channels)]
    projections = []
    for view in range(views):
        angle = 2 * np.pi * view / views + 0.3
        c, s = np.cos(angle), np.sin(angle)
        seen = np.array([[c, 0, -s, 0], [0, -1, 0, 0.1], [-s, 0, -c, 3.0]])
        projections.append(np.array([[1.4, 0, 0.5], [0, 1.3, 0.52], [0, 0, 1]]) @ seen)
    points = rng.uniform(-1.3, 1.3, (count, 3)).astype(np.float32)
    if count > 3:
        points[1] = 0
        points[2] = -10 * np.linalg.inv(np.array(projections[0])[:, :3])[:, 2]
    return maps, np.array(projections, np.float32), points
