"""Cloth colours and woven or printed patterns, painted over the light and dark of a garment's texture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

Colour = NDArray[np.float64]  # (3,) sRGB 0..1

#: What people wear, by share: sRGB colours of a group, from which the drawn colour deviates a little.
_GROUPS: tuple[tuple[float, tuple[tuple[int, int, int], ...]], ...] = (
    (0.20, ((18, 18, 20), (28, 27, 28), (38, 38, 40), (24, 24, 30))),  # black
    (0.16, ((245, 244, 240), (236, 234, 228), (226, 224, 222))),  # white
    (0.14, ((128, 128, 130), (92, 93, 96), (166, 166, 168), (66, 68, 72))),  # grey
    (0.11, ((24, 32, 58), (32, 42, 78), (40, 52, 84))),  # navy
    (0.10, ((201, 181, 150), (176, 150, 116), (150, 124, 96), (220, 206, 182))),  # beige
    (0.07, ((94, 70, 52), (66, 50, 40), (120, 84, 58))),  # brown
    (0.07, ((86, 92, 66), (112, 116, 84), (58, 70, 52))),  # olive
    (0.15, ((176, 34, 40), (206, 72, 40), (226, 178, 52), (44, 122, 74), (38, 96, 168), (70, 150, 196), (116, 62, 132),
            (206, 110, 148), (124, 30, 48), (32, 128, 132), (236, 204, 210), (178, 206, 228), (190, 220, 190))),
)  # fmt: skip
_DENIM = ((38, 52, 84), (62, 86, 124), (92, 120, 158), (140, 164, 190), (30, 32, 38), (90, 92, 98), (26, 36, 58))


def sample_colour(rng: np.random.Generator) -> Colour:
    """A colour of clothes as they are worn: mostly black, white, grey, navy and beige, some saturated ones; sRGB (3,)."""
    group = rng.choice(len(_GROUPS), p=[share for share, _ in _GROUPS])
    return _varied(rng, _GROUPS[group][1])


def sample_denim(rng: np.random.Generator) -> Colour:
    """From black and indigo to washed blue and grey."""
    return _varied(rng, _DENIM)


def _varied(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> Colour:
    base = np.array(colours[rng.integers(len(colours))]) / 255
    return np.clip(base * (1 + rng.normal(0, 0.12)) * (1 + rng.normal(0, 0.03, 3)), 0.03, 0.97)


@dataclass(frozen=True)
class Fabric:
    """A cloth: ``kind`` names the pattern, ``colours`` are sRGB (3,), ``size`` is the pattern's repeat in metres."""

    kind: str
    colours: tuple[Colour, ...]
    size: float
    seed: int

    def tile(self, metres_per_pixel: float) -> NDArray[np.uint8]:
        """One repeat, (n, n, 3) uint8 sRGB, that continues seamlessly in both directions."""
        count = int(np.clip(round(self.size / metres_per_pixel), 4, 640))
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, 0xFAB]))
        picture = _PATTERNS[self.kind](rng, count, self.colours)
        return np.ascontiguousarray(np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8))


#: Share of each kind among fabrics of tops, by kind; bottoms are mostly plain or denim.
FABRICS: Mapping[str, float] = {
    "plain": 0.44, "melange": 0.12, "denim": 0.05, "stripes": 0.10, "columns": 0.04, "tartan": 0.06, "dots": 0.04, "knit": 0.06,
    "camouflage": 0.03, "chevron": 0.02, "print": 0.04, "gingham": 0.2, "houndstooth": 0.2, "floral": 0.2,
}  # fmt: skip
_CALM = ("plain", "melange", "denim")
_SIZES: Mapping[str, tuple[float, float]] = {
    "plain": (0.12, 0.2), "melange": (0.15, 0.25), "denim": (0.2, 0.3), "stripes": (0.012, 0.12), "columns": (0.008, 0.06),
    "tartan": (0.03, 0.16), "dots": (0.02, 0.1), "knit": (0.02, 0.06), "camouflage": (0.25, 0.4), "chevron": (0.02, 0.1),
    "print": (0.12, 0.3), "gingham": (0.01, 0.05), "houndstooth": (0.015, 0.06), "floral": (0.12, 0.25),
}  # fmt: skip


