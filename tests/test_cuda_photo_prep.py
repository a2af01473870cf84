"""The CUDA kernel ``photo_prep``, run on the CPU: against its twins and the published numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module, poisoned
from h2k_kernels.launch.photo_prep import frame_bytes, frame_of, plan, scratch_bytes
from numpy.typing import NDArray
from oracle_rules import test_picture as oracle_picture

from h2k_rt.framing import Framing, pad_framing, pad_square
from h2k_rt.picture import apply_colour_factors, cut_out, hard_mask, low_picture, normalise, prepare_picture

Vectors = Callable[[str], dict[str, np.ndarray]]
Photo = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def kernel(kernel_folder) -> HostModule:
    return host_module("photo_prep", kernel_folder)


def run(
    kernel: HostModule, photos: list[Photo], framings: list[Framing], low_size: int, dtype: type = np.float32, **options: Any
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray]:
    published = options.pop("published", False)
    size, persons = framings[0].size, len(photos)
    frames, at, mask_at = [], 0, 0
    for (photo, mask), f in zip(photos, framings, strict=True):
        frames.append(frame_of(mask.shape, f.scale, f.dx, f.dy, at, mask_at, published=published))
        at, mask_at = at + photo.size, mask_at + mask.size
    canvas, picture = poisoned((persons, size, size, 4), np.uint8), poisoned((persons, size, size, 4), np.uint8)
    low = poisoned((persons, 3, low_size, low_size), dtype)
    arrays = (
        np.concatenate([photo.ravel() for photo, _ in photos]),
        np.concatenate([mask.ravel() for _, mask in photos]),
        frame_bytes(frames),
        canvas,
        picture,
        low,
        poisoned((scratch_bytes(size, persons),), np.uint8),
    )
    kernel.run(plan(*map(device_view, arrays), **options))
    return canvas, picture, low


def smooth_photo(height: int, width: int, seed: int) -> Photo:
    """A photo without hard edges, on which coordinates rounded to 1/32 pixel (OpenCV) show little, and a soft mask."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (max(height // 12, 2), max(width // 12, 2), 4)).astype(np.float32)
    fine = np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255)
    out = np.rint(fine).astype(np.uint8).reshape(height, width, 4)
    return np.ascontiguousarray(out[..., :3]), np.ascontiguousarray(out[..., 3])


PLACES = [
    ((90, 61), 0.31, -3.2, 7.9),
    ((70, 200), 0.7, -40.3, 20.0),
    ((64, 64), 0.8, 5.5, -7.25),
    ((50, 41), 1.0, 11.0, 3.0),
    ((37, 50), 2.3, -21.7, -14.1),
    ((400, 300), 0.13, 14.0, 5.0),
    ((1, 1), 20.0, 10.0, 10.0),
    ((3, 500), 0.2, -30.0, 30.0),
]


@pytest.mark.parametrize(("shape", "scale", "dx", "dy"), PLACES)
def test_places_as_the_framing_does(kernel: HostModule, shape: tuple[int, int], scale: float, dx: float, dy: float) -> None:
    framing = Framing(scale, dx, dy, 64)
    photo, mask = smooth_photo(*shape, seed=shape[0])
    canvas, _, _ = run(kernel, [(photo, mask)], [framing], 8)
    for mine, source, border in (
        (canvas[0, ..., :3], photo, cv2.BORDER_REPLICATE),
        (canvas[0, ..., 3], mask, cv2.BORDER_CONSTANT),
    ):
        twin = framing.image(source, border=border).astype(int)
        # OpenCV rounds positions to 1/32 pixel and rounds to bytes after each of its two steps.
        difference = np.abs(mine.astype(int) - twin)
        assert np.quantile(difference, 0.95) <= 2
        assert difference.max() <= 6


def test_averaging_is_exact(kernel: HostModule) -> None:
    """Placed so that canvas pixels are whole blocks of the photo, a canvas pixel is the blocks' mean; independent of OpenCV."""
    rng = np.random.default_rng(1)
    photo, mask = rng.integers(0, 256, (96, 96, 3), np.uint8), rng.integers(0, 256, (96, 96), np.uint8)
    canvas, _, _ = run(kernel, [(photo, mask)], [Framing(1 / 3, 0, 0, 32)], 8)
    blocks = np.dstack([photo, mask]).reshape(32, 3, 32, 3, 4).mean((1, 3))
    assert np.abs(canvas[0] - blocks).max() <= 0.5 + 1e-4


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(50, 33), (33, 50), (64, 64), (128, 97), (1, 90)])
def test_pads_as_published(kernel: HostModule, shape: tuple[int, int]) -> None:
    photo, mask = smooth_photo(*shape, seed=2)
    canvas, _, _ = run(kernel, [(photo, mask)], [pad_framing(*shape, 64)], 8, published=True)
    for mine, source in ((canvas[0, ..., :3], photo), (canvas[0, ..., 3], mask)):
        assert np.abs(mine.astype(int) - pad_square(source, 64)).max() <= 1


