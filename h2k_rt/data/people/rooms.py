"""Rooms as a background: walls, floor, skirting, windows, doors, pictures and furniture, ray cast and lit like the figure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2k_rt.data.people.background import Background, Stage, drawing_side, enlarged, lens_blur
from h2k_rt.data.people.scenery import ground_of, layered_noise, light_on, ray, scatter, value_noise, write_pixel
from h2k_rt.data.people.textures import ENCODE_TONE

#: Faces of the room: left wall, right wall, floor, ceiling, back wall, front wall.
_LEFT, _RIGHT, _FLOOR, _CEILING, _BACK, _FRONT = range(6)
#: Patterns of faces and boxes.
PLAIN, PLANKS, TILES, BRICKS, CARPET, STRIPES, PANELS, BOOKS, MARBLE = range(9)
#: What hangs on a wall.
_WINDOW, _PICTURE, _DOOR, _CURTAIN = range(4)
_ONE, _ZERO = np.float32(1), np.float32(0)


@dataclass(frozen=True)
class RoomBackground(Background):
    """A furnished room around the figure; the seed says which."""

    seed: int

    def draw(self, size: int, stage: Stage) -> NDArray[np.uint8]:
        rng = np.random.default_rng(self.seed)
        blur = lens_blur(rng)
        side = drawing_side(size, blur)
        turn, extents, faces, hangings, boxes = _plan(rng, stage)
        out = np.empty((side, side, 3), np.uint8)
        _draw_room(out, ground_of(stage), turn, extents, faces, hangings, boxes, int(rng.integers(2**30)), ENCODE_TONE)
        return enlarged(out, size, blur, least=0.6)


def _plan(rng: np.random.Generator, stage: Stage) -> tuple[NDArray[np.float32], ...]:
    """Turn (cos, sin), extents (6,), faces (6, 8), hangings (H, 12), boxes (B, 11) of a room in room axes.

    Room axes are ground axes turned about y, with the floor at y = 0 and the origin below the camera.
    """
    angle = math.radians(rng.normal(0, 16) if rng.random() < 0.8 else rng.uniform(-45, 45))
    turn = np.array([math.cos(angle), math.sin(angle)], np.float32)
    behind = stage.distance + rng.uniform(0.5, 3.5)
    height = rng.uniform(2.4, 3.4)
    width = rng.uniform(3.0, 7.5)
    offset = rng.uniform(-0.2, 0.2) * width
    x, z = _in_room(stage, turn)
    extents = np.array([offset - width / 2, offset + width / 2, 0.0, height, -behind, 3.0], np.float32)
    # The figure stands inside.
    extents[0], extents[1], extents[4] = min(extents[0], x - 0.6), max(extents[1], x + 0.6), min(extents[4], z - 0.5)
    wall = _paint(rng, 0.3, 0.85, 0.07)
    faces = np.zeros((6, 8), np.float32)
    wall_pattern = rng.choice([PLAIN, PLAIN, PLAIN, BRICKS, STRIPES, PANELS, TILES])
    for number in (_LEFT, _RIGHT, _BACK, _FRONT):
        accent = rng.random() < 0.2
        own = _paint(rng, 0.1, 0.7, 0.22) if accent else wall
        faces[number] = [
            *own,
            PLAIN if accent else wall_pattern,
            rng.uniform(0.06, 0.5),
            rng.uniform(0.03, 0.3),
            rng.uniform(0.02, 0.14),
            0,
        ]
    floor_pattern = rng.choice([PLANKS, PLANKS, PLANKS, TILES, TILES, CARPET, PLAIN, MARBLE])
    wood = np.array([0.42, 0.25, 0.13]) * rng.uniform(0.35, 1.5)
    floor = wood if floor_pattern == PLANKS else _paint(rng, 0.08, 0.6, 0.12)
    faces[_FLOOR] = [*np.clip(floor, 0.02, 0.8), floor_pattern, rng.uniform(0.08, 0.6), rng.uniform(0.08, 0.35), 0, 0]
    faces[_CEILING] = [*_paint(rng, 0.6, 0.85, 0.03), PLAIN, 1, 0, 0, 0]
    return turn, extents, faces, _hangings(rng, extents), _furniture(rng, extents, stage, turn)


def _in_room(stage: Stage, turn: NDArray[np.float32]) -> tuple[float, float]:
    """x and z of the figure in room axes."""
    x, z = stage.feet.mean(0)
    return float(turn[0] * x - turn[1] * z), float(turn[1] * x + turn[0] * z)


def _paint(rng: np.random.Generator, low: float, high: float, spread: float) -> NDArray[np.float64]:
    return np.clip(rng.uniform(low, high) * np.exp(rng.normal(0, spread, 3)), 0.01, 0.9)


def _hangings(rng: np.random.Generator, extents: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, 12): wall, left, right, bottom, top, kind, two colours (3 each)."""
    rows: list[list[float]] = []
    for wall, low, high in ((_BACK, extents[0], extents[1]), (_LEFT, extents[4], 0.0), (_RIGHT, extents[4], 0.0)):
        at = low + rng.uniform(0.1, 0.8)
        while at < high - 0.5 and len(rows) < 14:
            kind = rng.choice([_WINDOW, _PICTURE, _PICTURE, _PICTURE, _DOOR, _CURTAIN], p=[0.22, 0.2, 0.2, 0.15, 0.15, 0.08])
            width = {_WINDOW: rng.uniform(0.7, 2.0), _DOOR: rng.uniform(0.8, 1.0), _CURTAIN: rng.uniform(0.5, 1.4)}.get(
                int(kind), rng.uniform(0.25, 1.0)
            )
            bottom, top = {
                _WINDOW: (rng.uniform(0.3, 1.0), rng.uniform(1.9, 2.3)),
                _DOOR: (0.0, rng.uniform(1.95, 2.1)),
                _CURTAIN: (rng.uniform(0.02, 0.3), 2.35),
            }.get(int(kind), (rng.uniform(1.0, 1.5), rng.uniform(1.6, 2.1)))
            frame = _paint(rng, 0.02, 0.8, 0.1)
            inside = _paint(rng, 0.05, 0.8, 0.45 if kind == _PICTURE else 0.18)
            rows.append([wall, at, min(at + width, high - 0.1), bottom, top, kind, *frame, *inside])
            at += width + rng.uniform(0.1, 1.6)
    return np.array(rows, np.float32).reshape(-1, 12)


