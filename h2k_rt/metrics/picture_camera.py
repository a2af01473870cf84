"""The pinhole camera of a picture, and the true surface normals that its depths and encoded normals stand for.

Lengths are counted in the distance of the camera from the reference plane (depth 2 nu), so that the focal length in pixels is all
that is to be known. The formulas are in ``docs/metrics.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import METHOD
from h2k_rt.framing import Framing
from h2k_rt.metrics.upsample import on_canvas
from h2k_rt.surface.normals import grid_normals, slopes
from h2k_rt.surface.rays import nu_from_distance

#: Sum of an encoded normal's channels below which there is none.
_NOTHING = 0.25


@dataclass(frozen=True)
class PictureCamera:
    """Focal length and principal point of a picture, in its pixels (edge coordinates). The default is the published canvas."""

    focal: float = METHOD.focal_px
    cx: float = METHOD.size / 2
    cy: float = METHOD.size / 2

    @staticmethod
    def of(size: int, fov_degrees: float) -> PictureCamera:
        """A square picture of ``size`` pixels with this field of view."""
        return PictureCamera(size / (2 * float(np.tan(np.radians(fov_degrees / 2)))), size / 2, size / 2)

    def framed(self, framing: Framing) -> PictureCamera:
        """The camera of the picture after it was scaled and shifted."""
        s = framing.scale
        return PictureCamera(self.focal * s, self.cx * s + framing.dx, self.cy * s + framing.dy)

    def cut(self, rows: slice, columns: slice) -> PictureCamera:
        """The camera of a window of the picture."""
        return PictureCamera(self.focal, self.cx - columns.start, self.cy - rows.start)

    def tangents(self, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(width,) and (height,) tangents of the rays through the pixel centres: x right, y down."""
        x = (np.arange(width) + 0.5 - self.cx) / self.focal
        y = (np.arange(height) + 0.5 - self.cy) / self.focal
        return x.astype(np.float32), y.astype(np.float32)

    def distance(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth in nu -> distance along the ray, 1 at the reference plane; 512 nu count in pixels of this picture."""
        return (depth * np.float32(METHOD.depth_unit_px) - np.float32(METHOD.size / 2)) / np.float32(self.focal) + np.float32(1)


#: The camera that the pipeline takes every canvas for.
CANVAS_CAMERA = PictureCamera()


def on_canvas_camera(depth: NDArray[np.float32], mask: NDArray[np.bool_], camera: PictureCamera) -> NDArray[np.float32]:
    """Depth maps (C, h, w) in nu that the canvas camera must be given for a shape seen through another camera.

    The pipeline lifts every depth along the rays of the canvas camera. Depth counts along the ray, so the same numbers in a picture
    that was enlarged or shifted, or of another focal length, would bend the shape. Kept is each pixel's relief, its distance
    from the reference plane in pixels.

    Args:
        depth: along the rays of ``camera``, in pixels of this picture / 512; used inside the mask.

    Returns:
        (C, h, w), 0 outside the mask; equal to ``depth`` where ``camera`` is the canvas camera.
    """
    row, column = np.nonzero(mask)
    out = np.zeros_like(depth)
    true, canvas = (
        np.sqrt(1 + ((column + 0.5 - c.cx) / c.focal) ** 2 + ((row + 0.5 - c.cy) / c.focal) ** 2) for c in (camera, CANVAS_CAMERA)
    )
    for side, values in zip(out, depth, strict=True):
        relief = (1 - camera.distance(values[row, column]) / true) * camera.focal
        distance = (1 - relief / CANVAS_CAMERA.focal) * canvas
        side[row, column] = nu_from_distance(distance)
    return out


def normals_of_depth(
    depth: NDArray[np.float32], mask: NDArray[np.bool_], camera: PictureCamera, *, back: bool
) -> NDArray[np.float32]:
    """(h, w, 3) outward unit normals, x right, y up, z to the camera, of a depth map (h, w) in nu; 0 outside the mask.

    From central differences inside the mask, as the grid mesh's vertex normals.
    """
    height, width = depth.shape
    tan_x, tan_y = camera.tangents(height, width)
    pixels = np.flatnonzero(mask)
    out = np.zeros((height * width, 3), np.float32)
    found = np.empty((pixels.size, 3), np.float32)
    grid_normals(camera.distance(depth), mask, pixels, tan_x, tan_y, 1 / camera.focal, -1 if back else 1, found)
    out[pixels] = found
    return out.reshape(height, width, 3)


def normals_of_encoded(
    encoded: NDArray[np.float32],
    window: tuple[slice, slice],
    distance: NDArray[np.float32],
    camera: PictureCamera,
    *,
    back: bool,
    size: int = METHOD.size,
) -> NDArray[np.float32]:
    """(h, w, 3) outward unit normals in a window of the canvas, from encoded ones of the whole canvas at any resolution.

    The encoded differences are read in nu per pixel *of that resolution* (SPEC 8) and at the place between two pixels where they
    were taken; they are brought to the canvas by linear interpolation of their angles.

    Args:
        encoded: (3, n, n) of the whole canvas.
        window: rows and columns of the canvas (``size`` pixels).
        distance: (h, w) along the rays there, 1 at the reference plane.
        camera: of the whole canvas.
    """
    rows, columns = window
    factor = size // encoded.shape[1]
    per_pixel = np.float32(METHOD.depth_unit_px / factor)  # nu per low pixel -> canvas pixels of depth per canvas pixel
    angles = np.arctan(slopes(encoded) * per_pixel)
    present = (encoded.sum(axis=0) >= _NOTHING).astype(np.float32)
    # gx lies between a pixel and the next one, gy between a pixel and the one before.
    falls_right = np.tan(on_canvas(angles[0], present, window, size, (0.5, 0.0)))
    rises_down = np.tan(on_canvas(angles[1], present, window, size, (0.0, -0.5)))
    tan_x, tan_y = camera.cut(rows, columns).tangents(*distance.shape)
    return _normals(-falls_right, -rises_down, distance, tan_x, tan_y, back)


def _normals(
    slope_x: NDArray[np.float32],
    slope_y: NDArray[np.float32],
    distance: NDArray[np.float32],
    tan_x: NDArray[np.float32],
    tan_y: NDArray[np.float32],
    back: bool,
) -> NDArray[np.float32]:
    """Unit normals from the slopes of the distance along the ray, d rho / d tan_x and d rho / d tan_y (y down)."""
    x, y = tan_x[None, :], tan_y[:, None]
    length2 = x * x + y * y + np.float32(1)
    length = np.sqrt(length2)
    # The point at distance rho is z (x, y, 1) with z = rho / length; its tangents' cross product is (zx, zy, -(z + x zx + y zy)).
    z = distance / length
    zx = slope_x / length - z * x / length2
    zy = slope_y / length - z * y / length2
    out = np.stack((zx, -zy, z + x * zx + y * zy), axis=-1)
    out *= np.float32(-1 if back else 1) / np.sqrt(np.einsum("ijk,ijk->ij", out, out))[..., None]
    return np.asarray(out, np.float32)