def sample_fabric(rng: np.random.Generator, kinds: tuple[str, ...], calm: float = 0.0, colour: Colour | None = None) -> Fabric:
    """A fabric among ``kinds``.

    Args:
        calm: probability to take only plain, melange and denim; for trousers, coats and suits.
        colour: the main colour, drawn where None.
    """
    if rng.random() < calm:
        kinds = tuple(kind for kind in kinds if kind in _CALM)
    shares = np.array([FABRICS[kind] for kind in kinds])
    kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
    main = sample_denim(rng) if kind == "denim" and colour is None else sample_colour(rng) if colour is None else colour
    others = [_contrasting(rng, main) for _ in range(3)]
    low, high = _SIZES[kind]
    return Fabric(kind, (main, *others), float(np.exp(rng.uniform(np.log(low), np.log(high)))), int(rng.integers(1 << 31)))


def _contrasting(rng: np.random.Generator, main: Colour) -> Colour:
    for _ in range(8):
        colour = sample_colour(rng)
        if abs(colour.mean() - main.mean()) > 0.12 or np.abs(colour - main).max() > 0.25:
            break
    return colour


# --- patterns: (n, n, 3) float 0..1, rows downward -------------------------------------------------------------------------------


def _noise(rng: np.random.Generator, count: int, cells: int) -> NDArray[np.float32]:
    """Smooth seamless noise, about -1..1, with ``cells`` features along a side."""
    cells = max(2, min(cells, count))
    grid = np.pad(rng.uniform(-1, 1, (cells, cells)).astype(np.float32), 2, mode="wrap")
    scale = count / cells
    margin = round(2 * scale)
    size = count + 2 * margin
    picture = cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(picture[margin : margin + count, margin : margin + count], np.float32)


def _steps(count: int, rng: np.random.Generator, choices: int, least: int = 2, most: int = 5) -> NDArray[np.intp]:
    """A random sequence of bands over ``count`` pixels: which colour each pixel has."""
    bands = int(rng.integers(least, most + 1))
    edges = np.sort(rng.uniform(0, 1, bands - 1)) if rng.random() < 0.6 else np.arange(1, bands) / bands
    band = np.searchsorted(edges, (np.arange(count) + 0.5) / count)
    colours = np.array([index % choices for index in range(bands)])
    if bands % choices == 1 and bands > 1:
        colours[-1] = 1
    return colours[band]


def _weave(rng: np.random.Generator, count: int, amount: float) -> NDArray[np.float32]:
    return (1 + amount * rng.uniform(-1, 1, (count, count, 1))).astype(np.float32)


def _plain(rng, count, colours):
    return colours[0] * _weave(rng, count, 0.03) * (1 + 0.03 * _noise(rng, count, 5))[..., None]


def _melange(rng, count, colours):
    threads = cv2.blur(rng.uniform(-1, 1, (count, count)).astype(np.float32), (5, 1), borderType=cv2.BORDER_REFLECT)
    lift = 0.25 * (colours[0].mean() < 0.5) + 0.08
    return np.clip(colours[0] + (lift * threads * 0.5)[..., None], 0, 1) * _weave(rng, count, 0.03)


def _denim(rng, count, colours):
    y, x = np.mgrid[0:count, 0:count]
    period = max(2, round(count / max(1, round(count / 4))))
    twill = np.where((x + 2 * y) % period < period / 2, 1.0, -1.0) * 0.06
    worn = 0.08 * _noise(rng, count, 4) + 0.02 * _noise(rng, count, 24)
    flecks = cv2.blur(rng.normal(0, 0.06, (count, count)).astype(np.float32), (1, 4), borderType=cv2.BORDER_REFLECT)
    return np.clip(colours[0] * (1 + twill + worn + flecks)[..., None], 0, 1)