def _furniture(
    rng: np.random.Generator, extents: NDArray[np.float32], stage: Stage, turn: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(B, 11): least x, y, z, greatest x, y, z, colour (3), pattern, its scale; along the walls, clear of the figure."""
    boxes: list[list[float]] = []
    figure_x, figure_z = _in_room(stage, turn)
    for _ in range(int(rng.integers(0, 7))):
        colour = _paint(rng, 0.04, 0.6, 0.22) if rng.random() < 0.6 else np.array([0.4, 0.24, 0.12]) * rng.uniform(0.2, 1.5)
        width, depth = rng.uniform(0.4, 1.9), rng.uniform(0.35, 0.9)
        x = rng.uniform(extents[0], max(extents[1] - width, extents[0] + 0.1))
        z = extents[4] + (0.0 if rng.random() < 0.7 else rng.uniform(0, 2.5))
        if abs(x + width / 2 - figure_x) < width / 2 + 0.5 and abs(z + depth / 2 - figure_z) < depth / 2 + 0.6:
            continue
        boxes += _piece(rng, float(x), float(z), width, depth, colour)
    return np.array(boxes, np.float32).reshape(-1, 11)


def _piece(
    rng: np.random.Generator, x: float, z: float, width: float, depth: float, colour: NDArray[np.float64]
) -> list[list[float]]:
    """One piece of furniture as a few boxes."""
    paint = [float(value) for value in np.clip(colour, 0.01, 0.9)]
    kind = rng.integers(5)
    if kind == 0:  # table: top and legs
        height = rng.uniform(0.45, 0.8)
        parts = [[x, height - 0.04, z, x + width, height, z + depth, *paint, PLANKS, 0.4]]
        for dx in (0.03, width - 0.08):
            for dz in (0.03, depth - 0.08):
                parts.append([x + dx, 0.0, z + dz, x + dx + 0.05, height - 0.04, z + dz + 0.05, *paint, PLAIN, 1])
        return parts
    if kind == 1:  # sofa: seat, back, arms
        width = max(width, 1.0)
        return [
            [x, 0.08, z, x + width, 0.42, z + 0.85, *paint, PLAIN, 1],
            [x, 0.08, z, x + width, 0.85, z + 0.22, *paint, PLAIN, 1],
            [x, 0.08, z, x + 0.18, 0.62, z + 0.85, *paint, PLAIN, 1],
            [x + width - 0.18, 0.08, z, x + width, 0.62, z + 0.85, *paint, PLAIN, 1],
        ]
    if kind == 2:  # shelf with books
        height = rng.uniform(0.9, 2.2)
        return [[x, 0.0, z, x + width, height, z + 0.32, *paint, BOOKS, rng.uniform(0.28, 0.4)]]
    if kind == 3:  # cupboard or chest of drawers
        height = rng.uniform(0.5, 2.0)
        return [[x, 0.0, z, x + width, height, z + depth * 0.7, *paint, PANELS, rng.uniform(0.3, 0.6)]]
    height = rng.uniform(0.3, 1.2)
    return [[x, 0.0, z, x + width * 0.5, height, z + depth * 0.5, *paint, PLAIN, 1]]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _pattern(kind, scale, contrast, u, v, seed):
    """Brightness of a pattern at a place in metres, about 1."""
    grain = _ONE + np.float32(0.08) * (layered_noise(u * np.float32(3), v * np.float32(3), seed, 2) - np.float32(0.5))
    if kind == PLANKS:
        row = np.floor(v / (scale * np.float32(0.35)))
        shift = scatter(np.int64(row), 7, seed) * np.float32(2)
        column = np.floor((u + shift) / np.float32(1.4))
        tone = np.float32(0.8) + np.float32(0.4) * scatter(np.int64(row), np.int64(column), seed)
        seam = v / (scale * np.float32(0.35)) - row
        if seam < np.float32(0.03) or (u + shift) / np.float32(1.4) - column < np.float32(0.003):
            tone *= np.float32(0.55)
        return tone * (np.float32(0.8) + np.float32(0.4) * value_noise(u * np.float32(2.5), v * np.float32(60), seed))
    if kind in (TILES, MARBLE):
        size = scale + np.float32(0.1)
        a, b = np.floor(u / size), np.floor(v / size)
        tone = _ONE - contrast * np.float32(0.3) * scatter(np.int64(a), np.int64(b), seed)
        if kind == MARBLE:
            tone *= np.float32(0.8) + np.float32(0.4) * layered_noise(u * np.float32(4), v * np.float32(4), seed, 4)
        if u / size - a < np.float32(0.006) / size or v / size - b < np.float32(0.006) / size:
            tone *= _ONE - contrast * np.float32(1.5)
        return tone * grain
    if kind == BRICKS:
        row = np.floor(v / np.float32(0.075))
        at = u / np.float32(0.24) + np.float32(0.5) * (row - np.float32(2) * np.floor(row / np.float32(2)))
        column = np.floor(at)
        tone = np.float32(0.75) + np.float32(0.5) * contrast * scatter(np.int64(row), np.int64(column), seed) / np.float32(0.3)
        if v / np.float32(0.075) - row < np.float32(0.13) or at - column < np.float32(0.04):
            tone = np.float32(1.15)
        return tone * grain
    if kind == CARPET:
        return np.float32(0.75) + np.float32(0.5) * layered_noise(u * np.float32(40), v * np.float32(40), seed, 2)
    if kind == STRIPES:
        at = u / (scale * np.float32(0.5) + np.float32(0.05))
        return (_ONE - (contrast if at - np.floor(at) < np.float32(0.5) else _ZERO)) * grain
    if kind == PANELS:
        size = scale + np.float32(0.15)
        at, up = u / size - np.floor(u / size), v / (size * np.float32(1.3)) - np.floor(v / (size * np.float32(1.3)))
        edge = min(min(at, _ONE - at), min(up, _ONE - up))
        return (np.float32(0.6) if edge < np.float32(0.015) else (np.float32(0.93) if edge < np.float32(0.08) else _ONE)) * grain
    return grain


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _hanging(rows, k, u, v, seed):
    """Colour of what hangs on a wall at (u, v), and its own light."""
    left, right, bottom, top, kind = rows[k, 1], rows[k, 2], rows[k, 3], rows[k, 4], rows[k, 5]
    s, t = (u - left) / (right - left), (v - bottom) / (top - bottom)
    edge = min(min(u - left, right - u), min(v - bottom, top - v))
    red, green, blue, glow = rows[k, 6], rows[k, 7], rows[k, 8], _ZERO
    inside_red, inside_green, inside_blue = rows[k, 9], rows[k, 10], rows[k, 11]
    if kind == _WINDOW:
        bars = abs(s - np.float32(0.5)) * (right - left) < np.float32(0.025)
        if edge > np.float32(0.05) and not bars:
            outside = (
                np.float32(0.7)
                + np.float32(0.6) * t
                + np.float32(0.5) * layered_noise(u * np.float32(3), v * np.float32(3), seed + k, 3)
            )
            if t < np.float32(0.25) + np.float32(0.3) * layered_noise(u * np.float32(2), np.float32(k), seed, 3):
                outside *= np.float32(0.35)
            return outside * np.float32(0.95), outside, outside * np.float32(1.08), _ONE
    elif kind == _PICTURE:
        if edge > np.float32(0.03):
            n = layered_noise(u * np.float32(5), v * np.float32(5), seed + 3 * k, 3)
            m = layered_noise(u * np.float32(4), v * np.float32(4), seed + 3 * k + 1, 2)
            mat = edge < np.float32(0.03) + np.float32(0.12) * scatter(k, 3, seed)
            if mat:
                return np.float32(0.75), np.float32(0.74), np.float32(0.7), _ZERO
            red = inside_red * (_ONE - n) + n * (_ONE - inside_green)
            green = inside_green * (_ONE - m) + m * inside_red
            return red, green, inside_blue * (np.float32(0.4) + n), _ZERO
    elif kind == _DOOR:
        panel = abs(abs(s - np.float32(0.5)) - np.float32(0.36)) < np.float32(0.02) or abs(
            abs(t - np.float32(0.5)) - np.float32(0.42)
        ) < np.float32(0.012)
        tone = np.float32(0.7) if panel or edge < np.float32(0.06) else _ONE
        return inside_red * tone, inside_green * tone, inside_blue * tone, _ZERO
    else:
        fold = value_noise(u * np.float32(14), v * np.float32(0.4), seed + k)
        tone = np.float32(0.6) + np.float32(0.6) * fold
        return inside_red * tone, inside_green * tone, inside_blue * tone, _ZERO
    return red, green, blue, glow


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _inverse(value):
    return _ONE / (value if abs(value) > np.float32(1e-6) else np.float32(1e-6))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _box_hit(boxes, k, oy, ix, iy, iz, nearest):
    """Distance at which a ray from (0, oy, 0) enters a box, and through which side (0 x, 1 y, 2 z); -1 if it does not.

    ix, iy, iz: inverse of the ray's direction.
    """
    ax, bx = boxes[k, 0] * ix, boxes[k, 3] * ix
    ay, by = (boxes[k, 1] - oy) * iy, (boxes[k, 4] - oy) * iy
    az, bz = boxes[k, 2] * iz, boxes[k, 5] * iz
    x0, y0, z0 = min(ax, bx), min(ay, by), min(az, bz)
    enter = max(x0, max(y0, z0))
    leave = min(min(max(ax, bx), max(ay, by)), max(az, bz))
    if enter >= leave or enter <= 0 or enter >= nearest:
        return nearest, -1
    return enter, (0 if enter == x0 else (1 if enter == y0 else 2))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _plane_hit(extents, oy, dx, dy, dz, ix, iy, iz):
    """Distance and number of the face of the room that a ray from inside meets first."""
    t, face = (extents[3], _CEILING) if dy > 0 else (extents[2], _FLOOR)
    t = (t - oy) * iy
    tx = (extents[1] if dx > 0 else extents[0]) * ix
    tz = (extents[5] if dz > 0 else extents[4]) * iz
    if tx < t:
        t, face = tx, (_RIGHT if dx > 0 else _LEFT)
    if tz < t:
        t, face = tz, (_FRONT if dz > 0 else _BACK)
    return t, face


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _box_colour(boxes, k, across, x, y, z, seed):
    """Colour of a piece of furniture before light."""
    red, green, blue, kind, scale = boxes[k, 6], boxes[k, 7], boxes[k, 8], np.int64(boxes[k, 9]), boxes[k, 10]
    if kind != BOOKS:
        u, v = (z if across == 0 else x), (z if across == 1 else y)
        tone = _pattern(kind, scale, np.float32(0.15), u, v, seed + k)
        return red * tone, green * tone, blue * tone
    level = np.floor(y / scale)
    up, number = y / scale - level, np.int64(level)
    if across != 2 or up < np.float32(0.08):
        return red, green, blue
    book = np.int64(np.floor((x + np.float32(0.01) * value_noise(x * np.float32(40), level, seed)) / np.float32(0.035)))
    if up > np.float32(0.6) + np.float32(0.38) * scatter(book, number, seed):
        dark = np.float32(0.25)
        return red * dark, green * dark, blue * dark
    grey, share = scatter(book, number, seed + 4) * np.float32(0.4), np.float32(0.3)
    return (
        grey + share * scatter(book, number, seed + 1),
        grey + share * scatter(book, number, seed + 2),
        grey + share * scatter(book, number, seed + 3),
    )


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _face_colour(faces, hangings, face, x, y, z, seed):
    """Colour of wall, floor or ceiling before light; the fourth number is 1 where it is a window's own light."""
    upright = face not in (_FLOOR, _CEILING)
    u, v = (z if face in (_LEFT, _RIGHT) else x), (y if upright else z)
    for k in range(hangings.shape[0]):
        if hangings[k, 0] == face and hangings[k, 1] < u < hangings[k, 2] and hangings[k, 3] < v < hangings[k, 4]:
            return _hanging(hangings, k, u, v, seed)
    if upright and v < faces[face, 6]:
        return np.float32(0.7), np.float32(0.68), np.float32(0.65), _ZERO  # skirting
    tone = _pattern(np.int64(faces[face, 3]), faces[face, 4], faces[face, 5], u, v, seed + face)
    return faces[face, 0] * tone, faces[face, 1] * tone, faces[face, 2] * tone, _ZERO


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normal(axis, dx, dy, dz):
    """Of a side across an axis, toward the viewer."""
    if axis == 0:
        return (-_ONE if dx > 0 else _ONE), _ZERO, _ZERO
    if axis == 1:
        return _ZERO, (-_ONE if dy > 0 else _ONE), _ZERO
    return _ZERO, _ZERO, (-_ONE if dz > 0 else _ONE)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _draw_room(out, ground, turn, extents, faces, hangings, boxes, seed, table):
    side = out.shape[0]
    c, s = turn[0], turn[1]
    oy = ground.camera_height
    for row in range(side):
        for column in range(side):
            gx, gy, gz = ray(ground, row, column, side)
            dx, dy, dz = c * gx - s * gz, gy, s * gx + c * gz
            ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
            t, face = _plane_hit(extents, oy, dx, dy, dz, ix, iy, iz)
            axis, box = (0 if face in (_LEFT, _RIGHT) else (1 if face in (_FLOOR, _CEILING) else 2)), -1
            for k in range(boxes.shape[0]):
                near, across = _box_hit(boxes, k, oy, ix, iy, iz, t)
                if across >= 0:
                    t, box, axis = near, k, across
            x, y, z = t * dx, oy + t * dy, t * dz
            nx, ny, nz = _normal(axis, dx, dy, dz)
            glow = _ZERO
            if box >= 0:
                red, green, blue = _box_colour(boxes, box, axis, x, y, z, seed)
            else:
                red, green, blue, glow = _face_colour(faces, hangings, face, x, y, z, seed)
            if glow == 0:
                # Corners get less light.
                wall = min(x - extents[0], extents[1] - x)
                corner = (wall if axis != 0 else _ONE) * (y if axis != 1 else _ONE) * (z - extents[4] if axis != 2 else _ONE)
                dim = _ONE - np.float32(0.35) * np.exp(np.float32(-5) * max(corner, _ZERO))
                light_red, light_green, light_blue = light_on(
                    ground, c * x + s * z, y - oy, c * z - s * x, c * nx + s * nz, ny, c * nz - s * nx, True
                )
                red, green, blue = red * light_red * dim, green * light_green * dim, blue * light_blue * dim
            write_pixel(out, row, column, red, green, blue, table)
