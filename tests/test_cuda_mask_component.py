"""The CUDA kernel ``mask_component``, run on the CPU: against its twins."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module, poisoned
from h2k_kernels.launch.mask_component import plan, plan_holes, plan_spread, scratch_bytes
from numpy.typing import NDArray

from h2k_rt.surface.clean import drop_small_pieces, fill_small_holes


@pytest.fixture(scope="module")
def kernel(kernel_folder) -> HostModule:
    return host_module("mask_component", kernel_folder)


def blobs(height: int, width: int, seed: int, share: float, grain: float) -> NDArray[np.uint8]:
    """Random pieces of all sizes; ``grain`` is the blur of the noise in pixels."""
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), grain) if grain else noise
    return (smooth > np.quantile(smooth, 1 - share)).astype(np.uint8)


def spiral(size: int) -> NDArray[np.uint8]:
    """One long thin piece: many unions on the way to one root."""
    mask = np.zeros((size, size), np.uint8)
    x = y = 0
    dx, dy = 1, 0
    mask[0, 0] = 1
    while True:
        ahead = (x + 2 * dx, y + 2 * dy)
        free = 0 <= x + dx < size and 0 <= y + dy < size
        if not free or (0 <= ahead[0] < size and 0 <= ahead[1] < size and mask[ahead[1], ahead[0]]):
            dx, dy = -dy, dx
            ahead = (x + 2 * dx, y + 2 * dy)
            if 0 <= ahead[0] < size and 0 <= ahead[1] < size and mask[ahead[1], ahead[0]]:
                return mask
        x, y = x + dx, y + dy
        mask[y, x] = 1


def masks(height: int, width: int) -> NDArray[np.uint8]:
    """A batch of masks of one size."""
    stripes = np.zeros((height, width), np.uint8)
    stripes[::2, 1::3] = 200
    checker = (np.indices((height, width)).sum(0) % 2).astype(np.uint8)
    empty, full = np.zeros((height, width), np.uint8), np.full((height, width), 255, np.uint8)
    one = empty.copy()
    one[height // 2, width // 2] = 1
    noise = [blobs(height, width, i, share, grain) for i, (share, grain) in enumerate([(0.4, 0), (0.6, 0), (0.5, 1.5), (0.3, 4)])]
    return np.stack([empty, full, one, stripes, checker, *noise])


SHAPES = [(1, 1), (7, 31), (33, 32), (40, 65), (61, 97), (5, 300)]


@pytest.mark.parametrize("shape", SHAPES)
def test_small_pieces(kernel: HostModule, shape: tuple[int, int]) -> None:
    batch = masks(*shape)
    for share in (0.05, 0.3, 1.0):
        out = poisoned(batch.shape, np.uint8)
        scratch = poisoned((scratch_bytes(*shape, len(batch)),), np.uint8)
        kernel.run(plan(device_view(batch), device_view(out), device_view(scratch), min_share=share))
        for mask, mine in zip(batch, out, strict=True):
            np.testing.assert_array_equal(mine, drop_small_pieces(mask > 0, share))


@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_of_corner_neighbours(kernel: HostModule, shape: tuple[int, int]) -> None:
    batch = masks(*shape)
    out, scratch = poisoned(batch.shape, np.uint8), poisoned((scratch_bytes(*shape, len(batch)),), np.uint8)
    kernel.run(plan(device_view(batch), device_view(out), device_view(scratch), min_share=0.4, diagonal=True))
    for mask, mine in zip(batch, out, strict=True):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA]
        areas[0] = 0
        expected = (areas >= max(0.4 * areas.max(), 1))[labels] if count > 1 else mask > 0
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_holes(kernel: HostModule, shape: tuple[int, int]) -> None:
    batch = masks(*shape)
    for most in (1, 9, 60):
        out, scratch = poisoned(batch.shape, np.uint8), poisoned((scratch_bytes(*shape, len(batch)),), np.uint8)
        kernel.run(plan_holes(device_view(batch), device_view(out), device_view(scratch), most))
        for mask, mine in zip(batch, out, strict=True):
            np.testing.assert_array_equal(mine, fill_small_holes(mask > 0, most))


def test_a_spiral_is_one_piece(kernel: HostModule) -> None:
    mask = spiral(97)
    mask[50, 48:50] = 0  # cut in two
    batch = mask[None]
    out, scratch = poisoned(batch.shape, np.uint8), poisoned((scratch_bytes(97, 97),), np.uint8)
    kernel.run(plan(device_view(batch), device_view(out), device_view(scratch), min_share=1.0))
    np.testing.assert_array_equal(out[0], drop_small_pieces(mask > 0, 1.0))
    assert 0 < out.sum() < mask.sum()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0, 1, 3, 24, 40])
def test_dilation_and_erosion(kernel: HostModule, shape: tuple[int, int], radius: int) -> None:
    batch = masks(*shape)
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    for erode, twin in ((False, cv2.dilate), (True, cv2.erode)):
        out, scratch = poisoned(batch.shape, np.uint8), poisoned((scratch_bytes(*shape, len(batch)),), np.uint8)
        kernel.run(plan_spread(device_view(batch), device_view(out), device_view(scratch), radius, erode=erode))
        for mask, mine in zip(batch, out, strict=True):
            np.testing.assert_array_equal(mine, twin((mask > 0).astype(np.uint8), square))


def test_in_place(kernel: HostModule) -> None:
    batch = masks(40, 65)
    expected = [drop_small_pieces(mask > 0, 0.3) for mask in batch]
    view, scratch = device_view(batch), poisoned((scratch_bytes(40, 65, len(batch)),), np.uint8)
    kernel.run(plan(view, view, device_view(scratch), min_share=0.3))
    np.testing.assert_array_equal(batch, expected)


def test_wrong_arguments_are_refused() -> None:
    mask, out, scratch = np.zeros((1, 4, 5), np.uint8), np.zeros((1, 4, 5), np.uint8), np.zeros(scratch_bytes(4, 5), np.uint8)

    def attempt(*arrays: NDArray) -> None:
        plan(*(device_view(array) for array in arrays))

    attempt(mask, out, scratch)
    for wrong in (
        (mask.astype(np.int8), out, scratch),
        (mask[0], out, scratch),
        (mask, out[:, :3], scratch),
        (mask, out, scratch[:-1]),
        (mask[:, :0], out[:, :0], scratch),
    ):
        with pytest.raises(ValueError, match="must"):
            attempt(*wrong)
    with pytest.raises(ValueError, match="radius"):
        plan_spread(device_view(mask), device_view(out), device_view(scratch), -1)
