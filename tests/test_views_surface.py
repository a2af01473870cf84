"""Coarse-to-fine extraction against the dense grid, marching cubes' result, the hull, chunks that halve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from h2k_engines import EngineFailure
from numpy.typing import NDArray
from view_scenes import draw, occupied, ring

from h2k_rt.errors import EngineError, H2KError
from h2k_rt.surface.topology import is_closed
from h2k_rt.views.chunks import Chunks, chunk_size
from h2k_rt.views.hull import VisualHull
from h2k_rt.views.octree import Occupancy, evaluate_coarse_to_fine, evaluate_dense, make_grid, march
from h2k_rt.views.subject import find_cube


def solid(distance: NDArray[np.floating], softness: float) -> NDArray[np.float32]:
    """Occupancy of a signed distance, positive inside; soft over so much, or hard."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-distance / softness)) if softness else (distance > 0)).astype(np.float32)


def spheres(p: NDArray[np.float32]) -> NDArray[np.floating]:
    balls = np.array([(0.1, 0.2, 0, 0.45), (-0.5, -0.4, 0.3, 0.25), (0.6, -0.6, -0.5, 0.12)])
    return occupied(p, balls)


def torus(p: NDArray[np.float32]) -> NDArray[np.floating]:
    return 0.11 - np.hypot(np.hypot(p[:, 0], p[:, 1]) - 0.6, p[:, 2] + 0.03)


def plate(p: NDArray[np.float32]) -> NDArray[np.floating]:
    """Thinner than half a cell of the coarsest level and oblique to the grid."""
    away = p @ np.array([0.2, 0.97, 0.14], np.float32)
    return np.minimum(0.018 - abs(away - 0.01), 0.7 - np.abs(p).max(axis=1))


@pytest.mark.parametrize("shape", [spheres, torus, plate])
@pytest.mark.parametrize("softness", [0.0, 0.03])
def test_coarse_to_fine_gives_the_dense_mesh(shape: Occupancy, softness: float) -> None:
    asked = []

    def occupancy(points: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.append(len(points))
        return solid(shape(points), softness)

    grid = make_grid(64, 16)
    fine = evaluate_coarse_to_fine(occupancy, grid)
    assert sum(asked) == fine.evaluations
    dense = evaluate_dense(occupancy, grid)
    assert fine.evaluations < dense.evaluations / 3
    for ours, theirs in zip(march(fine, grid), march(dense, grid), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_mesh_is_closed_and_true() -> None:
    grid = make_grid(64, 32, np.array([-0.9, -0.5, -0.5]), np.array([0.2, 0.9, 0.7]))
    field = evaluate_coarse_to_fine(lambda p: np.clip(0.5 + 4 * (0.5 - np.linalg.norm(p - (-0.3, 0.2, 0.1), axis=1)), 0, 1), grid)
    vertices, faces = march(field, grid)
    assert is_closed(faces)
    np.testing.assert_allclose(np.linalg.norm(vertices - (-0.3, 0.2, 0.1), axis=1), 0.5, atol=2e-3)
    a, b, c = (vertices[faces[:, k]].astype(float) for k in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert abs(volume - 4 / 3 * np.pi * 0.125) < 0.01  # positive: faces look outwards
    assert np.prod(grid.shape) < 0.4 * 65**3


def test_a_body_that_leaves_the_grid_is_closed_at_its_border() -> None:
    grid = make_grid(32, 16)
    _, faces = march(evaluate_coarse_to_fine(lambda p: solid(1.2 - np.linalg.norm(p, axis=1), 0.05), grid), grid)
    assert is_closed(faces)
    with pytest.raises(H2KError, match="nothing inside"):
        march(evaluate_dense(lambda p: np.zeros(len(p), np.float32), grid), grid)
    with pytest.raises(ValueError, match="powers of two"):
        make_grid(48, 32)


def test_chunks_take_a_quarter_of_the_free_memory() -> None:
    assert chunk_size(4 * 100 * 8000, 100) == 4096 and chunk_size(4 * 100 * 8192, 100) == 8192
    assert chunk_size(None, 100) == 65536 == chunk_size(2**50, 100), "no more than that"
    assert chunk_size(1000, 100) == 512 and chunk_size(2**50, 100, 96, 1000) == 768


def test_chunks_halve_when_memory_runs_out() -> None:
    sizes = []

    def function(points: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(len(points))
        if len(points) > 3000:
            raise EngineFailure("points: Failed to allocate memory for requested buffer of size 123")
        return points.sum(axis=1)

    points = np.random.default_rng(0).random((9000, 3)).astype(np.float32)
    work = Chunks(function, 8000)
    np.testing.assert_array_equal(work(points), points.sum(axis=1))
    assert sizes == [8000, 4000, 2000, 2000, 2000, 2000, 1000] and work.size == 2000

    def always(_: NDArray[np.float32]) -> NDArray[np.float32]:
        raise MemoryError

    with pytest.raises(EngineError, match="not enough memory"):
        Chunks(always, 2048)(points)

    def broken(_: NDArray[np.float32]) -> NDArray[np.float32]:
        raise EngineFailure("points: another thing")

    with pytest.raises(EngineFailure, match="another"):
        Chunks(broken)(points)


def test_the_hull_holds_the_body() -> None:
    cameras = ring(6)
    masks = [draw(camera) for camera in cameras]
    cube = find_cube(cameras, masks)
    hull = VisualHull(cameras, masks, cube, 256)
    low, high = hull.box()
    q = np.random.default_rng(2).uniform(-1, 1, (20000, 3)).astype(np.float32)
    inside = occupied(q * cube.radius + cube.centre)
    found = hull(q)
    assert (found[inside > 0.015] > 0.5).all()
    assert (found[inside < -0.3] < 0.5).all()
    assert ((q[inside > 0] >= low) & (q[inside > 0] <= high)).all()
    assert (high - low).max() < 2 and np.prod(high - low) < 4
    wider = VisualHull(cameras, masks, cube, 256, margin=0.03)(q)
    assert (wider >= found - 1e-6).all() and wider.sum() > 1.05 * found.sum()


def test_a_person_cut_off_by_a_photo_is_not_carved() -> None:
    cameras = ring(4)
    masks = [draw(camera) for camera in cameras]
    cube = find_cube(cameras, masks)
    cut = cameras[0]
    rows = 200  # the photo ends there
    short = [replace(cut, height=rows), *cameras[1:]]
    hull = VisualHull(short, [masks[0][:rows], *masks[1:]], cube, 256)
    q = np.random.default_rng(2).uniform(-1, 1, (20000, 3)).astype(np.float32)
    assert (hull(q)[occupied(q * cube.radius + cube.centre) > 0.02] > 0.5).all()
