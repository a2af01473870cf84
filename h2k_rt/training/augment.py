"""What happens to a rendered sample before a network sees it: imperfect mask, colours, mirroring (SPEC 9 and our additions)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from h2k_rt.constants import JOINT_NAMES, METHOD
from h2k_rt.picture import cut_out, normalise
from h2k_rt.training.config import AugmentConfig

#: For each joint the one on the other side of the body.
MIRRORED_JOINTS = tuple(
    JOINT_NAMES.index(name.replace("left", "right") if "left" in name else name.replace("right", "left")) for name in JOINT_NAMES
)

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class NetworkPicture:
    """The networks' picture of a sample, where the person is; all around is background.

    Attributes:
        values: (h, w, 3) float32, normalised; background around it has ``outside`` in all channels.
        box: (x0, y0, x1, y1) of ``values`` on the sample's picture of ``size`` pixels.
        mask: (h, w) uint8, the imperfect mask it was cut out with.
    """

    values: NDArray[np.float32]
    box: Box
    mask: NDArray[np.uint8]
    outside: float
    size: int

    def whole(self) -> NDArray[np.float32]:
        """(S, S, 3) float32, the whole picture."""
        out = np.full((self.size, self.size, 3), self.outside, np.float32)
        x0, y0, x1, y1 = self.box
        out[y0:y1, x0:x1] = self.values
        return out

    def whole_mask(self) -> NDArray[np.uint8]:
        """(S, S) uint8, the whole mask."""
        out = np.zeros((self.size, self.size), np.uint8)
        x0, y0, x1, y1 = self.box
        out[y0:y1, x0:x1] = self.mask
        return out


def person_box(mask: NDArray[np.uint8], margin: int, align: int = 1) -> Box:
    """(x0, y0, x1, y1) around the mask with a margin, within the picture, on multiples of ``align``; all of it if empty."""
    size_y, size_x = mask.shape
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return 0, 0, size_x, size_y
    x0, y0 = max(0, x - margin) // align * align, max(0, y - margin) // align * align
    x1, y1 = -(-min(size_x, x + width + margin) // align) * align, -(-min(size_y, y + height + margin) // align) * align
    return x0, y0, min(size_x, x1), min(size_y, y1)


def network_picture(
    rgb: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    background: float | None,
    config: AugmentConfig | None,
    rng: np.random.Generator,
) -> NetworkPicture:
    """Cut out, coloured and normalised as in use (``picture.prepare_picture``), with the augmentations of ``config``.

    Args:
        rgb: (S, S, 3) uint8 with background; mask: (S, S) uint8, 255 = person.
        background: the bundle's ``background_value``.
        config: None: the mask as it is and the factors that are in use.
    """
    size = rgb.shape[0]
    scale = size / METHOD.size
    box = person_box(mask, int(np.ceil(32 * scale)) + 1)
    x0, y0, x1, y1 = box
    rgb, mask = rgb[y0:y1, x0:x1], mask[y0:y1, x0:x1]
    factors, order = METHOD.colour_factors, (0, 1, 2)
    if config is not None:
        mask = imperfect_mask(mask, config, rng, scale)
        rgb = photographed(rgb, config, rng, scale)
        low, high = config.factors
        draws = rng.uniform(low, high, 3)
        factors = (float(draws[0]), float(draws[1]), float(draws[2]))
        if config.random_order:
            first, second, third = rng.permutation(3)
            order = (int(first), int(second), int(third))
    coloured, black = colour_factors_of_crop(cut_out(rgb, mask), factors, order, size * size)
    values = normalise(coloured)
    if background is None:
        return NetworkPicture(values, box, mask, float(normalise(np.full((1, 1, 3), black, np.uint8))[0, 0, 0]), size)
    values -= np.float32(background)
    values *= mask.astype(np.float32)[..., None] * np.float32(1 / 255)
    values += np.float32(background)
    return NetworkPicture(values, box, mask, background, size)


def colour_factors_of_crop(
    crop: NDArray[np.uint8], factors: tuple[float, float, float], order: tuple[int, int, int], pixels: int
) -> tuple[NDArray[np.uint8], int]:
    """``picture.apply_colour_factors`` on a crop of a picture of ``pixels`` pixels that is black elsewhere, to the bit.

    Returns:
        The crop, and what black has become.
    """
    image = Image.fromarray(np.ascontiguousarray(crop))
    black = Image.new("RGB", (1, 1))
    for index in order:
        factor = factors[index]
        if factor == 1:
            continue
        if index == 1:
            # Pillow blends with the rounded grey mean of the whole picture.
            grey = int(np.asarray(image.convert("L"), np.int64).sum() / pixels + 0.5)
            image = Image.blend(Image.new("RGB", image.size, (grey,) * 3), image, factor)
            black = Image.blend(Image.new("RGB", (1, 1), (grey,) * 3), black, factor)
        else:
            enhance = ImageEnhance.Brightness if index == 0 else ImageEnhance.Color
            image, black = enhance(image).enhance(factor), enhance(black).enhance(factor)
    pixel = black.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return np.asarray(image), int(pixel[0])


def photographed(rgb: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator, scale: float) -> NDArray[np.uint8]:
    """A colour cast, blur and noise, as lenses and sensors add them; ``scale`` = picture pixels of one canvas pixel."""
    gains = np.exp(rng.normal(0, config.colour_cast, 3)) if config.colour_cast else np.ones(3)
    if rng.random() < config.blur:
        sigma = rng.uniform(0.3, 1.5) * scale
        if sigma > 0.15:
            rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma), np.uint8)
    sigma = rng.uniform(1, 6) * np.sqrt(scale) if rng.random() < config.noise else 0.0
    if not config.colour_cast and not sigma:
        return rgb
    table = np.arange(256, dtype=np.float32)[:, None] * gains.astype(np.float32)
    if not sigma:
        return np.asarray(cv2.LUT(rgb, np.clip(np.rint(table), 0, 255).astype(np.uint8)[None]), np.uint8)
    noisy = table[rgb, np.arange(3)]
    # One table of noise, read from a random place: drawing millions of normal numbers would take most of the time.
    noise = rng.normal(0, sigma, 1 << 16).astype(np.float32)
    noisy += noise[rng.integers(0, 1 << 16, rgb.shape, np.uint16)]
    return np.clip(np.rint(noisy, out=noisy), 0, 255, out=noisy).astype(np.uint8)


def imperfect_mask(mask: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator, scale: float) -> NDArray[np.uint8]:
    """A mask as person finders give it: its edge in or out by a varying amount, soft, at times with a hole or a blob.

    The mask is blurred and cut at a level that varies slowly over the picture; a blur of ``s`` pixels cut at 10 % moves a
    straight edge by 1.28 s.
    """
    if config.mask_shift <= 0 and config.mask_holes <= 0:
        return mask
    height, width = mask.shape
    value = mask.astype(np.float32) * np.float32(1 / 255)
    if config.mask_holes and rng.random() < config.mask_holes:
        _pierce(value, rng, scale)
    reach = config.mask_shift * scale * rng.uniform(0.15, 1.0)
    if reach > 0.05:
        value = np.asarray(cv2.GaussianBlur(value, (0, 0), max(0.3, reach / 1.28)), np.float32)
        coarse = rng.normal(0, 0.2, (4 + height // max(1, int(96 * scale)), 4 + width // max(1, int(96 * scale))))
        level = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        level = np.clip(level + np.float32(0.5 + rng.normal(0, 0.15)), 0.1, 0.9)
        softness = np.float32(rng.uniform(0.15, 0.9))
        value = np.clip((value - level) / softness + np.float32(0.5), 0, 1)
    return np.rint(value * np.float32(255)).astype(np.uint8)


def _pierce(value: NDArray[np.float32], rng: np.random.Generator, scale: float) -> None:
    """Set one to three small ellipses at the mask's edge to 0 or 1, in place."""
    edge = cv2.morphologyEx((value > 0.5).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero(edge)
    if not len(rows):
        return
    for _ in range(rng.integers(1, 4)):
        at = rng.integers(len(rows))
        centre = int(columns[at]), int(rows[at])
        axes = tuple(max(1, int(n)) for n in rng.uniform(6, 28, 2) * scale)
        cv2.ellipse(value, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.random() < 0.5), -1)


def mirrored_joints(joints: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Joints (31, 3) of the mirrored picture: x from the other side, left and right exchanged; missing ones stay 0."""
    out = joints[list(MIRRORED_JOINTS)].copy()
    there = out[:, 2] > 0
    out[there, 0] = size - out[there, 0]
    return out
