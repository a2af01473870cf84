"""Colour tables and textures at the resolution that a picture needs."""

from __future__ import annotations

import math
import threading
import weakref
from collections import OrderedDict

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
    """Halved as often as leaves at least about one texel to the pixel, against aliasing; never enlarged.

    The last results are kept: skins and hair come again. A texture must therefore not be changed in place.
    """
    halvings = int(math.log2(max(density, 1.0) * 1.25))
    while halvings and min(texture.shape[:2]) < 2 << halvings:
        halvings -= 1
    return texture if halvings < 1 else _kept.halved(texture, halvings)


class _Kept:
    """Reduced textures, found again by the identity of the original as long as that lives."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[tuple[int, int], tuple[weakref.ref[NDArray[np.uint8]], NDArray[np.uint8]]] = OrderedDict()
        self._lock = threading.Lock()

    def halved(self, texture: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
        key = (id(texture), times)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry[0]() is texture:
                self._entries.move_to_end(key)
                return entry[1]
        small = texture
        for _ in range(times):
            size = (small.shape[1] // 2, small.shape[0] // 2)
            small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.uint8)
        with self._lock:
            self._entries[key] = (weakref.ref(texture), small)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        return small


_kept = _Kept(most=96)
