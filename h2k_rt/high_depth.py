"""Run the high-resolution depth trunk on the part of the canvas that holds the person, strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from h2k_engines import Engine
from numpy.typing import NDArray

from h2k_rt.constants import Method

#: Canvas pixels around a strip that its own pixels depend on: the trunk sees 21 px far (3 convolutions at each of three
#: scales: 12 + 6 + 3), rounded up to the 8 px grid of the low depth.
HALO = 24
#: Canvas rows of a strip without its halo. At the published width a strip across the whole canvas then takes 0.4 GB.
STRIP_ROWS = 256
#: Strip borders fall on multiples of this, so that few different shapes occur.
ALIGN = 32


@dataclass(frozen=True)
class Strip:
    """Canvas rows y0..y1 and columns x0..x1 to compute, and the larger window (with its halo) to feed."""

    y0: int
    y1: int
    x0: int
    x1: int
    size: int

    @property
    def window(self) -> tuple[slice, slice]:
        rows = slice(max(0, self.y0 - HALO), min(self.size, self.y1 + HALO))
        return rows, slice(max(0, self.x0 - HALO), min(self.size, self.x1 + HALO))


def plan_strips(region: NDArray[np.bool_], strip_rows: int = STRIP_ROWS) -> Iterator[Strip]:
    """Strips that cover every true pixel of ``region`` (N, N), each as wide as the person is there."""
    size = region.shape[0]
    occupied = np.flatnonzero(region.any(1))
    if not len(occupied):
        return
    top = int(occupied[0]) // ALIGN * ALIGN
    bottom = min(size, -(-(int(occupied[-1]) + 1) // ALIGN) * ALIGN)
    for y0 in range(top, bottom, strip_rows):
        y1 = min(y0 + strip_rows, bottom)
        columns = np.flatnonzero(region[y0:y1].any(0))
        if len(columns):
            x0 = int(columns[0]) // ALIGN * ALIGN
            x1 = min(size, -(-(int(columns[-1]) + 1) // ALIGN) * ALIGN)
            yield Strip(y0, y1, x0, x1, size)


def person_region(person: NDArray[np.uint8], margin: int = 24) -> NDArray[np.bool_]:
    """Where the trunk is worth running, (N, N) bool: the mesh never leaves the person's mask by more than a few pixels.

    Args:
        person: (N, N) uint8 mask of the person finder.
        margin: canvas pixels added around it.
    """
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return cv2.dilate((person > 127).astype(np.uint8), kernel).astype(bool)


def refine_depth(
    engine: Engine,
    low_depth: NDArray[np.float32],
    normals: NDArray[np.float32],
    method: Method,
    region: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """High-resolution depth and mask, the same numbers as on the whole canvas inside ``region``.

    Args:
        engine: network ``high_depth`` (inputs ``low_depth`` and ``normals`` of any multiple of 8 pixels).
        low_depth: (1, 2, n, n) float32, front and back in nu, masked.
        normals: (6, N, N) float32, fused.
        region: (N, N) bool; None: everywhere.

    Returns:
        depth (2, N, N) float32 in nu, background outside ``region``; mask (N, N) float32 probability, 0 outside.
    """
    size, factor = method.size, method.size // low_depth.shape[-1]
    depth = np.empty((2, size, size), np.float32)
    depth[0], depth[1] = method.front_background, method.back_background
    mask = np.zeros((size, size), np.float32)
    everywhere = np.ones((size, size), bool) if region is None else region
    for strip in plan_strips(everywhere):
        rows, columns = strip.window
        low_rows = slice(rows.start // factor, rows.stop // factor)
        low_columns = slice(columns.start // factor, columns.stop // factor)
        outputs = engine.run(
            {
                "low_depth": np.ascontiguousarray(low_depth[:, :, low_rows, low_columns]),
                "normals": np.ascontiguousarray(normals[None, :, rows, columns]),
            }
        )
        inner = (
            slice(strip.y0 - rows.start, strip.y1 - rows.start),
            slice(strip.x0 - columns.start, strip.x1 - columns.start),
        )
        depth[:, strip.y0 : strip.y1, strip.x0 : strip.x1] = outputs["depth"][0][(slice(None), *inner)]
        mask[strip.y0 : strip.y1, strip.x0 : strip.x1] = outputs["mask"][0, 0][inner]
    return depth, mask
