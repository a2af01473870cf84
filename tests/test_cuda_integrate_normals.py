"""The kernels of ``integrate_normals``, run on the CPU: against their twin."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module, poisoned
from h2k_kernels.integrate_normals import LEAST_GAP, LEVELS, integrate_normals
from h2k_kernels.launch import LaunchPlan
from h2k_kernels.launch.integrate_normals import grid_sizes, plan, scratch_bytes
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from h2k_rt.constants import METHOD

NORMAL_Z, UNIT = METHOD.normal_z, METHOD.depth_unit_px


@pytest.fixture(scope="module")
def module(kernel_folder: Path) -> HostModule:
    return host_module("integrate_normals", kernel_folder)


def smooth(rng: np.random.Generator, height: int, width: int, grain: float) -> NDArray[np.float32]:
    noise = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), grain)
    return (noise - noise.mean()) / max(float(noise.std()), 1e-6)


def encoded(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normals of a depth map as the method defines them (SPEC 8), (3, H, W)."""
    right = depth - np.concatenate([depth[:, 1:], depth[:, -1:]], 1)
    down = depth - np.concatenate([depth[1:], depth[-1:]], 0)
    vector = np.stack([right, down, np.full_like(depth, METHOD.normal_z)])
    return ((vector / np.sqrt((vector**2).sum(0)) + 1) / 2).astype(np.float32)


