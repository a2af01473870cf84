"""Outdoor surroundings: sky with clouds, ground, and rows of trees, houses and hills, lit like the figure.

Everything that stands is a flat layer across the line of sight: its outline and its pattern depend on the place along the layer and
the height over the ground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2k_rt.data.people.background import Background, Stage, drawing_side, enlarged, lens_blur
from h2k_rt.data.people.scenery import ground_of, layered_noise, light_on, ray, scatter, value_noise, write_pixel
from h2k_rt.data.people.textures import ENCODE_TONE

#: Kinds of layers, and of ground.
_HILLS, _TREES, _HOUSES, _HEDGE, _WALL, _FENCE = range(6)
_GRASS, _PAVING, _ASPHALT, _SAND = range(4)
_ONE, _ZERO = np.float32(1), np.float32(0)


@dataclass(frozen=True)
class OutdoorBackground(Background):
    """A park, a street or open land around the figure; the seed says which."""

    seed: int

    def draw(self, size: int, stage: Stage) -> NDArray[np.uint8]:
        rng = np.random.default_rng(self.seed)
        blur = lens_blur(rng)
        side = drawing_side(size, blur)
        out = np.empty((side, side, 3), np.uint8)
        layers, ground, sky = _plan(rng, stage)
        _draw_outdoors(out, ground_of(stage), layers, ground, sky, int(rng.integers(2**30)), ENCODE_TONE)
        return enlarged(out, size, blur, least=0.6)


def _plan(rng: np.random.Generator, stage: Stage) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Layers (L, 10), near to far; ground (16,); sky (12,)."""
    town = rng.random() < 0.5
    layers = []
    distance = stage.distance + rng.uniform(2.5, 12)
    for _ in range(int(rng.integers(1, 5))):
        if town:
            kind = rng.choice([_HOUSES, _HOUSES, _TREES, _HEDGE, _WALL, _FENCE])
        else:
            kind = rng.choice([_TREES, _TREES, _HEDGE, _HILLS, _FENCE, _TREES])
        if kind == _HILLS:
            distance = max(distance, 60.0)
        layers.append(_layer(rng, int(kind), distance))
        distance *= rng.uniform(1.4, 3.0)
    if rng.random() < 0.6:
        layers.append(_layer(rng, _HILLS, max(distance, rng.uniform(150, 600))))
    kind = int(rng.choice([_PAVING, _ASPHALT, _GRASS, _PAVING]) if town else rng.choice([_GRASS, _GRASS, _SAND, _ASPHALT]))
    angle = rng.uniform(-0.6, 0.6)
    way = rng.random() < 0.4
    ground = [
        kind,
        *_ground_colour(rng, kind),
        *_ground_colour(rng, int(rng.integers(4))),
        math.cos(angle),
        math.sin(angle),
        rng.uniform(-2, 2) if way else 1e6,
        rng.uniform(0.5, 1.6),
        rng.uniform(0.2, 0.9),
        1.0 if way else 0.0,
    ]
    cloudy = rng.uniform(0, 1)
    zenith = np.array([0.16, 0.33, 0.75]) * rng.uniform(0.6, 1.2) * (1 - cloudy) + rng.uniform(0.4, 0.9) * cloudy
    horizon = np.array([0.75, 0.85, 1.0]) * rng.uniform(0.6, 1.1)
    if rng.random() < 0.15:
        horizon = horizon * (1.3, 0.85, 0.55)
    # The sky of the picture is as bright as its light says.
    level = float(stage.lighting.ambient[0].mean()) * rng.uniform(1.0, 2.2)
    sky = [
        *(zenith * level),
        *(horizon * level),
        cloudy,
        rng.uniform(2, 6),
        level * rng.uniform(0.9, 1.4),
        rng.uniform(0.004, 0.02),
        0,
        0,
    ]
    return np.array(layers, np.float32).reshape(-1, 10), np.array(ground, np.float32), np.array(sky, np.float32)


