"""From the framed photo to the networks' input: cut-out, colour factors, normalisation (SPEC 1)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def cut_out(rgb: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Set the background to black: (N, N, 3) uint8 times a soft mask (N, N) uint8, 255 = person.

    The published program keeps every pixel whose alpha is above 0; :func:`hard_mask` makes such a mask of any.
    """
    # (v * a + 127) // 255 in 16 bits, exact for all bytes.
    product = rgb.astype(np.uint16) * mask[..., None] + 128
    return ((product + (product >> 8)) >> 8).astype(np.uint8)


def hard_mask(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 where the mask is above 0 (SPEC 1, step 4)."""
    return np.where(mask > 0, np.uint8(255), np.uint8(0))


def apply_colour_factors(
    rgb: NDArray[np.uint8], factors: tuple[float, float, float], order: Sequence[int] = (0, 1, 2)
) -> NDArray[np.uint8]:
    """Brightness, contrast and saturation factors as Pillow's enhancement operations, each rounding to 8 bits.

    Args:
        rgb: (H, W, 3) uint8 sRGB.
        factors: brightness, contrast, saturation.
        order: in which order; the published program draws it anew at each call (quirk Q1).
    """
    image = Image.fromarray(rgb)
    for index in order:
        if factors[index] != 1:
            image = _ENHANCERS[index](image).enhance(factors[index])
    return np.asarray(image)


def normalise(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit values to [-1, 1] float32: ``(v / 255 - 0.5) / 0.5``, any shape."""
    table = ((np.arange(256, dtype=np.float32) / np.float32(255)) - np.float32(0.5)) / np.float32(0.5)
    return np.asarray(cv2.LUT(rgb, table), np.float32).reshape(rgb.shape)


def prepare_picture(
    rgb: NDArray[np.uint8], mask: NDArray[np.uint8], factors: tuple[float, float, float], background: float | None
) -> NDArray[np.float32]:
    """The networks' picture of a canvas: cut out, colour-factored, normalised (SPEC 1, steps 4 to 6).

    Args:
        rgb: (N, N, 3) uint8 sRGB; mask: (N, N) uint8, 255 = person.
        background: value of the background in all channels, laid under the soft edge of the mask; None: as published.

    Returns:
        (N, N, 3) float32.
    """
    coloured = apply_colour_factors(cut_out(rgb, mask), factors)
    if background is None:
        return normalise(coloured)
    picture = np.full(rgb.shape, background, np.float32)
    x, y, width, height = cv2.boundingRect(mask)
    if width:
        window = np.s_[y : y + height, x : x + width]
        inside = normalise(np.ascontiguousarray(coloured[window]))
        inside -= np.float32(background)
        inside *= mask[window].astype(np.float32)[..., None] * np.float32(1 / 255)
        inside += np.float32(background)
        picture[window] = inside
    return picture


def low_picture(picture: NDArray[np.float32], low_size: int) -> NDArray[np.float32]:
    """Bilinear reduction without anti-aliasing: (N, N, 3) float32 -> (1, 3, n, n) float32 (SPEC 1, step 7).

    With half-pixel centres and an even factor f that is the mean of the four pixels around each cell's centre.
    """
    factor = picture.shape[0] // low_size
    if picture.shape[0] != low_size * factor or factor % 2:
        raise ValueError(f"{picture.shape[0]} is not an even multiple of {low_size}")
    near, far = factor // 2 - 1, factor // 2
    total = picture[near::factor, near::factor] + picture[near::factor, far::factor]
    total += picture[far::factor, near::factor]
    total += picture[far::factor, far::factor]
    total *= np.float32(0.25)
    return np.ascontiguousarray(total.transpose(2, 0, 1)[None])
