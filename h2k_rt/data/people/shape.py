"""How a random body is described: Anny's phenotype numbers, local changes of the face and a facial expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

RACES = ("african", "asian", "caucasian")
#: Anny's phenotype numbers, all 0..1; gender 0 male, 1 female; age 1/3 child, 2/3 young adult, 1 old; proportions 0 ideal.
PHENOTYPES = (
    "gender", "age", "muscle", "weight", "height", "proportions", "cupsize", "firmness", *RACES,
)  # fmt: skip

#: Anny's local changes that are drawn, with the standard deviation of the amplitude (1 is MakeHuman's extreme).
_FACE_GROUPS: dict[str, tuple[float, tuple[str, ...]]] = {
    "cheek": (0.35, ("volume-incr", "bones-incr", "inner-incr", "trans-up")),
    "ear": (0.3, ("scale-incr", "scale-vert-incr", "wing-incr", "lobe-incr", "flap-incr", "shape-round")),
    "eye": (0.25, ("scale-incr", "corner1-up", "corner2-up", "height2-incr", "bag-incr", "epicanthus-out", "trans-out")),
}  # fmt: skip
_MIDDLE: dict[str, float] = {
    "chin-jaw-drop-incr": 0.3, "chin-height-incr": 0.3, "chin-prominent-incr": 0.3, "chin-bones-incr": 0.35,
    "chin-width-incr": 0.35, "chin-cleft-incr": 0.3, "chin-prognathism-incr": 0.2, "eyebrows-angle-up": 0.35,
    "eyebrows-trans-up": 0.3, "eyebrows-trans-forward": 0.35, "forehead-temple-incr": 0.3, "forehead-trans-forward": 0.3,
    "forehead-scale-vert-incr": 0.25, "forehead-nubian-incr": 0.25, "head-scale-vert-incr": 0.15, "head-fat-incr": 0.3,
    "head-back-scale-depth-incr": 0.25, "head-scale-depth-incr": 0.15, "head-scale-horiz-incr": 0.15, "head-angle-out": 0.05,
    "mouth-scale-horiz-incr": 0.3, "mouth-scale-vert-incr": 0.25, "mouth-trans-up": 0.25, "mouth-trans-forward": 0.2,
    "mouth-lowerlip-height-incr": 0.3, "mouth-upperlip-height-incr": 0.3, "mouth-lowerlip-volume-incr": 0.35,
    "mouth-upperlip-volume-incr": 0.35, "mouth-cupidsbow-incr": 0.3, "mouth-angles-up": 0.3, "mouth-laugh-lines-out": 0.3,
    "mouth-philtrum-volume-incr": 0.3, "nose-scale-depth-incr": 0.35, "nose-scale-vert-incr": 0.3, "nose-scale-horiz-incr": 0.35,
    "nose-point-width-incr": 0.35, "nose-point-up": 0.35, "nose-hump-incr": 0.4, "nose-curve-convex": 0.35,
    "nose-flaring-incr": 0.35, "nose-nostrils-width-incr": 0.3, "nose-width1-incr": 0.3, "nose-width2-incr": 0.3,
    "nose-width3-incr": 0.3, "nose-greek-incr": 0.25, "nose-base-up": 0.3, "nose-volume-incr": 0.3, "nose-trans-up": 0.2,
    "neck-scale-depth-incr": 0.2, "neck-scale-horiz-incr": 0.2, "neck-double-incr": 0.25, "neck-scale-vert-incr": 0.2,
    "torso-vshape-incr": 0.25, "stomach-tone-incr": 0.3, "hip-scale-horiz-incr": 0.2, "buttocks-volume-incr": 0.3,
    "measure-shoulder-dist-incr": 0.15, "pelvis-tone-incr": 0.2,
}  # fmt: skip
_SPREAD: dict[str, float] = {
    **{f"{side}-{group}-{name}": spread for group, (spread, names) in _FACE_GROUPS.items() for name in names for side in "lr"},
    **_MIDDLE,
}
#: The labels to load, in Anny's spelling.
LOCAL_CHANGES: tuple[str, ...] = tuple(_SPREAD)
_LIMIT = 0.6
_STRENGTH = 0.65  # of all local changes together: more looks like a caricature
_ASYMMETRY = 0.08
_ACTIVE = 0.6  # share of the local changes that a person has

#: Facial actions that come in pairs or alone, with the largest amplitude.
_EXPRESSIONS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("mouthSmileLeft", "mouthSmileRight"), 0.7), (("mouthSmileLeft", "mouthSmileRight"), 0.5),
    (("jawOpen",), 0.2), (("browInnerUp",), 0.6), (("browDownLeft", "browDownRight"), 0.6),
    (("browOuterUpLeft", "browOuterUpRight"), 0.5), (("cheekSquintLeft", "cheekSquintRight"), 0.5),
    (("eyeSquintLeft", "eyeSquintRight"), 0.5), (("eyeBlinkLeft", "eyeBlinkRight"), 0.35), (("mouthPucker",), 0.3),
    (("mouthPressLeft", "mouthPressRight"), 0.5), (("mouthFrownLeft", "mouthFrownRight"), 0.4),
    (("mouthDimpleLeft", "mouthDimpleRight"), 0.5), (("mouthStretchLeft", "mouthStretchRight"), 0.3),
    (("mouthShrugLower",), 0.3), (("mouthLeft",), 0.2), (("mouthRight",), 0.2), (("noseSneerLeft", "noseSneerRight"), 0.3),
)  # fmt: skip

#: Adult stature in metres: mean and standard deviation of men and of women (world-wide surveys, rounded).
_STATURE = ((1.755, 0.072), (1.63, 0.066))
_AGES = ((0.50, 0.60), (0.62, 0.88), (0.88, 1.0))  # teenagers, adults, the elderly
_AGE_SHARES = (0.08, 0.80, 0.12)


@dataclass(frozen=True)
class Shape:
    """One person's build.

    Attributes:
        phenotypes: value of each of ``PHENOTYPES``; the stature replaces ``height`` where it is given.
        stature: metres from sole to crown, or None to take ``phenotypes["height"]`` as it is.
        changes: amplitude -1..1 of local changes, by Anny's label.
        actions: amplitude 0..1 of facial actions, by Anny's label.
    """

    phenotypes: Mapping[str, float]
    stature: float | None = None
    changes: Mapping[str, float] = field(default_factory=dict)
    actions: Mapping[str, float] = field(default_factory=dict)


def sample_shape(rng: np.random.Generator) -> Shape:
    """Draws a build: mostly adults, some teenagers and elderly people, both genders alike."""
    female = bool(rng.random() < 0.5)
    gender = float(female) + (1 - 2 * female) * max(0.0, rng.normal(0.0, 0.1))
    low, high = _AGES[rng.choice(3, p=_AGE_SHARES)]
    age = rng.uniform(low, high)
    mean, deviation = _STATURE[female]
    # A teenager of 0.5 (about thirteen) is some 9 % shorter than an adult.
    stature = rng.normal(mean, deviation) * (1 - max(0.0, 0.62 - age) * 0.75)
    races = rng.dirichlet((0.45, 0.45, 0.45))
    phenotypes = {
        "gender": float(np.clip(gender, 0.0, 1.0)),
        "age": float(age),
        "muscle": _around(rng, 0.5 - 0.08 * female, 0.15),
        "weight": _around(rng, 0.48, 0.17),
        "height": 0.5,
        "proportions": _around(rng, 0.35, 0.18),
        "cupsize": _around(rng, 0.5, 0.18),
        "firmness": _around(rng, 0.55, 0.15),
        "african": float(races[0]),
        "asian": float(races[1]),
        "caucasian": float(races[2]),
    }
    return Shape(phenotypes, float(np.clip(stature, 1.40, 2.02)), _sample_changes(rng), _sample_actions(rng))


def _around(rng: np.random.Generator, mean: float, deviation: float) -> float:
    return float(np.clip(rng.normal(mean, deviation), 0.05, 0.95))


def _sample_changes(rng: np.random.Generator) -> dict[str, float]:
    """Amplitudes of the local changes; left and right are drawn together and differ a little, as in real faces."""
    changes: dict[str, float] = {}
    for label, spread in _SPREAD.items():
        if label.startswith("r-"):
            continue
        value = rng.normal(0.0, _STRENGTH * spread) if rng.random() < _ACTIVE else 0.0
        if value == 0.0:
            continue
        if label.startswith("l-"):
            changes["r" + label[1:]] = float(np.clip(value + rng.normal(0.0, _ASYMMETRY), -_LIMIT, _LIMIT))
        changes[label] = float(np.clip(value, -_LIMIT, _LIMIT))
    return changes


def _sample_actions(rng: np.random.Generator) -> dict[str, float]:
    """A light expression: up to four facial actions."""
    actions: dict[str, float] = {}
    for index in rng.choice(len(_EXPRESSIONS), rng.integers(0, 5), replace=False):
        labels, largest = _EXPRESSIONS[index]
        value = largest * rng.random()
        for label in labels:
            actions[label] = float(max(0.0, value * (1 + rng.normal(0.0, _ASYMMETRY))))
    return actions


def _interpolation(value: float, anchors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the anchors in linear interpolation, the value clamped to their range."""
    return np.array([np.interp(value, anchors, row) for row in np.eye(len(anchors))])


def phenotype_weights(
    phenotypes: Mapping[str, float], anchors: Mapping[str, NDArray[np.float64]], masks: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coefficients (K,) of Anny's phenotype blend shapes: each the product of the variations it stands for.

    Args:
        phenotypes: values by label, 0.5 where left out.
        anchors: values at which a phenotype's variations stand, in the order of the mask's columns after those of the races.
        masks: (K, variations) 0 or 1: which variations a blend shape is the product of; the races come first.
    """
    shares = np.array([phenotypes.get(label, 0.5) for label in RACES])
    total = shares.sum()
    variations = [shares / total if total > 0 else np.full(len(RACES), 1 / len(RACES))]
    variations += [_interpolation(phenotypes.get(label, 0.5), points) for label, points in anchors.items()]
    return np.prod(np.where(masks > 0, np.concatenate(variations), 1.0), axis=1)
