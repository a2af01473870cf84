"""Things that change an outline: beanies, headscarves, glasses and backpacks, all procedural."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.body import SKIN_VERTICES, Body, BodyModel, Posed
from h2k_rt.data.people.cloth import Field, Sewn, sew
from h2k_rt.data.people.garments import Piece
from h2k_rt.data.people.shells import BodySuit, Shell, landmarks
from h2k_rt.data.people.subdivide import triangles

_SMOOTHING = 25  # until ears and nose vanish below cloth


class Headwear:
    """Caps and scarves cut from the skin of head and neck, and which hair they hide."""

    def __init__(self, model: BodyModel, detail: int) -> None:
        self._model = model
        self._eyes = model.template_heads[model.bone_index["eye.L"]] * (0.0, 1.0, 1.0)
        self._neck = landmarks(model).neck
        points = model.template_vertices[:SKIN_VERTICES]
        near = (points[:, 1] > self._neck[1] - 0.05) & (np.hypot(points[:, 0], points[:, 2] - self._neck[2]) < 0.16)
        quads = model.quads[near[model.quads].all(axis=1)]
        self.shell = Shell(model, quads, detail, weight_steps=2)
        template = self.shell.template
        around = np.arctan2(template[:, 0], template[:, 2] - self._eyes[2] + 0.08)[self.shell.quads]
        around = around[:, :1] + (around - around[:, :1] + np.pi) % (2 * np.pi) - np.pi
        places = np.stack([around * 0.1 + 0.5, (template[:, 1] - self._neck[1])[self.shell.quads] + 0.1], axis=-1)
        self._cloth = self.shell.with_uv(np.clip(places, 0, 1))

    def _above_brows(self, points: NDArray[np.floating], height: float) -> Field:
        """Metres above the plane of a cap's rim, on the template: from above the brows down to the nape."""
        return points[:, 1] - self._eyes[1] - height - 0.42 * (points[:, 2] - self._eyes[2])

    def beanie(self, body: Body, posed: Posed, height: float, thickness: float, slack: float) -> Sewn:
        """A knitted cap. ``height``: of its rim above the eyes, ``slack``: how far its tip stands up; metres."""
        above = self._above_brows(self.shell.template, height)
        up = np.clip(above / 0.12, 0, 1)
        return self._sew(-above, thickness * (1 - 0.6 * np.exp(-6 * up)), slack * up**2, body, posed)

    def headscarf(self, body: Body, posed: Posed, thickness: float, opening: float) -> Sewn:
        """Cloth over head and neck that leaves an oval of the face free; ``opening``: its half width in metres."""
        points = self.shell.template
        middle = self._eyes[1] - 0.03
        oval = 1 - np.hypot(points[:, 0] / opening, (points[:, 1] - middle) / (1.5 * opening))
        field = np.where(points[:, 2] > self._eyes[2] - 0.06, oval * opening, -0.05)
        field = np.maximum(field, self._neck[1] - 0.005 - points[:, 1])
        return self._sew(field, np.full(len(points), thickness), np.zeros(len(points)), body, posed)

    def shown_hair(self, hair: Piece, height: float) -> NDArray[np.bool_]:
        """(F,) faces of a hair style that show below a beanie."""
        points = hair.matrix @ hair.fit(self._model.template_vertices)
        return np.asarray((self._above_brows(points, height) < 0.01)[hair.faces].all(axis=1))

    def _sew(self, field: Field, off: Field, lift: Field, body: Body, posed: Posed) -> Sewn:
        shell = self.shell
        rest = body.rest[shell.indices]
        smooth = rest
        for _ in range(_SMOOTHING):
            smooth = shell.step @ smooth
        normals = shell.normals(smooth)
        rest = rest + normals * (np.maximum(np.einsum("vc,vc->v", smooth - rest, normals), 0) + off)[:, None]
        rest[:, 1] += lift
        moved = posed.skin(rest, shell.weights)
        fine_rest, fine = (self._cloth.matrix @ points.astype(np.float32) for points in (rest, moved))
        hidden = np.zeros(len(self._model.template_vertices), np.bool_)
        hidden[shell.indices[field < -0.012]] = True
        return sew(field, self._cloth, fine_rest, fine, np.full(len(rest), 0.2), hidden, np.empty(0))


