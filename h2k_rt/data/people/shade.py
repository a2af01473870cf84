"""The shading kernels: what each covered pixel shows, in one pass without intermediate pictures.

Everything is float32 in camera axes (x right, y down, z away), metres; stored normals are in view axes. The mesh is taken as the
smooth surface that its vertex normals describe, wrinkled by its folds; depth, normal and shading are those of that surface.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2k_rt.data.people.folds import BLOCK
from h2k_rt.data.people.points import scratch, smooth_points, surface_point
from h2k_rt.data.people.shadows import lit_share
from h2k_rt.data.people.textures import ENCODE_MAX, ENCODE_STEPS

#: Reach of the ambient occlusion in metres, and its places around the pixel as shares of it.
_REACH = np.float32(0.11)
_AROUND = np.array(
    [[np.cos(2.39996 * i + 0.6) * np.sqrt((i + 0.7) / 10), np.sin(2.39996 * i + 0.6) * np.sqrt((i + 0.7) / 10)] for i in range(10)],
    np.float32,
)
_ZERO, _ONE = np.float32(0), np.float32(1)
_STEPS, _TOP = np.float32(ENCODE_STEPS), np.float32(ENCODE_MAX * 0.999)


class Material(NamedTuple):
    """texture: (h, w, 3) uint8; colours: (V, 3) uint8 used instead if not empty; tint, specular, gloss: as in figure.Surface."""

    uv: NDArray[np.float32]
    uv_faces: NDArray[np.int32]
    texture: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    tint: NDArray[np.float32]
    specular: np.float32
    gloss: np.float32


class Lighting(NamedTuple):
    """ambient: (3, 3) float32: light from above, from below, unit vector up; lights: scene.light_table; shadows: of ShadowMaps."""

    ambient: NDArray[np.float32]
    lights: NDArray[np.float32]
    shadow_maps: NDArray[np.float32]
    shadow_table: NDArray[np.float32]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _facing(nx, ny, nz, dx, dy, dz, flip, sign):
    """The normal on the wanted side of the view: toward it (sign -1) or away (sign 1)."""
    if flip:
        nx, ny, nz = -nx, -ny, -nz
    cosine = sign * (nx * dx + ny * dy + nz * dz)
    least = np.float32(0.01)
    if cosine < least:
        move = sign * (least - cosine)
        nx, ny, nz = nx + move * dx, ny + move * dy, nz + move * dz
        inverse = _ONE / np.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
    return nx, ny, nz


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def trace(pixels, hits, mesh, lens, back, front, depth, normal):
    """Depth (S, S) and normal (S, S, 3), without colour, of the nearest surface, or of the farthest, no nearer than ``front``."""
    sign = _ONE if back else -_ONE
    found, block = scratch()
    for first in range(0, pixels.shape[0], BLOCK):
        count = min(BLOCK, pixels.shape[0] - first)
        smooth_points(pixels, first, count, hits, mesh, lens, found, block)
        for i in range(count):
            row, column = pixels[first + i, 0], pixels[first + i, 1]
            _, _, _, _, _, _, nx, ny, nz, dx, dy, dz, nu, outside = surface_point(mesh, hits[row, column], i, found, block, lens)
            nx, ny, nz = _facing(nx, ny, nz, dx, dy, dz, outside == back, sign)
            depth[row, column] = max(nu, front[row, column]) if back else nu
            normal[row, column, 0], normal[row, column, 1], normal[row, column, 2] = nx, -ny, -nz


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def texel(texture, u, v, decode):
    """Bilinear linear colour; the texture repeats."""
    h, w = texture.shape[0], texture.shape[1]
    x = (u - np.floor(u)) * np.float32(w) - np.float32(0.5)
    y = (_ONE - (v - np.floor(v))) * np.float32(h) - np.float32(0.5)
    fx, fy = np.floor(x), np.floor(y)
    xa, ya = np.int64(fx), np.int64(fy)
    fx, fy = x - fx, y - fy
    xb, yb = xa + 1, ya + 1
    if xa < 0:
        xa += w
    if xb >= w:
        xb -= w
    if ya < 0:
        ya += h
    if yb >= h:
        yb -= h
    w00, w01, w10, w11 = (_ONE - fx) * (_ONE - fy), fx * (_ONE - fy), (_ONE - fx) * fy, fx * fy
    red, green, blue = _ZERO, _ZERO, _ZERO
    for row, column, weight in ((ya, xa, w00), (ya, xb, w01), (yb, xa, w10), (yb, xb, w11)):
        red += weight * decode[texture[row, column, 0]]
        green += weight * decode[texture[row, column, 1]]
        blue += weight * decode[texture[row, column, 2]]
    return red, green, blue


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _base_colour(mesh, material, t, w0, w1, w2, decode):
    """Linear colour of a point of a face, before the tint."""
    colours = material.colours
    if colours.shape[0] > 0:
        red, green, blue = _ZERO, _ZERO, _ZERO
        for k, w in ((mesh.faces[t, 0], w0), (mesh.faces[t, 1], w1), (mesh.faces[t, 2], w2)):
            red += w * decode[colours[k, 0]]
            green += w * decode[colours[k, 1]]
            blue += w * decode[colours[k, 2]]
        return red, green, blue
    uv, a, b, c = material.uv, material.uv_faces[t, 0], material.uv_faces[t, 1], material.uv_faces[t, 2]
    u = w0 * uv[a, 0] + w1 * uv[b, 0] + w2 * uv[c, 0]
    v = w0 * uv[a, 1] + w1 * uv[b, 1] + w2 * uv[c, 1]
    return texel(material.texture, u, v, decode)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _openness(nearness, column, row, lens, x, y, z, nx, ny, nz):
    """Share of the surroundings' light that reaches a point past the surfaces beside it on the screen."""
    size = nearness.shape[0]
    reach = _REACH * lens.focal / z
    hidden = _ZERO
    for k in range(_AROUND.shape[0]):
        c, r = column + np.int64(_AROUND[k, 0] * reach), row + np.int64(_AROUND[k, 1] * reach)
        if c < 0 or r < 0 or c >= size or r >= size:
            continue
        q = nearness[r, c]
        if q <= 0:
            continue
        oz = _ONE / q
        ox = (np.float32(c) + np.float32(0.5) - lens.half) / lens.focal * oz - x
        oy = (np.float32(r) + np.float32(0.5) - lens.half) / lens.focal * oz - y
        oz -= z
        up = ox * nx + oy * ny + oz * nz - np.float32(0.006)
        if up > 0:
            square = ox * ox + oy * oy + oz * oz
            hidden += up / np.sqrt(square) / (_ONE + square * np.float32(40))
    return max(_ONE - hidden * np.float32(0.17), np.float32(0.2))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _lit(lighting, material, x, y, z, nx, ny, nz, dx, dy, dz, openness):
    """Diffuse light (3) that a white surface would send out, and mirrored light (3)."""
    ambient = lighting.ambient
    share = (nx * ambient[2, 0] + ny * ambient[2, 1] + nz * ambient[2, 2]) * np.float32(0.5) + np.float32(0.5)
    red = (ambient[1, 0] + share * (ambient[0, 0] - ambient[1, 0])) * openness
    green = (ambient[1, 1] + share * (ambient[0, 1] - ambient[1, 1])) * openness
    blue = (ambient[1, 2] + share * (ambient[0, 2] - ambient[1, 2])) * openness
    # Schlick's Fresnel term, at grazing angles limited as rough surfaces do.
    graze = max(_ONE + (nx * dx + ny * dy + nz * dz), _ZERO)
    fresnel = material.specular + (np.float32(0.35) * material.specular + np.float32(0.04)) * graze * graze * graze * graze * graze
    shine = fresnel * np.float32(0.6)
    mirror_red, mirror_green, mirror_blue = shine * red, shine * green, shine * blue
    lights = lighting.lights
    for k in range(lights.shape[0]):
        lx, ly, lz, strength = lights[k, 0], lights[k, 1], lights[k, 2], _ONE
        if lights[k, 9] > 0:
            lx, ly, lz = lights[k, 6] - x, lights[k, 7] - y, lights[k, 8] - z
            square = lx * lx + ly * ly + lz * lz
            inverse = _ONE / np.sqrt(square)
            lx, ly, lz = lx * inverse, ly * inverse, lz * inverse
            inside = (lx * lights[k, 0] + ly * lights[k, 1] + lz * lights[k, 2] - lights[k, 10]) / (
                np.float32(0.25) * (_ONE - lights[k, 10])
            )
            strength = min(max(inside, _ZERO), _ONE) / max(square, np.float32(0.25))
        cosine = nx * lx + ny * ly + nz * lz
        if cosine <= 0 or strength <= 0:
            continue
        if lights[k, 11] >= 0:
            # Moved off the surface, so that it does not shadow itself at grazing light.
            off = np.float32(0.004)
            strength *= lit_share(
                lighting.shadow_maps, lighting.shadow_table, np.int64(lights[k, 11]), x + off * nx, y + off * ny, z + off * nz
            )
            if strength <= 0:
                continue
        strength *= cosine
        red += strength * lights[k, 3]
        green += strength * lights[k, 4]
        blue += strength * lights[k, 5]
        hx, hy, hz = lx - dx, ly - dy, lz - dz
        half = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-9))
        if half > np.float32(0.5):
            peak = np.exp(material.gloss * np.log(half)) * (material.gloss + np.float32(8)) * np.float32(0.125) * fresnel * strength
            mirror_red += peak * lights[k, 3]
            mirror_green += peak * lights[k, 4]
            mirror_blue += peak * lights[k, 5]
    return red, green, blue, mirror_red, mirror_green, mirror_blue


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _encoded(value, table):
    return table[np.int64(np.sqrt(min(max(value, _ZERO), _TOP)) * _STEPS)]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def shade_front(pixels, hits, mesh, lens, material, lighting, nearness, decode, encode, encode_tone, depth, normal, albedo, rgb):
    """Depth, normal, albedo and shaded colour of the nearest surface.

    Args:
        pixels: (P, 2) int16 row and column; hits: (S, S) int32 face of each pixel; nearness: (S, S) float32 of all surfaces.
        decode, encode, encode_tone: colour tables of textures.py.
        depth: (S, S) float32; normal: (S, S, 3) float32; albedo, rgb: (S, S, 3) uint8; written where ``pixels`` says.
    """
    tint = material.tint
    found, block = scratch()
    for first in range(0, pixels.shape[0], BLOCK):
        count = min(BLOCK, pixels.shape[0] - first)
        smooth_points(pixels, first, count, hits, mesh, lens, found, block)
        for i in range(count):
            row, column = pixels[first + i, 0], pixels[first + i, 1]
            t = hits[row, column]
            w0, w1, w2, x, y, z, nx, ny, nz, dx, dy, dz, nu, outside = surface_point(mesh, t, i, found, block, lens)
            nx, ny, nz = _facing(nx, ny, nz, dx, dy, dz, not outside, -_ONE)
            depth[row, column] = nu
            normal[row, column, 0], normal[row, column, 1], normal[row, column, 2] = nx, -ny, -nz
            base_red, base_green, base_blue = _base_colour(mesh, material, t, w0, w1, w2, decode)
            base_red, base_green, base_blue = base_red * tint[0], base_green * tint[1], base_blue * tint[2]
            albedo[row, column, 0] = _encoded(base_red, encode)
            albedo[row, column, 1] = _encoded(base_green, encode)
            albedo[row, column, 2] = _encoded(base_blue, encode)
            openness = _openness(nearness, column, row, lens, x, y, z, nx, ny, nz)
            red, green, blue, mirror_red, mirror_green, mirror_blue = _lit(
                lighting, material, x, y, z, nx, ny, nz, dx, dy, dz, openness
            )
            rgb[row, column, 0] = _encoded(base_red * red + mirror_red, encode_tone)
            rgb[row, column, 1] = _encoded(base_green * green + mirror_green, encode_tone)
            rgb[row, column, 2] = _encoded(base_blue * blue + mirror_blue, encode_tone)
