"""Fine wrinkles of cloth as a height over the rest pose: long warped ridges, small creases and weave.

Noise is gradient noise with its exact derivative, so that a bent normal and a displaced depth are the same surface. Each layer is
stretched along its folds (they run across the direction of steepest change) and ridged: narrow crests between wide hollows.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Waves that bend the folds and say where they are high.
_WARPS = 4
#: Spacing of the folds in metres, stretch along them, share of the height, and the noise at which a fold has fallen to half of its
#: height: small for narrow crests; 0: plain noise.
_LAYERS = (
    (0.120, 3.0, 0.64, 0.26),
    (0.058, 4.5, 0.56, 0.22),
    (0.027, 3.8, 0.24, 0.28),
    (0.0125, 2.5, 0.064, 0.5),
    (0.0062, 1.0, 0.034, 0.0),
)
#: Direction of each layer, as a share of the pattern's.
_TILTS = (0.7, 1.0, -0.8, 0.3, 0.0)
_ONE = np.float32(1.0)


def fold_pattern(seed: int) -> NDArray[np.float32]:
    """The numbers that :func:`fold_at` reads: (rows, 8) float32, warp waves first, then one row triple per layer."""
    rng = np.random.default_rng(np.random.SeedSequence([seed & 0xFFFFFFFF, 0x0F01D5]))
    rows = []
    for _ in range(_WARPS):
        direction = rng.normal(size=3)
        push = rng.normal(size=3)
        wave = direction / np.linalg.norm(direction) * rng.uniform(2.2, 5.4)
        push = push / np.linalg.norm(push) * rng.uniform(0.04, 0.08) / np.linalg.norm(wave)
        rows.append([*wave, rng.uniform(), *push, 0.0])
    tilt = rng.uniform(0.35, 1.2) * rng.choice((-1, 1))
    for number, (spacing, stretch, share, crest) in enumerate(_LAYERS):
        angle = tilt * _TILTS[number] + rng.normal(0, 0.12)
        across = np.array([math.sin(angle), math.cos(angle), rng.normal(0, 0.2)])
        across /= np.linalg.norm(across)
        along = np.cross(across, rng.normal(size=3))
        along /= np.linalg.norm(along)
        third = np.cross(across, along)
        shift = rng.uniform(-50, 50, 3)
        rows.append([*(across / spacing), shift[0], spacing, share, crest, 0])
        rows.append([*(along / (spacing * stretch)), shift[1], 0, 0, 0, 0])
        rows.append([*(third / (spacing * stretch)), shift[2], 0, 0, 0, 0])
    return np.array(rows, np.float32)


@njit(cache=True, nogil=True, fastmath=True)
def _corner(ix, iy, iz, x, y, z):
    """Dot product of a lattice corner's pseudo-random gradient with the way to it, and the gradient."""
    h = ix * 374761393 + iy * 668265263 + iz * 1440662683
    h = (h ^ ((h >> 13) & 0x7FFFF)) * 1274126177
    h = h ^ ((h >> 16) & 0xFFFF)
    gx = np.float32(h & 1023) * np.float32(1 / 511.5) - _ONE
    gy = np.float32((h >> 10) & 1023) * np.float32(1 / 511.5) - _ONE
    gz = np.float32((h >> 20) & 1023) * np.float32(1 / 511.5) - _ONE
    return gx * x + gy * y + gz * z, gx, gy, gz


@njit(cache=True, nogil=True, fastmath=True)
def _edge(ix, iy, iz, x, y, z, u, du):
    """Between two corners along x: value and gradient."""
    a, ax, ay, az = _corner(ix, iy, iz, x, y, z)
    b, bx, by, bz = _corner(ix + 1, iy, iz, x - _ONE, y, z)
    return a + u * (b - a), ax + u * (bx - ax) + du * (b - a), ay + u * (by - ay), az + u * (bz - az)


