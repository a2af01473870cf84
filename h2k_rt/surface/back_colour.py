"""Colours of the unseen back: hair instead of the face, the clothes' sides instead of what is on the chest.

Nobody can know the back. What makes a copy of the front look wrong is the face on the back of the head, and prints, buttons and
bare skin of a neckline on the back of the trunk. Both are replaced from what the photo shows at the person's sides; limbs keep the
front's colours, because skin, sleeves, trousers and shoes mostly look alike from both sides.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.surface.back_head import Fill, head_fill
from h2k_rt.surface.back_trunk import trunk_fill
from h2k_rt.surface.body_frame import find_body_frame
from h2k_rt.surface.fill import bounding_box

#: The fill is made at about this size of the canvas: it is smooth, and this is 16 times faster.
SMALL = 512
#: Fine detail of the front that stays on the filled back where the colours agree, as a share and in grey levels.
DETAIL_SHARE, DETAIL_LIMIT = 0.7, 12.0
#: Deviation of the blur that tells the coarse colours, in reduced pixels.
COARSE = 2.5
#: Difference of the coarse colours in grey levels at which no detail is left.
DETAIL_REACH = 40.0


def back_colours(front: NDArray[np.uint8], mask: NDArray[np.bool_], joints: NDArray[np.floating] | None) -> NDArray[np.uint8]:
    """(N, N, 3) uint8: colours of the back points, seen through from the front (no mirroring).

    Args:
        front: (N, N, 3) uint8 sRGB, as :func:`h2k_rt.surface.colour.front_colours` makes them.
        mask: (N, N) bool.
        joints: (31, 3) canvas pixels, or None. A region whose joints are missing, or where the person shows the side or the back,
            keeps the front's colours.
    """
    out = front.copy()
    if joints is None or not mask.any():
        return out
    factor = max(round(front.shape[0] / SMALL), 1)
    rows, columns = bounding_box(mask)
    part = out[rows, columns]  # a view: written in place
    small, inside = shrink(part, mask[rows, columns], factor)
    for fill in back_fills(small, inside, joints, (columns.start, rows.start), factor):
        apply_fill(part, fill, factor)
    return out


def back_fills(
    small: NDArray[np.uint8], inside: NDArray[np.bool_], joints: NDArray[np.floating], origin: tuple[int, int], factor: int
) -> list[Fill]:
    """What replaces the front's colours on the back: of the trunk, then of the head, where these are seen from the front.

    Args:
        small, inside: of :func:`shrink`.
        joints: (31, 3) canvas pixels, (0, 0, 0) where missing.
        origin: x, y of the reduced window on the canvas.
        factor: by which it was reduced.
    """
    seen = np.asarray(joints, np.float64).copy()
    present = (seen[:, 0] != 0) | (seen[:, 1] != 0)
    seen[present, :2] -= origin
    seen[:, :2] /= factor
    frame = find_body_frame(seen, present)
    if frame is None:
        return []
    return [fill for fill in (trunk_fill(small, inside, frame), head_fill(small, inside, frame)) if fill is not None]


def shrink(front: NDArray[np.uint8], mask: NDArray[np.bool_], factor: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Picture and mask reduced by a whole factor; a reduced pixel is the mean of its pixels inside the mask.

    Sides that the factor does not divide are completed with empty pixels.
    """
    if factor == 1:
        return front.copy(), mask
    more = [-side % factor for side in mask.shape]
    solid = cv2.copyMakeBorder(mask.view(np.uint8) * np.uint8(255), 0, more[0], 0, more[1], cv2.BORDER_CONSTANT, value=0)
    picture = cv2.copyMakeBorder(front, 0, more[0], 0, more[1], cv2.BORDER_CONSTANT, value=(0, 0, 0))
    size = (solid.shape[1] // factor, solid.shape[0] // factor)
    share = cv2.resize(solid, size, interpolation=cv2.INTER_AREA) * np.float32(1 / 255)
    mean = cv2.resize(cv2.bitwise_and(picture, picture, mask=solid), size, interpolation=cv2.INTER_AREA)
    scaled = mean / np.maximum(share, np.float32(0.05))[..., None]
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8), share > 0.25


def apply_fill(out: NDArray[np.uint8], fill: Fill, factor: int) -> None:
    """Blend a fill into the full-size picture in place, keeping the front's fine detail where its colour is about the fill's."""
    window = bounding_box(fill.alpha > 1e-3) if (fill.alpha > 1e-3).any() else None
    if window is None:
        return
    big = tuple(slice(s.start * factor, s.stop * factor) for s in window)
    target = out[big].astype(np.float32)
    height, width = target.shape[:2]  # less than the window's at the lower and right edge of a completed picture
    full = ((window[1].stop - window[1].start) * factor, (window[0].stop - window[0].start) * factor)
    color, alpha, grain, keep = (
        cv2.resize(np.ascontiguousarray(a[window]), full)[:height, :width]
        for a in (fill.color, fill.alpha, fill.grain, fill.detail)
    )
    coarse = cv2.GaussianBlur(target, (0, 0), COARSE * factor)
    away = np.maximum.reduce(cv2.split(cv2.absdiff(coarse, color)))  # far faster than a maximum along the last axis
    alike = cv2.erode(np.clip(1 - away / DETAIL_REACH, 0, 1), np.ones((4 * factor + 1,) * 2, np.uint8))
    alike = alike * keep * np.float32(DETAIL_SHARE)
    detail = np.clip(cv2.transform(target - coarse, np.full((1, 3), 1 / 3)), -DETAIL_LIMIT, DETAIL_LIMIT) * alike
    filled = color + (detail + grain)[..., None]
    mixed = target + (filled - target) * alpha[..., None]
    out[big] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
