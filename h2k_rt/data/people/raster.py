"""A z-buffer that keeps the nearest and the farthest surface of every pixel in one pass.

Screen vertices are (V, 3) float32: column, row (pixel edge coordinates) and *nearness*, a number that is linear on the screen and
grows toward the viewer: 1 / z under perspective, a constant minus z under parallel projection. Vertices behind the camera have
nearness <= 0. Kernels take rows ``top`` to ``bottom`` only, so that threads can share a picture.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Alpha below which a texture is cut out.
ALPHA_CUT = 110.0
#: Triangles grow by this share of their size, so that rounding leaves no gap between neighbours.
_GROW = -1e-5


@njit(cache=True, nogil=True)
def to_camera(vertices, rotation, offset, out):
    """``out[i] = rotation vertices[i] + offset``, all float32: world metres -> camera axes."""
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        for k in range(3):
            out[i, k] = rotation[k, 0] * x + rotation[k, 1] * y + rotation[k, 2] * z + offset[k]


@njit(cache=True, nogil=True)
def perspective(points, focal, half, out):
    """Screen vertices of a pinhole camera: (V, 3) camera axes -> ``out``."""
    for i in range(points.shape[0]):
        z = points[i, 2]
        if z < 1e-3:
            out[i, 0] = out[i, 1] = 0.0
            out[i, 2] = -1.0
            continue
        inverse = np.float32(1.0) / z
        out[i, 0] = points[i, 0] * inverse * focal + half
        out[i, 1] = points[i, 1] * inverse * focal + half
        out[i, 2] = inverse


@njit(cache=True, nogil=True)
def vertex_normals(points, faces, out):
    """Area-weighted unit normals of a mesh's vertices, on the side from which the faces run as in ``cross(b - a, c - a)``."""
    out[:] = 0
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            out[k, 0] += nx
            out[k, 1] += ny
            out[k, 2] += nz
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] * out[i, 0] + out[i, 1] * out[i, 1] + out[i, 2] * out[i, 2])
        if length > 0:
            inverse = np.float32(1.0) / length
            for k in range(3):
                out[i, k] *= inverse


@njit(cache=True, nogil=True)
def lowest(points, to_ground):
    """Least height of (V, 3) points in camera axes; the second row of ``to_ground`` (3, 3) points up."""
    least = np.inf
    for i in range(points.shape[0]):
        y = to_ground[1, 0] * points[i, 0] + to_ground[1, 1] * points[i, 1] + to_ground[1, 2] * points[i, 2]
        least = min(least, y)
    return least


@njit(cache=True, nogil=True)
def near_ground(points, to_ground, height):
    """(N, 2) float64: x and z in ground axes of the points below a height."""
    found = np.empty((points.shape[0], 2))
    count = 0
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if to_ground[1, 0] * x + to_ground[1, 1] * y + to_ground[1, 2] * z < height:
            found[count, 0] = to_ground[0, 0] * x + to_ground[0, 1] * y + to_ground[0, 2] * z
            found[count, 1] = to_ground[2, 0] * x + to_ground[2, 1] * y + to_ground[2, 2] * z
            count += 1
    return found[:count]


@njit(cache=True, nogil=True)
def bilinear_alpha(alpha, u, v):
    """Alpha 0..255 at a texture coordinate; textures repeat."""
    h, w = alpha.shape
    x, y = (u - np.floor(u)) * w - 0.5, (1 - (v - np.floor(v))) * h - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - x0, y - y0
    xa, xb, ya, yb = x0 % w, (x0 + 1) % w, y0 % h, (y0 + 1) % h
    upper = alpha[ya, xa] * (1 - fx) + alpha[ya, xb] * fx
    lower = alpha[yb, xa] * (1 - fx) + alpha[yb, xb] * fx
    return upper * (1 - fy) + lower * fy


@njit(cache=True, nogil=True)
def _opaque(alpha, uv, corners, p0, p1, p2):
    a, b, c = corners[0], corners[1], corners[2]
    u = p0 * uv[a, 0] + p1 * uv[b, 0] + p2 * uv[c, 0]
    v = p0 * uv[a, 1] + p1 * uv[b, 1] + p2 * uv[c, 1]
    return bilinear_alpha(alpha, u, v) >= ALPHA_CUT


