"""Limbs through the body: sampled points of arms and legs against the other parts of the posed skin.

A point is inside a part when a ray along z crosses the part's surface more often from inside than from outside, which also
holds for parts with open ends as long as these do not face along z. The parts are widened by a clearance, so that clothes fit.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from h2k_rt.data.people.body import SKIN_VERTICES, Body, BodyModel, Posed

#: Room for clothes between a forearm or hand and trunk, head and legs, metres.
FOREARM_CLEARANCE = 0.012
#: Flesh flattens where an upper arm lies on the trunk, one thigh on the other, a hand on the other arm: allowed overlap, metres.
UPPER_ARM_OVERLAP = 0.015
THIGH_OVERLAP = 0.008
HAND_OVERLAP = 0.004
_CELL = 0.03  # side of the cells that triangles are sorted into, metres
_SAMPLING = 4  # every so many vertices of an arm are tested: they lie 4 mm apart on the hands

_TRUNK = ("root", "pelvis", "spine", "breast", "neck", "clavicle", "shoulder01", "upperleg01")
_FOREARM = ("lowerarm", "wrist", "finger", "metacarpal")
_LEG = ("upperleg", "lowerleg", "foot", "toe")


@dataclass(frozen=True)
class Parts:
    """Body parts as triangles (T, 3) int32, and as sampled vertices to test against other parts, with their skin weights."""

    triangles: dict[str, NDArray[np.int32]]
    points: dict[str, NDArray[np.int64]]
    weights: dict[str, csr_array]


@functools.cache
def parts_of(model: BodyModel) -> Parts:
    """Splits the skin into trunk, head, legs and arms by the bone that each vertex follows most."""
    labels = [model.bone_labels[bone] for bone in model.main_bone[:SKIN_VERTICES]]

    def chosen(prefixes: Sequence[str], side: str = "") -> NDArray[np.bool_]:
        return np.array([label.startswith(tuple(prefixes)) and label.endswith(side) for label in labels])

    limbs = chosen(("upperarm", *_FOREARM, *_LEG))
    members, sampled = {"trunk": chosen(_TRUNK), "head": ~chosen(_TRUNK) & ~limbs}, {}
    for side in ("L", "R"):
        forearm = chosen(_FOREARM, side)
        members[f"arm.{side}"] = forearm | chosen(("upperarm",), side)
        members[f"leg.{side}"] = chosen(_LEG, side)
        sampled[f"forearm.{side}"] = forearm
        sampled[f"upperarm.{side}"] = _below_start(model, chosen(("upperarm02",), side), f"upperarm02.{side}")
        thigh = _below_start(model, chosen(("upperleg02",), side), f"upperleg02.{side}")
        sampled[f"leg.{side}"] = thigh | chosen(("lowerleg", "foot", "toe"), side)
    triangles = np.concatenate([model.quads[:, [0, 1, 2]], model.quads[:, [0, 2, 3]]]).astype(np.int32)
    points = {name: np.flatnonzero(member)[::_SAMPLING] for name, member in sampled.items()}
    weights = {name: csr_array(model.skin_weights[vertices]) for name, vertices in points.items()}
    return Parts({name: triangles[member[triangles].all(axis=1)] for name, member in members.items()}, points, weights)


def _below_start(model: BodyModel, member: NDArray[np.bool_], bone: str) -> NDArray[np.bool_]:
    """The vertices of a segment without its first third, which is joined to the trunk."""
    start = model.template_heads[model.bone_index[bone]]
    child = int(np.flatnonzero(model.bone_parents == model.bone_index[bone])[0])
    along = model.template_heads[child] - start
    share = (model.template_vertices[:SKIN_VERTICES] - start) @ along / (along @ along)
    return member & (share > 0.33)


def sampled_points(body: Body, posed: Posed, part: str) -> NDArray[np.floating]:
    """(P, 3) posed vertices of one of ``parts_of(...).points``."""
    parts = parts_of(body.model)
    return posed.skin(body.rest[parts.points[part]], parts.weights[part])


class Obstacles:
    """Trunk, head and legs of a posed body, against which its arms are tested again and again while they give way."""

    def __init__(self, body: Body, vertices: NDArray[np.floating]) -> None:
        """``vertices``: (19158, 3), posed."""
        self._body, self._triangles = body, parts_of(body.model).triangles
        self._wide = widened(vertices, body.model, FOREARM_CLEARANCE)
        self._narrow = widened(vertices, body.model, -UPPER_ARM_OVERLAP)

    def hit_by_arm(self, posed: Posed, side: str) -> bool:
        """Whether the arm of a side goes through trunk, head or a leg, or a forearm comes nearer than ``FOREARM_CLEARANCE``."""
        forearm = sampled_points(self._body, posed, f"forearm.{side}")
        if any(any_inside(forearm, self._wide, self._triangles[name]) for name in ("trunk", "leg.L", "leg.R", "head")):
            return True
        upper_arm = sampled_points(self._body, posed, f"upperarm.{side}")
        return bool(any_inside(upper_arm, self._narrow, self._triangles["trunk"]))


def arms_cross(body: Body, posed: Posed) -> bool:
    """Whether the forearms go into the other arm deeper than ``HAND_OVERLAP``."""
    narrow = widened(body.vertices(posed), body.model, -HAND_OVERLAP)
    triangles = parts_of(body.model).triangles
    pairs = (("L", "R"), ("R", "L"))
    return any(any_inside(sampled_points(body, posed, f"forearm.{a}"), narrow, triangles[f"arm.{b}"]) for a, b in pairs)


def legs_cross(body: Body, vertices: NDArray[np.floating]) -> bool:
    """Whether the legs of the posed skin (19158, 3) go through each other by more than ``THIGH_OVERLAP`` on each side."""
    parts = parts_of(body.model)
    narrow = widened(vertices, body.model, -THIGH_OVERLAP)
    pairs = (("L", "R"), ("R", "L"))
    return any(any_inside(narrow[parts.points[f"leg.{a}"]], narrow, parts.triangles[f"leg.{b}"]) for a, b in pairs)


def widened(vertices: NDArray[np.floating], model: BodyModel, distance: float) -> NDArray[np.floating]:
    """The skin (13380, 3) moved along its normals by a distance in metres."""
    return _widen(np.ascontiguousarray(vertices[:SKIN_VERTICES], np.float64), model.quads, distance)


@njit(cache=True, nogil=True)
def _widen(vertices, quads, distance):
    normals = np.zeros_like(vertices)
    for q in range(len(quads)):
        a, b, c, d = quads[q, 0], quads[q, 1], quads[q, 2], quads[q, 3]
        ux, uy, uz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        vx, vy, vz = vertices[d, 0] - vertices[b, 0], vertices[d, 1] - vertices[b, 1], vertices[d, 2] - vertices[b, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c, d):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    moved = np.empty_like(vertices)
    for i in range(len(vertices)):
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2)
        scale = distance / length if length > 1e-12 else 0.0
        for k in range(3):
            moved[i, k] = vertices[i, k] + scale * normals[i, k]
    return moved


@njit(cache=True, nogil=True)
def any_inside(points, vertices, triangles):
    """Whether one of the points (P, 3) lies inside the part with the triangles (T, 3): see the module's rule."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for t in range(len(triangles)):
        for corner in range(3):
            for k in range(3):
                value = vertices[triangles[t, corner], k]
                low[k], high[k] = min(low[k], value), max(high[k], value)
    near = np.empty(len(points), np.int64)
    count = 0
    left, right, bottom, top = np.inf, -np.inf, np.inf, -np.inf
    for p in range(len(points)):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        if low[0] < x < high[0] and low[1] < y < high[1] and low[2] < z < high[2]:
            near[count] = p
            count += 1
            left, right, bottom, top = min(left, x), max(right, x), min(bottom, y), max(top, y)
    if count == 0:
        return False
    columns, rows = int((right - left) / _CELL) + 1, int((top - bottom) / _CELL) + 1
    order, starts = _in_cells(vertices, triangles, left, bottom, columns, rows)
    for n in range(count):
        p = near[n]
        cell = int((points[p, 1] - bottom) / _CELL) * columns + int((points[p, 0] - left) / _CELL)
        crossings = 0
        for k in range(starts[cell], starts[cell + 1]):
            t = order[k]
            crossings += _crossing(points, p, vertices, triangles[t, 0], triangles[t, 1], triangles[t, 2])
        if crossings > 0:
            return True
    return False


