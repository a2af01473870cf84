"""The window copy, run on the CPU against slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module
from h2k_kernels.copy_window import copy_window
from h2k_kernels.launch.copy_window import plan
from numpy.testing import assert_array_equal


@pytest.fixture(scope="module")
def module(kernel_folder: Path) -> HostModule:
    return host_module("copy_window", kernel_folder)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("height", "width", "divisor"), [(64, 32, 8), (7, 33, 1), (1, 1, 4), (70, 90, 2)])
def test_windows_are_slices(module: HostModule, dtype: type, height: int, width: int, divisor: int) -> None:
    rng = np.random.default_rng(3)
    source = rng.normal(size=(3, 2, 70, 90)).astype(dtype)
    start = np.array([[0, 0], [(90 - width) // 2, (70 - height) // 2], [90 - width, 70 - height]])
    origin = (start * divisor).astype(np.int32)
    target = np.full((3, 2, height, width), np.nan, dtype)
    module.run(plan(*map(device_view, (source, target, origin)), divisor))
    for person, (x, y) in enumerate(start):
        assert_array_equal(target[person], source[person, :, y : y + height, x : x + width])
    assert_array_equal(copy_window(source, origin, height, width, divisor), target)


def test_an_origin_outside_reads_no_foreign_memory(module: HostModule) -> None:
    source = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    target = np.empty((1, 1, 2, 2), np.float32)
    for x, y, first in ((-(2**31), -5, 0), (2**31 - 3, 99, 6)):
        origin = np.array([[x, y]], np.int32)
        module.run(plan(*map(device_view, (source, target, origin))))
        assert target[0, 0, 0, 0] == first
        with pytest.raises(ValueError, match="no window of 2 x 2"):
            copy_window(source, origin, 2, 2)


def test_arguments() -> None:
    source, target, origin = np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 3, 4, 4), np.float32), np.zeros((2, 2), np.int32)
    good = plan(*map(device_view, (source, target, origin)))
    assert (good.kernel, good.grid, good.block) == ("copy_window_4", (1, 1, 2), (32, 8, 1))
    for wrong in (
        (source, target.astype(np.float16), origin),
        (source, target[:1], origin),
        (source, target, origin[:1]),
        (source, np.zeros((2, 3, 9, 4), np.float32), origin),
        (source, np.zeros((2, 3, 0, 4), np.float32), origin),
        (source[:, :, ::2], target, origin),
        (source[:0], target[:0], origin[:0]),
    ):
        with pytest.raises(ValueError):
            plan(*map(device_view, wrong))
    with pytest.raises(ValueError):
        plan(*map(device_view, (source, target, origin)), divisor=0)
