"""The CUDA kernel ``warp_parts``, run on the CPU: against its twin and the published numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module, poisoned, random_transforms
from h2k_kernels import Crops, warp_parts
from h2k_kernels.launch import DeviceArray
from h2k_kernels.launch.warp_parts import plan
from numpy.typing import NDArray
from oracle_rules import unit, wave

from h2k_rt.constants import METHOD
from h2k_rt.inference import CROPS

Vectors = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def kernel(kernel_folder) -> HostModule:
    return host_module("warp_parts", kernel_folder)


def run(
    kernel: HostModule,
    picture: NDArray,
    low: NDArray,
    to_canvas: NDArray[np.float32],
    groups: tuple[Crops, ...],
    dtype: type = np.float32,
    background: float | None = None,
) -> list[NDArray]:
    """Arrays of B persons in, for each group (B * parts, 6, h, w) out."""
    persons = len(picture)
    outputs = [poisoned((persons * len(g.parts), 6, g.height, g.width), dtype) for g in groups]
    views = [device_view(np.ascontiguousarray(array)) for array in (picture, low, to_canvas)]
    kernel.run(plan(*views, groups, [device_view(output) for output in outputs], background))
    return outputs


#: Sizes of canvas and low normals, and crops: odd, wider than a tile, one pixel, larger than the canvas.
CASES = [
    (64, 8, (Crops((0, 1), 24, 20), Crops((2,), 17, 31))),
    (97, 13, (Crops((0, 2, 1), 33, 35), Crops((3,), 1, 1), Crops((4,), 16, 2))),
    (50, 50, (Crops((1,), 40, 48),)),
    (40, 5, (Crops((0,), 7, 66), Crops((3, 4), 18, 4))),
]


@pytest.mark.parametrize(("size", "low_size", "groups"), CASES, ids=lambda value: str(value) if isinstance(value, int) else "")
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_equals_the_twin(kernel: HostModule, size: int, low_size: int, groups: tuple[Crops, ...], dtype: type) -> None:
    rng = np.random.default_rng(size)
    persons = 2
    picture = rng.uniform(-1, 1, (persons, size, size, 3)).astype(np.float32)
    low = rng.uniform(0, 1, (persons, 6, low_size, low_size)).astype(dtype)
    to_canvas = np.stack([random_transforms(rng, 5, size)[0] for _ in range(persons)])
    to_canvas[:, 2, :, 2] += 5  # wholly outside
    crops = tuple(g for g in groups)
    outputs = run(kernel, picture, low, to_canvas, crops, dtype)
    tolerance = 2e-6 if dtype is np.float32 else 1e-3
    for person in range(persons):
        narrow = tuple(Crops(g.parts, g.height, min(g.width, size)) for g in crops)
        twin = warp_parts(picture[person], low[person, :3].astype(np.float32), to_canvas[person], narrow)
        for group, output, expected in zip(crops, outputs, twin, strict=True):
            mine = output.reshape(persons, len(group.parts), 6, group.height, group.width)[person]
            left = group.width // 2 - expected.shape[3] // 2
            mine = mine[..., left : left + expected.shape[3]]
            np.testing.assert_allclose(mine.astype(np.float32), expected, atol=tolerance, rtol=0)
            for slot, part in enumerate(group.parts):
                if part == 2:
                    assert not mine[slot].any()


def test_bytes_equal_the_normalised_picture(kernel: HostModule) -> None:
    rng = np.random.default_rng(3)
    rgba = rng.integers(0, 256, (1, 48, 48, 4), np.uint8)
    low = rng.uniform(0, 1, (1, 3, 6, 6)).astype(np.float32)
    to_canvas, _ = random_transforms(rng, 2, 48)
    groups = (Crops((0, 1), 20, 30),)
    for background in (None, -1.5):
        if background is None:
            rgba[..., 3] = 255
        share = rgba[..., 3:] / 255
        base = background or 0.0
        picture = (base + share * (rgba[..., :3] / 127.5 - 1 - base)).astype(np.float32)
        (mine,) = run(kernel, rgba, low, to_canvas[None], groups, background=background)
        (expected,) = warp_parts(picture[0], low[0], to_canvas, groups)
        np.testing.assert_allclose(mine, expected, atol=3e-6, rtol=0)


def test_low_normals_of_one_pixel_and_of_the_canvas_size(kernel: HostModule) -> None:
    rng = np.random.default_rng(4)
    picture = np.zeros((1, 32, 32, 3), np.float32)
    to_canvas, _ = random_transforms(rng, 1, 32)
    groups = (Crops((0,), 12, 10),)
    for n in (1, 3, 31, 32):
        low = rng.uniform(0, 1, (1, 3, n, n)).astype(np.float32)
        (mine,) = run(kernel, picture, low, to_canvas[None], groups)
        (expected,) = warp_parts(picture[0], low[0], to_canvas, groups)
        np.testing.assert_allclose(mine, expected, atol=1e-5, rtol=0)


@pytest.mark.parity
def test_matches_the_published_crops(kernel: HostModule, load_vectors: Vectors, wave_offset: float) -> None:
    """The published matrices at the real size, where the twin is known to match the published crops."""
    data = load_vectors("parts_in")
    size = METHOD.size
    picture = wave(3, size, size, v=wave_offset).transpose(1, 2, 0)
    low = unit(6, 256, 256, v=wave_offset)
    expected = warp_parts(picture, low[:3], data["z"][0], CROPS)
    outputs = run(kernel, picture[None], low[None], data["z"], CROPS)
    for mine, twin in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(mine, twin, atol=1e-5, rtol=0)


def test_wrong_arguments_are_refused() -> None:
    groups = (Crops((0,), 4, 4),)
    good = {
        "picture": np.zeros((1, 16, 16, 4), np.uint8),
        "low": np.zeros((1, 3, 4, 4), np.float32),
        "to_canvas": np.zeros((1, 1, 2, 3), np.float32),
        "crops": np.zeros((1, 6, 4, 4), np.float16),
    }

    def attempt(**changed: NDArray) -> None:
        arrays = {name: device_view(array) for name, array in (good | changed).items()}
        plan(arrays["picture"], arrays["low"], arrays["to_canvas"], groups, [arrays["crops"]])

    attempt()
    wrong = {
        "picture": [np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 16, 8, 4), np.uint8), np.zeros((1, 16, 16, 4))],
        "low": [np.zeros((1, 2, 4, 4), np.float32), np.zeros((1, 3, 4, 5), np.float32), np.zeros((1, 3, 17, 17), np.float32)],
        "to_canvas": [np.zeros((2, 1, 2, 3), np.float32), np.zeros((1, 0, 2, 3), np.float32), np.zeros((1, 1, 2, 3))],
        "crops": [np.zeros((2, 6, 4, 4), np.float32), np.zeros((1, 6, 4, 5), np.float32), np.zeros((1, 6, 4, 8), "f4")[..., ::2]],
    }
    for name, arrays in wrong.items():
        for array in arrays:
            with pytest.raises(ValueError, match=r"must|has no transform"):
                attempt(**{name: array})
    huge = DeviceArray(256, (1, 65536, 65536, 4), np.dtype(np.uint8), (), None, (1, 0))
    with pytest.raises(ValueError, match="at most 65535 pixels a side"):
        plan(huge, *(device_view(good[name]) for name in ("low", "to_canvas")), groups, [device_view(good["crops"])])
    with pytest.raises(ValueError, match="32 crops"):
        many = (Crops(tuple(range(33)), 2, 2),)
        views = [device_view(a) for a in (good["picture"], good["low"], np.zeros((1, 33, 2, 3), np.float32))]
        plan(*views, many, [device_view(np.zeros((33, 6, 2, 2), np.float32))])
