"""The back of the head: hair, or skin of the neck, instead of the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.surface.body_frame import BodyFrame
from h2k_rt.surface.fill import push_pull

#: Metres above the middle of the eyes: hairline at the neck (about mouth level), chin, and where the trunk begins.
_NAPE, _CHIN, _COLLAR = -0.07, -0.115, -0.17
#: Above this the head shows hair, or is bald.
_CROWN = 0.06
#: Half widths in metres: of the face, of the neck, and of all that belongs to the head with its hair.
_FACE, _NECK, _HEAD = 0.07, 0.065, 0.17
#: Radius of an ear in metres.
_EAR = 0.028
#: Skin, in Lab: differences in lightness and in colour from the cheeks that still are skin.
_SKIN_L, _SKIN_AB = 26.0, 13.0


@dataclass(frozen=True)
class Fill:
    """New colours for a region of the back.

    Attributes:
        color: (h, w, 3) float32 RGB 0..255.
        alpha: (h, w) float32 0..1: how much of the front's colour they replace.
        grain: (h, w) float32: grey levels to be added, such as strands of hair.
        detail: (h, w) float32 0..1: where the front's fine detail may stay.
    """

    color: NDArray[np.float32]
    alpha: NDArray[np.float32]
    grain: NDArray[np.float32]
    detail: NDArray[np.float32]


def skin_mask(
    picture: NDArray[np.uint8], inside: NDArray[np.bool_], frame: BodyFrame, *, shade: float = 1.0
) -> NDArray[np.bool_] | None:
    """(h, w) bool: pixels of the colour of the person's own cheeks and nose; None where no face is seen.

    ``shade`` widens the range of lightness, for skin that lies in shadow.
    """
    if frame.eyes is None:
        return None
    x, y = frame.head_coordinates(inside.shape)
    cheeks = inside & (np.abs(x) < 0.045) & (y > -0.055) & (y < -0.015)
    if np.count_nonzero(cheeks) < 6:
        return None
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    middle = [float(v) for v in np.median(lab[cheeks], axis=0)]
    lightness = np.abs(lab[..., 0] - middle[0]) * (100 / 255 / _SKIN_L / shade)
    chroma = np.hypot(lab[..., 1] - middle[1], lab[..., 2] - middle[2]) / _SKIN_AB
    return inside & (np.hypot(lightness, chroma) < 1)


def head_fill(picture: NDArray[np.uint8], inside: NDArray[np.bool_], frame: BodyFrame) -> Fill | None:
    """Hair on the back of the head down to the nape (further for long hair), skin on the neck; None where no face is seen.

    Args:
        picture: (h, w, 3) uint8 RGB, reduced front colours.
        inside: (h, w) bool mask.
    """
    skin = skin_mask(picture, inside, frame)
    if skin is None:
        return None
    x, y = frame.head_coordinates(inside.shape)
    head = inside & (np.abs(x) < _HEAD) & (y > _NAPE) & (y < 0.3)
    hair = _hair(picture, inside, skin, x, y)
    nape = _NAPE
    crown = head & (y > _CROWN)
    bald = np.count_nonzero(hair & crown) < 0.15 * max(int(crown.sum()), 1)
    if not bald:
        nape = _hair_length(hair, inside, x, y)
    # A hairline is no straight line: waves of 5 mm, the same each time.
    line = nape + 0.003 * np.sin(x * 210) + 0.002 * np.sin(x * 530 + 1)
    region = inside & (np.abs(x) < _HEAD) & (y > line) & (y < 0.3)
    known = skin & (y > 0.02) & (y < _CROWN) if bald else hair & region
    if np.count_nonzero(known) < 4:
        known = skin & (np.abs(x) < _FACE) & (y > _CHIN)
    if np.count_nonzero(known) < 4:
        return None
    values = picture.astype(np.float32)
    base = _smooth_fill(values, known, sigma=0.012 * frame.scale)
    alpha = (region & ~_ears(skin, x, frame)).astype(np.float32)
    grain = _strands(values, hair & head, frame) * alpha if not bald else np.zeros_like(alpha)
    neck = inside & (y <= line) & (y > _COLLAR) & (np.abs(x) < _NECK + 0.02)
    throat = skin & (y < _CHIN) & (y > _COLLAR - 0.03) & (np.abs(x) < _NECK)
    source = throat if np.count_nonzero(throat) >= 4 else skin & (np.abs(x) < _FACE) & (y > _CHIN) & (y < 0)
    if neck.any() and np.count_nonzero(source) >= 4:
        # Only what was face or throat: a collar stays.
        shaded = skin_mask(picture, inside, frame, shade=2.5)
        face = neck & ((y > _CHIN) | skin | (shaded if shaded is not None else skin))
        # The back of the neck lies in the hair's shade.
        tone = np.median(values[source], axis=0) * 0.95
        base = np.where(face[..., None], tone.astype(np.float32), base)
        alpha = np.maximum(alpha, face.astype(np.float32))
    sigma = max(0.008 * frame.scale, 0.7)
    soft = cv2.GaussianBlur(base, (0, 0), sigma).astype(np.float32)
    detail = feather((known & region).astype(np.float32), inside, sigma)
    return Fill(soft, feather(alpha, inside, sigma), grain * (1 - detail), detail)


def _hair(
    picture: NDArray[np.uint8], inside: NDArray[np.bool_], skin: NDArray[np.bool_], x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Pixels of the colour that the top of the head has where it is not skin."""
    seed = inside & ~skin & (y > _CROWN) & (y < 0.2) & (np.abs(x) < 0.09)
    if np.count_nonzero(seed) < 6:
        return np.zeros_like(inside)
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    middle = np.median(lab[seed], axis=0)
    spread = np.maximum(1.5 * np.median(np.abs(lab[seed] - middle), axis=0), np.array([12.0, 4.0, 5.0], np.float32))
    near = (np.abs(lab - middle) < 2.5 * spread).all(axis=-1)
    # Eyes and brows are dark, too, but lie within the face.
    face = (np.abs(x) < 0.055) & (y < 0.045) & (y > _CHIN - 0.01)
    return inside & near & ~skin & ~face & (np.abs(x) < _HEAD) & (y > -0.45) & (y < 0.3)


