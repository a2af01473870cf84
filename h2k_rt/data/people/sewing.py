"""Seams, hems, plackets, pockets and prints: the light and dark of procedural clothes, drawn on the shells' atlases."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.fabrics import sample_colour
from h2k_rt.data.people.procedural import Bottom, Skirt, Top
from h2k_rt.data.people.shells import ATLAS_BOTTOM, ATLAS_TOP, BOTTOM_SIZE, LIMB_BELOW, TOP_SIZE, TORSO_BELOW

#: Grey at which the cloth keeps its own colour.
MIDDLE = 150
_ARM, _TORSO, _LEG = 0.497, 0.229, 0.70  # metres on the template: arm, crotch to waist, crotch to ankle

Grey = NDArray[np.uint8]


class _Sheet:
    """A grey picture with coordinates in metres from the lower left."""

    def __init__(self, rng: np.random.Generator, size: tuple[float, float], width: int) -> None:
        self.scale = width / size[0]
        self.height = round(size[1] * self.scale)
        cells = np.clip(rng.normal(MIDDLE, 4.0, (14, 22)), 0, 255).astype(np.uint8)
        self.grey = np.asarray(cv2.resize(cells, (width, self.height), interpolation=cv2.INTER_LINEAR), np.uint8)

    def point(self, x: float, y: float) -> tuple[int, int]:
        return round(x * self.scale), round(self.height - y * self.scale)

    def line(self, points: Sequence[tuple[float, float]], shade: int, width: float = 0.0015) -> None:
        path = np.array([self.point(*point) for point in points], np.int32)
        cv2.polylines(self.grey, [path], False, shade, max(1, round(width * self.scale)), cv2.LINE_AA)

    def seam(self, points: Sequence[tuple[float, float]]) -> None:
        """A dark groove with a light edge."""
        self.line([(x + 0.002, y + 0.002) for x, y in points], MIDDLE + 14)
        self.line(points, MIDDLE - 45)

    def dots(self, points: Sequence[tuple[float, float]], radius: float, shade: int) -> None:
        for point in points:
            cv2.circle(self.grey, self.point(*point), max(1, round(radius * self.scale)), shade, -1, cv2.LINE_AA)

    def ribs(self, left: float, right: float, low: float, high: float) -> None:
        (a, d), (b, c) = self.point(left, low), self.point(right, high)
        rows, columns = slice(max(c, 0), max(d, 0)), slice(max(a, 0), max(b, 0))
        wave = MIDDLE - 12 + 22 * np.sin(np.arange(b - max(a, 0)) * (2 * np.pi / max(0.006 * self.scale, 3)))
        block = self.grey[rows, columns]
        block[:] = wave[: block.shape[1]].astype(np.uint8)


def top_light(rng: np.random.Generator, top: Top, details: Sequence[str], width: int) -> Grey:
    """Grey picture of a top on ``ATLAS_TOP``; (h, w) uint8."""
    sheet = _Sheet(rng, TOP_SIZE, width)
    left, _, wide, _ = ATLAS_TOP["torso"]
    arm_left, arm_low, arm_wide, arm_high = ATLAS_TOP["arm"]
    hem = TORSO_BELOW + top.hem * _TORSO
    middle = left + wide / 2
    cuff = arm_low + arm_high - LIMB_BELOW - top.sleeve * _ARM
    if "seams" in details:
        for share in (0.25, 0.75):
            sheet.seam([(left + share * wide, 0), (left + share * wide, 0.5)])
        sheet.seam([(left, hem + 0.022), (left + wide, hem + 0.022)])
        sheet.seam([(arm_left, cuff + 0.02), (arm_left + arm_wide, cuff + 0.02)])
    if "ribs" in details:
        band = rng.uniform(0.03, 0.07)
        sheet.ribs(left, left + wide, hem - 0.01, hem + band)
        sheet.ribs(arm_left, arm_left + arm_wide, cuff - 0.01, cuff + band)
    if "placket" in details:
        for offset in (-0.016, 0.016):
            sheet.seam([(middle + offset, hem), (middle + offset, TORSO_BELOW + 0.64)])
        heights = np.arange(hem + 0.05, TORSO_BELOW + 0.62, rng.uniform(0.07, 0.1))
        sheet.dots([(middle, float(y)) for y in heights], 0.006, int(rng.choice((60, 90, 235))))
    if "zip" in details:
        sheet.line([(middle, hem), (middle, TORSO_BELOW + 0.64)], int(rng.choice((40, 80, 230))), 0.006)
    if {"placket", "zip"} & set(details):
        if rng.random() < 0.6:
            _pocket(sheet, middle + 0.085, TORSO_BELOW + 0.42, 0.1, 0.11)
        if rng.random() < 0.5:
            for side in (-1, 1):
                a, b = middle + side * 0.09, middle + side * 0.15
                sheet.seam([(a, TORSO_BELOW + 0.18), (b, TORSO_BELOW + 0.06)])
    return sheet.grey


def bottom_light(rng: np.random.Generator, bottom: Bottom, details: Sequence[str], width: int) -> Grey:
    """Grey picture of trousers on ``ATLAS_BOTTOM``; (h, w) uint8."""
    sheet = _Sheet(rng, BOTTOM_SIZE, width)
    left, low, wide, _ = ATLAS_BOTTOM["torso"]
    middle, crotch = left + wide / 2, low + TORSO_BELOW
    waist = crotch + bottom.waist * _TORSO
    sheet.seam([(left, waist - 0.036), (left + wide, waist - 0.036)])
    for share in (0.25, 0.75):
        sheet.seam([(left + share * wide, low), (left + share * wide, waist)])
    for name in ("left", "right"):
        x, y, w, h = ATLAS_BOTTOM[name]
        hem = y + h - LIMB_BELOW - bottom.length * (_LEG + 0.09)
        outer = x + (0.25 if name == "right" else 0.75) * w
        for at in (outer, x + w - (outer - x)):
            sheet.seam([(at, y), (at, y + h)])
        sheet.seam([(x, hem + 0.025), (x + w, hem + 0.025)])
        if "ribs" in details:
            sheet.ribs(x, x + w, hem - 0.02, hem + 0.05)
    if "jeans" in details:
        sheet.seam([(middle, crotch - 0.02), (middle, waist)])
        sheet.seam([(middle + 0.03, waist - 0.036), (middle + 0.03, crotch + 0.06), (middle, crotch + 0.03)])
        sheet.dots([(middle, waist - 0.018)], 0.008, 90)
        for side in (-1, 1):
            sheet.seam(
                [(middle + side * 0.1, waist - 0.036), (middle + side * 0.15, waist - 0.1), (middle + side * 0.25, waist - 0.12)]
            )
            _pocket(sheet, left + 0.11 if side < 0 else left + wide - 0.11, waist - 0.12, 0.12, 0.12)
    return sheet.grey


def skirt_light(rng: np.random.Generator, skirt: Skirt, width: int) -> Grey:
    """Grey picture of a skirt, once around and from waist to ankles; (h, w) uint8."""
    sheet = _Sheet(rng, (1.2, 0.95), width)
    total = 0.95
    for y in (total - (1 - skirt.waist) * _TORSO - 0.03, total - _TORSO - skirt.length * (_LEG - 0.02) + 0.03):
        sheet.seam([(0, y), (1.2, y)])
    for share in (0.25, 0.75):
        sheet.seam([(share * 1.2, 0), (share * 1.2, total)])
    return sheet.grey


def _pocket(sheet: _Sheet, x: float, y: float, width: float, height: float) -> None:
    a, b = x - width / 2, x + width / 2
    sheet.seam(
        [
            (a, y + height / 2),
            (b, y + height / 2),
            (b, y - height * 0.35),
            (x, y - height / 2),
            (a, y - height * 0.35),
            (a, y + height / 2),
        ]
    )


def stamp_print(rng: np.random.Generator, texture: NDArray[np.uint8]) -> None:
    """A print on the chest of a painted top, in place: a figure, letters, or a block of colour."""
    scale = texture.shape[1] / TOP_SIZE[0]
    left, _, wide, _ = ATLAS_TOP["torso"]
    x = round((left + wide / 2) * scale)
    y = round(texture.shape[0] - (TORSO_BELOW + rng.uniform(0.36, 0.46)) * scale)
    size = rng.uniform(0.04, 0.12) * scale
    colour = tuple(int(255 * c) for c in sample_colour(rng))
    second = tuple(int(255 * c) for c in sample_colour(rng))
    kind = int(rng.integers(5))
    if kind == 0:
        cv2.circle(texture, (x, y), round(size), colour, -1, cv2.LINE_AA)
        cv2.circle(texture, (x, y), round(size * 0.7), second, max(1, round(size * 0.15)), cv2.LINE_AA)
    elif kind == 1:
        letters = "".join(chr(65 + int(code)) for code in rng.integers(0, 26, int(rng.integers(2, 8))))
        height = 0.045 * size * 12 / max(len(letters), 3)
        (w, h), _ = cv2.getTextSize(letters, cv2.FONT_HERSHEY_DUPLEX, height / 10, 1)
        thick = max(1, round(height / 6))
        cv2.putText(texture, letters, (x - w // 2, y + h // 2), cv2.FONT_HERSHEY_DUPLEX, height / 10, colour, thick, cv2.LINE_AA)
    elif kind == 2:
        points = int(rng.integers(3, 9))
        angle = np.arange(2 * points) * np.pi / points - np.pi / 2
        radius = size * np.where(np.arange(2 * points) % 2 == 0, 1, rng.uniform(0.4, 0.9))
        star = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
        cv2.fillPoly(texture, [star.astype(np.int32)], colour, cv2.LINE_AA)
    elif kind == 3:  # a picture
        half = round(size)
        cells = (rng.uniform(0, 1, (5, 5, 3)) * 255).astype(np.uint8)
        picture = cv2.resize(cells, (2 * half, 2 * half), interpolation=cv2.INTER_CUBIC)
        texture[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = picture
    else:  # bands across the chest, all around
        depth = round(size * rng.uniform(0.4, 1.5))
        right = round((left + wide) * scale)
        texture[y : y + depth, :right] = colour
        texture[y + depth : y + round(depth * 1.4), :right] = second
