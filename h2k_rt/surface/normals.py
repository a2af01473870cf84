"""Normals: the method's encoded ones (SPEC 8), and true ones for shading."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method


def normal_from_depth(depth: NDArray[np.float32], method: Method = METHOD) -> NDArray[np.float32]:
    """The method's normal of a depth map, (3, n, n) float32 in 0..1, at any resolution (SPEC 8).

    ``gx = d(y, x) - d(y, x + 1)`` (last column 0), ``gy = d(y - 1, x) - d(y, x)`` (first row 0), ``gz = 1/255``; the unit vector v
    is encoded as ``(v + 1) / 2``; 0 where the depth is less than 0.2 nu. Channel 0 grows to the left of a convex front, channel 1
    to its top, channel 2 to the camera. The back's vector points inwards.

    Args:
        depth: (n, n) float32, nu.
    """
    depth = np.asarray(depth, np.float32)
    vector = np.zeros((3, *depth.shape), np.float32)
    np.subtract(depth[:, :-1], depth[:, 1:], out=vector[0, :, :-1])
    np.subtract(depth[:-1], depth[1:], out=vector[1, 1:])
    vector[2] = method.normal_z
    vector *= np.float32(0.5) / np.sqrt((vector * vector).sum(axis=0))
    vector += np.float32(0.5)
    vector[:, depth < method.normal_min_depth] = 0
    return vector


def decode_normals(encoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """(3, h, w) encoded normals -> unit vectors (gx, gy, gz); (0, 0, 1) where there is nothing (all channels about 0)."""
    vector = 2 * np.asarray(encoded, np.float32) - 1
    vector[2] = np.maximum(vector[2], np.float32(1e-3))  # a network's normal may tip over; the surface it stands for cannot
    vector /= np.sqrt((vector * vector).sum(axis=0))
    empty = np.abs(encoded).sum(axis=0) < 0.25
    vector[:, empty] = np.array([0, 0, 1], np.float32)[:, None]
    return vector


def slopes(encoded: NDArray[np.float32], method: Method = METHOD) -> NDArray[np.float32]:
    """(3, h, w) encoded normals -> (2, h, w) depth differences gx, gy in nu per pixel, as ``normal_from_depth`` takes them."""
    vector = decode_normals(encoded)
    return vector[:2] * (np.float32(method.normal_z) / vector[2])


def camera_normals(encoded: NDArray[np.float32], *, back: bool = False, method: Method = METHOD) -> NDArray[np.float32]:
    """True unit normals (h, w, 3), x right, y up, z to the camera, outward, from encoded ones.

    The encoding flattens or steepens by resolution (SPEC 8); here its slopes are read as nu per pixel of the map and turned into
    the geometry of the canvas, with the rays taken as parallel (wrong by at most the ray's angle to the axis, 25 degrees).

    Args:
        encoded: (3, h, w), h the side of the canvas at that resolution.
        back: the map is the back one: normals point away from the camera.
    """
    gradient = slopes(encoded, method) * np.float32(method.depth_unit_px * encoded.shape[1] / method.size)
    # gx = -d depth/dx, gy = -d depth/dy (rows down): a front that falls away to the right has gx < 0 and looks to the right.
    normal = np.stack((-gradient[0], gradient[1], np.ones_like(gradient[0])), axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return -normal if back else normal


def normals_to_u8(encoded: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(3, h, w) encoded normals -> (h, w, 3) uint8, channels in the order gx, gy, gz: ``255 * value``, truncated and clipped."""
    return np.clip(np.moveaxis(encoded, 0, -1) * np.float32(255), 0, 255).astype(np.uint8)


def grid_normals(
    distance: NDArray[np.float32],
    used: NDArray[np.bool_],
    pixels: NDArray[np.int64],
    tan_x: NDArray[np.float32],
    tan_y: NDArray[np.float32],
    step: float,
    sign: int,
    out: NDArray[np.float32],
) -> None:
    """Write unit normals of the surface z(tan_x, tan_y) into ``out``: sign 1 towards the camera, -1 away from it.

    For q = z (tx, ty, 1) the cross product of the two tangents is parallel to (dz/dtx, dz/dty, -(z + tx dz/dtx + ty dz/dty)).
    """
    x, y = np.broadcast_to(tan_x, used.shape).ravel()[pixels], np.broadcast_to(tan_y[:, None], used.shape).ravel()[pixels]
    z = np.divide(distance, np.sqrt(tan_x * tan_x + (tan_y * tan_y)[:, None] + np.float32(1)), dtype=np.float32)
    zx = _masked_difference(z, used, 1).ravel()[pixels]
    zy = _masked_difference(z, used, 0).ravel()[pixels]
    zx /= np.float32(step)
    zy /= np.float32(step)
    depth = z.ravel()[pixels] + x * zx + y * zy
    scale = np.float32(sign) / np.sqrt(zx * zx + zy * zy + depth * depth)
    np.multiply(zx, scale, out=out[:, 0])
    np.multiply(zy, -scale, out=out[:, 1])
    np.multiply(depth, scale, out=out[:, 2])


def _masked_difference(z: NDArray[np.float32], used: NDArray[np.bool_], axis: int) -> NDArray[np.float32]:
    """Central difference per pixel along an axis inside the mask, one-sided at its border, 0 where both neighbours miss."""
    ahead, behind = (slice(None),) * axis + (slice(1, None),), (slice(None),) * axis + (slice(None, -1),)
    both = used[ahead] & used[behind]
    step = np.where(both, z[ahead] - z[behind], np.float32(0))
    total = np.zeros_like(z)
    total[behind] += step
    total[ahead] += step
    number = np.zeros(z.shape, np.uint8)
    number[behind] += both
    number[ahead] += both
    total *= np.where(number == 2, np.float32(0.5), np.float32(1))
    return total
