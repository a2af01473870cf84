"""Bring the person to the size and place on the canvas that the networks were trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import Method
from h2k_rt.errors import PersonError

#: Lengths between the person finder's joints as shares of the height of a standing person's outline: medians over 17 rendered
#: people and 3 photos, deviation 0.01 to 0.016 each. Used where the photo cuts a person off.
NOSE_TO_HIPS = 0.395
HIPS_TO_ANKLES = 0.438
CROWN_TO_NOSE = 0.077
SHOULDERS_TO_HIPS = 0.282


@dataclass(frozen=True)
class Framing:
    """Photo -> canvas: ``canvas = scale * photo + (dx, dy)`` in pixel edge coordinates.

    Attributes:
        height_share: height of the person's outline in the photo over the person's standing height: below 1 where the
            photo cuts off or the person sits, above 1 with raised arms.
        hidden_below: of the standing height, how much is below the photo's lower edge.
        notes: what the user should know (a cut-off person).
    """

    scale: float
    dx: float
    dy: float
    size: int
    height_share: float = 1.0
    hidden_below: float = 0.0
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

    def reduced(self, factor: int) -> Framing:
        """The same place on a canvas that is ``factor`` times smaller."""
        return replace(self, scale=self.scale / factor, dx=self.dx / factor, dy=self.dy / factor, size=-(-self.size // factor))

    def image(self, image: NDArray[np.uint8], *, border: int) -> NDArray[np.uint8]:
        """(H, W[, 3]) uint8 photo to (N, N[, 3]) canvas; averaged where it shrinks, bicubic where it grows.

        Args:
            border: OpenCV border mode beyond the photo.
        """
        source, scale, dx, dy = image, self.scale, self.dx, self.dy
        if scale < 0.75:
            height, width = image.shape[:2]
            small = (max(1, round(width * scale)), max(1, round(height * scale)))
            source = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
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
    whole, top = height, y0
    notes: tuple[str, ...] = ()
    hidden_below = 0.0
    cut_below, cut_above = y0 + height >= mask.shape[0] - 1.5, y0 <= 0.5
    estimate = _body_height(joints)
    if estimate is not None and (cut_below or cut_above) and estimate > 1.05 * height:
        whole = standing = estimate
        if cut_above:
            top = _estimated_top(joints, whole, y0) if cut_below else y0 + height - whole
        hidden_below = max(0.0, (top + whole - (y0 + height)) / whole)
        share = f"about {100 * height / whole:.0f} % of the body's height is visible and reconstructed"
        notes = (f"the photo cuts the person off; {share}",)
    else:
        standing = _standing_height(mask, joints, y0 + height, height)
    scale = method.person_height_px / max(whole, width)
    centre_x, centre_y = x0 + width / 2, top + whole / 2
    half = method.size / 2
    shift = half - scale * centre_x, half - scale * centre_y
    return Framing(scale, *shift, method.size, height / standing, hidden_below, notes)


def _standing_height(mask: NDArray[np.uint8], joints: NDArray[np.float64], bottom: float, fallback: float) -> float:
    """Pixels from the crown to the lowest point, raised hands left out; for a bent body what its joints would measure upright."""
    head = [i for i in range(5) if joints[i, 2] > 0]
    hips = _middle(joints, 11, 12)
    if not head or hips is None or joints[head, 1].mean() >= hips[1]:
        return fallback
    middle = joints[head, :2].mean(0)
    reach = max(float(np.ptp(joints[head, 0])), 0.06 * fallback) / 2
    columns = slice(max(0, int(middle[0] - reach)), max(1, int(np.ceil(middle[0] + reach))))
    # From the face upwards to the first row without the person: hands held higher, beside or above, do not count.
    above = np.flip((mask[: max(1, int(middle[1])), columns] > 127).any(axis=1), 0)
    rows = int(np.argmin(above)) if not above.all() else len(above)
    standing = bottom - (middle[1] - rows)
    upright = _body_height(joints)
    if upright is not None and standing < 0.85 * upright:
        standing = upright
    return float(standing) if standing > 0 else fallback


def _middle(joints: NDArray[np.float64], *indices: int) -> NDArray[np.float64] | None:
    there = [i for i in indices if joints[i, 2] > 0]
    return joints[there, :2].mean(0) if there else None


def _body_height(joints: NDArray[np.float64]) -> float | None:
    """Height in pixels of the whole body stood upright, along the longest chain of joints that is there; None without one."""
    nose, hips, shoulders = _middle(joints, 0), _middle(joints, 11, 12), _middle(joints, 5, 6)
    if hips is None:
        return None
    legs = []
    for hip, knee, ankle in ((11, 13, 15), (12, 14, 16)):
        if (joints[[hip, knee, ankle], 2] > 0).all():
            at = joints[[hip, knee, ankle], :2]
            legs.append(float(np.hypot(*(at[1] - at[0])) + np.hypot(*(at[2] - at[1]))))
    if nose is not None:
        trunk = float(np.hypot(*(nose - hips)))
        return (trunk + max(legs)) / (NOSE_TO_HIPS + HIPS_TO_ANKLES) if legs else trunk / NOSE_TO_HIPS
    return None if shoulders is None else float(np.hypot(*(shoulders - hips))) / SHOULDERS_TO_HIPS


def _estimated_top(joints: NDArray[np.float64], whole: float, fallback: float) -> float:
    """Where the crown of the head would be."""
    for index, share in ((0, CROWN_TO_NOSE), (11, CROWN_TO_NOSE + NOSE_TO_HIPS), (12, CROWN_TO_NOSE + NOSE_TO_HIPS)):
        if joints[index, 2] > 0:
            return float(joints[index, 1]) - share * whole
    return fallback
