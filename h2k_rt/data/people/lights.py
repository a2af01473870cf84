"""Lamps, sun and sky: what shines on a figure, and random light as in rooms, outdoors and studios.

Directions are in view axes (x right, y up, z toward the camera), metres, relative to the middle of the figure. Light is linear: a
white surface facing a light of colour (1, 1, 1) is white in the picture at exposure 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A lamp or the sun.

    Attributes:
        toward: unit vector from the figure toward the light.
        colour: linear red, green, blue at the figure's middle.
        distance: metres from the figure; None: parallel light from far away.
        cone: half angle of a spot in degrees, aimed at the figure's middle; only with a distance.
        softness: width of the shadow's edge in metres; None: casts no shadow.
    """

    toward: Vector
    colour: Colour
    distance: float | None = None
    cone: float = 60.0
    softness: float | None = None


@dataclass(frozen=True)
class Surroundings:
    """Linear light from above and below, and lamps."""

    sky: Colour
    ground: Colour
    lights: tuple[Light, ...]


def room_light(rng: np.random.Generator) -> Surroundings:
    """A ceiling lamp, often a window from the side, and what walls and floor throw back."""
    warmth = rng.normal(0.4, 0.5)
    sky = _tinted(rng.uniform(0.35, 0.7), warmth, rng)
    ground = _tinted(rng.uniform(0.12, 0.4), warmth + 0.5, rng)
    lamp = _direction(rng.uniform(-70, 70), rng.uniform(40, 80))
    lights = [Light(lamp, _tinted(rng.uniform(0.35, 0.9), warmth, rng), rng.uniform(2.0, 4.0), 75.0, rng.uniform(0.02, 0.09))]
    if rng.random() < 0.7:
        window = _direction(rng.choice((-1, 1)) * rng.uniform(35, 100), rng.uniform(5, 35))
        lights.append(Light(window, _tinted(rng.uniform(0.2, 0.9), rng.normal(-0.5, 0.4), rng), softness=rng.uniform(0.05, 0.12)))
    if rng.random() < 0.3:
        lights.append(Light(_direction(rng.uniform(-15, 15), rng.uniform(0, 25)), _tinted(rng.uniform(0.1, 0.5), 0, rng)))
    return Surroundings(sky, ground, tuple(lights))


def outdoor_light(rng: np.random.Generator) -> Surroundings:
    """Sun with sharp shadows under a blue sky, or an overcast sky with hardly any."""
    overcast = rng.random() < 0.4
    sky = _tinted(rng.uniform(0.5, 0.9) if overcast else rng.uniform(0.2, 0.5), -0.2 if overcast else rng.uniform(-1.6, -0.4), rng)
    ground = _tinted(rng.uniform(0.1, 0.35), rng.normal(0.4, 0.3), rng)
    toward = _direction(rng.uniform(-140, 140), rng.uniform(18, 75))
    height = toward[1]
    strength = rng.uniform(0.1, 0.35) if overcast else rng.uniform(0.7, 1.8)
    softness = rng.uniform(0.08, 0.15) if overcast else rng.uniform(0.008, 0.02)
    lights = [Light(toward, _tinted(strength, rng.normal(1.1 - 1.1 * height, 0.2), rng), softness=softness)]
    bounce = (-toward[0] * 0.6, rng.uniform(-0.1, 0.4), 0.8)
    norm = math.sqrt(sum(value * value for value in bounce))
    lights.append(
        Light((bounce[0] / norm, bounce[1] / norm, bounce[2] / norm), _tinted(rng.uniform(0.05, 0.25), rng.normal(0, 0.5), rng))
    )
    return Surroundings(sky, ground, tuple(lights))


def studio_light(rng: np.random.Generator) -> Surroundings:
    """Key, fill and sometimes a rim light or a coloured one."""
    sky = _tinted(rng.uniform(0.1, 0.5), rng.normal(0, 0.2), rng)
    ground = _tinted(rng.uniform(0.1, 0.4), rng.normal(0, 0.2), rng)
    side = rng.choice((-1, 1))
    key = Light(
        _direction(side * rng.uniform(15, 65), rng.uniform(15, 50)),
        _tinted(rng.uniform(0.5, 1.0), rng.normal(0, 0.2), rng),
        rng.uniform(1.8, 4.0),
        60.0,
        rng.uniform(0.02, 0.08),
    )
    lights = [
        key,
        Light(
            _direction(-side * rng.uniform(20, 75), rng.uniform(0, 30)), _tinted(rng.uniform(0.1, 0.45), rng.normal(0, 0.3), rng)
        ),
    ]
    if rng.random() < 0.5:
        colour = _tinted(rng.uniform(0.3, 0.9), rng.normal(0, 1.0), rng)
        lights.append(Light(_direction(-side * rng.uniform(120, 165), rng.uniform(10, 50)), colour, softness=0.06))
    return Surroundings(sky, ground, tuple(lights))


def _direction(azimuth: float, elevation: float) -> Vector:
    """Unit vector; azimuth in degrees from the camera toward the right, elevation above the horizon."""
    a, e = math.radians(azimuth), math.radians(elevation)
    return (math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e))


def _tinted(strength: float, warmth: float, rng: np.random.Generator) -> Colour:
    """Light of a mean strength; warmth about 1 is a bulb, -1 a blue sky."""
    colour = np.exp(np.array([0.22, 0.0, -0.32]) * warmth + rng.normal(0, 0.03, 3))
    red, green, blue = (strength * colour / colour.mean()).tolist()
    return (red, green, blue)


def light_table(lights: Sequence[Light], exposure: float, middle: NDArray[np.float64]) -> NDArray[np.float32]:
    """(L, 12) float32 for the shading kernel, in camera axes.

    Columns: toward (3), colour (3), position (3), 1 for a position, cosine of the cone, number of the shadow map or -1.

    Args:
        exposure: factor of the colours.
        middle: (3,) the figure's middle in camera axes.
    """
    table = np.zeros((len(lights), 12), np.float32)
    shadows = 0
    for row, light in zip(table, lights, strict=True):
        toward = np.array(light.toward) * (1, -1, -1)
        row[0:3], row[3:6] = toward, np.array(light.colour) * exposure
        if light.distance is not None:
            row[6:9], row[9] = middle + toward * light.distance, 1
            # Colour is given at the middle; the kernel divides by the squared distance.
            row[3:6] *= light.distance**2
        row[10] = math.cos(math.radians(light.cone))
        row[11] = -1
        if light.softness is not None:
            row[11] = shadows
            shadows += 1
    return table
