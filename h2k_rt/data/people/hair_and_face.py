"""Hair, brows, lashes, eyes and skin of a person, in colours that go together with age and descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people import wardrobe
from h2k_rt.data.people.assets import Pictures
from h2k_rt.data.people.fabrics import Colour
from h2k_rt.data.people.wardrobe import Split

#: Natural hair, sRGB, with its share among light- and dark-skinned people.
_HAIR_COLOURS: tuple[tuple[tuple[int, int, int], float, float], ...] = (
    ((20, 17, 16), 0.20, 0.70),
    ((44, 31, 25), 0.24, 0.20),
    ((78, 54, 38), 0.20, 0.05),
    ((112, 82, 56), 0.12, 0.01),
    ((168, 134, 92), 0.10, 0.01),
    ((206, 180, 136), 0.06, 0.01),
    ((120, 58, 32), 0.05, 0.01),
    ((128, 40, 60), 0.015, 0.005),
    ((60, 70, 120), 0.015, 0.005),
)
_GREY = ((110, 108, 106), (160, 158, 156), (206, 204, 202))
_LONG = frozenset({"bob02", "braid01", "long01", "ponytail01"})


@dataclass(frozen=True)
class Look:
    """What a head looks like: names of the pieces and colours.

    Attributes:
        hair: folder name, or None for a shaved head; hair_colour: sRGB (3,).
        brows, lashes, iris, skin: names of the files; lashes None for most men.
        skin_tint: (3,) float32, factor of the linear skin colour.
    """

    hair: str | None
    hair_colour: Colour
    brows: str
    lashes: str | None
    iris: str
    skin: str
    skin_tint: NDArray[np.float32]


def sample_look(rng: np.random.Generator, body: Mapping[str, Any], split: Split) -> Look:
    """Draws a head for a body described by Anny's numbers (gender 1 female, age 2/3 young adult, african 0..1)."""
    female = float(body.get("gender", 0.5)) > 0.5
    age = float(body.get("age", 0.67))
    races = [float(body.get(race, 1 / 3)) for race in ("african", "asian", "caucasian")]
    african, asian, _ = (race / max(sum(races), 1e-6) for race in races)
    dark = bool(rng.random() < np.clip((african - 0.45) / 0.25, 0.02, 0.97))
    skin = _skin(rng, female, age, dark, split)
    hair = _hair(rng, female, age, split)
    shares = np.array([b if dark or rng.random() < asian else a for _, a, b in _HAIR_COLOURS])
    colour = np.array(_HAIR_COLOURS[rng.choice(len(shares), p=shares / shares.sum())][0]) / 255
    if rng.random() < np.clip((age - 0.8) * 4.5, 0, 0.9):
        colour = 0.2 * colour + 0.8 * np.array(_GREY[rng.integers(3)]) / 255
    colour = np.clip(colour * (1 + rng.normal(0, 0.12)) * (1 + rng.normal(0, 0.03, 3)), 0.02, 0.95)
    return Look(
        hair=hair,
        hair_colour=colour,
        brows=_pick(rng, wardrobe.available("brows", wardrobe.BROWS, split)),
        lashes=_pick(rng, wardrobe.LASHES) if female or rng.random() < 0.3 else None,
        iris=_iris(rng, dark or rng.random() < asian, split),
        skin=skin,
        skin_tint=_skin_tint(rng, dark, african, asian),
    )


def _pick(rng: np.random.Generator, items: Sequence[str]) -> str:
    return items[int(rng.integers(len(items)))]


def _skin(rng: np.random.Generator, female: bool, age: float, dark: bool, split: Split) -> str:
    """The skin picture of the right sex and lightness whose age is nearest; a little chance, as there are only a few."""
    names = wardrobe.available("skin", wardrobe.SKINS, split)
    sex, shade = ("_female_" if female else "_male_"), ("darkskinned" if dark else "lightskinned")
    ages = {"young": 0.66, "middleage": 0.82, "old": 0.96}

    def misfit(name: str) -> float:
        wrong = 4.0 * (sex not in name) + 8.0 * (shade not in name)
        return wrong + abs(ages[name.split("_")[0]] - age) * 6 + rng.uniform(0, 1.2)

    return min(names, key=misfit)


def _skin_tint(rng: np.random.Generator, dark: bool, african: float, asian: float) -> NDArray[np.float32]:
    """Skin between the few pictures' tones: dark pictures lighter, light ones browner; a little ruddier or paler."""
    if dark:
        tint = np.exp(rng.uniform(-0.2, 0.9)) * np.array([1.0, rng.uniform(0.95, 1.12), rng.uniform(0.9, 1.15)])
    else:
        browner = rng.beta(1.2, 3.0) * (0.35 + 0.65 * min(1.0, african * 2 + asian * 0.5))
        tint = (1 - browner) + browner * np.array([0.42, 0.30, 0.20])
        tint = tint * np.array([1.0, 1 + rng.normal(0, 0.03), 1 + rng.normal(0, 0.05)])
    return np.clip(tint * (1 + rng.normal(0, 0.06)), 0.15, 2.6).astype(np.float32)


def _hair(rng: np.random.Generator, female: bool, age: float, split: Split) -> str | None:
    bald = 0.01 if female else 0.06 + 0.3 * max(0.0, age - 0.75)
    if rng.random() < bald:
        return None
    styles = wardrobe.available("hair", wardrobe.HAIR, split)
    shares = np.array([(0.8 if style in _LONG else 0.2) if female else (0.06 if style in _LONG else 1.0) for style in styles])
    return styles[rng.choice(len(styles), p=shares / shares.sum())]


def _iris(rng: np.random.Generator, brown: bool, split: Split) -> str:
    irises = wardrobe.available("iris", wardrobe.IRISES, split)
    shares = np.array([1.0 if "brown" in iris else 0.03 if brown else 0.35 for iris in irises])
    return irises[rng.choice(len(irises), p=shares / shares.sum())]


def coloured_hair(path: Path, colour: Colour, pictures: Pictures, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Strands of a picture in another colour.

    Returns:
        (h, w, 3) uint8 sRGB and (h, w) uint8 alpha.
    """
    strands = pictures.made(("strands", path, size), lambda: _strands(path, pictures, size))
    # Dark hair keeps its shine: lights rise a little above the colour's own share.
    level = np.arange(256)[:, None] / 128
    table = np.clip(255 * (colour * level + 0.035 * np.maximum(level - 1, 0) ** 2), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(strands[..., :3], table[None]), np.uint8), np.ascontiguousarray(strands[..., 3])


def _strands(path: Path, pictures: Pictures, size: int) -> NDArray[np.uint8]:
    """(h, w, 4): three times grey with the middle of the visible strands at 128, and alpha."""
    picture = pictures.read(path, size, alpha=True)
    grey = picture[..., :3].max(axis=2).astype(np.float32)
    seen = grey[picture[..., 3] > 110]
    low, middle, high = np.percentile(seen, (3, 50, 97)) if len(seen) else (0.0, 128.0, 255.0)
    contrast = np.clip(64 / max(high - low, 8.0), 0.25, 2.0)
    light = np.clip(128 + (grey - middle) * contrast, 40, 230)
    return np.dstack([light.astype(np.uint8)] * 3 + [picture[..., 3]])