@pytest.mark.parity
def test_matches_the_published_padding(kernel: HostModule, load_vectors: Vectors, wave_offset: float) -> None:
    data = load_vectors("preprocess")
    name = next(key for key in data if key.startswith("img_"))  # one is enough here: the twin is compared with all
    height, width = map(int, name.split("_")[1].split("x"))
    photo = oracle_picture(height, width, v=wave_offset)
    mask = np.full((height, width), 255, np.uint8)
    canvas, _, _ = run(kernel, [(photo, mask)], [pad_framing(height, width, 2048)], 256, published=True)
    assert np.abs(canvas[0, ::37, ::37, :3].astype(int) - data[name]).max() <= 1
    assert (canvas[0, ..., 3] == 255).all()


def test_pictures_equal_the_twin(kernel: HostModule) -> None:
    """A batch of two photos that lie on the canvas as they are, so that the bytes before the colour factors are equal."""
    size = 48
    photos = [smooth_photo(size, size, seed) for seed in (3, 4)]
    photos[0][1][:10] = 0
    framings = [Framing(1.0, 0, 0, size)] * 2
    for background, dtype in itertools.product((None, -1.25), (np.float32, np.float16)):
        canvas, picture, low = run(kernel, photos, framings, 6, dtype, background=background)
        for person, (photo, mask) in enumerate(photos):
            np.testing.assert_array_equal(canvas[person], np.dstack([photo, mask]))
            colored = apply_colour_factors(cut_out(photo, mask), (0.85, 0.85, 0.85))
            np.testing.assert_array_equal(picture[person, ..., :3], colored)
            assert (picture[person, ..., 3] == (255 if background is None else mask)).all()
            twin = low_picture(prepare_picture(photo, mask, (0.85, 0.85, 0.85), background), 6)
            np.testing.assert_allclose(low[person], twin[0], atol=2e-6 if dtype is np.float32 else 1e-3)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("factors", [(0.85, 0.85, 0.85), (1.3, 0.4, 1.7), (1.0, 2.0, 0.0)])
def test_colour_factors_are_pillows(kernel: HostModule, order: tuple[int, int, int], factors: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(5)
    photo, mask = rng.integers(0, 256, (64, 64, 3), np.uint8), rng.integers(0, 2, (64, 64), np.uint8)
    _, picture, _ = run(kernel, [(photo, mask)], [Framing(1.0, 0, 0, 64)], 32, order=order, factors=factors, hard_mask=True)
    twin = apply_colour_factors(cut_out(photo, hard_mask(mask)), factors, order)
    np.testing.assert_array_equal(picture[0, ..., :3], twin)


@pytest.mark.parametrize("size", [10, 38, 66])
def test_odd_factors_of_the_low_picture_and_no_person(kernel: HostModule, size: int) -> None:
    photo = np.random.default_rng(6).integers(0, 256, (size, size, 3), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    for person in (mask, mask + 255):
        _, picture, low = run(kernel, [(photo, person)], [Framing(1.0, 0, 0, size)], size // 2)
        expected = apply_colour_factors(cut_out(photo, person), (0.85, 0.85, 0.85))
        np.testing.assert_array_equal(picture[0, ..., :3], expected)
        np.testing.assert_allclose(low, low_picture(normalise(expected), size // 2), atol=2e-6)


def test_wrong_arguments_are_refused() -> None:
    good = {
        "photos": np.zeros(48, np.uint8),
        "masks": np.zeros(16, np.uint8),
        "frames": frame_bytes([frame_of((4, 4), 1.0, 0, 0)]),
        "canvas": np.zeros((1, 16, 16, 4), np.uint8),
        "picture": np.zeros((1, 16, 16, 4), np.uint8),
        "low": np.zeros((1, 3, 8, 8), np.float32),
        "scratch": np.zeros(64, np.uint8),
    }

    def attempt(order: tuple[int, int, int] = (0, 1, 2), **changed: NDArray) -> None:
        plan(*(device_view(array) for array in (good | changed).values()), order=order)

    attempt()
    for name, array in (
        ("photos", np.zeros((4, 4, 3), np.uint8)),
        ("frames", np.zeros((1, 8), np.uint8)),
        ("canvas", np.zeros((1, 16, 12, 4), np.uint8)),
        ("picture", np.zeros((2, 16, 16, 4), np.uint8)),
        ("low", np.zeros((1, 3, 5, 5), np.float32)),
        ("low", np.zeros((1, 3, 16, 16), np.float32)),
        ("scratch", np.zeros(1, np.uint8)),
    ):
        with pytest.raises(ValueError, match="must"):
            attempt(**{name: array})
    with pytest.raises(ValueError, match="order"):
        attempt(order=(0, 1, 1))
    with pytest.raises(ValueError, match="cannot be placed"):
        frame_of((0, 4), 1.0, 0, 0)
