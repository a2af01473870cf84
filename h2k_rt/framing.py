"""Bring the person to the size and place on the canvas that the networks were trained on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import Method
from h2k_rt.errors import PersonError

#: Share of a standing body's height from the nose to the middle of the hips and to the ankles, and from the ankles to
#: the soles; measured on the synthetic people's joints. Used where the photo cuts a person off.
NOSE_TO_HIPS = 0.405
HIPS_TO_ANKLES = 0.465
CROWN_TO_NOSE = 0.085
SHOULDERS_TO_HIPS = 0.285


@dataclass(frozen=True)
class Framing:
    """Photo -> canvas: ``canvas = scale * photo + (dx, dy)`` in pixel edge coordinates.

    Attributes:
        notes: what the user should know (a cut-off person).
    """

    scale: float
    dx: float
    dy: float
    size: int
    notes: tuple[str, ...] = ()

    def points(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 2) photo pixels -> canvas pixels."""
        return xy * self.scale + (self.dx, self.dy)

    def joints(self, joints: NDArray[np.float64]) -> NDArray[np.float64]:
        """(31, 3) joints to the canvas; missing ones stay (0, 0, 0)."""
        moved = joints.copy()
        present = joints[:, 2] > 0
        moved[present, :2] = self.points(joints[present, :2])
        return moved

    def image(self, image: NDArray[np.uint8], *, border: int) -> NDArray[np.uint8]:
        """(H, W[, 3]) uint8 photo to (N, N[, 3]) canvas; averaged where it shrinks, bicubic where it grows.

        Args:
            border: OpenCV border mode beyond the photo.
        """
        source, scale, dx, dy = image, self.scale, self.dx, self.dy
        if scale < 0.75:
            height, width = image.shape[:2]
            small = (max(1, round(width * scale)), max(1, round(height * scale)))
            source = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
            sx, sy = scale * width / small[0], scale * height / small[1]
        else:
            sx = sy = scale
        # Pixel centres: index i is at edge coordinate i + 0.5.
        matrix = np.array([[sx, 0, dx + 0.5 * sx - 0.5], [0, sy, dy + 0.5 * sy - 0.5]])
        flags = cv2.INTER_CUBIC if scale > 1.01 else cv2.INTER_LINEAR
        canvas = cv2.warpAffine(source, matrix, (self.size, self.size), flags=flags, borderMode=border)
        return np.asarray(canvas, np.uint8)


def pad_framing(height: int, width: int, size: int) -> Framing:
    """The published framing: the photo padded to a square and resized (SPEC 1); pads as in :func:`pad_square`."""
    side = max(height, width)
    top, left = (0, (height - width) // 2) if height > width else ((width - height) // 2, 0)
    scale = size / side
    return Framing(scale, left * scale, top * scale, size)


def pad_square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Pad with the border's pixels to a square, then resize bicubically (SPEC 1, steps 2 and 3)."""
    height, width = image.shape[:2]
    excess = abs(height - width)
    first, second = excess // 2, excess - excess // 2
    top, bottom, left, right = (0, 0, first, second) if height > width else (first, second, 0, 0)
    square = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE)
    if square.shape[0] != size:
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(square, np.uint8)


def frame_person(mask: NDArray[np.uint8], joints: NDArray[np.float64], method: Method) -> Framing:
    """Scale and place so that the person stands centred, ``method.person_height_px`` tall or as wide.

    The training scans are scaled by their largest coordinate, so a person with arms spread wide is limited by width. Where the
    photo cuts the person off, the whole height is estimated from the joints, so that what is seen has its right size.

    Args:
        mask: (H, W) uint8, person above 127.
        joints: (31, 3) photo pixels.

    Raises:
        PersonError: the mask is empty.
    """
    box = cv2.boundingRect((mask > 127).astype(np.uint8))
    x0, y0, width, height = map(float, box)
    if not width or not height:
        raise PersonError("the person's mask is empty; give one with --mask, or a photo with the person more visible")
    notes: list[str] = []
    bottom = y0 + height
    whole = _body_height(joints)
    photo_height = mask.shape[0]
    touches_bottom, touches_top = bottom >= photo_height - 1.5, y0 <= 0.5
    if whole is not None and (touches_bottom or touches_top) and whole > 1.05 * height:
        notes.append(f"the photo cuts the person off: {100 * height / whole:.0f} % of the estimated height is visible")
        # Head cut off: the feet are the fixed end; else the head is.
        top = bottom - whole if touches_top and not touches_bottom else y0
        if touches_top and touches_bottom:
            top = _estimated_top(joints, whole, y0)
        y0, height = top, whole
    extent = max(height, width)
    scale = method.person_height_px / extent
    centre_x, centre_y = x0 + width / 2, y0 + height / 2
    half = method.size / 2
    return Framing(scale, half - scale * centre_x, half - scale * centre_y, method.size, tuple(notes))


def _middle(joints: NDArray[np.float64], *indices: int) -> NDArray[np.float64] | None:
    there = [i for i in indices if joints[i, 2] > 0]
    return joints[there, :2].mean(0) if there else None


def _body_height(joints: NDArray[np.float64]) -> float | None:
    """Height in pixels of the whole upright body, from the longest trustworthy stretch of joints; None without one."""
    nose, hips = _middle(joints, 0), _middle(joints, 11, 12)
    shoulders, ankles = _middle(joints, 5, 6), _middle(joints, 15, 16)
    stretches = ((nose, ankles, NOSE_TO_HIPS + HIPS_TO_ANKLES), (nose, hips, NOSE_TO_HIPS), (shoulders, hips, SHOULDERS_TO_HIPS))
    for a, b, share in stretches:
        if a is not None and b is not None:
            return float(np.hypot(*(a - b))) / share
    return None


def _estimated_top(joints: NDArray[np.float64], whole: float, fallback: float) -> float:
    """Where the crown of the head would be."""
    for index, share in ((0, CROWN_TO_NOSE), (11, CROWN_TO_NOSE + NOSE_TO_HIPS), (12, CROWN_TO_NOSE + NOSE_TO_HIPS)):
        if joints[index, 2] > 0:
            return float(joints[index, 1]) - share * whole
    return fallback
