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
#: Places computed together, and the rows of the array that holds them: 8 of :func:`fold_block`, then scratch.
BLOCK = 128
_PLACE, _BENT, _TALL, BLOCK_ROWS = 8, 11, 20, 24


def fold_pattern(seed: int) -> NDArray[np.float32]:
    """The numbers that :func:`fold_block` reads: (rows, 8) float32, warp waves first, then one row triple per layer."""
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


@njit(inline="always")
def _floor(value):
    """As a whole number and as a float; ``np.floor`` would be a call, which no vector instruction can replace."""
    whole = np.int32(value)
    below = np.int32(whole - np.int32(1)) if value < np.float32(whole) else whole
    return below, np.float32(below)


@njit(inline="always")
def _corner(ix, iy, iz, x, y, z):
    """Dot product of a lattice corner's pseudo-random gradient with the way to it, and the gradient.

    Casts keep the numbers 32 bits wide, so that a vector holds as many of them as of the floats.
    """
    h = np.int32(np.int32(ix * np.int32(374761393)) + np.int32(iy * np.int32(668265263)))
    h = np.int32(h + np.int32(iz * np.int32(1440662683)))
    h = np.int32((h ^ ((h >> np.int32(13)) & np.int32(0x7FFFF))) * np.int32(1274126177))
    h = np.int32(h ^ ((h >> np.int32(16)) & np.int32(0xFFFF)))
    gx = np.float32(np.int32(h & np.int32(1023))) * np.float32(1 / 511.5) - _ONE
    gy = np.float32(np.int32((h >> np.int32(10)) & np.int32(1023))) * np.float32(1 / 511.5) - _ONE
    gz = np.float32(np.int32((h >> np.int32(20)) & np.int32(1023))) * np.float32(1 / 511.5) - _ONE
    return gx * x + gy * y + gz * z, gx, gy, gz


@njit(inline="always")
def _edge(ix, iy, iz, x, y, z, u, du):
    """Between two corners along x: value and gradient."""
    a, ax, ay, az = _corner(ix, iy, iz, x, y, z)
    b, bx, by, bz = _corner(np.int32(ix + np.int32(1)), iy, iz, x - _ONE, y, z)
    return a + u * (b - a), ax + u * (bx - ax) + du * (b - a), ay + u * (by - ay), az + u * (bz - az)


@njit(inline="always")
def _blend(t):
    """Quintic blending from 0 to 1, and its derivative."""
    six, fifteen, ten = np.float32(6), np.float32(15), np.float32(10)
    return t * t * t * (t * (t * six - fifteen) + ten), np.float32(30) * t * t * (t * (t - np.float32(2)) + _ONE)


@njit(inline="always")
def _noise(x, y, z):
    """Gradient noise, about -1..1, and its gradient."""
    ix, fx = _floor(x)
    iy, fy = _floor(y)
    iz, fz = _floor(z)
    jy, jz = np.int32(iy + np.int32(1)), np.int32(iz + np.int32(1))
    x, y, z = x - fx, y - fy, z - fz
    u, du = _blend(x)
    v, dv = _blend(y)
    w, dw = _blend(z)
    a, ax, ay, az = _edge(ix, iy, iz, x, y, z, u, du)
    b, bx, by, bz = _edge(ix, jy, iz, x, y - _ONE, z, u, du)
    c, cx, cy, cz = _edge(ix, iy, jz, x, y, z - _ONE, u, du)
    d, dx, dy, dz = _edge(ix, jy, jz, x, y - _ONE, z - _ONE, u, du)
    e, ex, ey, ez = a + v * (b - a), ax + v * (bx - ax), ay + v * (by - ay) + dv * (b - a), az + v * (bz - az)
    f, gx, gy, gz = c + v * (d - c), cx + v * (dx - cx), cy + v * (dy - cy) + dv * (d - c), cz + v * (dz - cz)
    return e + w * (f - e), ex + w * (gx - ex), ey + w * (gy - ey), ez + w * (gz - ez) + dw * (f - e)


