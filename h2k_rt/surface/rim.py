"""Depth along the silhouette, where the networks are least sure, and depth for what they missed altogether.

All lengths are pixels of the map that is worked on; depths are nu.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.surface.fill import push_pull

_SQUARE = np.ones((3, 3), np.uint8)


def inner_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) px from each pixel's centre of the mask to the outline; 0 outside. The canvas border does not count as outline."""
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.maximum(distance - np.float32(0.5), 0).astype(np.float32)


def smooth_outline(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Majority of the ``size`` x ``size`` pixels around each: spikes and notches thinner than half of it go."""
    return cv2.medianBlur(mask.astype(np.uint8) * np.uint8(255), size) > 127 if size >= 3 else mask


def pull_in(front: NDArray[np.float32], back: NDArray[np.float32], mask: NDArray[np.bool_], rim: int, limit: np.float32) -> None:
    """In a band along the silhouette, keep the depths, in place, from standing out of the surface just inside.

    The networks blend towards the background there, and single pixels fly off. A surface bends away from the viewer at its
    silhouette, never towards.

    Args:
        rim: width of the band.
        limit: how far (nu) a depth may stand out of the mean of the surface inside the band.
    """
    band = mask.astype(np.uint8)
    inner = cv2.erode(band, _SQUARE, iterations=rim, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    size = (4 * rim + 1, 4 * rim + 1)
    weight = cv2.boxFilter(inner.astype(np.float32), -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    # Where a limb is thinner than the band nothing is inside: leave its depth alone.
    found = np.flatnonzero((band > inner) & (weight >= 1))
    for depth, out in ((front, -1), (back, 1)):
        total = cv2.boxFilter(depth * inner, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        mean = total.ravel()[found] / weight.ravel()[found]
        excess = (depth.ravel()[found] - mean) * np.float32(out)
        depth.ravel()[found] = mean + np.float32(out) * np.minimum(excess, limit)


def smooth_rim(
    front: NDArray[np.float32],
    back: NDArray[np.float32],
    mask: NDArray[np.bool_],
    distance: NDArray[np.float32],
    rim: float,
    sigma: float,
) -> None:
    """Blur the depths in place inside the mask near the silhouette, wholly at it and not at all from ``rim`` pixels inside.

    Args:
        front, back: 0 outside the mask.
        distance: of :func:`inner_distance`.
    """
    weight = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    at = np.flatnonzero(mask & (distance < rim))
    share = 1 - distance.ravel()[at] * np.float32(1 / rim)
    for depth in (front, back):
        blurred = cv2.GaussianBlur(depth, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        old = depth.ravel()[at]
        depth.ravel()[at] = old + share * (blurred.ravel()[at] / weight.ravel()[at] - old)


def round_rim(
    front: NDArray[np.float32], back: NDArray[np.float32], distance: NDArray[np.float32], radius: float, unit: float
) -> None:
    """Draw front and back together, in place, towards the silhouette where they are farther apart than a round edge allows.

    At a silhouette of a smooth body front and back meet: ``e`` pixels inside the half thickness of an edge of radius R is
    ``sqrt(e (2 R - e))``.

    Args:
        distance: of :func:`inner_distance`.
        radius: R; larger ones leave more of the depth as it is.
        unit: pixels of depth in one nu at the size of the map.
    """
    near = np.flatnonzero((distance > 0) & (distance < radius))
    e = distance.ravel()[near]
    most = np.sqrt(e * (2 * radius - e)) * np.float32(1 / unit)
    a, b = front.ravel()[near], back.ravel()[near]
    lack = np.maximum((b - a) / 2 - most, 0)
    front.ravel()[near], back.ravel()[near] = a + lack, b - lack


def missed_parts(mask: NDArray[np.bool_], person: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """What of the person mask the depth's mask lacks, except strips along the outline thinner than ``width``."""
    square = np.ones((width, width), np.uint8)  # a rectangle is far faster than a disc
    lacking = cv2.morphologyEx((person & ~mask).astype(np.uint8), cv2.MORPH_OPEN, square, borderType=cv2.BORDER_CONSTANT)
    # Opened, it falls short of the known depth by its corners: close the gap.
    grown = cv2.dilate(lacking, square).astype(bool)
    return (grown & person & ~mask).astype(bool) if lacking.any() else np.zeros_like(mask)


def sure_beside(known: NDArray[np.bool_], missed: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """What is known less what lies within ``margin`` of a missed part, where the depth is on its way to the background, and less
    slivers near it; all that is known if nothing would be left."""
    square = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    lack = missed.astype(np.uint8)
    kept = known & (cv2.dilate(lack, square) == 0)
    solid = cv2.morphologyEx(kept.astype(np.uint8), cv2.MORPH_OPEN, square, borderType=cv2.BORDER_CONSTANT) > 0
    near = cv2.dilate(lack, square, iterations=5) > 0
    kept = np.where(near, solid, kept)
    return kept if kept.any() else known


def complete_depth(
    front: NDArray[np.float32],
    back: NDArray[np.float32],
    known: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    radius: float,
    unit: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth for ``wanted & ~known``: the known depth carried on smoothly, at most as thick as a limb of that radius.

    Args:
        radius: of the cross-section, px.
        unit: pixels of depth in one nu.
    """
    weight = known.astype(np.float32)
    both = np.dstack((np.where(known, front, 0), np.where(known, back, 0))).astype(np.float32)
    filled = push_pull(both, weight)
    near, far = np.ascontiguousarray(filled[..., 0]), np.ascontiguousarray(filled[..., 1])
    e = np.minimum(inner_distance(wanted), np.float32(radius))
    most = np.sqrt(e * (2 * radius - e)) * np.float32(1 / unit)
    lack = np.maximum((far - near) / 2 - most, 0)
    new = wanted & ~known
    return np.where(new, near + lack, front).astype(np.float32), np.where(new, far - lack, back).astype(np.float32)