def _stripes(rng, count, colours):
    rows = np.stack(colours)[_steps(count, rng, int(rng.integers(2, 4)))]
    return rows[:, None] * _weave(rng, count, 0.03)


def _columns(rng, count, colours):
    if rng.random() < 0.5:  # pinstripes
        rows = np.stack(colours)[(np.arange(count) < max(1, count * 0.06)).astype(int)]
    else:
        rows = np.stack(colours)[_steps(count, rng, 2)]
    return rows[None] * _weave(rng, count, 0.03)


def _tartan(rng, count, colours):
    bands = np.stack(colours)[_steps(count, rng, int(rng.integers(2, 5)), 3, 6)]
    y, x = np.mgrid[0:count, 0:count]
    warp = ((x + y) % 2 == 0)[..., None]
    return (0.5 * bands[None] + 0.5 * bands[:, None]) * 0.8 + np.where(warp, bands[None], bands[:, None]) * 0.2


def _gingham(rng, count, colours):
    half = (np.arange(count) < count // 2).astype(float)
    share = (half[:, None] + half[None]) / 2
    light = np.clip(0.75 + 0.25 * colours[1], 0, 1)
    return (share[..., None] * colours[0] + (1 - share[..., None]) * light) * _weave(rng, count, 0.03)


def _dots(rng, count, colours):
    y, x = (np.mgrid[0:count, 0:count] + 0.5) / count
    radius = rng.uniform(0.1, 0.24)
    near = np.hypot(x - 0.5, y - 0.5) < radius
    if rng.random() < 0.6:
        near |= np.hypot(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) < radius
    return np.where(near[..., None], colours[1], colours[0]) * _weave(rng, count, 0.02)


def _knit(rng, count, colours):
    y, x = np.mgrid[0:count, 0:count] / count
    ribs = int(rng.integers(2, 7))
    stitch = np.abs(np.sin(np.pi * ribs * x)) ** 0.7
    loops = 0.5 + 0.5 * np.sin(2 * np.pi * (ribs * 2 * y + 0.5 * np.abs(2 * ((ribs * x) % 1) - 1)))
    return colours[0] * (0.66 + 0.28 * stitch + 0.12 * loops)[..., None] * _weave(rng, count, 0.06)


def _camouflage(rng, count, colours):
    palette = np.array(((74, 82, 52), (112, 104, 72), (46, 44, 34), (150, 140, 104)) if rng.random() < 0.6 else
                       ((96, 100, 104), (140, 144, 146), (52, 54, 58), (188, 190, 190))) / 255  # fmt: skip
    index = np.zeros((count, count), int)
    for layer in range(1, 4):
        index[_noise(rng, count, 5) + 0.5 * _noise(rng, count, 11) > 0.28] = layer
    return palette[index] * _weave(rng, count, 0.03)


def _chevron(rng, count, colours):
    y, x = np.mgrid[0:count, 0:count] / count
    band = (y + np.abs(2 * x - 1) * 0.5) % 1 < rng.uniform(0.3, 0.6)
    return np.where(band[..., None], colours[0], colours[1]) * _weave(rng, count, 0.03)


def _houndstooth(rng, count, colours):
    y, x = np.mgrid[0:count, 0:count] * 8 // count
    tooth = np.where((x < 4) & (y < 4), True, np.where((x >= 4) & (y >= 4), False, (x + y) % 4 < 2))
    return np.where(tooth[..., None], colours[0], colours[1]) * _weave(rng, count, 0.03)


def _scatter(rng, count, background, draw):
    """Draws motifs at random places so that the tile continues: everything is drawn on the eight neighbours too."""
    canvas = np.empty((count, count, 3), np.float32)
    canvas[:] = background
    for _ in range(int(rng.integers(5, 14))):
        place, size = rng.uniform(0, count, 2), count * rng.uniform(0.05, 0.14)
        state = rng.bit_generator.state
        for dy in (-count, 0, count):
            for dx in (-count, 0, count):
                rng.bit_generator.state = state  # the same motif each time
                draw(canvas, (place[0] + dx, place[1] + dy), size)
    return canvas


def _floral(rng, count, colours):
    def flower(canvas, place, size):
        petals, turn = int(rng.integers(4, 8)), rng.uniform(0, 6)
        colour, heart = colours[int(rng.integers(1, 4))], colours[int(rng.integers(1, 4))]
        for k in range(petals):
            angle = turn + 2 * np.pi * k / petals
            centre = (int(place[0] + np.cos(angle) * size * 0.6), int(place[1] + np.sin(angle) * size * 0.6))
            cv2.circle(canvas, centre, max(1, int(size * 0.45)), tuple(map(float, colour)), -1, cv2.LINE_AA)
        cv2.circle(canvas, (int(place[0]), int(place[1])), max(1, int(size * 0.3)), tuple(map(float, heart)), -1, cv2.LINE_AA)

    return _scatter(rng, count, colours[0], flower) * _weave(rng, count, 0.02)


def _print(rng, count, colours):
    kind = int(rng.integers(3))

    def motif(canvas, place, size):
        colour = tuple(map(float, colours[int(rng.integers(1, 4))]))
        a = (int(place[0]), int(place[1]))
        axes, turn = (max(1, int(size)), max(1, int(size * rng.uniform(0.2, 1)))), rng.uniform(0, 180)
        if kind == 0:
            cv2.ellipse(canvas, a, axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.fillPoly(canvas, [cv2.boxPoints((a, axes, turn)).astype(np.int32)], colour, cv2.LINE_AA)
        else:
            cv2.ellipse(canvas, a, axes, turn, 0, 270, colour, max(1, int(size * 0.25)), cv2.LINE_AA)

    return _scatter(rng, count, colours[0], motif) * _weave(rng, count, 0.02)


_PATTERNS: Mapping[str, Callable[[np.random.Generator, int, tuple[Colour, ...]], NDArray[np.floating]]] = {
    "plain": _plain, "melange": _melange, "denim": _denim, "stripes": _stripes, "columns": _columns, "tartan": _tartan,
    "gingham": _gingham, "dots": _dots, "knit": _knit, "camouflage": _camouflage, "chevron": _chevron,
    "houndstooth": _houndstooth, "floral": _floral, "print": _print,
}  # fmt: skip


# --- painting -------------------------------------------------------------------------------------------------------------------


def paint(
    light: NDArray[np.uint8], middle: float, tile: NDArray[np.uint8], box: tuple[int, int, int, int] | None = None
) -> NDArray[np.uint8]:
    """A garment's light and dark (seams, pockets, creases) over a fabric.

    Args:
        light: (h, w) uint8, the grey picture of the garment; tile: (n, n, 3) uint8 repeated over it.
        middle: grey at which the fabric keeps its own colour.
        box: rows and columns (top, bottom, left, right) to paint; the rest stays black.

    Returns:
        (h, w, 3) uint8 sRGB.
    """
    gain = np.clip(np.arange(256) / max(middle, 1.0), 0, 2.2)
    table = np.minimum(gain[:, None] * np.arange(256)[None] + 0.5, 255).astype(np.uint8)
    top, bottom, left, right = box or (0, light.shape[0], 0, light.shape[1])
    out = np.zeros((*light.shape, 3), np.uint8)
    _paint(light, table, tile, top, bottom, left, right, out)
    return out


@njit(cache=True, nogil=True)
def _paint(light, table, tile, top, bottom, left, right, out):
    rows, columns = tile.shape[0], tile.shape[1]
    for y in range(top, bottom):
        v = y % rows
        u = left % columns
        for x in range(left, right):
            row = table[light[y, x]]
            out[y, x, 0] = row[tile[v, u, 0]]
            out[y, x, 1] = row[tile[v, u, 1]]
            out[y, x, 2] = row[tile[v, u, 2]]
            u += 1
            if u == columns:
                u = 0
