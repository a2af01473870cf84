"""The CUDA kernel ``depth_to_points``, run on the CPU: against its twin and the published numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import canvas_camera, host_module, poisoned
from h2k_kernels.launch.depth_to_points import LAYERS, PointArrays, plan, scratch_bytes
from numpy.typing import NDArray
from oracle_rules import test_picture as oracle_picture
from surface_bodies import bulge, person

from h2k_rt.constants import METHOD, PUBLISHED_WORLD_SCALE, Method
from h2k_rt.surface.clean import clean_depth, parity_depth
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.points import point_cloud

Vectors = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def kernel(kernel_folder) -> HostModule:
    return host_module("depth_to_points", kernel_folder)


def run(
    kernel: HostModule,
    depth: NDArray[np.float32],
    colors: NDArray[np.uint8],
    room: int = 40000,
    method: Method = METHOD,
    size: int | None = None,
    **options: Any,
) -> tuple[list[Mesh], NDArray[np.int64]]:
    """The clouds of a batch: depth (B, 2, h, w), colours (2, B, h, w, C)."""
    persons, _, height, width = depth.shape
    camera = canvas_camera(size or height, method)
    points, normals, paint = poisoned((persons, room, 3)), poisoned((persons, room, 3)), poisoned((persons, room, 3), np.uint8)
    counts = poisoned((persons, 1 + len(LAYERS)), np.int64)
    inputs = (np.ascontiguousarray(depth), *np.ascontiguousarray(colors), camera.tangents())
    scratch = poisoned((scratch_bytes(height, width, persons),), np.uint8)
    arrays = {name: device_view(value) if isinstance(value, np.ndarray) else value for name, value in options.items()}
    out = PointArrays(*map(device_view, (points, normals, paint, counts)))
    kernel.run(plan(*map(device_view, inputs), camera, out, device_view(scratch), **arrays))
    clouds = []
    for i, (n, *layers) in enumerate(counts):
        assert sum(layers) == n
        clouds.append(Mesh(points[i, :n], np.zeros((0, 3), np.int32), normals[i, :n], paint[i, :n]))
        if n <= room:
            assert all((array[i, n:].view(np.uint8) == 0xFF).all() for array in (points, normals, paint))
    return clouds, counts


def random_colors(persons: int, height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, persons, height, width, channels), np.uint8)


def assert_same(mine: Mesh, twin: Mesh) -> None:
    assert mine.vertices.shape == twin.vertices.shape
    np.testing.assert_allclose(mine.vertices, twin.vertices, atol=1e-6, rtol=0)
    np.testing.assert_allclose(mine.normals, twin.normals, atol=1e-3, rtol=0)
    np.testing.assert_array_equal(mine.colors, twin.colors)


@pytest.mark.parametrize("size", [64, 97])
def test_clean_depth(kernel: HostModule, size: int) -> None:
    """Depth as it is; each side with its own colours."""
    method = Method(world_scale=PUBLISHED_WORLD_SCALE)
    clean = clean_depth(*person(size))
    colors = random_colors(1, size, size, 4)
    (mine,), _ = run(kernel, np.stack([clean.front, clean.back])[None], colors, method=method)
    twin = point_cloud(clean.front, clean.back, colors[0, 0, ..., :3], back_rgb=colors[1, 0, ..., :3], method=method)
    assert_same(mine, twin)


@pytest.mark.parametrize("size", [64, 97])
@pytest.mark.parametrize("overflow", ["clip", "wrap"])
@pytest.mark.parametrize("seams", [False, True])
def test_published_clean_up(kernel: HostModule, size: int, overflow: str, seams: bool) -> None:
    """A body, a body that touches the border with depths beyond 16 bits, and noise full of holes."""
    rng = np.random.default_rng(size)
    noise = rng.uniform(1.5, 2.5, (2, size, size)).astype(np.float32)
    bodies = [person(size), (noise[0] - 0.4, noise[1] + 2), (noise[0], noise[1])]
    bodies[2][0][rng.random((size, size)) < 0.02] = 6
    bodies[1][0][:, size // 2 :] = 6
    bodies[2][0][: size // 2] -= 1
    depth = np.stack([np.stack(body) for body in bodies])
    colors = random_colors(3, size, size)
    clouds, counts = run(kernel, depth, colors, published=True, seams=seams, overflow=overflow, room=90000)
    for i, mine in enumerate(clouds):
        front, back = parity_depth(*depth[i])
        twin = point_cloud(front, back, colors[0, i], back_rgb=colors[1, i], parity=True, seams=seams, overflow=overflow)
        assert_same(mine, twin)
    assert (counts[:, 3:].sum(1) > 0).all() == seams


def test_thin_people(kernel: HostModule) -> None:
    """Nobody, one pixel, a line, one cell at the corner."""
    size = 40
    depth = np.zeros((4, 2, size, size), np.float32)
    for i, at in enumerate([None, np.s_[20, 31], np.s_[5:35, 7], np.s_[:2, -2:]]):
        if at is not None:
            depth[i, 0][at], depth[i, 1][at] = 1.9, 2.1
    colors = random_colors(4, size, size)
    for options in ({}, {"published": True}, {"seams": True}):
        clouds, _ = run(kernel, depth, colors, **options)
        for i, mine in enumerate(clouds):
            parity = {"parity": "published" in options, "seams": "seams" in options}
            twin = point_cloud(depth[i, 0], depth[i, 1], colors[0, i], back_rgb=colors[1, i], **parity)
            assert_same(mine, twin)
        assert len(clouds[0].vertices) == 0


def test_a_window_of_the_canvas(kernel: HostModule) -> None:
    size = 128
    front, back = parity_depth(*person(size))
    rows, columns = np.flatnonzero((front > 0).any(1)), np.flatnonzero((front > 0).any(0))
    origin = np.array([[columns[0] - 7, rows[0] - 8]], np.int32)
    cut = np.s_[rows[0] - 8 : rows[-1] + 8, columns[0] - 7 : columns[-1] + 8]
    colors = random_colors(1, size, size, 4)
    twin = point_cloud(front, back, colors[0, 0, ..., :3], back_rgb=colors[1, 0, ..., :3], seams=True)
    depth = np.stack([front[cut], back[cut]])[None]
    for given in (colors, colors[:, :, cut[0], cut[1]]):
        (mine,), _ = run(kernel, depth, given, size=size, origin=origin, seams=True)
        assert_same(mine, twin)


def test_a_cloud_that_does_not_fit_is_told_and_not_written(kernel: HostModule) -> None:
    depth, colors = np.stack(person(64))[None], random_colors(1, 64, 64)
    (whole,), counts = run(kernel, depth, colors, published=True)
    (mine,), again = run(kernel, depth, colors, published=True, room=int(counts[0, 0]) - 1)
    np.testing.assert_array_equal(counts, again)
    assert np.isnan(mine.vertices).all()
    (mine,), _ = run(kernel, depth, colors, published=True, room=int(counts[0, 0]))
    np.testing.assert_array_equal(mine.vertices, whole.vertices)


@pytest.mark.parity
@pytest.mark.slow
def test_matches_the_published_cloud(kernel: HostModule, load_vectors: Vectors, wave_offset: float) -> None:
    data = load_vectors("pointcloud")
    front, back = bulge(2048, wave_offset)
    front[front == 0] = METHOD.front_background
    front[1000:1016, 1000:1016], back[1000:1016, 1000:1016] = 2.3, 2.1
    photo = oracle_picture(2048, 2048, v=wave_offset)
    rows, columns = np.flatnonzero((front < 6).any(1)), np.flatnonzero((front < 6).any(0))
    cut = np.s_[rows[0] - 8 : rows[-1] + 9, columns[0] - 8 : columns[-1] + 9]  # the rest is background
    depth, colors = np.stack([front[cut], back[cut]])[None], np.broadcast_to(photo, (2, 1, *photo.shape))
    (cloud,), counts = run(
        kernel,
        depth,
        colors,
        method=Method(world_scale=PUBLISHED_WORLD_SCALE),
        size=2048,
        origin=np.array([[columns[0] - 8, rows[0] - 8]], np.int32),
        seams=True,
        overflow="wrap",
        room=int(data["ply_count"][1]),
    )
    assert tuple(str(name) for name in data["layer_names"]) == LAYERS
    np.testing.assert_array_equal(counts[0, 1:], data["layer_count"])
    plain = int(data["ply_count"][0])
    assert int(counts[0, 1:3].sum()) == plain
    np.testing.assert_allclose(cloud.vertices[:plain][::499], data["ply_xyz_every499"], atol=1e-5)
    np.testing.assert_allclose(cloud.vertices[::4999], data["plyc_xyz_every4999"], atol=1e-5)


def test_wrong_arguments_are_refused() -> None:
    camera = canvas_camera(16)
    good: dict[str, NDArray] = {
        "depth": np.zeros((1, 2, 12, 16), np.float32),
        "front": np.zeros((1, 12, 16, 3), np.uint8),
        "back": np.zeros((1, 12, 16, 3), np.uint8),
        "tangents": camera.tangents(),
        "points": np.zeros((1, 9, 3), np.float32),
        "normals": np.zeros((1, 9, 3), np.float32),
        "colors": np.zeros((1, 9, 3), np.uint8),
        "counts": np.zeros((1, 10), np.int64),
        "scratch": np.zeros(scratch_bytes(12, 16), np.uint8),
    }

    def attempt(options: dict[str, Any] | None = None, **changed: NDArray) -> None:
        views = [device_view(array) for array in (good | changed).values()]
        plan(*views[:4], camera, PointArrays(*views[4:8]), views[8], **(options or {}))

    attempt()
    for name, array in (
        ("depth", np.zeros((1, 2, 17, 16), np.float32)),
        ("depth", np.zeros((1, 2, 12, 16))),
        ("front", np.zeros((1, 12, 16, 2), np.uint8)),
        ("back", np.zeros((1, 12, 16, 4), np.uint8)),
        ("tangents", np.zeros(15, np.float32)),
        ("points", np.zeros((2, 9, 3), np.float32)),
        ("normals", np.zeros((1, 8, 3), np.float32)),
        ("counts", np.zeros((1, 9), np.int64)),
        ("scratch", np.zeros(99, np.uint8)),
    ):
        with pytest.raises(ValueError, match="must"):
            attempt(**{name: array})
    for options in ({"erosion": 4}, {"erosion": -1}, {"overflow": "drop"}):
        with pytest.raises(ValueError, match="must"):
            attempt(options)
