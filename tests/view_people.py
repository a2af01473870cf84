"""A small set of several views without the renderer: bodies of balls, with analytic occupancy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from view_scenes import BALLS, draw, occupied, ring

from h2k_rt.data.views.viewset import Drawing, OccupancySamples, SetDescription, ViewSetWriter
from h2k_rt.views.octree import evaluate_dense, make_grid, march

SIZE = (120, 160)
#: Where the grid that meshes are made on has its middle.
_MIDDLE = np.array((0, 0.9, 0))


def ball_people(folder: Path, count: int = 2, views: int = 4) -> Path:
    """People 0, 1, ...: the same body turned by a tenth and moved a little."""
    writer = ViewSetWriter(folder, SetDescription(count, views, {"kind": "balls"}, "a test", "CC0"))
    for index in range(count):
        rng = np.random.default_rng(index)
        turn = 0.1 * index
        balls = BALLS.copy()
        balls[:, 0], balls[:, 2] = (
            np.cos(turn) * BALLS[:, 0] + np.sin(turn) * BALLS[:, 2],
            np.cos(turn) * BALLS[:, 2] - np.sin(turn) * BALLS[:, 0],
        )
        cameras = [replace(camera, name=f"{k:02d}.png") for k, camera in enumerate(ring(views, SIZE, distance=5.2))]
        masks = [draw(camera, balls) for camera in cameras]
        photos = [np.dstack([mask // 2 + 40, 255 - mask, np.full_like(mask, 90)]) for mask in masks]
        points = rng.uniform((-0.7, -0.1, -0.5), (0.8, 1.9, 0.5), (4000, 3)).astype(np.float32)
        grid = make_grid(32, 32)
        field = evaluate_dense(lambda q, b=balls: np.clip(0.5 + occupied(q + _MIDDLE, b), 0, 1).astype(np.float32), grid)
        vertices, faces = march(field, grid)
        samples = OccupancySamples(points, occupied(points, balls) > 0)
        mesh = ((vertices + _MIDDLE).astype(np.float32), faces)
        writer.write(index, Drawing(photos, masks, cameras, samples), {}, mesh)
    return folder
