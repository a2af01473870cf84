"""Samples for tests of the dataset: the capsule person as a renderer would give it, in milliseconds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import surface_bodies

from h2k_rt.data.dataset import MAP_NAMES, Dataset, DatasetWriter, Description
from h2k_rt.data.produce import Maker, Product

SIZE = 96

#: A tetrahedron.
MESH = (
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
)


@functools.cache
def _person(size: int) -> tuple[np.ndarray, np.ndarray]:
    return surface_bodies.person(size)


def rendering(seed: int = 0, size: int = SIZE) -> Any:
    """What ``people.render.render`` gives, of the capsule person; colours and the place along the ray follow from the seed."""
    rng = np.random.default_rng(seed)
    front, back = _person(size)
    mask = back > 0
    depth = np.where(mask, np.stack((front, back)) + rng.uniform(-0.1, 0.1), 0).astype(np.float32)
    normals = np.zeros((2, size, size, 3), np.float32)
    normals[0, mask], normals[1, mask] = (0.0, 0.6, 0.8), (0.6, 0.0, -0.8)
    return SimpleNamespace(
        rgb=rng.integers(0, 256, (size, size, 3), np.uint8),
        albedo=np.where(mask[..., None], rng.integers(1, 256, (size, size, 3)), 0).astype(np.uint8),
        mask=np.where(mask, 255, 0).astype(np.uint8),
        depth=depth,
        normals=normals,
        joints=joints(size),
        camera={"fov": np.float64(50), "yaw": np.int64(seed)},
    )


def joints(size: int = SIZE) -> np.ndarray:
    """The capsule person's joints with fingers below the wrists, so that all parts have a transform."""
    at = surface_bodies.person_joints(size)
    for fingers, wrist in ((slice(23, 27), 9), (slice(27, 31), 10)):
        at[fingers] = at[wrist] + np.column_stack((np.linspace(-1, 1, 4), np.full(4, 3.0), np.zeros(4)))
    return at


def description(count: int, **changes: Any) -> Description:
    values: dict[str, Any] = {"size": SIZE, "count": count, "maps": MAP_NAMES, "source": {"kind": "test", "seed": 7}}
    return Description(**(values | changes))


def make_dataset(folder: Path, count: int = 3, **changes: Any) -> Dataset:
    """A complete dataset of ``count`` samples."""
    writer = DatasetWriter(folder, description(count, **changes))
    for index in range(count):
        writer.write(index, rendering(index), {"number": index}, MESH)
    return Dataset(folder)


def start_making(fail_at: int | None = None, exit_at: int | None = None, error: Callable[[str], Exception] = RuntimeError) -> Maker:
    """What a worker of ``produce`` runs; breaks at the given sample."""

    def make(indices: Sequence[int]) -> Iterator[Product]:
        for index in indices:
            if index == fail_at:
                raise error(f"sample {index} cannot be made")
            if index == exit_at:
                import os

                os._exit(9)
            yield Product(index, rendering(index), {"number": index}, MESH)

    return make


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