def scene(seed: int, height: int, width: int, share: float = 0.6) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth with too little relief and the normals of the relief it lacks; some pixels have no normals."""
    rng = np.random.default_rng(seed)
    shape = smooth(rng, height, width, 9)
    person = shape > np.quantile(shape, 1 - share)
    person[: height // 12, :] = person[:, : width // 9] = False
    depth = np.stack([np.full((height, width), 6, np.float32), np.zeros((height, width), np.float32)])
    normals = np.zeros((6, height, width), np.float32)
    for side, base in enumerate((1.5, 1.6)):
        surface = base + 0.1 * smooth(rng, height, width, 12) + 0.4 * side
        relief = surface + 0.004 * smooth(rng, height, width, 2)
        depth[side][person] = surface[person].astype(np.float32)
        known = person & (smooth(rng, height, width, 3) > -1.5)
        normals[3 * side : 3 * side + 3, known] = encoded(relief.astype(np.float32))[:, known]
    return depth, normals


def planned(depth: NDArray, normals: NDArray, scratch: NDArray, wavelength: float = 40.0) -> list[LaunchPlan]:
    maps = device_view(depth), device_view(normals), device_view(scratch)
    return plan(*maps, wavelength=wavelength, normal_z=NORMAL_Z, depth_unit=UNIT)


def twin(depth: NDArray[np.float32], normals: NDArray[np.float32], wavelength: float = 40.0) -> NDArray[np.float32]:
    return integrate_normals(depth, normals, wavelength=wavelength, normal_z=NORMAL_Z, depth_unit=UNIT, threads=1)


def run(module: HostModule, depth: NDArray, normals: NDArray, wavelength: float = 40.0) -> NDArray:
    """(B, 2, H, W) from (B, 2, H, W) and (B, 6, H, W); what is written beyond the scratch memory is seen."""
    persons, _, height, width = depth.shape
    out, need = depth.copy(), scratch_bytes(height, width, persons)
    scratch = poisoned((need + 64,), np.uint8)
    module.run(planned(out, normals, scratch[:need], wavelength))
    assert (scratch[need:] == 0xFF).all()
    return out


SIZES = [(1, 1), (2, 3), (17, 33), (64, 64), (95, 131), (130, 71), (3, 200)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_same_numbers_as_the_twin(module: HostModule, height: int, width: int) -> None:
    depth, normals = scene(height, height, width)
    have, want = run(module, depth[None], normals[None])[0], twin(depth, normals)
    assert_allclose(have, want, atol=1e-5)
    off = ~(depth[0] < depth[1])
    assert_array_equal(have[:, off], depth[:, off])
    if min(height, width) > 10:
        assert np.abs(want - depth).max() > 1e-3, "the comparison is of something"


def test_two_persons(module: HostModule) -> None:
    scenes = [scene(seed, 90, 75, share) for seed, share in ((1, 0.7), (2, 0.3))]
    depth, normals = (np.stack(maps) for maps in zip(*scenes, strict=True))
    have = run(module, depth, normals, 25.0)
    for one, (own_depth, own_normals) in zip(have, scenes, strict=True):
        assert_allclose(one, twin(own_depth, own_normals, 25.0), atol=1e-5)


@pytest.mark.parametrize("depth_type", [np.float32, np.float16])
@pytest.mark.parametrize("normal_type", [np.float32, np.float16])
def test_half_precision(module: HostModule, depth_type: type, normal_type: type) -> None:
    depth, normals = scene(5, 70, 66)
    depth, normals = depth.astype(depth_type), normals.astype(normal_type)
    have = run(module, depth[None], normals[None])[0]
    want = twin(depth.astype(np.float32), normals.astype(np.float32))
    assert have.dtype == depth_type
    assert_allclose(have.astype(np.float32), want, atol=1e-5 if depth_type == np.float32 else 2e-3, rtol=0)
    if depth_type == np.float16:
        assert (have == want.astype(np.float16)).mean() > 0.99, "rounded once"


def test_nobody_and_one_pixel(module: HostModule) -> None:
    depth, normals = scene(3, 40, 50)
    nobody = np.stack([depth[1], depth[0]])
    assert_array_equal(run(module, nobody[None], normals[None])[0], nobody)
    no_normals = run(module, depth[None], np.zeros_like(normals)[None])[0]
    assert_array_equal(no_normals, twin(depth, np.zeros_like(normals)))
    for y, x in ((0, 0), (39, 49), (17, 22)):
        one = nobody.copy()
        one[:, y, x] = 1.0, 1.5
        assert_array_equal(run(module, one[None], normals[None])[0], one)


def test_front_stays_before_back(module: HostModule) -> None:
    depth, normals = scene(4, 60, 60)
    person = depth[0] < depth[1]
    depth[1][person] = depth[0][person] + np.float32(1e-3)
    have = run(module, depth[None], normals[None])[0]
    assert_allclose(have, twin(depth, normals), atol=1e-5)
    gap = (have[1] - have[0])[person]
    assert gap.min() > LEAST_GAP * 0.999 and (gap < LEAST_GAP * 1.001).any()


def test_cells_that_are_none_are_never_read(module: HostModule) -> None:
    """What lies outside the person may be anything, and scratch memory holds what was in it before."""
    depth, normals = scene(6, 77, 90, 0.4)
    want = run(module, depth[None], normals[None])[0]
    off = ~(depth[0] < depth[1])
    depth[:, off], normals[:, off] = np.nan, np.nan
    have = run(module, depth[None], normals[None])[0]
    assert_array_equal(have[:, ~off], want[:, ~off])


def test_plan() -> None:
    assert grid_sizes(1664, 896)[0] == (832, 448) and grid_sizes(1664, 896)[-1] == (26, 14)
    assert grid_sizes(1, 130)[-1] == (1, 3) and len(grid_sizes(1, 1)) == LEVELS
    need = scratch_bytes(70, 66, 2)
    depth, normals, scratch = np.zeros((2, 2, 70, 66), np.float32), np.zeros((2, 6, 70, 66), np.float16), np.zeros(need, np.uint8)
    plans = planned(depth, normals, scratch)
    assert [p.kernel for p in plans].count("relief_coarsest") == 3
    assert [p.grid for p in plans[:3]] == [(1, 1, 1), (3, 2, 2), (2, 5, 4)] and plans[-1].grid == (3, 9, 2)
    again = planned(depth, normals, scratch, 99.0)
    assert [(p.kernel, p.grid) for p in again] == [(p.kernel, p.grid) for p in plans], "the launches do not depend on numbers"


def test_wrong_arguments() -> None:
    depth, normals = np.zeros((1, 2, 8, 8), np.float32), np.zeros((1, 6, 8, 8), np.float32)
    scratch = np.zeros(scratch_bytes(8, 8), np.uint8)
    for wrong in (
        (depth[:, :1], normals, scratch),
        (depth.astype(np.float64), normals, scratch),
        (depth, normals[:, :3], scratch),
        (depth[..., ::2], normals[..., ::2], scratch),
        (depth, normals, scratch[:-1]),
        (depth[:0], normals[:0], scratch),
        (depth[:, :, :0], normals[:, :, :0], scratch),
    ):
        with pytest.raises(ValueError):
            planned(*wrong)
    for wavelength in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="wavelength"):
            planned(depth, normals, scratch, wavelength)
