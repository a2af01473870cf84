"""From the networks' two depth maps to a mask and depths that can be meshed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method
from h2k_rt.errors import PersonError
from h2k_rt.surface.fill import bounding_box, push_pull
from h2k_rt.surface.rim import (
    complete_depth,
    inner_distance,
    missed_parts,
    pull_in,
    round_rim,
    smooth_outline,
    smooth_rim,
    sure_beside,
)

_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class CleanOptions:
    """What counts as a flaw. Lengths in pixels of a 2048 canvas; they shrink with the canvas."""

    min_share: float = 0.05
    """Pieces smaller than this share of the largest one are dropped (a cut-off hand is not, a speck is)."""
    max_hole: int = 256
    """Holes of at most so many pixels are filled: about 1.5 cm across; the gap between arm and trunk is larger."""
    min_thickness_px: float = 1.0
    """Least distance of front and back; 1 px is about 1 mm of a grown person."""
    gate_margin: int = 3
    """The person mask is dilated by so many pixels before it cuts the depth."""
    outline_px: int = 7
    """Spikes and notches of the outline thinner than half of it go."""
    rim_px: int = 6
    """Width of the band along the silhouette in which flying and rough depths are mended."""
    stand_out_px: float = 4.0
    """The depth of that band may stand out of the surface just inside of it by so much; see :func:`h2k_rt.surface.rim.pull_in`."""
    rim_radius_px: float = 400.0
    """Front and back are drawn together at the silhouette to a round edge of this radius, if they gape more widely. Generous: hems
    and cut-off limbs gape by nature and lose 2 cm only."""
    complete: bool = True
    """Parts of a given person mask that the depth lacks are filled in by carrying the depth on, if they are not the larger part."""
    missed_px: int = 25
    """Lacks of the depth thinner than this are taken as a matter of the outline, and stay."""
    limb_radius_px: float = 70.0
    """Thickness of what is filled in: that of a thigh."""


@dataclass(frozen=True)
class CleanDepth:
    """Depth maps that can be meshed.

    Attributes:
        front, back: (N, N) float32, nu; 0 outside the mask, ``front < back`` inside.
        mask: (N, N) bool.
        filled: share of the mask that the networks missed and that was filled in from its surroundings.
    """

    front: NDArray[np.float32]
    back: NDArray[np.float32]
    mask: NDArray[np.bool_]
    filled: float = 0.0


def published_mask(front: NDArray[np.float32], back: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The published program's final mask (SPEC 7): front is not behind back, and there is a depth at all."""
    return (front <= back) & (front > 0)


