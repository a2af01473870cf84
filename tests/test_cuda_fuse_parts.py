"""The CUDA kernel ``fuse_parts``, run on the CPU: against its twin and the published numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module, poisoned, random_transforms
from h2k_kernels import Crops, fuse_parts, window_weight
from h2k_kernels.launch.fuse_parts import plan, plan_fill, scratch_bytes
from numpy.typing import NDArray
from oracle_rules import unit

from h2k_rt.constants import METHOD, PART_GROUPS
from h2k_rt.inference import CROPS, fine_scale_normals

Vectors = Callable[[str], dict[str, np.ndarray]]
BLUR = {"trim": 4, "taps": 3, "sigma": 1.0}


@pytest.fixture(scope="module")
def kernel(kernel_folder) -> HostModule:
    return host_module("fuse_parts", kernel_folder)


def run(
    kernel: HostModule,
    normals: list[NDArray],
    groups: tuple[Crops, ...],
    to_canvas: NDArray[np.float32],
    to_part: NDArray[np.float32],
    size: int,
    window: tuple[int, int] | None = None,
    dtype: type = np.float32,
    **options: Any,
) -> tuple[NDArray, NDArray, NDArray]:
    """All arrays of B persons; the three levels, (B, 6, ...)."""
    persons, (height, width) = len(to_canvas), window or (size, size)
    full = poisoned((persons, 6, height, width), dtype)
    half = poisoned((persons, 6, (height + 1) // 2, (width + 1) // 2), dtype)
    quarter = poisoned((persons, 6, (height + 2) // 4, (width + 2) // 4), dtype)
    scratch = poisoned((scratch_bytes(groups, persons),), np.uint8)
    arrays = {name: device_view(value) if isinstance(value, np.ndarray) else value for name, value in options.items()}
    views = [device_view(array) for array in (full, scratch, half, quarter)]
    steps = plan(
        [device_view(n) for n in normals],
        groups,
        device_view(to_canvas),
        device_view(to_part),
        size,
        *views[:2],
        half=views[2],
        quarter=views[3],
        **arrays,
    )
    kernel.run(steps)
    return full, half, quarter


def case(seed: int, groups: tuple[Crops, ...], size: int, persons: int = 2, dtype: type = np.float32) -> tuple[Any, ...]:
    """Random normals, and transforms some of which leave the canvas; part 0 lies wholly inside, part 2 wholly outside."""
    rng = np.random.default_rng(seed)
    parts = 1 + max(max(g.parts) for g in groups)
    normals = [rng.uniform(0, 1, (persons * len(g.parts), 6, g.height, g.width)).astype(dtype) for g in groups]
    pairs = [random_transforms(rng, parts, size) for _ in range(persons)]
    to_canvas, to_part = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
    to_canvas[:, 0] = to_part[:, 0] = np.eye(3)[:2]
    if parts > 2:
        to_canvas[:, 2], to_part[:, 2] = [[1, 0, 5], [0, 1, 5]], [[1, 0, -5], [0, 1, -5]]
    return normals, groups, to_canvas, to_part, size


def twin_of(normals: list[NDArray], groups: tuple[Crops, ...], matrices: Any, size: int, person: int, **options: Any) -> NDArray:
    of_person = [n.reshape(-1, len(g.parts), *n.shape[1:])[person].astype(np.float32) for n, g in zip(normals, groups, strict=True)]
    return fuse_parts(of_person, groups, matrices[0][person], matrices[1][person], size, **options)


def assert_same(mine: NDArray, twin: NDArray, tolerance: float = 3e-5) -> None:
    """Equal but for pixels that only the last rounding error of a window touches."""
    difference = np.abs(mine.astype(np.float32) - twin)
    assert np.isfinite(difference).all()
    assert (difference > tolerance).mean() <= 1e-3
    assert difference.mean() < tolerance


CASES = [
    (64, (Crops((0, 1), 24, 20), Crops((2,), 17, 31))),
    (97, (Crops((0, 2, 1), 33, 35), Crops((3,), 1, 1), Crops((4,), 40, 66))),
    (131, (Crops((3, 1), 40, 48), Crops((0,), 9, 5), Crops((2, 4), 50, 23))),
]


@pytest.mark.parametrize(("size", "groups"), CASES, ids=lambda value: str(value) if isinstance(value, int) else "")
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_equals_the_twin(kernel: HostModule, size: int, groups: tuple[Crops, ...], dtype: type) -> None:
    normals, _, *matrices, _ = case(size, groups, size, dtype=dtype)
    full, half, quarter = run(kernel, normals, groups, *matrices, size, dtype=dtype, **BLUR)
    covered = 0
    for person in range(2):
        twin = twin_of(normals, groups, matrices, size, person, **BLUR)
        assert_same(full[person], twin, 3e-5 if dtype is np.float32 else 1e-3)
        covered += int(twin.any(0).sum())
    assert covered > size
    np.testing.assert_array_equal(half, full[..., 0::2, 0::2])
    np.testing.assert_array_equal(quarter, full[..., 1::4, 1::4])


def test_published_blur_on_windows_that_the_canvas_cuts(kernel: HostModule) -> None:
    """15 taps; the crop covers the canvas and more of it, turned."""
    groups = (Crops((0, 1), 64, 48), Crops((2,), 30, 20))
    normals, _, *matrices, size = case(5, groups, 60)
    angle = 0.3
    c, s = 1.3 * np.cos(angle), 1.3 * np.sin(angle)
    matrices[0][:, 1] = [[c, -s, 0.3], [s, c, -0.2]]
    block = np.linalg.inv(matrices[0][0, 1, :, :2])
    matrices[1][:, 1] = np.concatenate([block, -block @ matrices[0][0, 1, :, 2:]], 1)
    narrow = (Crops((0, 1), 56, 48), groups[1])  # the twin takes crops within the canvas only
    normals[0] = np.ascontiguousarray(normals[0][:, :, :56])
    weight = window_weight(matrices[0][0, 1], size, 56, 48, 16, 15, 5.0)
    assert 0 < weight[28, 8:40].min() < weight[28, 8:40].max()
    full, _, _ = run(kernel, normals, narrow, *matrices, size)
    for person in range(2):
        assert_same(full[person], twin_of(normals, narrow, matrices, size, person))


def test_a_window_of_the_canvas(kernel: HostModule) -> None:
    """A window per person at its own place holds what the whole canvas holds there; sub-samplings keep the canvas's phase."""
    size, groups = CASES[1]
    normals, _, *matrices, _ = case(7, groups, size)
    origin = np.array([[8, 20], [40, 0]], np.int32)
    whole, _, _ = run(kernel, normals, groups, *matrices, size, **BLUR)
    full, half, quarter = run(kernel, normals, groups, *matrices, size, window=(45, 50), origin=origin, **BLUR)
    for person, (x, y) in enumerate(origin):
        np.testing.assert_array_equal(full[person], whole[person, :, y : y + 45, x : x + 50])
        np.testing.assert_array_equal(half[person], whole[person, :, y : y + 45 : 2, x : x + 50 : 2])
        np.testing.assert_array_equal(quarter[person], whole[person, :, y + 1 : y + 45 : 4, x + 1 : x + 50 : 4])


