"""The back of the trunk: its sides' colours drawn across, without what is printed, buttoned or bare in front."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.surface.back_head import Fill, feather, skin_mask
from h2k_rt.surface.body_frame import BodyFrame
from h2k_rt.surface.fill import push_pull

#: The trunk reaches so far (metres) beyond the shoulder and hip joints: to the sides, above and below.
_SIDE, _ABOVE, _BELOW = 0.05, 0.03, 0.10
#: From this share of the half width outwards the front's colour counts as the side's.
_INNER, _OUTER = 0.55, 0.85
#: More skin than this on the sides: the trunk is bare, and its front is as good a guess as any.
_BARE = 0.5
#: Length in metres along the trunk below which a change at one side only is a print, a pocket or a hand.
_LONG = 0.2
#: Difference in grey levels up to which colours are alike.
_LIKE = 22.0


def trunk_fill(picture: NDArray[np.uint8], inside: NDArray[np.bool_], frame: BodyFrame) -> Fill | None:
    """Each level of the trunk gets the colours of its two sides, blended from one to the other; None where no trunk is seen.

    Args:
        picture: (h, w, 3) uint8 RGB, reduced front colours.
        inside: (h, w) bool mask.
    """
    if frame.shoulders is None or frame.hips is None:
        return None
    across, down = _trunk_coordinates(inside.shape, frame)
    trunk = inside & (np.abs(across) <= 1) & (down >= 0) & (down <= 1)
    if np.count_nonzero(trunk) < 50:
        return None
    arms = frame.forearm_mask(inside.shape)
    skin = skin_mask(picture, inside, frame)
    side = trunk & (np.abs(across) > _INNER)
    cloth = side & ~arms
    if skin is not None:
        if np.count_nonzero(cloth & skin) > _BARE * np.count_nonzero(cloth):
            return None
        cloth &= ~cv2.dilate(skin.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if np.count_nonzero(cloth) < 0.1 * np.count_nonzero(side):
        cloth = trunk & ~arms if skin is None else trunk & ~arms & ~skin
        if np.count_nonzero(cloth) < 20:
            return None
    values = picture.astype(np.float32)
    color = _blend_sides(values, cloth, across, down, trunk, _LONG * frame.scale)
    # Kept at the sides where the front shows cloth, replaced in the middle and wherever it shows an arm or skin.
    ramp = np.clip((_OUTER - np.abs(across)) / (_OUTER - _INNER), 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    replace = arms if skin is None else arms | skin
    inner = np.clip((1 - np.abs(across)) / 0.15, 0, 1)
    alpha = np.where(replace, np.maximum(ramp, inner), ramp)
    # A print that reaches the side is not the side's colour.
    away = np.abs(cv2.GaussianBlur(values, (0, 0), 1.0) - color).max(axis=2)
    alpha = np.maximum(alpha, np.clip((away - _LIKE) / _LIKE, 0, 1) * inner)
    ends = np.clip(np.minimum(down, 1 - down) / 0.05, 0, 1)
    alpha = np.where(trunk, alpha * ends, 0).astype(np.float32)
    return Fill(color, feather(alpha, inside, max(0.008 * frame.scale, 0.7)), np.zeros_like(alpha), np.ones_like(alpha))


def _trunk_coordinates(shape: tuple[int, int], frame: BodyFrame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Per pixel: -1..1 from the trunk's left to its right edge, and 0..1 from above the shoulders to below the hips."""
    assert frame.shoulders is not None and frame.hips is not None
    top, bottom = frame.shoulders.mean(axis=0), frame.hips.mean(axis=0)
    axis = bottom - top
    length = max(float(np.linalg.norm(axis)), 1e-6)
    axis = axis / length
    lateral = np.array([axis[1], -axis[0]])
    x, y = np.meshgrid(np.arange(shape[1], dtype=np.float32) + 0.5, np.arange(shape[0], dtype=np.float32) + 0.5)
    along = (x - top[0]) * axis[0] + (y - top[1]) * axis[1]
    beside = (x - top[0]) * lateral[0] + (y - top[1]) * lateral[1]
    side = _SIDE * frame.scale
    upper = abs(float((frame.shoulders[1] - frame.shoulders[0]) @ lateral)) / 2 + side / 2
    lower = abs(float((frame.hips[1] - frame.hips[0]) @ lateral)) / 2 + 1.6 * side
    half = upper + (lower - upper) * np.clip(along / length, 0, 1.2)
    above, below = _ABOVE * frame.scale, _BELOW * frame.scale
    down = (along + above) / (length + above + below)
    return (beside / np.maximum(half, 1e-3)).astype(np.float32), down.astype(np.float32)


def _blend_sides(
    values: NDArray[np.float32],
    known: NDArray[np.bool_],
    across: NDArray[np.float32],
    down: NDArray[np.float32],
    trunk: NDArray[np.bool_],
    long: float,
) -> NDArray[np.float32]:
    """Mean colour of the left and of the right side per level, smoothed a little along the trunk, blended across it.

    Levels are straight lines across the trunk, so that hems and belts stay sharp; ``long`` (px): see ``_LONG``.
    """
    levels = max(int(np.count_nonzero(trunk.any(axis=1))), 2)
    level = np.clip(np.rint(np.where(trunk, down, 0) * (levels - 1)), 0, levels - 1).astype(np.int32)
    sides = []
    for chosen in (known & (across < 0), known & (across >= 0)):
        index = level[chosen]
        weight = np.bincount(index, minlength=levels).astype(np.float64)
        sums = np.stack([np.bincount(index, values[..., c][chosen], levels) for c in range(3)], axis=1)
        sides.append((sums, weight))
    pooled = sides[0][0] + sides[1][0], sides[0][1] + sides[1][1]
    # A level without cloth at one side takes the other side's colour, one without any the nearest level's.
    lines = [_along(sums + 0.02 * pooled[0], weight + 0.02 * pooled[1]) for sums, weight in sides]
    lines = _without_prints(lines, long)
    t = np.clip(across * 0.5 + 0.5, 0, 1)[..., None]
    return ((1 - t) * lines[0][level] + t * lines[1][level]).astype(np.float32)


def _without_prints(lines: list[NDArray[np.float32]], window: float) -> list[NDArray[np.float32]]:
    """Where the two sides differ, take each back to its running median along the trunk; stripes, alike at both sides, stay."""
    count = len(lines[0])
    half = min(max(round(window / 2), 1), max(count // 2 - 1, 1))
    differ = np.clip((np.abs(lines[0] - lines[1]).max(axis=1) - _LIKE) / _LIKE, 0, 1)[:, None]
    out = []
    for line in lines:
        padded = np.pad(line, ((half, half), (0, 0)), mode="edge")
        median = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0), axis=-1)
        out.append((line * (1 - differ) + median * differ).astype(np.float32))
    return out


def _along(sums: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float32]:
    """(levels, 3) means, with empty levels filled and single levels' noise smoothed."""
    mean = sums / np.maximum(weight, 1e-9)[:, None]
    known = (weight > 1e-9).astype(np.float32)
    line = push_pull(mean.astype(np.float32)[:, None], known[:, None])
    return cv2.GaussianBlur(line, (0, 0), sigmaX=0.01, sigmaY=1.0).reshape(-1, 3).astype(np.float32)