def _ground_colour(rng: np.random.Generator, kind: int) -> NDArray[np.float64]:
    base = {_GRASS: (0.10, 0.17, 0.04), _PAVING: (0.32, 0.3, 0.28), _ASPHALT: (0.12, 0.12, 0.125), _SAND: (0.42, 0.34, 0.23)}[kind]
    return np.clip(np.array(base) * rng.uniform(0.6, 1.5) * np.exp(rng.normal(0, 0.1, 3)), 0.01, 0.8)


def _layer(rng: np.random.Generator, kind: int, distance: float) -> list[float]:
    """kind, distance, height, width of one element, colour (3), second colour (3)."""
    green = np.array([0.06, 0.12, 0.025]) * rng.uniform(0.5, 2.2) * np.exp(rng.normal(0, 0.2, 3))
    if rng.random() < 0.12:
        green = np.array([0.3, 0.14, 0.04]) * rng.uniform(0.6, 1.3)  # autumn
    trunk = np.array([0.1, 0.07, 0.05]) * rng.uniform(0.5, 1.6)
    wall = np.clip(rng.uniform(0.15, 0.7) * np.exp(rng.normal(0, 0.09, 3)) * (1.05, 1, 0.92), 0.03, 0.85)
    glass = np.array([0.06, 0.08, 0.1]) * rng.uniform(0.5, 3)
    height, width, first, second = {
        _HILLS: (distance * rng.uniform(0.03, 0.15), distance * rng.uniform(0.2, 0.6), green * 0.8 + 0.06, green),
        _TREES: (rng.uniform(3.5, 11), rng.uniform(2.5, 7), green, trunk),
        _HOUSES: (rng.uniform(5, 25), rng.uniform(6, 16), wall, glass),
        _HEDGE: (rng.uniform(0.6, 2.2), rng.uniform(0.5, 2), green, green * 0.5),
        _WALL: (rng.uniform(0.8, 3.2), rng.uniform(0.3, 0.6), wall, wall * 0.75),
        _FENCE: (rng.uniform(0.8, 1.6), rng.uniform(0.09, 0.25), np.clip(wall * rng.uniform(0.3, 1.2), 0.02, 0.8), trunk),
    }[kind]
    return [kind, distance, height, width, *first, *second]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _tree(layers, k, x, y, seed):
    """Shade of the leaves, -1 for the trunk, 0 where the sky shows."""
    height, width = layers[k, 2], layers[k, 3]
    cell = np.floor(x / width)
    best = _ZERO
    for i in range(-1, 2):
        own = np.int64(cell) + i
        if scatter(own, 1, seed) > np.float32(0.8):
            continue
        middle = (np.float32(own) + np.float32(0.2) + np.float32(0.6) * scatter(own, 2, seed)) * width
        tall = height * (np.float32(0.6) + np.float32(0.5) * scatter(own, 3, seed))
        wide = width * (np.float32(0.35) + np.float32(0.35) * scatter(own, 4, seed))
        low = tall * (np.float32(0.15) + np.float32(0.25) * scatter(own, 5, seed))
        dx, dy = (x - middle) / wide, (y - (tall + low) * np.float32(0.5)) / ((tall - low) * np.float32(0.5))
        rough = layered_noise(x * np.float32(1.3) + np.float32(own), y * np.float32(1.3), seed + own, 4) - np.float32(0.5)
        inside = _ONE - dx * dx - dy * dy + rough * np.float32(1.3)
        if inside > 0:
            light = np.float32(0.55) + np.float32(0.35) * dy - np.float32(0.15) * dx
            return max(light + rough * np.float32(1.4), np.float32(0.12))
        if abs(x - middle) < np.float32(0.022) * tall and y < low + np.float32(0.2) * tall:
            best = -_ONE
    return best


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _house(layers, k, x, y, seed):
    """Brightness of the wall, negative for window glass, 0 where the sky shows."""
    height, width = layers[k, 2], layers[k, 3]
    number = np.int64(np.floor(x / width))
    tall = height * (np.float32(0.45) + np.float32(0.55) * scatter(number, 1, seed))
    if y > tall or scatter(number, 5, seed) > np.float32(0.88):
        return _ZERO
    tone = np.float32(0.55) + np.float32(0.75) * scatter(number, 2, seed)
    across, storey = np.float32(1.2) + np.float32(1.6) * scatter(number, 3, seed), np.float32(2.9)
    u, v = x / across - np.floor(x / across), y / storey - np.floor(y / storey)
    share = np.float32(0.3) + np.float32(0.4) * scatter(number, 4, seed)
    if abs(u - np.float32(0.5)) < share * np.float32(0.5) and np.float32(0.3) < v < np.float32(0.82) and y < tall - np.float32(0.6):
        if abs(abs(u - np.float32(0.5)) - share * np.float32(0.5)) < np.float32(0.03):
            return np.float32(1.25)
        return -(np.float32(0.4) + np.float32(1.4) * scatter(np.int64(np.floor(x / across)), np.int64(np.floor(y / storey)), seed))
    return tone * (np.float32(0.93) + np.float32(0.14) * layered_noise(x * np.float32(2), y * np.float32(2), seed, 2))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _standing(layers, k, x, y, seed):
    """Brightness of a layer at a place: above 0 its first colour, below 0 its second, 0 where one sees past it."""
    kind, height, width = layers[k, 0], layers[k, 2], layers[k, 3]
    if kind == _HILLS:
        if y > height * layered_noise(x / width, np.float32(k), seed, 4):
            return _ZERO
        return np.float32(0.8) + np.float32(0.4) * layered_noise(
            x * np.float32(20) / width, y * np.float32(20) / width, seed + 9, 3
        )
    if y > height * np.float32(1.15):
        return _ZERO
    if kind == _TREES:
        return _tree(layers, k, x, y, seed)
    if kind == _HOUSES:
        return _house(layers, k, x, y, seed)
    if kind == _HEDGE:
        rough = layered_noise(x * np.float32(4), y * np.float32(4), seed, 4)
        if y > height * (np.float32(0.75) + np.float32(0.4) * rough):
            return _ZERO
        return np.float32(0.25) + np.float32(1.1) * rough + np.float32(0.3) * y / height
    if kind == _WALL:
        if y > height:
            return _ZERO
        line = np.floor(y / np.float32(0.16))
        at = x / width + np.float32(0.5) * (line - np.float32(2) * np.floor(line * np.float32(0.5)))
        seam = y / np.float32(0.16) - line < np.float32(0.08) or at - np.floor(at) < np.float32(0.03)
        return -_ONE if seam else np.float32(0.8) + np.float32(0.4) * scatter(np.int64(np.floor(at)), np.int64(line), seed)
    at = x / width - np.floor(x / width)
    rail = abs(y - height * np.float32(0.85)) < np.float32(0.04) or abs(y - height * np.float32(0.25)) < np.float32(0.04)
    if y < height and (at < np.float32(0.35) or rail):
        return np.float32(0.7) + np.float32(0.4) * scatter(np.int64(np.floor(x / width)), 3, seed)
    return _ZERO


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _floor(kind, x, z, seed, far):
    """Brightness of the ground, about 1; fine structure fades with the distance."""
    fine = _ONE / (_ONE + far * np.float32(0.12))
    tone = np.float32(0.8) + np.float32(0.4) * layered_noise(x * np.float32(0.5), z * np.float32(0.5), seed, 3)
    if kind == _GRASS:
        blade = layered_noise(x * np.float32(22), z * np.float32(22), seed + 3, 3) - np.float32(0.5)
        return tone * (_ONE + np.float32(1.5) * blade * fine)
    if kind == _PAVING:
        size = np.float32(0.25) + np.float32(0.5) * scatter(1, 2, seed)
        a, b = np.floor(x / size), np.floor(z / size)
        tone *= np.float32(0.9) + np.float32(0.2) * scatter(np.int64(a), np.int64(b), seed)
        if x / size - a < np.float32(0.03) or z / size - b < np.float32(0.03):
            tone *= _ONE - np.float32(0.4) * fine
        return tone
    grain = value_noise(x * np.float32(45), z * np.float32(45), seed + 5) - np.float32(0.5)
    return tone * (_ONE + np.float32(0.5) * grain * fine)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sky(sky, x, y, z, seed):
    up = max(y, _ZERO)
    share = min(np.sqrt(up) * np.float32(1.2), _ONE)
    red, green, blue = (
        sky[3] + share * (sky[0] - sky[3]),
        sky[4] + share * (sky[1] - sky[4]),
        sky[5] + share * (sky[2] - sky[5]),
    )
    if sky[6] > np.float32(0.15):
        # Clouds lie on a plane overhead.
        reach = sky[7] / (up + np.float32(0.12))
        n = layered_noise(x * reach, z * reach, seed + 31, 5)
        cloud = min(max((n - (np.float32(0.75) - np.float32(0.45) * sky[6])) * np.float32(3.5), _ZERO), _ONE)
        tone = sky[8] * (_ONE - np.float32(0.35) * cloud * n)
        red, green, blue = red + cloud * (tone - red), green + cloud * (tone - green), blue + cloud * (tone - blue)
    return red, green, blue


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _draw_outdoors(out, ground, layers, floor, sky, seed, table):
    side = out.shape[0]
    height = ground.camera_height
    # What stands far away is lit as an upright surface before the figure is.
    wall_red, wall_green, wall_blue = light_on(
        ground, _ZERO, _ZERO, np.float32(-30), _ZERO, np.float32(0.3), np.float32(0.95), False
    )
    for row in range(side):
        for column in range(side):
            dx, dy, dz = ray(ground, row, column, side)
            red, green, blue, way = _ZERO, _ZERO, _ZERO, np.float32(-1)
            if dz < np.float32(-0.05):
                for k in range(layers.shape[0]):
                    t = layers[k, 1] / -dz
                    y = height + dy * t
                    if y < 0:
                        break
                    tone = _standing(layers, k, dx * t, y, seed + 101 * k)
                    if tone != 0:
                        way = t
                        first = 4 if tone > 0 else 7
                        tone = abs(tone)
                        red, green, blue = (
                            layers[k, first] * tone * wall_red,
                            layers[k, first + 1] * tone * wall_green,
                            layers[k, first + 2] * tone * wall_blue,
                        )
                        break
            if way < 0 and dy < np.float32(-1e-3):
                t = height / -dy
                x, z = dx * t, dz * t
                a, b = floor[7] * x + floor[8] * z, floor[7] * z - floor[8] * x
                own = floor[12] > 0 and abs(a - floor[9]) < floor[10]
                first = 4 if own else 1
                kind = np.int64(_ASPHALT if own else floor[0])
                tone = _floor(kind, a, b, seed, t)
                near = t < np.float32(40)
                light_red, light_green, light_blue = light_on(ground, x, -height, z, _ZERO, _ONE, _ZERO, near)
                red, green, blue = (
                    floor[first] * tone * light_red,
                    floor[first + 1] * tone * light_green,
                    floor[first + 2] * tone * light_blue,
                )
                way = t
            sky_red, sky_green, sky_blue = _ZERO, _ZERO, _ZERO
            if way < 0:
                red, green, blue = _sky(sky, dx, dy, dz, seed)
            else:
                # Air between: what is far takes on the colour of the horizon.
                haze = _ONE - np.exp(-way * sky[9] * np.float32(0.35))
                sky_red, sky_green, sky_blue = sky[3], sky[4], sky[5]
                red, green, blue = red + haze * (sky_red - red), green + haze * (sky_green - green), blue + haze * (sky_blue - blue)
            write_pixel(out, row, column, red, green, blue, table)
