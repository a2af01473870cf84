"""The canvas camera as the kernels take it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2k_kernels.launch.checks import structure

#: ``Camera`` of lift.cuh.
_CAMERA = np.dtype([("nu_scale", "f4"), ("nu_offset", "f4"), ("inverse_scale", "f4"), ("step", "f4")], align=True)


@dataclass(frozen=True)
class CanvasCamera:
    """Which ray and which distance a canvas pixel and its depth stand for, rounded as h2k_rt.surface.rays does.

    Attributes:
        size: side of the maps' canvas in pixels.
        half_tan: tangent of half the field of view.
        depth_unit_px: pixels of depth in one nu, on a canvas of ``depth_size``.
        depth_size: side of the canvas on which depth is measured in pixels (2048).
        world_scale: points are divided by it.
    """

    size: int
    half_tan: float
    depth_unit_px: float = 512.0
    depth_size: int = 2048
    world_scale: float = 1.0

    def tangents(self) -> NDArray[np.float32]:
        """(size,) float32: tangent of the ray through each pixel centre; to be uploaded once."""
        edge = self.half_tan * (1 - 1 / self.size)
        return np.linspace(-edge, edge, self.size).astype(np.float32)

    def packed(self) -> np.void:
        """As a kernel's argument."""
        focal = self.depth_size / (2 * self.half_tan)
        line = self.tangents()
        step = line[1] - line[0] if self.size > 1 else 1.0
        offset = 1 - self.depth_size / 2 / focal
        return structure(np.array((self.depth_unit_px / focal, offset, 1 / self.world_scale, step), _CAMERA))
