"""Colours of the front and the back point of each pixel."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.surface.back_colour import back_colours
from h2k_rt.surface.fill import bounding_box, nearest_known

#: Pixels (of a 2048 canvas) along the silhouette whose colour is mixed with the background's.
_MIXED_PX = 3
#: So many pixels inside a colour is surely the person's, unless the limb is thin; outside, so many are surely background.
_SURE_PX, _OUTSIDE_PX = 12, 5
#: Grey levels by which background and person must differ for a pixel to be told apart.
DISTINCT = 36.0


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


def edge_lengths(size: int) -> tuple[int, float, float]:
    """Pixels of a canvas of ``size``: mixed with the background; surely the person's from there; surely background from there."""
    ratio = size / 2048
    return max(round(_MIXED_PX * ratio), 2), max(_SURE_PX * ratio, 4.0), max(_OUTSIDE_PX * ratio, 2.0)


def front_colours(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The photo's colours, with the background's kept out along the silhouette.

    The outermost pixels are mixed with the background, and where the mask reaches a little too far the next ones are background.
    Both take the colour of the nearest pixel farther inside; a limb too thin to have one keeps its own.

    Args:
        rgb: (N, N, 3) uint8.
        mask: (N, N) bool.

    Returns:
        (N, N, 3) uint8, the photo itself outside the mask.
    """
    out = rgb.copy()
    if not mask.any():
        return out
    mixed, core, outside = edge_lengths(mask.shape[0])
    window = bounding_box(mask, margin=2 * round(core))
    inside = mask[window]
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    sure = depth > mixed
    picture = np.ascontiguousarray(rgb[window]).reshape(-1, 3)
    if (depth > core).any():
        sure &= ~_background_inside(picture, inside, depth, core, outside)
    if sure.any():
        at = np.flatnonzero(inside & ~sure)
        distance, source = nearest_known(sure, at)
        reached = distance <= core
        picture[at[reached]] = picture[source[reached]]
        out[window] = _evened_rim(picture.reshape(*inside.shape, 3), inside, depth, core)
    return out


def _evened_rim(picture: NDArray[np.uint8], inside: NDArray[np.bool_], depth: NDArray[Any], core: float) -> NDArray[np.uint8]:
    """Colours of the mask evened out towards the silhouette, wholly at it and not at all from ``1.5 * core`` pixels inside.

    The surface turns away from the viewer there: a few pixels of the photo are stretched over the whole side of a body, where
    each would be a stripe.
    """
    size = (2 * round(core) + 1,) * 2
    weight = inside.astype(np.float32)
    total = cv2.blur(picture * weight[..., None], size, borderType=cv2.BORDER_CONSTANT)
    share = cv2.blur(weight, size, borderType=cv2.BORDER_CONSTANT)
    at = np.flatnonzero(inside & (depth < 1.5 * core))
    mean = total.reshape(-1, 3)[at] / share.ravel()[at, None]
    towards = (1 - depth.ravel()[at, None] / (1.5 * core)).astype(np.float32)
    evened = picture.reshape(-1, 3).copy()
    evened[at] = np.rint(evened[at] + towards * (mean - evened[at])).astype(np.uint8)
    return evened.reshape(picture.shape)


def _background_inside(
    picture: NDArray[np.uint8], inside: NDArray[np.bool_], depth: NDArray[Any], core: float, outside: float
) -> NDArray[np.bool_]:
    """(h, w) bool: pixels near the silhouette that look like the background beside them and not like the person beside them.

    Args:
        picture: (h * w, 3) uint8.
        depth: (h, w) distance to the silhouette inside the mask.
    """
    away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    background = away > outside
    result = np.zeros(inside.shape, bool)
    if not background.any():
        return result
    at = np.flatnonzero(inside & (depth <= core))
    to_core, person_at = nearest_known(depth > core, at)
    near = to_core <= 1.5 * core
    at, person_at = at[near], person_at[near]
    _, background_at = nearest_known(background, at)
    own, person, beside = (picture[index].astype(np.float32) for index in (at, person_at, background_at))

    def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        apart = np.abs(a - b)
        return np.maximum(np.maximum(apart[:, 0], apart[:, 1]), apart[:, 2])

    # Halfway mixed pixels count as background, too.
    foreign = (difference(person, beside) > DISTINCT) & (difference(own, beside) < difference(own, person))
    result.ravel()[at] = foreign
    return result
