"""What is behind a figure: the interface of all backgrounds, plain ones, and pictures from a folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.shade import Lighting
from h2k_rt.errors import DataError

#: Backgrounds are drawn no larger than this and enlarged; lenses blur them anyway.
LARGEST = 1024
PICTURE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".webp"))


@dataclass(frozen=True)
class Stage:
    """What a background may know of the figure, so that it stands in it.

    Attributes:
        to_ground: (3, 3) float64, camera axes (x right, y down, z away) -> ground axes: x right, y up, z toward the camera, level;
            the origin is the camera.
        camera_height: metres of the camera above the figure's lowest point.
        feet: (2, 2) float64, x and z of the figure's soles in ground axes.
        distance: metres from the camera to the figure.
        tangent: of half the field of view.
        lighting: light and shadow maps, as the shading kernel reads them.
    """

    to_ground: NDArray[np.float64]
    camera_height: float
    feet: NDArray[np.float64]
    distance: float
    tangent: float
    lighting: Lighting


class Background:
    """Draws the surroundings; the same seed draws the same."""

    def draw(self, size: int, stage: Stage) -> NDArray[np.uint8]:
        """(size, size, 3) uint8 sRGB."""
        raise NotImplementedError


@dataclass(frozen=True)
class PlainBackground(Background):
    """One colour, a gradient, or the paper roll of a studio. ``seed`` None: black."""

    seed: int | None = None

    def draw(self, size: int, stage: Stage) -> NDArray[np.uint8]:
        if self.seed is None:
            return np.zeros((size, size, 3), np.uint8)
        rng = np.random.default_rng(self.seed)
        side = 128
        colour = _studio_colour(rng)
        y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
        kind = rng.random()
        shade = np.ones((side, side), np.float32)
        if kind > 0.25:
            cx, cy = rng.uniform(-0.25, 0.25, 2)
            shade -= rng.uniform(0.2, 1.1) * ((x - cx) ** 2 + (y - cy) ** 2)
        if kind > 0.55:
            # The roll bends where the floor begins.
            line = rng.uniform(0.22, 0.36)
            shade *= 1 + rng.uniform(-0.3, 0.15) / (1 + np.exp(-(y - line) / rng.uniform(0.01, 0.05)))
        picture = np.clip(shade[..., None] * colour, 0, 1)
        full = cv2.resize(picture.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        return (full * 255 + 0.5).astype(np.uint8)


def _studio_colour(rng: np.random.Generator) -> NDArray[np.float64]:
    grey = rng.uniform(0.05, 1.0)
    return np.clip(grey * (1 + rng.normal(0, 0.03 if rng.random() < 0.7 else 0.35, 3)), 0, 1)


@dataclass(frozen=True)
class PictureBackground(Background):
    """A random crop of a picture file, mirrored half of the time, sometimes blurred."""

    path: Path
    seed: int

    def draw(self, size: int, stage: Stage) -> NDArray[np.uint8]:
        """Raises: DataError: the file cannot be read as a picture."""
        rng = np.random.default_rng(self.seed)
        picture = _load(self.path, LARGEST)
        height, width = picture.shape[:2]
        side = max(8, int(min(height, width) * rng.uniform(0.5, 1.0)))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        crop = picture[top : top + side, left : left + side]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        return enlarged(np.ascontiguousarray(crop), size, lens_blur(rng))


def lens_blur(rng: np.random.Generator) -> float:
    """Standard deviation of the blur as a share of the picture's side: often sharp, sometimes far out of focus."""
    return 0.0 if rng.random() < 0.4 else float(rng.uniform(0.001, 0.008))


def drawing_side(size: int, blur: float) -> int:
    """Side at which a background is drawn before it is enlarged to the photo's: smaller where it is out of focus."""
    return min(size * (4 if blur > 0 else 6) // 8, LARGEST if blur == 0 else LARGEST * 5 // 8)


def enlarged(picture: NDArray[np.uint8], size: int, blur: float, least: float = 0.0) -> NDArray[np.uint8]:
    """To the size of the photo.

    Args:
        blur: as from :func:`lens_blur`.
        least: standard deviation in pixels of the given picture that is applied in any case, against the stairs of pictures drawn
            with one ray to the pixel.
    """
    side = picture.shape[0]
    deviation = max(blur * side, least)
    if deviation > 0.4:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation), np.uint8)
    if side == size:
        return picture
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size, size), interpolation=how), np.uint8)


@lru_cache(maxsize=64)
def _load(path: Path, largest: int) -> NDArray[np.uint8]:
    """RGB, shrunk so that its shorter side is at most ``largest``; the last ones are kept."""
    data = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if data is None:
        raise DataError(f"{path}: not a picture that can be read; remove it from the folder of backgrounds")
    factor = largest / min(data.shape[:2])
    if factor < 1:
        data = cv2.resize(data, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(data[..., ::-1])


def list_pictures(places: Iterable[Path]) -> tuple[Path, ...]:
    """The picture files among ``places``, folders searched recursively, in sorted order.

    Raises:
        DataError: a place does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise DataError(f"{place}: no such file or folder of background pictures")
        files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
        if not files:
            raise DataError(f"{place}: holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))})")
        found += files
    return tuple(found)