def test_region_usable_parts_and_fill(kernel: HostModule) -> None:
    size, groups = CASES[0]
    normals, _, *matrices, _ = case(8, groups, size)
    fill = np.random.default_rng(9).uniform(0, 1, (2, 6, 8, 8)).astype(np.float32)
    region = np.array([[10, 5, 50, 61], [0, 0, 0, 0]], np.int32)
    usable = np.array([[1, 1, 1], [0, 1, 1]], np.uint8)
    options = {"fill_weight": 0.05, **BLUR}
    for dtype in (np.float32, np.float16):
        low = fill.astype(dtype)
        full, _, _ = run(kernel, normals, groups, *matrices, size, region=region, usable=usable, fill=low, **options)
        twin = twin_of(
            normals,
            groups,
            matrices,
            size,
            0,
            region=(10, 5, 50, 61),
            fill=low[0].astype(np.float32),
            usable=usable[0] > 0,
            **options,
        )
        assert_same(full[0], twin)
        assert not full[1].any()
    full, _, _ = run(kernel, normals, groups, *matrices, size, usable=usable, fill=fill, **options)
    assert_same(full[1], twin_of(normals, groups, matrices, size, 1, fill=fill[1], usable=usable[1] > 0, **options))
    assert full[1].all()
    for share in (0.25, 0.75):  # in the whole back, not in the front
        mixed, _, _ = run(kernel, normals, groups, *matrices, size, usable=usable, fill=fill, back_share=share, **options)
        expected = twin_of(normals, groups, matrices, size, 1, fill=fill[1], usable=usable[1] > 0, back_share=share, **options)
        assert_same(mixed[1], expected)
        np.testing.assert_array_equal(mixed[:, :3], full[:, :3])


