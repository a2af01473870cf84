"""Points of the drawn surfaces: the mesh as the smooth surface that its vertex normals describe, wrinkled by its folds.

Everything is float32 in camera axes (x right, y down, z away), metres. Pixels are taken in blocks, so that the folds of a block are
computed with vector instructions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2k_rt.data.people.folds import BLOCK, BLOCK_ROWS, fold_block

#: A displacement h along the normal moves the depth by h / cos; below this cosine it is limited (silhouettes).
_MIN_COSINE = np.float32(0.3)
_ZERO, _ONE = np.float32(0), np.float32(1)


class DrawnMesh(NamedTuple):
    """A surface's geometry as the kernels read it.

    Attributes:
        screen: (V, 3) float32, see raster.py; points, normals: (V, 3) float32 camera axes, normals outward.
        faces: (F, 3) int32; rest: (V, 3) float32; fold: (V,) float32 metres, empty: no folds; pattern: of folds.fold_pattern.
    """

    screen: NDArray[np.float32]
    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.int32]
    rest: NDArray[np.float32]
    fold: NDArray[np.float32]
    pattern: NDArray[np.float32]


class Lens(NamedTuple):
    """focal and half in pixels; ``nu = scale * metres along the ray + offset``; smooth: 1 curved faces, 0 flat ones."""

    focal: np.float32
    half: np.float32
    scale: np.float32
    offset: np.float32
    smooth: np.float32


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _fold(mesh, a, b, c, w0, w1, w2, h, gx, gy, gz, nx, ny, nz):
    """Height in metres of the folds at a point of a face, and the normal bent by them; h and g are those of fold_block."""
    fa, fb, fc = mesh.fold[a], mesh.fold[b], mesh.fold[c]
    amplitude = w0 * fa + w1 * fb + w2 * fc
    if amplitude < np.float32(1e-6):
        return _ZERO, nx, ny, nz
    rest, points = mesh.rest, mesh.points
    # Change of the height along the two edges, then its gradient on the posed face.
    d1 = gx * (rest[b, 0] - rest[a, 0]) + gy * (rest[b, 1] - rest[a, 1]) + gz * (rest[b, 2] - rest[a, 2])
    d2 = gx * (rest[c, 0] - rest[a, 0]) + gy * (rest[c, 1] - rest[a, 1]) + gz * (rest[c, 2] - rest[a, 2])
    d1, d2 = amplitude * d1 + h * (fb - fa), amplitude * d2 + h * (fc - fa)
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
    det = uu * vv - uv * uv
    if det < np.float32(1e-5) * uu * vv or det <= 0:
        return amplitude * h, nx, ny, nz
    p, q = (vv * d1 - uv * d2) / det, (uu * d2 - uv * d1) / det
    sx, sy, sz = p * ux + q * vx, p * uy + q * vy, p * uz + q * vz
    steep = sx * sx + sy * sy + sz * sz
    limit = np.float32(1.5)
    factor = _ONE if steep < limit * limit else limit / np.sqrt(steep)
    nx, ny, nz = nx - sx * factor, ny - sy * factor, nz - sz * factor
    inverse = _ONE / np.sqrt(nx * nx + ny * ny + nz * nz)
    return amplitude * h, nx * inverse, ny * inverse, nz * inverse


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _bulge(mesh, a, b, c, w0, w1, w2, x, y, z, nx, ny, nz):
    """Height in metres of the curved face over the flat one.

    The point is projected to each corner's tangent plane, the ways are averaged (Phong tessellation, Boubekeur and Alexa 2008).
    Half of the way reproduces spheres to second order.
    """
    points, normals = mesh.points, mesh.normals
    total, edge = _ZERO, _ZERO
    for k, w in ((a, w0), (b, w1), (c, w2)):
        dx, dy, dz = points[k, 0] - x, points[k, 1] - y, points[k, 2] - z
        mx, my, mz = normals[k, 0], normals[k, 1], normals[k, 2]
        total += w * (dx * mx + dy * my + dz * mz) * (mx * nx + my * ny + mz * nz)
        edge = max(edge, dx * dx + dy * dy + dz * dz)
    # At creases the vertex normals mean nothing: no more than a tenth of the face's size.
    limit = np.float32(0.1) * np.sqrt(edge)
    return min(max(total * np.float32(0.5), -limit), limit)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _smooth_point(mesh, t, column, row, lens):
    """Weights of the face's corners, point on the flat face, normal of the curved one, ray, its length, the cosine between normal
    and ray (kept off 0), height of the curved face, 1 if the face shows its outside."""
    a, b, c = mesh.faces[t, 0], mesh.faces[t, 1], mesh.faces[t, 2]
    screen, points, normals = mesh.screen, mesh.points, mesh.normals
    px, py = np.float64(column) + 0.5, np.float64(row) + 0.5
    ax, ay = screen[a, 0] - px, screen[a, 1] - py
    bx, by = screen[b, 0] - px, screen[b, 1] - py
    cx, cy = screen[c, 0] - px, screen[c, 1] - py
    v0, v1, v2 = (bx * cy - cx * by) * screen[a, 2], (cx * ay - ax * cy) * screen[b, 2], (ax * by - bx * ay) * screen[c, 2]
    inverse = 1.0 / (v0 + v1 + v2)
    w0, w1 = np.float32(v0 * inverse), np.float32(v1 * inverse)
    w2 = _ONE - w0 - w1
    z = points[a, 2] + w1 * (points[b, 2] - points[a, 2]) + w2 * (points[c, 2] - points[a, 2])
    tx, ty = (np.float32(px) - lens.half) / lens.focal, (np.float32(py) - lens.half) / lens.focal
    x, y = tx * z, ty * z
    length = np.sqrt(tx * tx + ty * ty + _ONE)
    dx, dy, dz = tx / length, ty / length, _ONE / length
    nx = w0 * normals[a, 0] + w1 * normals[b, 0] + w2 * normals[c, 0]
    ny = w0 * normals[a, 1] + w1 * normals[b, 1] + w2 * normals[c, 1]
    nz = w0 * normals[a, 2] + w1 * normals[b, 2] + w2 * normals[c, 2]
    norm = np.sqrt(nx * nx + ny * ny + nz * nz)
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    fx, fy, fz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    outside = fx * dx + fy * dy + fz * dz < 0
    if norm < np.float32(1e-3) or lens.smooth <= 0:
        nx, ny, nz = fx, fy, fz
        norm = np.sqrt(fx * fx + fy * fy + fz * fz) + np.float32(1e-20)
    nx, ny, nz = nx / norm, ny / norm, nz / norm
    height = _ZERO
    cosine = nx * dx + ny * dy + nz * dz
    # The sign of the face, not of the interpolated normal, says which way is up at a silhouette.
    steep = -max(-cosine, _MIN_COSINE) if outside else max(cosine, _MIN_COSINE)
    if lens.smooth > 0:
        height = _bulge(mesh, a, b, c, w0, w1, w2, x, y, z, nx, ny, nz)
    return w0, w1, w2, x, y, z, nx, ny, nz, dx, dy, dz, length, steep, height, outside


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def smooth_points(pixels, first, count, hits, mesh, lens, found, block):
    """:func:`_smooth_point` of some pixels into ``found``, and the folds there into ``block``; see :func:`scratch`."""
    folded, rest = mesh.fold.shape[0] > 0, mesh.rest
    for i in range(count):
        row, column = pixels[first + i, 0], pixels[first + i, 1]
        t = hits[row, column]
        w0, w1, w2, x, y, z, nx, ny, nz, dx, dy, dz, length, steep, height, outside = _smooth_point(mesh, t, column, row, lens)
        found[i, 0], found[i, 1], found[i, 2] = w0, w1, w2
        found[i, 3], found[i, 4], found[i, 5] = x, y, z
        found[i, 6], found[i, 7], found[i, 8] = nx, ny, nz
        found[i, 9], found[i, 10], found[i, 11] = dx, dy, dz
        found[i, 12], found[i, 13], found[i, 14], found[i, 15] = length, steep, height, _ONE if outside else _ZERO
        if folded:
            a, b, c = mesh.faces[t, 0], mesh.faces[t, 1], mesh.faces[t, 2]
            block[i] = w0 * rest[a, 0] + w1 * rest[b, 0] + w2 * rest[c, 0]
            block[BLOCK + i] = w0 * rest[a, 1] + w1 * rest[b, 1] + w2 * rest[c, 1]
            block[2 * BLOCK + i] = w0 * rest[a, 2] + w1 * rest[b, 2] + w2 * rest[c, 2]
            block[3 * BLOCK + i] = z / lens.focal / abs(steep)
    if folded:
        fold_block(block, count, mesh.pattern)


@njit(cache=True, nogil=True)
def scratch():
    """Room for BLOCK pixels: results of :func:`_smooth_point`, and the arrays of fold_block."""
    return np.empty((BLOCK, 16), np.float32), np.zeros(BLOCK_ROWS * BLOCK, np.float32)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def surface_point(mesh, t, i, found, block, lens):
    """Weights of the face's corners, point, normal (outward, bent), ray, depth in nu, 1 if the face shows its outside.

    Args:
        i: which of the pixels in ``found`` and ``block``.
    """
    w0, w1, w2, x, y, z = found[i, 0], found[i, 1], found[i, 2], found[i, 3], found[i, 4], found[i, 5]
    nx, ny, nz, dx, dy, dz = found[i, 6], found[i, 7], found[i, 8], found[i, 9], found[i, 10], found[i, 11]
    length, steep, height = found[i, 12], found[i, 13], found[i, 14]
    if mesh.fold.shape[0] > 0:
        a, b, c = mesh.faces[t, 0], mesh.faces[t, 1], mesh.faces[t, 2]
        h, gx, gy, gz = block[4 * BLOCK + i], block[5 * BLOCK + i], block[6 * BLOCK + i], block[7 * BLOCK + i]
        lift, nx, ny, nz = _fold(mesh, a, b, c, w0, w1, w2, h, gx, gy, gz, nx, ny, nz)
        height += lift
    way = height / steep
    nu = lens.scale * (z * length + way) + lens.offset
    return w0, w1, w2, x + dx * way, y + dy * way, z + dz * way, nx, ny, nz, dx, dy, dz, nu, found[i, 15] > 0
