"""Depth maps as 16-bit pictures and as point clouds, in the way of the published program (SPEC 7)."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.normals import grid_normals
from h2k_rt.surface.rays import distance_from_nu, tangents, to_scan

Overflow = Literal["clip", "wrap"]

_SQUARE = np.ones((3, 3), np.uint8)
#: name, ring, weight of the front, weight of the back: the seam layers in the published order.
_SEAMS = (
    ("c10", 1, 5.0, 1.0),
    ("c20", 2, 3.0, 2.0),
    ("c30", 3, 1.0, 3.0),
    ("c05", 0, 6.5, 0.5),
    ("c15", 1, 4.5, 1.5),
    ("c25", 2, 2.5, 2.5),
    ("c35", 3, 0.5, 3.5),
)
_SEAM_GREY = 128


def depth_to_png(depth: NDArray[np.float32], overflow: Overflow = "clip", method: Method = METHOD) -> NDArray[np.uint16]:
    """Depth in nu -> uint16 of ``nu * 512 * 32``, truncated; 0 is background (SPEC 7).

    Args:
        overflow: what becomes of 4 nu and more: "clip" to 65535, or "wrap" around as the published program does (quirk Q9).
    """
    steps = np.asarray(depth, np.float32) * np.float32(method.depth_unit_px) * np.float32(method.png_per_px)
    if overflow == "wrap":
        return (steps.astype(np.int64) & 0xFFFF).astype(np.uint16)
    return np.clip(steps, 0, 65535).astype(np.uint16)


def png_to_depth(png: NDArray[np.uint16], method: Method = METHOD) -> NDArray[np.float32]:
    """uint16 steps -> depth in nu."""
    return png.astype(np.float32) / np.float32(method.depth_unit_px * method.png_per_px)


def lift(steps: NDArray[np.uint16] | NDArray[np.float32], method: Method = METHOD) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points of all pixels whose depth is not 0, row by row, in the lift frame (SPEC 7).

    Args:
        steps: (N, N) depth in PNG steps; may hold fractions.

    Returns:
        (P, 3) float32 points and (P,) flat index of their pixels; points nearer than 0.3 are left out.
    """
    index = np.flatnonzero(steps.ravel() > 0)
    nu = steps.ravel()[index].astype(np.float32) / np.float32(method.depth_unit_px * method.png_per_px)
    r = distance_from_nu(nu, method)
    tangent = tangents(steps.shape[0], method)
    tx, ty = tangent[index % steps.shape[1]], tangent[index // steps.shape[1]]
    z = r / np.sqrt(tx * tx + ty * ty + np.float32(1))
    far = z > method.min_point_z
    return np.stack((z * tx, z * ty, z), axis=1)[far], index[far]


def erode_back(front: NDArray[np.uint16], back: NDArray[np.uint16], method: Method = METHOD) -> NDArray[np.uint16]:
    """The back depth without a band of three pixels along the front's silhouette (SPEC 7)."""
    keep = cv2.erode((front > 0).astype(np.uint8), _SQUARE, iterations=method.erosion)
    return np.where(keep > 0, back, 0).astype(np.uint16)


def seam_layers(front: NDArray[np.uint16], back: NDArray[np.uint16], method: Method = METHOD) -> dict[str, NDArray[np.float32]]:
    """The seven layers that bridge the silhouette, by name in export order: (N, N) float32 depth in PNG steps, 0 outside (SPEC 7).

    Args:
        front: (N, N) uint16 depth steps.
        back: the eroded back depth steps of :func:`erode_back`.
    """
    grown = [back]
    for _ in range(3):
        grown.append(cv2.dilate(grown[-1], _SQUARE).astype(np.uint16))
    inner = cv2.erode((front > 0).astype(np.uint8), _SQUARE, iterations=method.erosion + 1) > 0
    rings = [(back > 0) & ~inner] + [(grown[k] > 0) & ~(grown[k - 1] > 0) for k in (1, 2, 3)]
    near = front.astype(np.float32)
    layers = {}
    for name, ring, front_weight, back_weight in _SEAMS:
        mixed = (front_weight * near + back_weight * grown[ring].astype(np.float32)) / (front_weight + back_weight)
        layers[name] = np.where(rings[ring], mixed, 0).astype(np.float32)
    return layers


def point_cloud(
    front: NDArray[np.float32],
    back: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    *,
    back_rgb: NDArray[np.uint8] | None = None,
    seams: bool = False,
    parity: bool = False,
    overflow: Overflow = "clip",
    method: Method = METHOD,
) -> Mesh:
    """Front points, then back points, then (if asked for) the grey seam layers, each row by row, in the scan frame.

    Args:
        front, back: (N, N) float32 nu, 0 outside the person.
        rgb: (N, N, 3) uint8 colours of the front points, and of the back points where ``back_rgb`` is None (quirk Q14).
        parity: as the published program: depth rounded to PNG steps, the back kept away from the silhouette.
            Otherwise the depth is taken as it is, and the back reaches as far as the front.
        seams: add the layers that bridge the published cloud's gap at the silhouette; implies ``parity``'s rounding and erosion.
        overflow: see :func:`depth_to_png`.

    Returns:
        a mesh without faces; normals from the depth grids, front towards the camera, back away (seams: half way).
    """
    scale = np.float32(method.depth_unit_px * method.png_per_px)
    near: NDArray[np.uint16] | NDArray[np.float32] = (front * scale).astype(np.float32)
    far: NDArray[np.uint16] | NDArray[np.float32] = (back * scale).astype(np.float32)
    layers: dict[str, NDArray[np.float32]] = {}
    if parity or seams:
        near_steps = depth_to_png(front, overflow, method)
        far_steps = erode_back(near_steps, depth_to_png(back, overflow, method), method)
        near, far = near_steps, far_steps
        if seams:
            layers = seam_layers(near_steps, far_steps, method)
    colors = [rgb.reshape(-1, 3), (rgb if back_rgb is None else back_rgb).reshape(-1, 3)]
    points, normals, painted = [], [], []
    for sign, steps, palette in ((1, near, colors[0]), (-1, far, colors[1])):
        lifted, index = lift(steps, method)
        points.append(lifted)
        normals.append(_normals(steps.astype(np.float32) / scale, index, sign, method))
        painted.append(palette[index])
    for layer in layers.values():
        lifted, _ = lift(layer, method)
        points.append(lifted)
        normals.append(_sideways(lifted))
        painted.append(np.full((len(lifted), 3), _SEAM_GREY, np.uint8))
    world = to_scan(np.concatenate(points), method)
    return Mesh(world, np.zeros((0, 3), np.int32), np.concatenate(normals), np.concatenate(painted))


def _normals(depth: NDArray[np.float32], index: NDArray[np.int64], sign: int, method: Method) -> NDArray[np.float32]:
    tangent = tangents(depth.shape[0], method)
    used = np.zeros(depth.shape, bool)
    used.ravel()[index] = True
    out = np.empty((index.size, 3), np.float32)
    step = float(tangent[1] - tangent[0])
    grid_normals(distance_from_nu(depth, method), used, index, tangent, tangent, step, sign, out)
    return out


def _sideways(lifted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit normals of seam points: away from the middle of the layer in the picture plane."""
    if len(lifted) == 0:
        return np.zeros((0, 3), np.float32)
    out = np.zeros_like(lifted)
    out[:, :2] = (lifted[:, :2] - lifted[:, :2].mean(axis=0)) * np.array([1, -1], np.float32)
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return np.where(length > 1e-9, out / np.maximum(length, 1e-9), np.array([0, 0, 1], np.float32)).astype(np.float32)
