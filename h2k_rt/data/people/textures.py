"""Colour tables and textures at the resolution that a picture needs."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Steps of the encoding table per square root of linear light, and the brightest light it holds.
ENCODE_STEPS, ENCODE_MAX = 1024, 16.0
#: Light above this share of white is compressed toward it.
_SHOULDER = 0.6


def decode_table() -> NDArray[np.float32]:
    """(256,) float32: 8-bit sRGB -> linear (IEC 61966-2-1)."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def encode_table(shoulder: bool) -> NDArray[np.uint8]:
    """Linear light -> 8-bit sRGB, indexed by ``sqrt(light) * ENCODE_STEPS``.

    Args:
        shoulder: bright light fades into white as a camera's does; otherwise it is clipped at 1.
    """
    light = (np.arange(int(ENCODE_STEPS * ENCODE_MAX**0.5) + 1) / ENCODE_STEPS) ** 2
    if shoulder:
        rest = 1 - _SHOULDER
        light = np.where(light > _SHOULDER, _SHOULDER + rest * -np.expm1((_SHOULDER - light) / rest), light)
    light = np.clip(light, 0, 1)
    value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return (value * 255 + 0.5).astype(np.uint8)


DECODE = decode_table()
ENCODE = encode_table(False)
ENCODE_TONE = encode_table(True)


@njit(cache=True, nogil=True)
def _areas(screen, faces, uv, uv_faces):
    """Twice the area of all faces in texture coordinates and in pixels."""
    texture, picture = 0.0, 0.0
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        i, j, k = uv_faces[t, 0], uv_faces[t, 1], uv_faces[t, 2]
        picture += abs(
            (screen[b, 0] - screen[a, 0]) * (screen[c, 1] - screen[a, 1])
            - (screen[c, 0] - screen[a, 0]) * (screen[b, 1] - screen[a, 1])
        )
        texture += abs((uv[j, 0] - uv[i, 0]) * (uv[k, 1] - uv[i, 1]) - (uv[k, 0] - uv[i, 0]) * (uv[j, 1] - uv[i, 1]))
    return texture, picture


def texels_per_pixel(screen: NDArray, faces: NDArray, uv: NDArray, uv_faces: NDArray, texture: NDArray[np.uint8]) -> float:
    """How many texels fall on a pixel's side, over the whole surface."""
    inside, picture = _areas(screen, faces, uv, uv_faces)
    return float(np.sqrt(inside * texture.shape[0] * texture.shape[1] / max(picture, 1e-9)))


def reduced(texture: NDArray[np.uint8], density: float) -> NDArray[np.uint8]:
    """Averaged so that about one texel falls on a pixel, against aliasing; never enlarged."""
    factor = int(density * 0.9)
    if factor < 2 or min(texture.shape[:2]) < 2 * factor:
        return texture
    size = (texture.shape[1] // factor, texture.shape[0] // factor)
    return np.asarray(cv2.resize(texture, size, interpolation=cv2.INTER_AREA), np.uint8)
