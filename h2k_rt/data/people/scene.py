"""Light, exposure and surroundings of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from h2k_rt.data.people.background import Background, PictureBackground, PlainBackground
from h2k_rt.data.people.lights import Colour, Light, Surroundings, outdoor_light, room_light, studio_light
from h2k_rt.data.people.outdoors import OutdoorBackground
from h2k_rt.data.people.rooms import RoomBackground


@dataclass(frozen=True)
class Scene:
    """Everything of a picture that is not the figure or the camera.

    Attributes:
        sky, ground: linear colours of the surroundings above and below.
        lights: at most eight; those with ``softness`` cast shadows.
        exposure: factor of all light.
        background: what is behind the figure.
    """

    sky: Colour = (0.35, 0.35, 0.37)
    ground: Colour = (0.18, 0.17, 0.16)
    lights: tuple[Light, ...] = (
        Light((-0.40, 0.56, 0.72), (0.75, 0.73, 0.7), softness=0.03),
        Light((0.8, 0.1, 0.58), (0.2, 0.21, 0.23)),
    )
    exposure: float = 1.0
    background: Background = field(default_factory=PlainBackground)


def sample_scene(rng: np.random.Generator, backgrounds: Sequence[Path] = ()) -> Scene:
    """A scene as photos of people have it: a room, outdoors, a studio, or one of the given pictures.

    Args:
        backgrounds: picture files; with any, half of the scenes use one.
    """
    kind = rng.random()
    if backgrounds and kind < 0.5:
        picture = PictureBackground(Path(backgrounds[int(rng.integers(len(backgrounds)))]), int(rng.integers(2**31)))
        return _lit(rng, picture, (room_light, outdoor_light, studio_light)[int(rng.integers(3))])
    if backgrounds:
        kind = (kind - 0.5) * 2
    seed = int(rng.integers(2**31))
    if kind < 0.47:
        return _lit(rng, RoomBackground(seed), room_light)
    if kind < 0.85:
        return _lit(rng, OutdoorBackground(seed), outdoor_light)
    return _lit(rng, PlainBackground(seed), studio_light)


def _lit(rng: np.random.Generator, background: Background, light: Callable[[np.random.Generator], Surroundings]) -> Scene:
    around = light(rng)
    facing = (np.array(around.sky) + np.array(around.ground)) / 2
    for lamp in around.lights:
        facing = facing + np.array(lamp.colour) * max(0.0, 0.25 * lamp.toward[1] + 0.97 * lamp.toward[2])
    # Cameras expose for the person: what faces the camera gets nearly the same brightness in sun and lamp light.
    exposure = float(np.clip(rng.lognormal(-0.22, 0.2), 0.5, 1.25) / max(float(facing.mean()), 1e-3))
    return Scene(around.sky, around.ground, around.lights, exposure, background)
