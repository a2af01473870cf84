"""The CUDA kernel ``depth_to_mesh``, run on the CPU: the same meshes as its twin, vertex by vertex and face by face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import canvas_camera, host_module, poisoned
from h2k_kernels.launch.depth_to_mesh import MeshArrays, plan, scratch_bytes
from numpy.typing import NDArray
from surface_bodies import person
from test_surface_mesh import awkward_masks, depth_of

from h2k_rt.constants import METHOD, PUBLISHED_WORLD_SCALE, Method
from h2k_rt.errors import PersonError
from h2k_rt.surface.clean import CleanDepth, clean_depth
from h2k_rt.surface.grid_mesh import GridOptions, grid_mesh
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.topology import is_closed


@pytest.fixture(scope="module")
def kernel(kernel_folder) -> HostModule:
    return host_module("depth_to_mesh", kernel_folder)


def run(
    kernel: HostModule,
    depths: list[CleanDepth],
    colors: NDArray[np.uint8],
    room: tuple[int, int] = (20000, 40000),
    method: Method = METHOD,
    size: int | None = None,
    origin: NDArray[np.int32] | None = None,
    options: GridOptions | None = None,
) -> tuple[list[Mesh], NDArray[np.int64]]:
    """The meshes of a batch; ``colors`` (2, B, h, w, C); ``room`` for vertices and faces."""
    options = options or GridOptions()
    persons, (height, width) = len(depths), depths[0].mask.shape
    camera = canvas_camera(size or height, method)
    depth = np.stack([np.stack([d.front, d.back]) for d in depths])
    mask = np.stack([d.mask for d in depths]).astype(np.uint8)
    arrays = {
        "vertices": poisoned((persons, room[0], 3)),
        "normals": poisoned((persons, room[0], 3)),
        "colors": poisoned((persons, room[0], 3), np.uint8),
        "faces": poisoned((persons, room[1], 3), np.int32),
        "counts": poisoned((persons, 4), np.int64),
    }
    out = MeshArrays(**{name: device_view(array) for name, array in arrays.items()})
    inputs = (depth, mask, *np.ascontiguousarray(colors), camera.tangents())
    scratch = poisoned((scratch_bytes(height, width, persons),), np.uint8)
    steps = plan(
        *map(device_view, inputs),
        camera,
        out,
        device_view(scratch),
        origin=None if origin is None else device_view(origin),
        rings=options.rings,
        smooth=options.smooth,
        min_share=options.min_share,
    )
    kernel.run(steps)
    meshes = []
    for i, (v, f, *_) in enumerate(arrays["counts"]):
        parts = (arrays["vertices"][i, :v], arrays["faces"][i, :f], arrays["normals"][i, :v], arrays["colors"][i, :v])
        meshes.append(Mesh(*(np.array(part) for part in parts)))
        if v <= room[0] and f <= room[1]:  # nothing is written beyond the mesh
            for name, used in (("vertices", v), ("normals", v), ("colors", v), ("faces", f)):
                assert (arrays[name][i, used:].view(np.uint8) == 0xFF).all()
    return meshes, arrays["counts"]


def random_colors(persons: int, height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, persons, height, width, channels), np.uint8)


def assert_same(mine: Mesh, twin: Mesh) -> None:
    assert mine.vertices.shape == twin.vertices.shape
    np.testing.assert_array_equal(mine.faces, twin.faces)
    np.testing.assert_allclose(mine.vertices, twin.vertices, atol=2e-6, rtol=0)
    np.testing.assert_allclose(mine.normals, twin.normals, atol=2e-4, rtol=0)
    np.testing.assert_array_equal(mine.colors, twin.colors)


@pytest.mark.parametrize("name", list(awkward_masks()))
def test_awkward_masks(kernel: HostModule, name: str) -> None:
    mask = awkward_masks()[name]
    size = len(mask)
    colors = random_colors(2, size, size)
    depths = [depth_of(mask, 0), depth_of(mask.T, 1)]
    for options in (GridOptions(), GridOptions(rings=0, smooth=False, min_share=0.0), GridOptions(rings=2, min_share=1.0)):
        meshes, counts = run(kernel, depths, colors, options=options)
        for i, (mine, depth) in enumerate(zip(meshes, depths, strict=True)):
            twin = grid_mesh(depth, colors[0, i], colors[1, i], options=options)
            assert tuple(counts[i, :2]) == (len(twin.vertices), len(twin.faces))
            assert_same(mine, twin)
            assert is_closed(mine.faces)


@pytest.mark.parametrize("size", [96, 131])
@pytest.mark.parametrize("world_scale", [1.0, PUBLISHED_WORLD_SCALE])
def test_a_person(kernel: HostModule, size: int, world_scale: float) -> None:
    method = Method(world_scale=world_scale)
    depth = clean_depth(*person(size))
    colors = random_colors(1, size, size, 4)
    (mine,), _ = run(kernel, [depth], colors, method=method)
    assert_same(mine, grid_mesh(depth, colors[0, 0, ..., :3], colors[1, 0, ..., :3], method=method))


def opening_rounds(mask: NDArray[np.bool_]) -> int:
    """How often the twin looks for cells that touch at a corner only, before there are none."""
    cells = mask[:-1, :-1] & mask[1:, :-1] & mask[:-1, 1:] & mask[1:, 1:]
    for count in range(mask.size):
        a, b, c, d = cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]
        falling, rising = a & d & ~b & ~c, b & c & ~a & ~d
        if not (falling.any() or rising.any()):
            return count
        cells = cells.copy()
        cells[:-1, :-1] &= ~falling
        cells[:-1, 1:] &= ~rising
    raise AssertionError


def test_corners_that_open_in_several_rounds(kernel: HostModule) -> None:
    """Removing a cell makes a new pair: many times, across words and blocks."""
    size = 150
    mask = np.random.default_rng(3).random((size, size)) < 0.8
    assert opening_rounds(mask) > 1
    depth, colors, options = depth_of(mask), random_colors(1, size, size), GridOptions(min_share=0.01)
    (mine,), _ = run(kernel, [depth], colors, options=options, room=(90000, 200000))
    assert_same(mine, grid_mesh(depth, colors[0, 0], colors[1, 0], options=options))


def test_a_window_of_the_canvas(kernel: HostModule) -> None:
    """Maps of a window give the canvas's mesh, wherever the window lies; colours of the window or of the canvas."""
    size, window = 128, (112, 70)
    whole = clean_depth(*person(size))
    rows, columns = np.flatnonzero(whole.mask.any(1)), np.flatnonzero(whole.mask.any(0))
    origin = np.array([[columns[0] - 4, rows[0] - 2], [columns[0] - 1, rows[0] - 9]], np.int32)
    colors = random_colors(1, size, size, 4)
    twin = grid_mesh(whole, colors[0, 0, ..., :3], colors[1, 0, ..., :3])
    cuts = [np.s_[y : y + window[0], x : x + window[1]] for x, y in origin]
    depths = [CleanDepth(whole.front[cut], whole.back[cut], whole.mask[cut]) for cut in cuts]
    assert all(int(d.mask.sum()) == int(whole.mask.sum()) for d in depths)
    for given in (np.repeat(colors, 2, 1), np.stack([np.stack([side[0][cut] for cut in cuts]) for side in colors])):
        meshes, _ = run(kernel, depths, given, size=size, origin=origin)
        for mine in meshes:
            assert_same(mine, twin)


