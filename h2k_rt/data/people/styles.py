"""Styles of procedural clothes: within which bounds each is cut, and which seams it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from h2k_rt.data.people.procedural import Bottom, Skirt, Top

Bounds = tuple[float, float]


@dataclass(frozen=True)
class TopStyle:
    """Bounds of a ``Top``; ``details`` are the seams that ``sewing`` draws."""

    sleeve: Bounds
    hem: Bounds
    ease: Bounds
    necks: tuple[str, ...] = ("crew",)
    sleeve_ease: Bounds = (0.004, 0.014)
    gap: float = 0.004
    opening: Bounds = (0.0, 0.0)
    details: tuple[str, ...] = ("seams",)
    women: float = 1.0
    men: float = 1.0


@dataclass(frozen=True)
class BottomStyle:
    length: Bounds
    thigh: Bounds
    knee: Bounds
    hem: Bounds
    details: tuple[str, ...] = ("jeans",)
    women: float = 1.0
    men: float = 1.0


@dataclass(frozen=True)
class SkirtStyle:
    length: Bounds
    flare: Bounds
    folds: tuple[int, int] = (0, 0)
    depth: Bounds = (0.0, 0.0)
    details: tuple[str, ...] = ("seams",)


_PLACKET, _ZIP, _RIBS = ("seams", "placket"), ("seams", "zip"), ("seams", "ribs")

TOPS: Mapping[str, TopStyle] = {
    "t_shirt": TopStyle((0.22, 0.40), (-0.1, 0.35), (0.012, 0.04), ("crew", "crew", "scoop"), (0.008, 0.03), men=2.0, women=1.5),
    "long_sleeve": TopStyle((0.9, 1.0), (0.0, 0.4), (0.01, 0.025), ("crew", "boat", "scoop")),
    "sweater": TopStyle((0.92, 1.02), (-0.05, 0.3), (0.02, 0.04), ("crew", "high"), (0.012, 0.024), 0.007, details=_RIBS),
    "shirt": TopStyle((0.92, 1.0), (-0.15, 0.25), (0.012, 0.035), ("crew",), (0.01, 0.022), details=_PLACKET, men=1.5),
    "tank_top": TopStyle((-0.09, -0.05), (0.1, 0.5), (0.004, 0.02), ("scoop", "scoop", "crew"), men=0.3),
    "crop_top": TopStyle((0.1, 0.35), (0.85, 1.15), (0.006, 0.02), ("crew", "scoop"), men=0.0, women=0.5),
    "turtleneck": TopStyle((0.95, 1.0), (0.0, 0.4), (0.006, 0.015), ("high",), (0.003, 0.008), men=0.5),
    "v_neck": TopStyle((0.2, 1.0), (0.0, 0.4), (0.008, 0.03), ("v",)),
    "blouse": TopStyle((0.55, 0.98), (0.0, 0.4), (0.03, 0.055), ("boat", "scoop", "v"), (0.02, 0.045), men=0.2),
}
JACKETS: Mapping[str, TopStyle] = {
    "jacket": TopStyle(
        (0.95, 1.03), (0.0, 0.5), (0.022, 0.04), ("crew", "high"), (0.014, 0.026), 0.01, (0.015, 0.08), _ZIP, men=1.5
    ),
    "cardigan": TopStyle(
        (0.9, 1.0), (-0.15, 0.4), (0.015, 0.035), ("v", "crew"), (0.008, 0.02), 0.008, (0.03, 0.11), _RIBS, men=0.5
    ),
    "blazer": TopStyle((0.97, 1.02), (-0.15, 0.2), (0.015, 0.03), ("v",), (0.01, 0.02), 0.01, (0.02, 0.06), _PLACKET),
    "hoodie": TopStyle(
        (0.97, 1.03), (0.0, 0.3), (0.025, 0.045), ("crew",), (0.015, 0.03), 0.012, (0.0, 0.0), ("seams", "ribs", "zip")
    ),
    "vest": TopStyle((-0.06, -0.02), (0.0, 0.5), (0.015, 0.03), ("v", "crew"), gap=0.01, opening=(0.01, 0.08), details=_ZIP),
    "coat": TopStyle((0.97, 1.03), (0.3, 0.4), (0.02, 0.03), ("crew", "v"), (0.012, 0.024), 0.012, (0.03, 0.1), _PLACKET),
}
BOTTOMS: Mapping[str, BottomStyle] = {
    "leggings": BottomStyle((0.85, 0.98), (0.001, 0.003), (0.001, 0.003), (0.001, 0.003), ("seams",), men=0.1),
    "slim": BottomStyle((0.9, 1.0), (0.006, 0.012), (0.006, 0.012), (0.005, 0.012)),
    "straight": BottomStyle((0.94, 1.02), (0.01, 0.02), (0.012, 0.028), (0.014, 0.034), men=2.0),
    "wide": BottomStyle((0.9, 1.0), (0.015, 0.03), (0.03, 0.055), (0.045, 0.08), ("seams",), men=0.4),
    "joggers": BottomStyle((0.9, 1.0), (0.015, 0.028), (0.018, 0.03), (0.006, 0.01), ("ribs", "seams")),
    "shorts": BottomStyle((0.12, 0.35), (0.008, 0.025), (0.02, 0.03), (0.01, 0.035)),
    "bermuda": BottomStyle((0.38, 0.55), (0.01, 0.025), (0.02, 0.03), (0.014, 0.035), women=0.4),
    "flared": BottomStyle((0.95, 1.02), (0.004, 0.012), (0.006, 0.014), (0.03, 0.055), men=0.2),
    "culottes": BottomStyle((0.5, 0.8), (0.015, 0.03), (0.04, 0.06), (0.05, 0.08), ("seams",), men=0.0),
}  # fmt: skip
SKIRTS: Mapping[str, SkirtStyle] = {
    "straight_skirt": SkirtStyle((0.3, 0.6), (-0.03, 0.08)),
    "a_line": SkirtStyle((0.2, 0.8), (0.15, 0.4), (0, 7), (0.0, 0.04)),
    "full": SkirtStyle((0.35, 0.97), (0.4, 0.8), (7, 13), (0.05, 0.12)),
    "pleated": SkirtStyle((0.2, 0.85), (0.15, 0.45), (16, 22), (0.03, 0.06)),
}


def sample_top(rng: np.random.Generator, style: TopStyle, loose: float = 1.0) -> Top:
    """A top within a style's bounds; ``loose`` scales its ease, for what is worn under something."""
    opening = rng.uniform(*style.opening) if style.opening[1] and rng.random() < 0.75 else 0.0
    return Top(
        sleeve=rng.uniform(*style.sleeve),
        hem=rng.uniform(*style.hem),
        neck=style.necks[int(rng.integers(len(style.necks)))],
        neck_drop=rng.uniform(0.0, 0.025),
        ease=loose * rng.uniform(*style.ease),
        sleeve_ease=loose * rng.uniform(*style.sleeve_ease),
        gap=style.gap,
        drape=rng.uniform(0.75, 1.0) if style.ease[1] > 0.02 else rng.uniform(0.3, 0.8),
        opening=opening,
        fall=rng.uniform(0.15, 0.6) if style.ease[1] > 0.02 and loose == 1 else 2.0,
    )


def sample_bottom(rng: np.random.Generator, style: BottomStyle) -> Bottom:
    return Bottom(
        length=rng.uniform(*style.length),
        waist=rng.uniform(0.55, 0.95),
        thigh_ease=rng.uniform(*style.thigh),
        knee_ease=rng.uniform(*style.knee),
        hem_ease=rng.uniform(*style.hem),
        drape=0.2 if style.thigh[1] < 0.005 else rng.uniform(0.5, 0.9),
    )


def sample_skirt(rng: np.random.Generator, style: SkirtStyle, waist: float | None = None) -> Skirt:
    return Skirt(
        length=rng.uniform(*style.length),
        waist=rng.uniform(0.75, 1.0) if waist is None else waist,
        flare=rng.uniform(*style.flare),
        folds=int(rng.integers(style.folds[0], style.folds[1] + 1)),
        depth=rng.uniform(*style.depth),
        phase=rng.uniform(0, 6.28),
    )
