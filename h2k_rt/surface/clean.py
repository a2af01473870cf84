"""From the networks' two depth maps to a mask and depths that can be meshed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method
from h2k_rt.errors import PersonError
from h2k_rt.surface.fill import bounding_box, push_pull

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
    rim_px: int = 4
    """Width of the band along the silhouette in which flying depths are looked for."""
    max_rim_jump_px: float = 24.0
    """A depth of that band may differ by so much from the person's depth just inside of it."""


@dataclass(frozen=True)
class CleanDepth:
    """Depth maps that can be meshed.

    Attributes:
        front, back: (N, N) float32, nu; 0 outside the mask, ``front < back`` inside.
        mask: (N, N) bool.
    """

    front: NDArray[np.float32]
    back: NDArray[np.float32]
    mask: NDArray[np.bool_]


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

    In this order: pixels with ``front <= back``, finite and in front of the camera; cut by the person mask; small pieces dropped;
    small holes filled from their surroundings; depths that fly off along the silhouette pulled in; front and back held apart.

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
    raw = published_mask(front, back) & (front > _nearest_nu(method)) & np.isfinite(front) & np.isfinite(back)
    if person is not None:
        alpha = person if person.dtype == np.bool_ else person >= 128
        margin = round(options.gate_margin * ratio)
        gate = alpha.astype(np.uint8)
        raw &= (cv2.dilate(gate, _SQUARE, iterations=margin) if margin else gate).astype(bool)
    if not raw.any():
        raise PersonError(
            "no person is left in the depth maps: the photo may show no whole person; try another photo or give a mask"
        )
    rows, columns = bounding_box(raw, margin=2)
    mask = drop_small_pieces(raw[rows, columns], options.min_share)
    filled = fill_small_holes(mask, max(round(options.max_hole * ratio * ratio), 1))
    near, far = front[rows, columns].astype(np.float32), back[rows, columns].astype(np.float32)
    if (filled & ~mask).any():
        near, far = _fill_depth(near, mask, filled), _fill_depth(far, mask, filled)
    rim = max(round(options.rim_px * ratio), 1)
    jump = np.float32(options.max_rim_jump_px / method.depth_unit_px)
    near, far = _pull_in(near, filled, rim, jump), _pull_in(far, filled, rim, jump)
    thickness = np.float32(options.min_thickness_px / method.depth_unit_px)
    lack = np.maximum(thickness - (far - near), 0) / 2
    out_front, out_back, out_mask = np.zeros_like(front, np.float32), np.zeros_like(back, np.float32), np.zeros(front.shape, bool)
    out_front[rows, columns] = np.where(filled, near - lack, 0)
    out_back[rows, columns] = np.where(filled, far + lack, 0)
    out_mask[rows, columns] = filled
    return CleanDepth(out_front, out_back, out_mask)


def _nearest_nu(method: Method) -> float:
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


def _fill_depth(depth: NDArray[np.float32], known: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> NDArray[np.float32]:
    smooth = push_pull(np.where(known, depth, 0).astype(np.float32), known.astype(np.float32))
    return np.where(wanted & ~known, smooth, depth)


def _pull_in(depth: NDArray[np.float32], mask: NDArray[np.bool_], rim: int, jump: np.float32) -> NDArray[np.float32]:
    """Clamp the depth in a band along the silhouette to the local mean inside of the band, give or take ``jump``.

    The networks blend towards the background at the silhouette: single pixels fly off by centimetres and become spikes.
    """
    band = mask.astype(np.uint8)
    inner = cv2.erode(band, _SQUARE, iterations=rim, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    size = (4 * rim + 1, 4 * rim + 1)
    weight = cv2.boxFilter(inner.astype(np.float32), -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    total = cv2.boxFilter(np.where(inner.astype(bool), depth, 0), -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    # Where a limb is thinner than the band nothing is inside: leave its depth alone.
    found = (band > inner) & (weight >= 1)
    mean = total[found] / weight[found]
    out = depth.copy()
    out[found] = np.clip(depth[found], mean - jump, mean + jump)
    return out