def parity_depth(front: NDArray[np.float32], back: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both depths with 0 wherever front is behind back (SPEC 7)."""
    keep = front <= back
    return np.where(keep, front, np.float32(0)), np.where(keep, back, np.float32(0))


def clean_depth(
    front: NDArray[np.float32],
    back: NDArray[np.float32],
    person: NDArray[np.bool_] | NDArray[np.uint8] | None = None,
    *,
    method: Method = METHOD,
    options: CleanOptions | None = None,
) -> CleanDepth:
    """Make the mask of the depths whole and the depths sane in it.

    In this order: pixels with ``front <= back``, finite and in front of the camera; cut by the person mask; what that mask has and
    the depth lacks is filled in; small holes are filled, the outline smoothed, small pieces dropped; the depth is mended along the
    silhouette; front and back are held apart.

    Args:
        front, back: (N, N) float32, nu, as the networks give them (background 6 and 0).
        person: (N, N) bool, or uint8 alpha (kept from 128); None: no gate.

    Raises:
        PersonError: nothing is left.
        ValueError: the shapes differ.
    """
    options = options or CleanOptions()
    if front.ndim != 2 or front.shape != back.shape or (person is not None and person.shape != front.shape):
        raise ValueError(f"depth maps and mask differ in shape: {front.shape}, {back.shape}, {getattr(person, 'shape', None)}")
    ratio = front.shape[0] / method.size  # lengths shrink with the canvas
    raw = published_mask(front, back) & (front > nearest_nu(method)) & np.isfinite(front) & np.isfinite(back)
    sure = None
    if person is not None:
        alpha = (person if person.dtype == np.bool_ else person >= 128).astype(bool)
        margin = round(options.gate_margin * ratio)
        gate = alpha.astype(np.uint8)
        raw &= (cv2.dilate(gate, _SQUARE, iterations=margin) if margin else gate).astype(bool)
        sure = alpha if options.complete else None
    if not raw.any():
        raise PersonError(
            "no person is left in the depth maps: the photo may show no whole person; try another photo or give a mask"
        )
    window = bounding_box(raw if sure is None else raw | sure, margin=8)
    known = drop_small_pieces(raw[window], options.min_share)
    near, far, mask = _whole(front[window], back[window], known, None if sure is None else sure[window], options, ratio, method)
    _mend_rim(near, far, mask, options, ratio, method)
    thickness = np.float32(options.min_thickness_px / method.depth_unit_px)
    lack = np.maximum(thickness - (far - near), 0) / 2
    out_front, out_back, out_mask = np.zeros_like(front, np.float32), np.zeros_like(back, np.float32), np.zeros(front.shape, bool)
    out_front[window] = np.where(mask, near - lack, 0)
    out_back[window] = np.where(mask, far + lack, 0)
    out_mask[window] = mask
    return CleanDepth(out_front, out_back, out_mask, float((mask & ~raw[window]).sum() / max(int(mask.sum()), 1)))


def _whole(
    front: NDArray[np.float32],
    back: NDArray[np.float32],
    known: NDArray[np.bool_],
    sure: NDArray[np.bool_] | None,
    options: CleanOptions,
    ratio: float,
    method: Method,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Depths and mask without holes, spikes and loose pieces, and with what the depth lacks of the person mask."""
    near, far = front.astype(np.float32), back.astype(np.float32)
    unit = method.depth_unit_px * ratio
    if sure is not None:
        missed = missed_parts(known, sure, max(round(options.missed_px * ratio), 3) | 1)
        # More missed than seen: then the mask is no better than the networks.
        if 0 < np.count_nonzero(missed) <= np.count_nonzero(known):
            whole = known | missed
            kept = sure_beside(known, missed, max(round(2 * options.rim_px * ratio), 1))
            near, far = complete_depth(near, far, kept, whole, options.limb_radius_px * ratio, unit)
            known = whole
    mask = fill_small_holes(known, max(round(options.max_hole * ratio * ratio), 1))
    outline = round(options.outline_px * ratio)
    mask = drop_small_pieces(smooth_outline(mask, outline - 1 + outline % 2), options.min_share)
    if not mask.any():  # a person of a few pixels
        mask = known
    new = mask & ~known
    if new.any():
        both = push_pull(np.where(known[..., None], np.dstack((near, far)), 0).astype(np.float32), known.astype(np.float32))
        near, far = np.where(new, both[..., 0], near), np.where(new, both[..., 1], far)
    return np.where(mask, near, 0).astype(np.float32), np.where(mask, far, 0).astype(np.float32), mask


def _mend_rim(
    near: NDArray[np.float32],
    far: NDArray[np.float32],
    mask: NDArray[np.bool_],
    options: CleanOptions,
    ratio: float,
    method: Method,
) -> None:
    """Mend the depths along the silhouette, in place."""
    rim = max(options.rim_px * ratio, 1.0)
    distance = inner_distance(mask)
    pull_in(near, far, mask, max(round(rim), 1), np.float32(options.stand_out_px / method.depth_unit_px))
    smooth_rim(near, far, mask, distance, rim, max(rim / 4, 0.5))
    round_rim(near, far, distance, options.rim_radius_px * ratio, method.depth_unit_px * ratio)


def nearest_nu(method: Method) -> float:
    """Depth (nu) of a point at the distance at which lifted points are dropped (SPEC 7)."""
    return max(((method.min_point_z - 1) * method.focal_px + method.size / 2) / method.depth_unit_px, 0.0) + 1e-3


def drop_small_pieces(mask: NDArray[np.bool_], min_share: float) -> NDArray[np.bool_]:
    """The mask without its pieces (4-connected) that are smaller than ``min_share`` of the largest."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    if count <= 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = areas >= max(min_share * areas.max(), 1)
    return keep[labels]


def fill_small_holes(mask: NDArray[np.bool_], max_hole: int) -> NDArray[np.bool_]:
    """The mask with its enclosed holes of at most ``max_hole`` pixels filled."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=8, ltype=cv2.CV_32S)
    if count <= 2:
        return mask
    small = stats[:, cv2.CC_STAT_AREA] <= max_hole
    small[0] = False
    small[labels[0, 0]] = False
    return mask | small[labels[1:-1, 1:-1]]