@njit(cache=True, nogil=True)
def _in_cells(vertices, triangles, left, bottom, columns, rows):
    """Triangles by the square cells of the x-y plane that their boxes touch: their indices, and where each cell's begin."""
    box = np.empty((len(triangles), 4), np.int64)
    starts = np.zeros(columns * rows + 1, np.int64)
    for t in range(len(triangles)):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, x1, x2 = vertices[i, 0] - left, vertices[j, 0] - left, vertices[k, 0] - left
        y0, y1, y2 = vertices[i, 1] - bottom, vertices[j, 1] - bottom, vertices[k, 1] - bottom
        box[t, 0] = max(0, int(np.floor(min(x0, x1, x2) / _CELL)))
        box[t, 1] = min(columns - 1, int(np.floor(max(x0, x1, x2) / _CELL)))
        box[t, 2] = max(0, int(np.floor(min(y0, y1, y2) / _CELL)))
        box[t, 3] = min(rows - 1, int(np.floor(max(y0, y1, y2) / _CELL)))
        for row in range(box[t, 2], box[t, 3] + 1):
            for column in range(box[t, 0], box[t, 1] + 1):
                starts[row * columns + column + 1] += 1
    for cell in range(columns * rows):
        starts[cell + 1] += starts[cell]
    fill = starts[:-1].copy()
    order = np.empty(starts[-1], np.int64)
    for t in range(len(triangles)):
        for row in range(box[t, 2], box[t, 3] + 1):
            for column in range(box[t, 0], box[t, 1] + 1):
                cell = row * columns + column
                order[fill[cell]] = t
                fill[cell] += 1
    return order, starts


@njit(cache=True, nogil=True, inline="always")
def _crossing(points, p, vertices, i, j, k):
    """+1 where the ray from point p to +z leaves through the triangle i j k, -1 where it enters, 0 where it misses."""
    x, y = points[p, 0], points[p, 1]
    ax, bx, cx = vertices[i, 0] - x, vertices[j, 0] - x, vertices[k, 0] - x
    if (ax > 0 and bx > 0 and cx > 0) or (ax < 0 and bx < 0 and cx < 0):
        return 0
    ay, by, cy = vertices[i, 1] - y, vertices[j, 1] - y, vertices[k, 1] - y
    u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
    if not ((u > 0 and v > 0 and w > 0) or (u < 0 and v < 0 and w < 0)):
        return 0
    total = u + v + w
    z = (u * vertices[i, 2] + v * vertices[j, 2] + w * vertices[k, 2]) / total
    if z <= points[p, 2]:
        return 0
    return 1 if total > 0 else -1