@njit(cache=True, nogil=True, fastmath=True)
def _noise(x, y, z):
    """Gradient noise, about -1..1, and its gradient; quintic blending."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    ix, iy, iz = np.int64(fx), np.int64(fy), np.int64(fz)
    x, y, z = x - fx, y - fy, z - fz
    six, fifteen, ten, thirty, two = np.float32(6), np.float32(15), np.float32(10), np.float32(30), np.float32(2)
    u, v, w = (
        x * x * x * (x * (x * six - fifteen) + ten),
        y * y * y * (y * (y * six - fifteen) + ten),
        z * z * z * (z * (z * six - fifteen) + ten),
    )
    du, dv, dw = (
        thirty * x * x * (x * (x - two) + _ONE),
        thirty * y * y * (y * (y - two) + _ONE),
        thirty * z * z * (z * (z - two) + _ONE),
    )
    a, ax, ay, az = _edge(ix, iy, iz, x, y, z, u, du)
    b, bx, by, bz = _edge(ix, iy + 1, iz, x, y - _ONE, z, u, du)
    c, cx, cy, cz = _edge(ix, iy, iz + 1, x, y, z - _ONE, u, du)
    d, dx, dy, dz = _edge(ix, iy + 1, iz + 1, x, y - _ONE, z - _ONE, u, du)
    e, ex, ey, ez = a + v * (b - a), ax + v * (bx - ax), ay + v * (by - ay) + dv * (b - a), az + v * (bz - az)
    f, gx, gy, gz = c + v * (d - c), cx + v * (dx - cx), cy + v * (dy - cy) + dv * (d - c), cz + v * (dz - cz)
    return e + w * (f - e), ex + w * (gx - ex), ey + w * (gy - ey), ez + w * (gz - ez) + dw * (f - e)


@njit(cache=True, nogil=True, fastmath=True)
def _wave(turns):
    """A sine made of parabolas, which is much faster, and its derivative by the turn."""
    t = turns - np.floor(turns) - np.float32(0.5)
    size = abs(t)
    return t * (np.float32(16) * size - np.float32(8)), np.float32(32) * size - np.float32(8)


@njit(cache=True, nogil=True, fastmath=True)
def fold_at(x, y, z, pattern, footprint):
    """Height (about -1..1, mean near 0) at a rest position in metres, and its gradient per metre.

    Args:
        footprint: size of a picture element in metres; layers finer than two of them fade out. 0 keeps all.
    """
    wx, wy, wz = x, y, z
    jxx, jxy, jxz = _ONE, np.float32(0), np.float32(0)
    jyx, jyy, jyz = np.float32(0), _ONE, np.float32(0)
    jzx, jzy, jzz = np.float32(0), np.float32(0), _ONE
    tall = np.float32(0)
    tall_x, tall_y, tall_z = np.float32(0), np.float32(0), np.float32(0)
    for i in range(_WARPS):
        kx, ky, kz = pattern[i, 0], pattern[i, 1], pattern[i, 2]
        phase = kx * x + ky * y + kz * z + pattern[i, 3]
        s, c = _wave(phase)
        ax, ay, az = pattern[i, 4], pattern[i, 5], pattern[i, 6]
        wx += ax * s
        wy += ay * s
        wz += az * s
        jxx += ax * c * kx
        jxy += ax * c * ky
        jxz += ax * c * kz
        jyx += ay * c * kx
        jyy += ay * c * ky
        jyz += ay * c * kz
        jzx += az * c * kx
        jzy += az * c * ky
        jzz += az * c * kz
        # The sum of the waves also says where folds are high and where the cloth lies smooth.
        tall += s
        tall_x += c * kx
        tall_y += c * ky
        tall_z += c * kz
    quarter = np.float32(0.5 / _WARPS)
    tall = np.float32(0.65) + tall * quarter
    tall_x, tall_y, tall_z = tall_x * quarter, tall_y * quarter, tall_z * quarter
    height = np.float32(0)
    gx, gy, gz = np.float32(0), np.float32(0), np.float32(0)
    for k in range(_WARPS, pattern.shape[0], 3):
        fade = _ONE
        if footprint > 0:
            fade = min(max(pattern[k, 4] / footprint * np.float32(0.5) - _ONE, np.float32(0)), _ONE)
            if fade <= 0:
                continue
        u = pattern[k, 0] * wx + pattern[k, 1] * wy + pattern[k, 2] * wz + pattern[k, 3]
        v = pattern[k + 1, 0] * wx + pattern[k + 1, 1] * wy + pattern[k + 1, 2] * wz + pattern[k + 1, 3]
        w = pattern[k + 2, 0] * wx + pattern[k + 2, 1] * wy + pattern[k + 2, 2] * wz + pattern[k + 2, 3]
        n, du, dv, dw = _noise(u, v, w)
        slope = _ONE
        if pattern[k, 6] > 0:
            # A crest where the noise crosses 0, falling off to flat hollows; the constant brings the mean to 0.
            square, width = n * n, pattern[k, 6] * pattern[k, 6]
            inverse = _ONE / (square + width)
            slope = np.float32(-4) * n * width * inverse * inverse
            n = np.float32(0.53) - np.float32(2) * square * inverse
        share = pattern[k, 5] * fade
        height += share * n
        slope *= share
        gx += slope * (du * pattern[k, 0] + dv * pattern[k + 1, 0] + dw * pattern[k + 2, 0])
        gy += slope * (du * pattern[k, 1] + dv * pattern[k + 1, 1] + dw * pattern[k + 2, 1])
        gz += slope * (du * pattern[k, 2] + dv * pattern[k + 1, 2] + dw * pattern[k + 2, 2])
    # Chain rule: back through the warp, then the product with the tallness.
    hx, hy, hz = jxx * gx + jyx * gy + jzx * gz, jxy * gx + jyy * gy + jzy * gz, jxz * gx + jyz * gy + jzz * gz
    return height * tall, hx * tall + height * tall_x, hy * tall + height * tall_y, hz * tall + height * tall_z


@njit(cache=True, nogil=True)
def _fold_heights(rest, pattern, out):
    for i in range(rest.shape[0]):
        out[i] = fold_at(rest[i, 0], rest[i, 1], rest[i, 2], pattern, np.float32(0))[0]


def fold_height(rest: NDArray[np.floating], seed: int) -> NDArray[np.float32]:
    """The height that the renderer draws, for mesh vertices: ``vertex + normal * fold * fold_height(rest, fold_seed)``.

    Args:
        rest: (V, 3) rest positions in metres.

    Returns:
        (V,) float32, about -1..1, mean near 0.
    """
    out = np.empty(len(rest), np.float32)
    _fold_heights(np.ascontiguousarray(rest, np.float32), fold_pattern(seed), out)
    return out