def head_texture(rng: np.random.Generator, tile: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(size, size, 3): a fabric for ``Headwear``, whose atlas is about a metre wide."""
    repeat = -(-size // len(tile))
    return np.ascontiguousarray(np.tile(tile, (repeat, repeat, 1))[:size, :size])


# --- glasses --------------------------------------------------------------------------------------------------------------------


def glasses(
    rng: np.random.Generator, body: Body, posed: Posed
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Spectacle frames on a nose: posed vertices (V, 3), rest vertices, faces (F, 3)."""
    index = body.model.bone_index
    left, right = body.heads[index["eye.L"]], body.heads[index["eye.R"]]
    apart = float(left[0] - right[0])
    bridge = _bridge(body, (left + right) / 2)
    wide, high = apart * rng.uniform(0.36, 0.43), apart * rng.uniform(0.24, 0.40)
    power = rng.uniform(2.0, 3.4)  # 2: oval; more: squarer
    radius = rng.uniform(0.0009, 0.0024)
    depth = max(bridge + 0.001, float(left[2]) + 0.022)
    turn = np.linspace(0, 2 * np.pi, 33)[:-1]
    shape = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    shape = np.sign(shape) * np.abs(shape) ** (2 / power) * (wide, high)
    drop = -0.1 * high
    paths = []
    for eye, side in ((left, 1.0), (right, -1.0)):
        x, y = shape[:, 0] + eye[0] + side * 0.02 * apart, shape[:, 1] + eye[1] + drop
        rim = np.stack([x, y, depth - 0.06 * np.abs(x)], axis=1)
        paths.append((rim, True))
        outer = eye[0] + side * (0.02 * apart + wide)
        hinge = np.array([outer, eye[1] + 0.3 * high, depth - 0.06 * abs(outer)])
        ear = np.array([outer + side * 0.006, eye[1] + 0.004, float(eye[2]) - 0.075])
        paths.append((np.stack([hinge, (hinge[0], hinge[1], ear[2] + 0.03), ear]), False))
    # Between the rims, a little above their middle.
    inner = paths[2][0][np.abs(turn - 0.35).argmin()], paths[0][0][np.abs(turn - np.pi + 0.35).argmin()]
    paths.append((np.stack([inner[0], (inner[0] + inner[1]) / 2 + np.array([0, 0.002, 0.003]), inner[1]]), False))
    vertices, faces = [], []
    count = 0
    for path, closed in paths:
        points, tube = _tube(path, radius, closed)
        vertices.append(points)
        faces.append(tube + count)
        count += len(points)
    rest = np.concatenate(vertices)
    head = index["head"]
    moved = rest @ posed.rotations[head].T + posed.translations[head]
    return moved.astype(np.float32), rest.astype(np.float32), np.concatenate(faces).astype(np.int32)


def _bridge(body: Body, middle: NDArray[np.float64]) -> float:
    """How far forward the bridge of the nose is."""
    skin = body.rest[:SKIN_VERTICES]
    near = (np.abs(skin[:, 0] - middle[0]) < 0.012) & (np.abs(skin[:, 1] - middle[1]) < 0.008)
    return float(skin[near, 2].max()) if near.any() else float(middle[2]) + 0.02


def _tube(path: NDArray[np.float64], radius: float, closed: bool) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """A thin tube of six sides along a path."""
    sides = 6
    tangent = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0) if closed else np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    first = np.cross(tangent, (0.13, 0.9, 0.41))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangent, first)
    turn = np.arange(sides) * (2 * np.pi / sides)
    ring = np.cos(turn)[None, :, None] * first[:, None] + np.sin(turn)[None, :, None] * second[:, None]
    points = (path[:, None] + radius * ring).reshape(-1, 3)
    rings = len(path) if closed else len(path) - 1
    i, k = np.meshgrid(np.arange(rings), np.arange(sides), indexing="ij")
    j, m = (i + 1) % len(path), (k + 1) % sides
    quads = np.stack([i * sides + k, i * sides + m, j * sides + m, j * sides + k], axis=-1).reshape(-1, 4)
    return points, triangles(quads.astype(np.int32))


# --- bags -----------------------------------------------------------------------------------------------------------------------


def backpack(
    rng: np.random.Generator, suit: BodySuit, body: Body, posed: Posed, off: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """A rounded bag behind the back, ``off`` metres from it: posed vertices, rest vertices, faces, texture places per vertex."""
    marks = landmarks(suit.model)
    template = suit.template
    high = float(marks.shoulder[1]) - 0.03
    size = np.array([rng.uniform(0.12, 0.16), rng.uniform(0.17, 0.24), rng.uniform(0.05, 0.09)])
    back = (np.abs(template[:, 0]) < 0.1) & (template[:, 2] < 0) & (template[:, 1] < high) & (template[:, 1] > high - 2 * size[1])
    rest_back = body.rest[suit.indices[back]]
    centre = np.array([0.0, rest_back[:, 1].max() - size[1], np.percentile(rest_back[:, 2], 20) - off - size[2] * 0.9])
    turn = np.linspace(-np.pi, np.pi, 25)
    rise = np.linspace(-np.pi / 2, np.pi / 2, 13)
    u, v = np.meshgrid(turn, rise)

    def bent(value: NDArray[np.float64], power: float) -> NDArray[np.float64]:
        return np.sign(value) * np.abs(value) ** power

    ball = np.stack(
        [bent(np.cos(v), 0.5) * bent(np.sin(u), 0.6), bent(np.sin(v), 0.5), bent(np.cos(v), 0.5) * bent(np.cos(u), 0.6)], -1
    )
    rest = ball.reshape(-1, 3) * size + centre
    rows, columns = u.shape
    i, k = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    corner = i * columns + k
    quads = np.stack([corner, corner + 1, corner + columns + 1, corner + columns], axis=-1).reshape(-1, 4)
    weights = np.asarray(suit.weights[np.flatnonzero(back)].mean(axis=0)).ravel()
    moved = rest @ np.tensordot(weights, posed.rotations, 1).T + weights @ posed.translations
    uv = np.stack([(u + np.pi) / (2 * np.pi), (v + np.pi / 2) / np.pi], axis=-1).reshape(-1, 2)
    return moved.astype(np.float32), rest.astype(np.float32), triangles(quads.astype(np.int32)), uv.astype(np.float32)


def bag_light(rng: np.random.Generator, size: int, middle: int) -> NDArray[np.uint8]:
    """(size, size) uint8: pockets and zips of a backpack."""
    light = np.full((size, size), middle, np.uint8)
    for level in rng.uniform(0.2, 0.8, int(rng.integers(1, 4))):
        cv2.line(light, (0, round(level * size)), (size, round(level * size)), middle - 60, max(1, size // 90))
    return light