def test_fill_in_fine_scale(kernel: HostModule) -> None:
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 1, (2, 6, 19, 19)).astype(np.float32)
    low[:, :, 3:6] = 0  # background
    for dtype, tolerance in ((np.float32, 1e-6), (np.float16, 1e-3)):
        out = poisoned(low.shape, dtype)
        kernel.run(plan_fill(device_view(low.astype(dtype)), device_view(out), 8))
        for person in range(2):
            expected = fine_scale_normals(low[person].astype(dtype).astype(np.float32), 8, METHOD.normal_z)
            np.testing.assert_allclose(out[person].astype(np.float32), expected, atol=tolerance)


@pytest.mark.parity
def test_matches_the_published_fusion(kernel: HostModule, load_vectors: Vectors, wave_offset: float) -> None:
    data, matrices = load_vectors("fusion"), load_vectors("parts_in")
    normals = [np.stack([unit(6, g.height, g.width, a=i, v=wave_offset) for i in g.parts]) for g in PART_GROUPS]
    (fused,), _, _ = run(kernel, normals, CROPS, matrices["z"], matrices["inv_z"], METHOD.size)
    difference = np.abs(fused[:, 4::8, 4::8] - data["fused_synthetic_stride8"])
    assert np.quantile(difference, 0.999) <= 2e-4
    y, x = data["dense_yx"]
    window = np.s_[:, y - 32 : y + 32, x - 32 : x + 32]
    assert np.quantile(np.abs(fused[window] - data["fused_synthetic_dense64"]), 0.999) <= 2e-4
    np.testing.assert_allclose(fused.mean((1, 2), dtype=np.float64), data["fused_synthetic_stats"][:, 0], atol=1e-5)


def test_wrong_arguments_are_refused() -> None:
    groups = (Crops((0,), 20, 20),)
    good: dict[str, Any] = {
        "normals": np.zeros((1, 6, 20, 20), np.float32),
        "to_canvas": np.zeros((1, 1, 2, 3), np.float32),
        "to_part": np.zeros((1, 1, 2, 3), np.float32),
        "full": np.zeros((1, 6, 32, 32), np.float32),
        "scratch": np.zeros(1600, np.uint8),
    }

    def attempt(**changed: Any) -> None:
        values = {name: device_view(value) if isinstance(value, np.ndarray) else value for name, value in (good | changed).items()}
        normals, to_canvas, to_part, full, scratch = (values.pop(name) for name in good)
        plan([normals], groups, to_canvas, to_part, 32, full, scratch, **values)

    attempt()
    attempt(half=np.zeros((1, 6, 16, 16), np.float32), quarter=np.zeros((1, 6, 8, 8), np.float32))
    for name, value in (
        ("normals", np.zeros((2, 6, 20, 20), np.float32)),
        ("to_part", np.zeros((1, 2, 2, 3), np.float32)),
        ("full", np.zeros((1, 5, 32, 32), np.float32)),
        ("scratch", np.zeros(1599, np.uint8)),
        ("half", np.zeros((1, 6, 16, 16), np.float16)),
        ("quarter", np.zeros((1, 6, 8, 7), np.float32)),
        ("usable", np.zeros((1, 2), np.uint8)),
        ("region", np.zeros((1, 4), np.int64)),
        ("origin", np.zeros((2, 2), np.int32)),
        ("fill", np.zeros((1, 6, 4, 5), np.float32)),
        ("taps", 4),
        ("taps", 33),
        ("sigma", 0.0),
        ("back_share", 0.5),  # of no fill
    ):
        with pytest.raises(ValueError, match=r"must|taps"):
            attempt(**{name: value})
