"""The silhouette of the grid mesh: which cells of the pixel grid are meshed, and the border they end at."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

#: Limits in pixels of the move onto the smooth outline and of the bulge of the silhouette strip. Where a gap or a limb is only one
#: or two cells wide they stay under half a pixel together, so that its two sides never meet.
_SHIFT_PX, _BULGE_PX = 0.5, 0.4
_TIGHT_SHIFT_PX, _TIGHT_BULGE_PX = 0.25, 0.2
#: Standard deviation in pixels of the blur that tells the smooth outline from the pixel stairs.
_OUTLINE_SIGMA = 2.0


@dataclass(frozen=True)
class Border:
    """The silhouette of the cells, as directed edges between border vertices.

    Attributes:
        pixels: (B,) flat pixel index of the border vertices.
        start, end: (E,) index into ``pixels``; the cell lies to the left of start -> end, seen from the camera.
        outward: (B, 2) float32 unit vector to the outside, picture coordinates (x right, y down); 0 where there is no clear one.
        shift: (B,) float32 px along ``outward`` to the smooth outline.
        bulge: (B,) float32 px by which the middle of the silhouette strip stands out from there.
    """

    pixels: NDArray[np.int64]
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    outward: NDArray[np.float32]
    shift: NDArray[np.float32]
    bulge: NDArray[np.float32]


def manifold_cells(mask: NDArray[np.bool_], min_share: float = 0.05) -> NDArray[np.bool_]:
    """(H-1, W-1) bool: cells whose four pixels are in the mask, less those touching another at a corner only, and small pieces."""
    cells = mask[:-1, :-1] & mask[1:, :-1] & mask[:-1, 1:] & mask[1:, 1:]
    while True:
        a, b, c, d = cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]
        falling, rising = a & d & ~b & ~c, b & c & ~a & ~d
        if not (falling.any() or rising.any()):
            break
        # Drop the upper cell of each pair. It only ever removes cells, so it ends.
        cells = cells.copy()
        cells[:-1, :-1] &= ~falling
        cells[:-1, 1:] &= ~rising
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    if count <= 2:
        return cells
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return (areas >= max(min_share * areas.max(), 1))[labels]


def pixels_of(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) bool: the pixels at the corners of the (H-1, W-1) cells."""
    used = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), bool)
    used[:-1, :-1] |= cells
    used[1:, :-1] |= cells
    used[:-1, 1:] |= cells
    used[1:, 1:] |= cells
    return used


def find_border(cells: NDArray[np.bool_], used: NDArray[np.bool_], smooth: bool) -> Border:
    """The border of the cells; ``used`` are their pixels; ``smooth`` asks for the shift onto the smooth outline."""
    width = used.shape[1]
    padded = np.pad(cells, 1)
    above, below = padded[:-1, 1:-1], padded[1:, 1:-1]  # of the horizontal edge (y, x) - (y, x + 1)
    left, right = padded[1:-1, :-1], padded[1:-1, 1:]  # of the vertical edge (y, x) - (y + 1, x)

    def flat(edges: NDArray[np.bool_]) -> NDArray[np.int64]:
        y, x = np.nonzero(edges)
        return y * width + x

    top, bottom, west, east = flat(below & ~above), flat(above & ~below), flat(right & ~left), flat(left & ~right)
    # The cell lies to the left of each edge as the camera sees it, so a front face runs along start -> end.
    start = np.concatenate((top + 1, bottom, west, east + width))
    end = np.concatenate((top, bottom + 1, west + width, east))
    pixels = np.unique(start)
    outline = cv2.GaussianBlur(np.pad(used, 8).astype(np.float32), (0, 0), _OUTLINE_SIGMA, borderType=cv2.BORDER_CONSTANT)
    y, x = pixels // width + 8, pixels % width + 8
    gradient = np.stack((outline[y, x - 1] - outline[y, x + 1], outline[y - 1, x] - outline[y + 1, x]), axis=1) / 2
    steepness = np.hypot(gradient[:, 0], gradient[:, 1])
    clear = steepness > 1e-3
    outward = np.where(clear[:, None], gradient / np.maximum(steepness, 1e-3)[:, None], 0).astype(np.float32)
    tight = _tight_pixels(cells).ravel()[pixels]
    bulge = np.where(tight, _TIGHT_BULGE_PX, _BULGE_PX).astype(np.float32)
    shift = np.zeros(pixels.size, np.float32)
    if smooth:
        limit = np.where(tight, _TIGHT_SHIFT_PX, _SHIFT_PX)
        # Distance to the level of one half, which lies half a pixel outside of the border pixels of a straight outline.
        distance = (outline[y, x] - 0.5) / np.maximum(steepness, 1e-3) - 0.5
        shift = np.where(clear, np.clip(distance, -limit, limit), 0).astype(np.float32)
    first, last = np.searchsorted(pixels, start).astype(np.int32), np.searchsorted(pixels, end).astype(np.int32)
    return Border(pixels, first, last, outward, shift, bulge)


def _tight_pixels(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) bool: pixels in or beside a gap or a limb of fewer than three cells."""
    square, solid = np.ones((3, 3), np.uint8), np.pad(cells, 2).astype(np.uint8)
    closed = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    opened = cv2.morphologyEx(solid, cv2.MORPH_OPEN, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    tight = cv2.dilate((closed != opened).astype(np.uint8), square)[1:-1, 1:-1].astype(bool)
    return tight[:-1, :-1] | tight[1:, :-1] | tight[:-1, 1:] | tight[1:, 1:]
