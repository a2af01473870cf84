"""The kernels ``distance_field`` and ``push_pull``, run on the CPU: against their twins."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module, poisoned
from h2k_kernels.distance_field import distance_field as twin
from h2k_kernels.launch import DeviceArray, LaunchPlan, distance_field, push_pull
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from h2k_rt.surface.fill import push_pull as fill_twin

STEMS = ("mask_component", "distance_field", "push_pull")


@pytest.fixture(scope="module")
def kernels(kernel_folder) -> dict[str, HostModule]:
    return {stem: host_module(stem, kernel_folder) for stem in STEMS}


def run(kernels: dict[str, HostModule], steps: Iterable[tuple[str, LaunchPlan]]) -> None:
    for stem, step in steps:
        kernels[stem].run(step)


def blobs(height: int, width: int, seed: int, share: float, grain: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), grain) if grain else noise
    return (smooth > np.quantile(smooth, 1 - share)).astype(np.uint8)


def length(dx: NDArray[np.integer], dy: NDArray[np.integer]) -> NDArray[np.float64]:
    """Of a way along the steps of the distance's definition."""
    a, b = np.maximum(dx, dy), np.minimum(dx, dy)
    return np.where(a >= 2 * b, a - 2 * b + 2.1969 * b, 1.4 * (2 * b - a) + 2.1969 * (a - b))


def closed_form(targets: NDArray[np.bool_], pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of pixels, given by flat index, by trying all targets."""
    ys, xs = np.nonzero(targets)
    y, x = np.divmod(pixels[:, None], targets.shape[1])
    return length(np.abs(x - xs), np.abs(y - ys)).min(-1)


MASKS = [(1, 1, 1, 0.0), (7, 31, 0.1, 0.0), (40, 65, 0.02, 0.0), (21, 47, 0.5, 3.0), (13, 70, 0.9, 2.0), (90, 100, 0.001, 0.0)]


@pytest.mark.parametrize(("height", "width", "share", "grain"), MASKS)
@pytest.mark.parametrize("zeros", [False, True])
def test_distance(kernels: dict[str, HostModule], height: int, width: int, share: float, grain: float, zeros: bool) -> None:
    mask = np.stack([blobs(height, width, seed, share, grain) for seed in (1, 2)])
    mask[0, height // 2, width // 2] = 1 - zeros
    distance, index = poisoned(mask.shape), poisoned(mask.shape, np.int32)
    scratch = poisoned((distance_field.scratch_bytes(height, width, 2),), np.uint8)
    views = device_view(mask), device_view(scratch)
    run(kernels, distance_field.plan(*views, distance=device_view(distance), index=device_view(index), zeros=zeros, limit=1e4))
    for person in range(2):
        targets = (mask[person] == 0) if zeros else (mask[person] != 0)
        want, _ = twin(targets, limit=1e4)
        assert_allclose(distance[person], want, atol=2e-3, err_msg="OpenCV counts in steps of 2^-16")
        if not targets.any():
            assert (index[person] == -1).all()
            continue
        some = np.random.default_rng(0).choice(targets.size, min(targets.size, 300), replace=False)
        assert_allclose(distance[person].ravel()[some], closed_form(targets, some), rtol=1e-6)
        assert targets.ravel()[index[person]].all()
        y, x = np.indices(targets.shape)
        named = length(np.abs(index[person] % width - x), np.abs(index[person] // width - y))
        assert_allclose(named, distance[person], rtol=1e-6, err_msg="the pixel named is as near as said")


def test_distance_where_it_is_wanted(kernels: dict[str, HostModule]) -> None:
    mask, where = blobs(50, 70, 1, 0.01, 0)[None], blobs(50, 70, 2, 0.5, 3)[None]
    distance, index = poisoned(mask.shape), poisoned(mask.shape, np.int32)
    scratch = poisoned((distance_field.scratch_bytes(50, 70),), np.uint8)
    arrays = {"distance": device_view(distance), "index": device_view(index), "where": device_view(where)}
    run(kernels, distance_field.plan(device_view(mask), device_view(scratch), **arrays, inset=0.5, limit=6.0))
    want, named = twin(mask[0] > 0, where[0] > 0, inset=0.5, limit=6.0)
    assert_allclose(distance[0], want, atol=1e-4)
    assert_array_equal(index[0] < 0, named < 0)
    assert (distance[0][where[0] > 0] == 5.5).any() and (named >= 0).any()


def test_persons_that_are_switched_off(kernels: dict[str, HostModule]) -> None:
    mask = np.stack([blobs(20, 40, seed, 0.1, 0) for seed in range(3)])
    distance = poisoned(mask.shape)
    before = distance.copy()
    guard = np.array([[1, 9], [0, 9], [2, 9]], np.int32)
    scratch = poisoned((distance_field.scratch_bytes(20, 40, 3),), np.uint8)
    run(
        kernels,
        distance_field.plan(device_view(mask), device_view(scratch), distance=device_view(distance), guard=device_view(guard)),
    )
    assert_array_equal(distance[1].view(np.uint32), before[1].view(np.uint32))
    for person in (0, 2):
        assert_allclose(distance[person], twin(mask[person] > 0)[0], atol=1e-4)


SIZES = [(3, 1), (5, 4), (17, 64), (64, 64), (61, 97), (129, 33)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_filling(kernels: dict[str, HostModule], height: int, width: int) -> None:
    rng = np.random.default_rng(height)
    known = np.stack([blobs(height, width, 1, 0.3, 2), blobs(height, width, 2, 0.02, 0), np.ones((height, width), np.uint8)])
    values = rng.normal(size=(3, 2, height, width)).astype(np.float32)
    pyramid = poisoned((push_pull.pyramid_bytes(height, width, 3) + 16,), np.uint8)
    first, second = (planes_of(values, plane) for plane in (0, 1))
    run(kernels, push_pull.plan(first, second, device_view(known), device_view(pyramid)))
    (h, w) = push_pull.levels(height, width)[0]
    stride = push_pull.pyramid_bytes(height, width)
    for person in range(3):
        level = pyramid[person * stride : person * stride + 16 * h * w].view(np.float32).reshape(h, w, 4)
        up = cv2.resize(np.ascontiguousarray(level[..., :2]), (2 * w, 2 * h), interpolation=cv2.INTER_LINEAR)[:height, :width]
        weight = known[person].astype(np.float32)
        both = np.ascontiguousarray(values[person].transpose(1, 2, 0))
        both[known[person] == 0] = 0
        filled = both * weight[..., None] + up * (1 - weight[..., None])
        assert_allclose(filled, fill_twin(both, weight), atol=2e-5)
    assert (pyramid[-16:] == 0xFF).all()


def planes_of(values: NDArray[np.float32], plane: int) -> DeviceArray:
    """(B, H, W), one plane of (B, 2, H, W), as a device array."""
    part, whole = values[:, plane], device_view(values)
    return DeviceArray(whole.pointer + plane * values.strides[1], part.shape, part.dtype, part.strides, whole.owner, whole.device)


def test_levels_end_at_two_pixels() -> None:
    assert push_pull.levels(1696, 768)[0] == (848, 384)
    assert push_pull.levels(1696, 768)[-1] == (2, 1) and push_pull.levels(5, 1)[-1] == (2, 1)
    assert push_pull.levels(2, 2) == []
    tiny = np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2, 2), np.float32), np.zeros(64, np.uint8)
    with pytest.raises(ValueError, match="too small"):
        push_pull.plan(planes_of(tiny[1], 0), planes_of(tiny[1], 1), device_view(tiny[0]), device_view(tiny[2]))