def test_nothing_to_mesh(kernel: HostModule) -> None:
    """An empty mask, one pixel, and a line: the twin raises, the kernel says 0; a neighbour in the batch is not disturbed."""
    masks = [np.zeros((40, 40), bool) for _ in range(4)]
    masks[1][20, 31] = True
    masks[2][5:35, 7] = True
    masks[3][10:12, 31:33] = True
    depths, colors = [depth_of(mask) for mask in masks], random_colors(4, 40, 40)
    meshes, counts = run(kernel, depths, colors)
    assert not counts[:3].any()
    with pytest.raises(PersonError):
        grid_mesh(depths[2], colors[0, 2], colors[1, 2])
    assert_same(meshes[3], grid_mesh(depths[3], colors[0, 3], colors[1, 3]))


def test_a_mesh_that_does_not_fit_is_told_and_not_written(kernel: HostModule) -> None:
    depth, colors = clean_depth(*person(96)), random_colors(1, 96, 96)
    twin = grid_mesh(depth, colors[0, 0], colors[1, 0])
    for room in ((len(twin.vertices) - 1, 40000), (20000, len(twin.faces) - 1)):
        (mine,), counts = run(kernel, [depth], colors, room=room)
        assert tuple(counts[0, :2]) == (len(twin.vertices), len(twin.faces))
        assert np.isnan(mine.vertices).all()
        assert (mine.faces == -1).all()
    (mine,), _ = run(kernel, [depth], colors, room=(len(twin.vertices), len(twin.faces)))
    assert_same(mine, twin)


def test_wrong_arguments_are_refused() -> None:
    camera = canvas_camera(16)
    good: dict[str, Any] = {
        "depth": np.zeros((1, 2, 12, 16), np.float32),
        "mask": np.zeros((1, 12, 16), np.uint8),
        "front": np.zeros((1, 12, 16, 3), np.uint8),
        "back": np.zeros((1, 12, 16, 3), np.uint8),
        "tangents": camera.tangents(),
        "vertices": np.zeros((1, 9, 3), np.float32),
        "normals": np.zeros((1, 9, 3), np.float32),
        "colors": np.zeros((1, 9, 3), np.uint8),
        "faces": np.zeros((1, 9, 3), np.int32),
        "counts": np.zeros((1, 4), np.int64),
        "scratch": np.zeros(scratch_bytes(12, 16), np.uint8),
    }

    def attempt(rings: int = 3, origin: NDArray | None = None, **changed: NDArray) -> None:
        views = [device_view(array) for array in (good | changed).values()]
        plan(
            *views[:5],
            camera,
            MeshArrays(*views[5:10]),
            views[10],
            rings=rings,
            origin=origin if origin is None else device_view(origin),
        )

    attempt()
    canvas = np.zeros((1, 16, 16, 4), np.uint8)
    attempt(front=canvas, back=canvas)
    for name, array in (
        ("depth", np.zeros((1, 2, 17, 16), np.float32)),
        ("depth", np.zeros((1, 3, 12, 16), np.float32)),
        ("mask", np.zeros((1, 12, 16), bool)),
        ("front", np.zeros((1, 12, 15, 3), np.uint8)),
        ("back", canvas),
        ("tangents", np.zeros(12, np.float32)),
        ("normals", np.zeros((1, 8, 3), np.float32)),
        ("colors", np.zeros((1, 9, 4), np.uint8)),
        ("faces", np.zeros((1, 9, 3), np.int64)),
        ("counts", np.zeros((1, 2), np.int64)),
        ("scratch", np.zeros(99, np.uint8)),
        ("origin", np.zeros((1, 2), np.int64)),
    ):
        with pytest.raises(ValueError, match="must"):
            attempt(**{name: array})
    with pytest.raises(ValueError, match="rings"):
        attempt(rings=-1)
