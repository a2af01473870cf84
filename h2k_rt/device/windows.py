"""The part of the canvas that the high-resolution trunk runs on: one of a few fixed sizes around the person.

Each size is an engine binding and a recorded graph of its own, so there are few; each is a multiple of 32 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2k_rt.high_depth import ALIGN, HALO

#: Pixels around the person's mask where depth is computed, as on the CPU.
MARGIN = 24
#: Windows start on the grid of the low-resolution depth, and of the sub-sampled normals within it.
START = 8
#: Shares of the canvas: heights of a framed person with margins and of the whole canvas; widths of a slim, a common and a broad
#: person, of arms held out, of a person as wide as tall, and of the whole canvas.
_HEIGHTS = (1696 / 2048, 1.0)
_WIDTHS = (512 / 2048, 768 / 2048, 1024 / 2048, 1344 / 2048, 1696 / 2048, 1.0)

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Window:
    """Canvas pixels x..x+width, y..y+height."""

    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width): which engine binding it takes."""
        return self.height, self.width


def window_sizes(canvas: int) -> tuple[tuple[int, int], ...]:
    """All (height, width) that occur, by area; the last is the whole canvas.

    Raises:
        ValueError: the canvas's side is no multiple of 32.
    """
    if canvas % ALIGN:
        raise ValueError(f"a canvas of {canvas} pixels is no multiple of {ALIGN}")
    heights, widths = (
        {min(canvas, -(-round(share * canvas) // ALIGN) * ALIGN) for share in shares} for shares in (_HEIGHTS, _WIDTHS)
    )
    partial = [(height, width) for height in heights for width in widths if height < canvas and width < canvas]
    # A person who needs the whole height or width is rare: one size for all of them.
    return tuple(sorted({*partial, (canvas, canvas)}, key=lambda size: (size[0] * size[1], size)))


def mask_box(mask: NDArray[np.uint8], margin: int = MARGIN) -> Box:
    """(x0, y0, x1, y1) around the pixels above 127 of an (N, N) mask, with a margin, inside the canvas; all 0 without any."""
    inside = mask > 127
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    height, width = mask.shape
    return (
        max(0, int(columns[0]) - margin),
        max(0, int(rows[0]) - margin),
        min(width, int(columns[-1]) + 1 + margin),
        min(height, int(rows[-1]) + 1 + margin),
    )


def trunk_window(box: Box, canvas: int) -> Window:
    """The smallest window that holds a box with the trunk's halo around it (or ends at the canvas's border, as the trunk does).

    Args:
        box: canvas pixels where depth is wanted.
        canvas: side of the canvas.
    """
    x0, y0, x1, y1 = box
    left, top = (max(0, start - HALO) // START * START for start in (x0, y0))
    right, bottom = (min(canvas, end + HALO) for end in (x1, y1))
    height, width = next(size for size in window_sizes(canvas) if size[0] >= bottom - top and size[1] >= right - left)
    return Window(min(left, canvas - width), min(top, canvas - height), width, height)