def _ears(skin: NDArray[np.bool_], x: NDArray[np.float32], frame: BodyFrame) -> NDArray[np.bool_]:
    """Ears that stand beside the head: they are seen from both sides."""
    out = np.zeros(skin.shape, bool)
    for ear in frame.ears:
        circle = np.zeros(skin.shape, np.uint8)
        cv2.circle(circle, (round(float(ear[0])), round(float(ear[1]))), max(round(_EAR * frame.scale), 1), 1, -1)
        assert frame.eyes is not None
        beside = abs(float((ear - frame.eyes) @ frame.right)) / frame.scale
        out |= (circle > 0) & (np.abs(x) > beside - 0.004)
    return skin & out


def _hair_length(hair: NDArray[np.bool_], inside: NDArray[np.bool_], x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """How far down (metres relative to the eyes) hair hangs at both sides of the neck; the nape for short hair."""
    nape = _NAPE
    for top in np.arange(_NAPE, -0.42, -0.02):
        row = inside & (y <= top) & (y > top - 0.02)
        sides = [row & (x > 0.045) & (x < 0.12), row & (x < -0.045) & (x > -0.12)]
        share = [np.count_nonzero(hair & side) / max(int(side.sum()), 1) for side in sides]
        if min(share) < 0.2 or max(share) < 0.35:
            break
        nape = float(top) - 0.02
    return nape


def _smooth_fill(values: NDArray[np.float32], known: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """The known colours, smoothed among themselves, brought to everywhere else, where they fade to their common middle."""
    middle = np.median(values[known], axis=0)
    # Pixels at the edge of what is known are mixed with what lies beside it.
    inner = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    source = inner if np.count_nonzero(inner) > 0.3 * np.count_nonzero(known) else known
    weight = source.astype(np.float32)
    total = cv2.GaussianBlur(weight, (0, 0), max(sigma, 0.5))
    smooth = cv2.GaussianBlur(values * weight[..., None], (0, 0), max(sigma, 0.5)) / np.maximum(total, 1e-4)[..., None]
    filled = push_pull(np.where(source[..., None], smooth, 0).astype(np.float32), weight)
    near = cv2.GaussianBlur(weight, (0, 0), max(3 * sigma, 1.0))[..., None]
    share = np.clip(0.4 + near, 0, 1)
    return (filled * share + middle * (1 - share)).astype(np.float32)


def _strands(values: NDArray[np.float32], hair: NDArray[np.bool_], frame: BodyFrame) -> NDArray[np.float32]:
    """Noise drawn out along the head's height, as strong as the hair's own texture; the same for the same picture."""
    grey = values @ np.array([0.299, 0.587, 0.114], np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), max(0.01 * frame.scale, 0.8))
    strength = 0.0
    if hair.any():
        # Strands on dark hair are faint, whatever the noise of the photo.
        strength = min(0.7 * 1.4826 * float(np.median(np.abs(fine[hair]))), 1 + 0.06 * float(np.median(grey[hair])))
    noise = np.random.default_rng(0).standard_normal(grey.shape).astype(np.float32)
    length = max(0.015 * frame.scale, 1.0)
    drawn = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.6, sigmaY=length)
    return drawn * np.float32(strength / max(float(drawn.std()), 1e-6))


def feather(alpha: NDArray[np.float32], inside: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """Blur the region's edge inside the person only, so that it is not thinned at the silhouette."""
    weight = inside.astype(np.float32)
    blurred = cv2.GaussianBlur(alpha * weight, (0, 0), sigma)
    return (blurred / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-4) * weight).astype(np.float32)