@njit(inline="always")
def _wave(turns):
    """A sine made of parabolas, which is much faster, and its derivative by the turn."""
    t = turns - _floor(turns)[1] - np.float32(0.5)
    size = abs(t)
    return t * (np.float32(16) * size - np.float32(8)), np.float32(32) * size - np.float32(8)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _warp(block, count, pattern):
    """Place bent by the waves with its derivatives, and how tall folds are there."""
    b = BLOCK
    for i in range(count):
        block[_PLACE * b + i], block[(_PLACE + 1) * b + i], block[(_PLACE + 2) * b + i] = (
            block[i], block[b + i], block[2 * b + i],
        )  # fmt: skip
        for row in range(9):
            block[(_BENT + row) * b + i] = _ONE if row % 4 == 0 else np.float32(0)
        for row in range(4):
            block[(_TALL + row) * b + i] = np.float32(0)
    quarter = np.float32(0.5 / _WARPS)
    for wave in range(_WARPS):
        kx, ky, kz, shift = pattern[wave, 0], pattern[wave, 1], pattern[wave, 2], pattern[wave, 3]
        ax, ay, az = pattern[wave, 4], pattern[wave, 5], pattern[wave, 6]
        for i in range(count):
            s, c = _wave(kx * block[i] + ky * block[b + i] + kz * block[2 * b + i] + shift)
            block[_PLACE * b + i] += ax * s
            block[(_PLACE + 1) * b + i] += ay * s
            block[(_PLACE + 2) * b + i] += az * s
            block[_BENT * b + i] += ax * c * kx
            block[(_BENT + 1) * b + i] += ax * c * ky
            block[(_BENT + 2) * b + i] += ax * c * kz
            block[(_BENT + 3) * b + i] += ay * c * kx
            block[(_BENT + 4) * b + i] += ay * c * ky
            block[(_BENT + 5) * b + i] += ay * c * kz
            block[(_BENT + 6) * b + i] += az * c * kx
            block[(_BENT + 7) * b + i] += az * c * ky
            block[(_BENT + 8) * b + i] += az * c * kz
            # The sum of the waves also says where folds are high and where the cloth lies smooth.
            block[_TALL * b + i] += s * quarter
            block[(_TALL + 1) * b + i] += c * kx * quarter
            block[(_TALL + 2) * b + i] += c * ky * quarter
            block[(_TALL + 3) * b + i] += c * kz * quarter


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _add_layer(block, count, across, along, third):
    """Add one layer of folds: three rows of the pattern."""
    b = BLOCK
    ax, ay, az, shift_u, spacing, height, crest = across[0], across[1], across[2], across[3], across[4], across[5], across[6]
    bx, by, bz, shift_v = along[0], along[1], along[2], along[3]
    cx, cy, cz, shift_w = third[0], third[1], third[2], third[3]
    width, half = crest * crest, spacing * np.float32(0.5)
    ridged = crest > 0
    for i in range(count):
        footprint = max(block[3 * b + i], np.float32(1e-9))
        share = height * min(max(half / footprint - _ONE, np.float32(0)), _ONE)
        x, y, z = block[_PLACE * b + i], block[(_PLACE + 1) * b + i], block[(_PLACE + 2) * b + i]
        n, du, dv, dw = _noise(
            ax * x + ay * y + az * z + shift_u, bx * x + by * y + bz * z + shift_v, cx * x + cy * y + cz * z + shift_w
        )
        # A crest where the noise crosses 0, falling off to flat hollows; the constant brings the mean to 0.
        square = n * n
        inverse = _ONE / (square + width + np.float32(1e-20))
        slope = share * (np.float32(-4) * n * width * inverse * inverse if ridged else _ONE)
        block[4 * b + i] += share * (np.float32(0.53) - np.float32(2) * square * inverse if ridged else n)
        block[5 * b + i] += slope * (du * ax + dv * bx + dw * cx)
        block[6 * b + i] += slope * (du * ay + dv * by + dw * cy)
        block[7 * b + i] += slope * (du * az + dv * bz + dw * cz)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def fold_block(block, count, pattern):
    """Heights (about -1..1, mean near 0) at rest positions in metres, and their gradients per metre.

    Many places at a time, so that the loops become vector instructions; about five times as fast as one by one.

    Args:
        block: (BLOCK_ROWS * BLOCK,) float32, rows of BLOCK numbers: x, y, z, footprint; then, written here, height and
            gradient (3); the rest is scratch. Footprint is the size of a picture element in metres; layers finer than two of
            them fade out. 0 keeps all.
        count: places in use, up to BLOCK. Up to 15 more are computed, so that what a place gets does not depend on its neighbours'
            number: they must hold finite numbers.
        pattern: of :func:`fold_pattern`.
    """
    b, count = BLOCK, (count + 15) // 16 * 16
    _warp(block, count, pattern)
    finest = np.float32(1e9)
    for i in range(count):
        finest = min(finest, block[3 * b + i])
        for row in range(4, 8):
            block[row * b + i] = np.float32(0)
    for k in range(_WARPS, pattern.shape[0], 3):
        if finest * np.float32(2) < pattern[k, 4]:
            _add_layer(block, count, pattern[k], pattern[k + 1], pattern[k + 2])
    for i in range(count):
        height, gx, gy, gz = block[4 * b + i], block[5 * b + i], block[6 * b + i], block[7 * b + i]
        tall = np.float32(0.65) + block[_TALL * b + i]
        # Chain rule: back through the warp, then the product with the tallness.
        j = _BENT * b + i
        hx = block[j] * gx + block[j + 3 * b] * gy + block[j + 6 * b] * gz
        hy = block[j + b] * gx + block[j + 4 * b] * gy + block[j + 7 * b] * gz
        hz = block[j + 2 * b] * gx + block[j + 5 * b] * gy + block[j + 8 * b] * gz
        block[4 * b + i] = height * tall
        block[5 * b + i] = hx * tall + height * block[(_TALL + 1) * b + i]
        block[6 * b + i] = hy * tall + height * block[(_TALL + 2) * b + i]
        block[7 * b + i] = hz * tall + height * block[(_TALL + 3) * b + i]


@njit(cache=True, nogil=True)
def _fold_heights(rest, pattern, out):
    block = np.zeros(BLOCK_ROWS * BLOCK, np.float32)
    for first in range(0, rest.shape[0], BLOCK):
        count = min(BLOCK, rest.shape[0] - first)
        for i in range(count):
            for row in range(3):
                block[row * BLOCK + i] = rest[first + i, row]
            block[3 * BLOCK + i] = np.float32(0)
        fold_block(block, count, pattern)
        for i in range(count):
            out[first + i] = block[4 * BLOCK + i]


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
