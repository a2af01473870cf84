"""Building blocks of drawn surroundings: cheap noise, and light on floors and walls with the figure's shadow.

Ground axes: x right, y up, z toward the camera, level; the origin is the camera.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2k_rt.data.people.background import Stage
from h2k_rt.data.people.shade import Lighting
from h2k_rt.data.people.shadows import lit_share
from h2k_rt.data.people.textures import ENCODE_MAX, ENCODE_STEPS

_ONE, _ZERO = np.float32(1), np.float32(0)
_STEPS, _TOP = np.float32(ENCODE_STEPS), np.float32(ENCODE_MAX * 0.999)


class Ground(NamedTuple):
    """A stage as the kernels read it.

    Attributes:
        to_ground: (3, 3) float32, camera axes -> ground axes; camera_height: metres.
        feet: (2, 2) float32, x and z of the soles; tangent: of half the field of view.
    """

    to_ground: NDArray[np.float32]
    camera_height: np.float32
    feet: NDArray[np.float32]
    tangent: np.float32
    lighting: Lighting


def ground_of(stage: Stage) -> Ground:
    return Ground(
        np.ascontiguousarray(stage.to_ground, np.float32),
        np.float32(stage.camera_height),
        np.ascontiguousarray(stage.feet, np.float32),
        np.float32(stage.tangent),
        stage.lighting,
    )


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def scatter(ix, iy, seed):
    """A number 0..1 that depends on two whole numbers and a seed without visible order."""
    h = ix * 374761393 + iy * 668265263 + seed * 1442695041
    h = (h ^ ((h >> 13) & 0x7FFFF)) * 1274126177
    h = h ^ ((h >> 16) & 0xFFFF)
    return np.float32(h & 0xFFFF) * np.float32(1 / 65535)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def value_noise(x, y, seed):
    """Smooth noise 0..1 with one cell to the unit."""
    fx, fy = np.floor(x), np.floor(y)
    ix, iy = np.int64(fx), np.int64(fy)
    u, v = x - fx, y - fy
    three, two = np.float32(3), np.float32(2)
    u, v = u * u * (three - two * u), v * v * (three - two * v)
    a, b = scatter(ix, iy, seed), scatter(ix + 1, iy, seed)
    c, d = scatter(ix, iy + 1, seed), scatter(ix + 1, iy + 1, seed)
    return a + u * (b - a) + v * (c - a + u * (a - b - c + d))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def layered_noise(x, y, seed, octaves):
    """Several octaves of :func:`value_noise`, each half as strong, 0..1."""
    total, share, sum_of_shares = _ZERO, _ONE, _ZERO
    for k in range(octaves):
        total += share * value_noise(x, y, seed + k)
        sum_of_shares += share
        share *= np.float32(0.5)
        x, y = x * np.float32(2.03) + np.float32(17.3), y * np.float32(2.03) + np.float32(5.1)
    return total / sum_of_shares


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def ray(ground, row, column, side):
    """Unit direction of the ray through a pixel, ground axes."""
    step = np.float32(2) * ground.tangent / np.float32(side)
    tx = (np.float32(column) + np.float32(0.5)) * step - ground.tangent
    ty = (np.float32(row) + np.float32(0.5)) * step - ground.tangent
    inverse = _ONE / np.sqrt(tx * tx + ty * ty + _ONE)
    m = ground.to_ground
    x = (m[0, 0] * tx + m[0, 1] * ty + m[0, 2]) * inverse
    y = (m[1, 0] * tx + m[1, 1] * ty + m[1, 2]) * inverse
    z = (m[2, 0] * tx + m[2, 1] * ty + m[2, 2]) * inverse
    return x, y, z


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def light_on(ground, x, y, z, nx, ny, nz, shadowed):
    """Light (3) on a matt surface with the normal n; the figure throws its shadow on it if ``shadowed``."""
    lighting, m = ground.lighting, ground.to_ground
    ambient, lights = lighting.ambient, lighting.lights
    # To camera axes, in which the lights are given.
    px, py, pz = (
        m[0, 0] * x + m[1, 0] * y + m[2, 0] * z,
        m[0, 1] * x + m[1, 1] * y + m[2, 1] * z,
        m[0, 2] * x + m[1, 2] * y + m[2, 2] * z,
    )
    cx, cy, cz = (
        m[0, 0] * nx + m[1, 0] * ny + m[2, 0] * nz,
        m[0, 1] * nx + m[1, 1] * ny + m[2, 1] * nz,
        m[0, 2] * nx + m[1, 2] * ny + m[2, 2] * nz,
    )
    share = ny * np.float32(0.5) + np.float32(0.5)
    red = ambient[1, 0] + share * (ambient[0, 0] - ambient[1, 0])
    green = ambient[1, 1] + share * (ambient[0, 1] - ambient[1, 1])
    blue = ambient[1, 2] + share * (ambient[0, 2] - ambient[1, 2])
    if shadowed:
        open_sky = _ONE
        for k in range(2):
            dx, dz = x - ground.feet[k, 0], z - ground.feet[k, 1]
            square = dx * dx + dz * dz
            if square < np.float32(2):
                open_sky *= (
                    _ONE - np.float32(0.45) * np.exp(square * np.float32(-45)) - np.float32(0.22) * np.exp(square * np.float32(-5))
                )
        red, green, blue = red * open_sky, green * open_sky, blue * open_sky
    for k in range(lights.shape[0]):
        lx, ly, lz, strength = lights[k, 0], lights[k, 1], lights[k, 2], _ONE
        if lights[k, 9] > 0:
            lx, ly, lz = lights[k, 6] - px, lights[k, 7] - py, lights[k, 8] - pz
            square = lx * lx + ly * ly + lz * lz
            inverse = _ONE / np.sqrt(square)
            lx, ly, lz = lx * inverse, ly * inverse, lz * inverse
            inside = (lx * lights[k, 0] + ly * lights[k, 1] + lz * lights[k, 2] - lights[k, 10]) / (
                np.float32(0.5) * (_ONE - lights[k, 10])
            )
            strength = min(max(inside, _ZERO), _ONE) / max(square, np.float32(0.5))
        cosine = cx * lx + cy * ly + cz * lz
        if cosine <= 0 or strength <= 0:
            continue
        if shadowed and lights[k, 11] >= 0:
            strength *= lit_share(lighting.shadow_maps, lighting.shadow_table, np.int64(lights[k, 11]), px, py, pz)
        strength *= cosine
        red += strength * lights[k, 3]
        green += strength * lights[k, 4]
        blue += strength * lights[k, 5]
    return red, green, blue


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def write_pixel(out, row, column, red, green, blue, table):
    """Encode linear light as the camera does."""
    out[row, column, 0] = table[np.int64(np.sqrt(min(max(red, _ZERO), _TOP)) * _STEPS)]
    out[row, column, 1] = table[np.int64(np.sqrt(min(max(green, _ZERO), _TOP)) * _STEPS)]
    out[row, column, 2] = table[np.int64(np.sqrt(min(max(blue, _ZERO), _TOP)) * _STEPS)]