@njit(cache=True, nogil=True)
def draw(screen, faces, uv, uv_faces, alpha, surface, top, bottom, depths, hits, owners):
    """Draw one surface into the near and far buffers.

    Args:
        screen: (V, 3) float32 under perspective.
        alpha: (h, w) uint8; (0, 0) for opaque surfaces.
        surface: number of the surface, written to ``owners``.
        depths: (2, S, S) float32 nearness of the nearest (start with 0) and the farthest hit (start with inf).
        hits: (2, S, S) int32, face of each; owners: (2, S, S) int8, surface of each (start with -1).
    """
    size = depths.shape[2]
    cut = alpha.shape[0] > 0
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ya, yb, yc = screen[a, 1], screen[b, 1], screen[c, 1]
        y0, y1 = max(int(np.ceil(min(ya, yb, yc) - 0.5)), top), min(int(np.floor(max(ya, yb, yc) - 0.5)), bottom - 1)
        if y1 < y0:
            continue
        xa, xb, xc = screen[a, 0], screen[b, 0], screen[c, 0]
        x0, x1 = max(int(np.ceil(min(xa, xb, xc) - 0.5)), 0), min(int(np.floor(max(xa, xb, xc) - 0.5)), size - 1)
        if x1 < x0:
            continue
        qa, qb, qc = np.float64(screen[a, 2]), np.float64(screen[b, 2]), np.float64(screen[c, 2])
        if qa <= 0 or qb <= 0 or qc <= 0:
            continue
        # Edge functions divided by the area are the screen's barycentric weights; they change linearly along rows and columns.
        bx, by, cx, cy = np.float64(xb) - xa, np.float64(yb) - ya, np.float64(xc) - xa, np.float64(yc) - ya
        area = bx * cy - cx * by
        if area == 0:
            continue
        inverse = 1.0 / area
        w1x, w1y, w2x, w2y = cy * inverse, -cx * inverse, -by * inverse, bx * inverse
        dx, dy = x0 + 0.5 - xa, y0 + 0.5 - ya
        row1, row2 = w1x * dx + w1y * dy, w2x * dx + w2y * dy
        for y in range(y0, y1 + 1):
            w1, w2 = row1, row2
            row1 += w1y
            row2 += w2y
            for x in range(x0, x1 + 1):
                w0 = 1.0 - w1 - w2
                if w0 >= _GROW and w1 >= _GROW and w2 >= _GROW:
                    q = w0 * qa + w1 * qb + w2 * qc
                    q32 = np.float32(q)
                    nearer, farther = q32 > depths[0, y, x], q32 < depths[1, y, x]
                    if (nearer or farther) and (not cut or _opaque(alpha, uv, uv_faces[t], w0 * qa / q, w1 * qb / q, w2 * qc / q)):
                        if nearer:
                            depths[0, y, x] = q32
                            hits[0, y, x] = t
                            owners[0, y, x] = surface
                        if farther:
                            depths[1, y, x] = q32
                            hits[1, y, x] = t
                            owners[1, y, x] = surface
                w1 += w1x
                w2 += w2x


@njit(cache=True, nogil=True)
def draw_near(screen, faces, uv, uv_faces, alpha, parallel, depths):
    """Draw one surface into a shadow map: (S, S) float32 nearness of the nearest hit (start with 0)."""
    size = depths.shape[0]
    cut = alpha.shape[0] > 0
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ya, yb, yc = screen[a, 1], screen[b, 1], screen[c, 1]
        y0, y1 = max(int(np.ceil(min(ya, yb, yc) - 0.5)), 0), min(int(np.floor(max(ya, yb, yc) - 0.5)), size - 1)
        if y1 < y0:
            continue
        xa, xb, xc = screen[a, 0], screen[b, 0], screen[c, 0]
        x0, x1 = max(int(np.ceil(min(xa, xb, xc) - 0.5)), 0), min(int(np.floor(max(xa, xb, xc) - 0.5)), size - 1)
        if x1 < x0:
            continue
        qa, qb, qc = np.float64(screen[a, 2]), np.float64(screen[b, 2]), np.float64(screen[c, 2])
        if qa <= 0 or qb <= 0 or qc <= 0:
            continue
        bx, by, cx, cy = np.float64(xb) - xa, np.float64(yb) - ya, np.float64(xc) - xa, np.float64(yc) - ya
        area = bx * cy - cx * by
        if area == 0:
            continue
        inverse = 1.0 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                dx, dy = x + 0.5 - xa, y + 0.5 - ya
                w1, w2 = (cy * dx - cx * dy) * inverse, (bx * dy - by * dx) * inverse
                w0 = 1.0 - w1 - w2
                if w0 < _GROW or w1 < _GROW or w2 < _GROW:
                    continue
                q = w0 * qa + w1 * qb + w2 * qc
                if np.float32(q) <= depths[y, x]:
                    continue
                if cut:
                    if parallel:
                        visible = _opaque(alpha, uv, uv_faces[t], w0, w1, w2)
                    else:
                        visible = _opaque(alpha, uv, uv_faces[t], w0 * qa / q, w1 * qb / q, w2 * qc / q)
                    if not visible:
                        continue
                depths[y, x] = np.float32(q)


@njit(cache=True, nogil=True)
def _sort_pixels(owners, count):
    """Pixels of each surface, one after the other: (P, 2) int16 row and column, and (count + 1,) where each surface begins."""
    height, width = owners.shape
    starts = np.zeros(count + 1, np.int64)
    for y in range(height):
        for x in range(width):
            if owners[y, x] >= 0:
                starts[owners[y, x] + 1] += 1
    for k in range(count):
        starts[k + 1] += starts[k]
    pixels = np.empty((starts[count], 2), np.int16)
    place = starts.copy()
    for y in range(height):
        for x in range(width):
            k = owners[y, x]
            if k >= 0:
                pixels[place[k], 0] = y
                pixels[place[k], 1] = x
                place[k] += 1
    return pixels, starts


def pixels_by_surface(owners: NDArray[np.int8], count: int) -> list[NDArray[np.int16]]:
    """For each of ``count`` surfaces (P, 2) row and column of the pixels it owns, row by row; ``owners`` (S, S), -1: none."""
    pixels, starts = _sort_pixels(owners, count)
    return [pixels[starts[k] : starts[k + 1]] for k in range(count)]
