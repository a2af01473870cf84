"""What the chain needs to know of one photo, as the bytes that the kernels read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from h2k_kernels.launch.photo_prep import frame_bytes, frame_of
from numpy.typing import NDArray

from h2k_rt.device.arena import Layout
from h2k_rt.device.windows import MARGIN, Box, Window, trunk_window
from h2k_rt.framing import Framing
from h2k_rt.parts import PartTransforms

#: Canvas pixels by which a mask's box may grow when it is resampled.
_RESAMPLED = 2


@dataclass(frozen=True)
class Job:
    """One person of a photo.

    Attributes:
        rgb: (H, W, 3) uint8 sRGB.
        mask: (H, W) uint8, 255 = person.
        framing: photo -> canvas.
        transforms: of the parts.
        window: of the canvas, where the trunk runs.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    framing: Framing
    transforms: PartTransforms
    window: Window

    @staticmethod
    def of(rgb: NDArray[np.uint8], mask: NDArray[np.uint8], framing: Framing, transforms: PartTransforms) -> Job:
        """The job of a framed person; the window follows from the mask.

        Raises:
            ValueError: photo and mask differ in size.
        """
        if rgb.shape != (*mask.shape, 3) or rgb.dtype != np.uint8 or mask.dtype != np.uint8:
            raise ValueError(f"photo {rgb.shape} {rgb.dtype} and mask {mask.shape} {mask.dtype} do not fit each other")
        return Job(rgb, mask, framing, transforms, trunk_window(canvas_box(mask, framing), framing.size))

    def write_parameters(self, layout: Layout, block: NDArray[np.uint8]) -> None:
        """Fill the parameter block.

        Args:
            block: (n,) uint8 host memory of ``layout``.
        """
        window, framing = self.window, self.framing
        right, bottom = window.x + window.width, window.y + window.height
        values = {
            "frame": frame_bytes([frame_of(self.mask.shape, framing.scale, framing.dx, framing.dy)]),
            "to_canvas": self.transforms.to_canvas[None],
            "to_part": self.transforms.to_part[None],
            "usable": self.transforms.usable[None].astype(np.uint8),
            "origin": np.array([[window.x, window.y]], np.int32),
            "region": np.array([[window.x, window.y, right, bottom]], np.int32),
        }
        for name, tensor in layout.tensors.items():
            value = np.ascontiguousarray(values[name])
            assert value.shape == tensor.shape and value.dtype == tensor.dtype, name
            start = layout.offsets[name]
            block[start : start + tensor.nbytes] = value.view(np.uint8).reshape(-1)


def canvas_box(mask: NDArray[np.uint8], framing: Framing, margin: int = MARGIN) -> Box:
    """(x0, y0, x1, y1): the canvas pixels that the person's mask (above 127) can reach, with a margin; all 0 without any."""
    inside = mask > 127
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float64)
    (left, top), (right, bottom) = framing.points(corners)
    more = margin + _RESAMPLED + math.ceil(framing.scale)
    return (
        min(max(math.floor(left) - more, 0), framing.size),
        min(max(math.floor(top) - more, 0), framing.size),
        min(max(math.ceil(right) + more, 0), framing.size),
        min(max(math.ceil(bottom) + more, 0), framing.size),
    )
