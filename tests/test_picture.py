"""The networks' picture: cut-out, colour factors, background value."""

from __future__ import annotations

import numpy as np
from PIL import Image

from h2k_rt.picture import cut_out, hard_mask, low_picture, normalise, prepare_picture


def test_cut_out_rounds_like_the_exact_product() -> None:
    """All 256 x 256 pairs of value and alpha against the rounded quotient."""
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgb = np.repeat(value[..., None], 3, axis=2).astype(np.uint8)
    want = np.floor(value * alpha / 255 + 0.5)
    np.testing.assert_array_equal(cut_out(rgb, alpha.astype(np.uint8))[..., 1], want)
    np.testing.assert_array_equal(hard_mask(np.array([[0, 1, 255]], np.uint8)), [[0, 255, 255]])


def test_normalise_is_the_published_formula() -> None:
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_allclose(normalise(values), (values / 255 - 0.5) / 0.5, atol=1e-7)


def test_published_background_is_black_under_the_contrast_factor() -> None:
    """Contrast pulls black towards the grey mean of the whole picture: 0.15 of it (SPEC 1, step 5)."""
    rgb = np.full((64, 64, 3), 200, np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 255
    picture = prepare_picture(rgb, mask, (0.85, 0.85, 0.85), None)
    grey = np.asarray(Image.fromarray(cut_out(rgb, mask)).convert("L"), float).mean() * 0.85
    assert abs(picture[0, 63, 0] - (0.15 * grey / 255 - 0.5) / 0.5) < 0.01


def test_own_background_value_fills_exactly_what_the_mask_leaves() -> None:
    rgb = np.full((32, 32, 3), 90, np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    mask[4, 4] = 51
    plain = prepare_picture(rgb, mask, (1.0, 1.0, 1.0), None)
    keyed = prepare_picture(rgb, mask, (1.0, 1.0, 1.0), -2.0)
    np.testing.assert_array_equal(keyed[mask == 0], -2.0)
    np.testing.assert_allclose(keyed[mask == 255], plain[mask == 255], atol=1e-6)
    np.testing.assert_allclose(keyed[4, 4], 0.2 * plain[4, 4] - 0.8 * 2.0, atol=1e-6)


def test_low_picture_takes_the_four_middle_pixels() -> None:
    rng = np.random.default_rng(0)
    picture = rng.uniform(-1, 1, (64, 64, 3)).astype(np.float32)
    low = low_picture(picture, 8)
    assert low.shape == (1, 3, 8, 8)
    np.testing.assert_allclose(low[0, :, 2, 5], picture[19:21, 43:45].mean((0, 1)), atol=1e-6)
