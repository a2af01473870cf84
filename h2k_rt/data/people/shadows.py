"""Shadow maps: the figure's surfaces as each light sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2k_rt.data.people import raster
from h2k_rt.data.people.lights import Light

#: Nearness of the plane through the figure's middle in maps of parallel light.
_PARALLEL_OFFSET = np.float32(10.0)
#: The filter in the shading kernel is three texels wide.
_FILTER_TEXELS = 3.0
_LARGEST, _SMALLEST = 1024, 96


@dataclass(frozen=True)
class ShadowMaps:
    """Attributes:
    maps: (M, R, R) float32 nearness of what the light meets first, 0: nothing. Smaller maps use the upper left corner.
    table: (M, 16) float32: rows right, down, forward (3 each), origin (3), focal or scale, half side, parallel, bias in metres.
    """

    maps: NDArray[np.float32]
    table: NDArray[np.float32]


@njit(cache=True, nogil=True)
def project(points, row, out):
    """Screen vertices as the light of a table row sees them; (V, 3) camera axes."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - row[9], points[i, 1] - row[10], points[i, 2] - row[11]
        right = row[0] * x + row[1] * y + row[2] * z
        down = row[3] * x + row[4] * y + row[5] * z
        forward = row[6] * x + row[7] * y + row[8] * z
        if row[14] > 0:
            out[i, 0], out[i, 1], out[i, 2] = right * row[12] + row[13], down * row[12] + row[13], _PARALLEL_OFFSET - forward
        elif forward > np.float32(0.05):
            inverse = np.float32(1.0) / forward
            out[i, 0], out[i, 1] = right * inverse * row[12] + row[13], down * inverse * row[12] + row[13]
            out[i, 2] = inverse
        else:
            out[i, 0] = out[i, 1] = 0.0
            out[i, 2] = -1.0


def shadow_table(lights: Sequence[Light], middle: NDArray[np.float64], radius: float, size: int) -> NDArray[np.float32]:
    """How each shadow map is seen: one row for every light that casts shadows.

    Args:
        middle: (3,) camera axes; radius: metres around it that the maps must show.
        size: side of the picture; maps finer than it are of no use.
    """
    rows = []
    for light in lights:
        if light.softness is None:
            continue
        toward = np.array(light.toward) * (1, -1, -1)
        forward = -toward / np.linalg.norm(toward)
        right = np.cross((0.0, 1.0, 0.0) if abs(forward[1]) < 0.95 else (0.0, 0.0, 1.0), forward)
        right /= np.linalg.norm(right)
        down = np.cross(forward, right)
        wanted = 2 * radius * _FILTER_TEXELS / max(light.softness, 1e-3)
        side = int(np.clip(wanted, _SMALLEST, min(_LARGEST, max(size, 256))))
        texel = 2 * radius / side
        bias = 0.004 + 1.2 * texel
        if light.distance is None:
            rows.append([*right, *down, *forward, *middle, side / 2 / radius, side / 2, 1, bias])
        else:
            # The nearer the lamp, the wider the angle under which it sees the figure.
            distance = max(light.distance, 1.15 * radius)
            focal = side / 2 * np.sqrt(distance**2 - radius**2) / radius
            rows.append([*right, *down, *forward, *(middle - forward * distance), focal, side / 2, 0, bias])
    return np.array(rows, np.float32).reshape(-1, 16)


def draw_shadows(table: NDArray[np.float32], meshes: Sequence[tuple[NDArray, ...]]) -> ShadowMaps:
    """The maps of a table.

    Args:
        meshes: (points in camera axes, faces, uv, uv_faces, alpha) of each surface.
    """
    side = int(2 * table[:, 13].max()) if len(table) else 1
    maps = np.zeros((len(table), side, side), np.float32)
    for row, full in zip(table, maps, strict=True):
        own = int(2 * row[13])
        for points, faces, uv, uv_faces, alpha in meshes:
            screen = np.empty_like(points)
            project(points, row, screen)
            raster.draw_near(screen, faces, uv, uv_faces, alpha, bool(row[14] > 0), full[:own, :own])
    return ShadowMaps(maps, table)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def lit_share(maps, table, number, x, y, z):
    """Share of a light that reaches a point (camera axes), 0..1: the mean of 3 x 3 texels around it, bilinear."""
    x, y, z = x - table[number, 9], y - table[number, 10], z - table[number, 11]
    right = table[number, 0] * x + table[number, 1] * y + table[number, 2] * z
    down = table[number, 3] * x + table[number, 4] * y + table[number, 5] * z
    forward = table[number, 6] * x + table[number, 7] * y + table[number, 8] * z
    scale = table[number, 12]
    if table[number, 14] <= 0:
        scale = scale / max(forward, np.float32(0.05))
    u, v = right * scale + table[number, 13] - np.float32(1.5), down * scale + table[number, 13] - np.float32(1.5)
    fu, fv = np.floor(u), np.floor(v)
    x0, y0 = np.int64(fu), np.int64(fv)
    side = np.int64(np.float32(2) * table[number, 13])
    if x0 < 0 or y0 < 0 or x0 + 3 >= side or y0 + 3 >= side:
        return np.float32(1)
    fu, fv = u - fu, v - fv
    limit = forward - table[number, 15]
    # As nearness, so that the texels need no division.
    nearness = _PARALLEL_OFFSET - limit if table[number, 14] > 0 else np.float32(1) / max(limit, np.float32(0.01))
    nearness = max(nearness, np.float32(1e-6))  # empty texels hold 0, also for what is far away
    total = np.float32(0)
    for j in range(4):
        weight_v = np.float32(1)
        if j == 0:
            weight_v -= fv
        elif j == 3:
            weight_v = fv
        line = np.float32(0)
        r = y0 + j
        if maps[number, r, x0] <= nearness:
            line += np.float32(1) - fu
        if maps[number, r, x0 + 1] <= nearness:
            line += np.float32(1)
        if maps[number, r, x0 + 2] <= nearness:
            line += np.float32(1)
        if maps[number, r, x0 + 3] <= nearness:
            line += fu
        total += weight_v * line
    return total * np.float32(1 / 9)
