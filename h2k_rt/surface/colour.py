"""Colours of the front and the back point of each pixel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.surface.back_colour import back_colours
from h2k_rt.surface.fill import bounding_box, nearest_known

#: Pixels (of a 2048 canvas) along the silhouette whose colour is mixed with the background's.
_MIXED_PX = 3
#: From so far inside a colour is brought outwards; a limb that is thinner keeps its own colours.
_REACH_PX = 6.0


def canvas_colours(
    rgb: NDArray[np.uint8], mask: NDArray[np.bool_], joints: NDArray[np.floating] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Front and back colours, both (N, N, 3) uint8 sRGB, from the canvas picture.

    Args:
        rgb: (N, N, 3) uint8 sRGB, the photo on the canvas.
        mask: (N, N) bool, the mask of the mesh.
        joints: (31, 3) canvas pixels, (0, 0, 0) where missing; None: the back is the front seen through.
    """
    front = front_colours(rgb, mask)
    return front, back_colours(front, mask, joints)


def front_colours(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The photo's colours, with those right at the silhouette taken from just inside: they are mixed with the background.

    Args:
        rgb: (N, N, 3) uint8.
        mask: (N, N) bool.

    Returns:
        (N, N, 3) uint8, the photo itself outside the mask.
    """
    if not mask.any():
        return rgb.copy()
    mixed = max(round(_MIXED_PX * mask.shape[0] / 2048), 2)
    window = bounding_box(mask, margin=1)
    inside = mask[window]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * mixed + 1, 2 * mixed + 1))
    sure = cv2.erode(inside.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)
    out = rgb.copy()
    if sure.any():
        distance, source = nearest_known(sure)
        at = np.flatnonzero(inside & ~sure & (distance <= _REACH_PX))
        picture = np.ascontiguousarray(rgb[window]).reshape(-1, 3)
        picture[at] = picture[source.ravel()[at]]
        out[window] = picture.reshape(*inside.shape, 3)
    return out
