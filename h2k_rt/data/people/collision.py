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

from h2k_rt.data.people.body import SKIN_VERTICES, BodyModel

#: Room for clothes between an arm and what it must not touch, metres.
ARM_CLEARANCE = 0.012
#: Thighs may touch and flatten each other by this much, metres.
LEG_OVERLAP = 0.006
_CELL = 0.04  # height of the layers that triangles are sorted into, metres

_TRUNK = ("root", "pelvis", "spine", "breast", "neck", "clavicle", "shoulder01", "upperleg01")
_ARM = ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")
_FOREARM = ("lowerarm", "wrist", "finger", "metacarpal")
_LEG = ("upperleg", "lowerleg", "foot", "toe")


@dataclass(frozen=True)
class Parts:
    """Triangles (T, 3) int32 of body parts, and the sampled vertices that are tested against them."""

    triangles: dict[str, NDArray[np.int32]]
    points: dict[str, NDArray[np.int64]]


@functools.cache
def parts_of(model: BodyModel) -> Parts:
    """Splits the skin into trunk, head, legs and arms by the bone that each vertex follows most."""
    labels = [model.bone_labels[bone] for bone in model.main_bone[:SKIN_VERTICES]]

    def chosen(prefixes: Sequence[str], side: str = "") -> NDArray[np.bool_]:
        return np.array([label.startswith(tuple(prefixes)) and label.endswith(side) for label in labels])

    triangles = np.concatenate([model.quads[:, [0, 1, 2]], model.quads[:, [0, 2, 3]]]).astype(np.int32)
    limbs = chosen((*_ARM, *_LEG, "upperleg01"))
    members = {"trunk": chosen(_TRUNK), "head": ~chosen(_TRUNK) & ~limbs}
    points = {}
    for side in ("L", "R"):
        members[f"arm.{side}"], members[f"leg.{side}"] = chosen(_ARM, side), chosen(_LEG, side)
        members[f"forearm.{side}"] = chosen(_FOREARM, side)
        lower_arm = members[f"forearm.{side}"] | _lower_half(model, chosen(("upperarm02",), side), f"upperarm02.{side}")
        points[f"arm.{side}"] = np.flatnonzero(lower_arm)[::2]
        thigh = _lower_half(model, chosen(("upperleg02",), side), f"upperleg02.{side}")
        points[f"leg.{side}"] = np.flatnonzero(chosen(("lowerleg", "foot", "toe"), side) | thigh)[::2]
    inside = {name: triangles[member[triangles].all(axis=1)] for name, member in members.items()}
    return Parts(inside, points)


def _lower_half(model: BodyModel, member: NDArray[np.bool_], bone: str) -> NDArray[np.bool_]:
    """The vertices of a segment that lie more than a third of it below its start: above, it is joined to the trunk."""
    start = model.template_heads[model.bone_index[bone]]
    ends = [i for i, parent in enumerate(model.bone_parents) if parent == model.bone_index[bone]]
    along = model.template_heads[ends[0]] - start
    share = (model.template_vertices[:SKIN_VERTICES] - start) @ along / (along @ along)
    return member & (share > 0.3)


def arm_collides(model: BodyModel, vertices: NDArray[np.floating], side: str) -> bool:
    """Whether an arm of the posed skin (19158, 3) comes closer than ``ARM_CLEARANCE`` to trunk, head or a leg."""
    parts = parts_of(model)
    wide = _moved_along_normals(vertices[:SKIN_VERTICES], model.quads, ARM_CLEARANCE)
    points = vertices[parts.points[f"arm.{side}"]]
    return any(_count_inside(points, wide, parts.triangles[name]) > 0 for name in ("trunk", "leg.L", "leg.R", "head"))


def arms_cross(model: BodyModel, vertices: NDArray[np.floating]) -> bool:
    """Whether the arms of the posed skin (19158, 3) come closer than ``ARM_CLEARANCE`` to each other."""
    parts = parts_of(model)
    wide = _moved_along_normals(vertices[:SKIN_VERTICES], model.quads, ARM_CLEARANCE)
    return any(
        _count_inside(vertices[parts.points[f"arm.{a}"]], wide, parts.triangles[f"arm.{b}"]) > 0
        for a, b in (("L", "R"), ("R", "L"))
    )


def legs_collide(model: BodyModel, vertices: NDArray[np.floating]) -> bool:
    """Whether the legs of the posed skin (19158, 3) go through each other by more than ``LEG_OVERLAP``."""
    parts = parts_of(model)
    narrow = _moved_along_normals(vertices[:SKIN_VERTICES], model.quads, -LEG_OVERLAP)
    return any(
        _count_inside(narrow[parts.points[f"leg.{a}"]], narrow, parts.triangles[f"leg.{b}"]) > 0
        for a, b in (("L", "R"), ("R", "L"))
    )


def _moved_along_normals(vertices: NDArray[np.floating], quads: NDArray[np.int32], distance: float) -> NDArray[np.floating]:
    return _widen(np.ascontiguousarray(vertices, np.float64), quads, distance)


@njit(cache=True, nogil=True)
def _widen(vertices, quads, distance):
    normals = np.zeros_like(vertices)
    for q in range(len(quads)):
        a, b, c, d = vertices[quads[q, 0]], vertices[quads[q, 1]], vertices[quads[q, 2]], vertices[quads[q, 3]]
        ux, uy, uz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        vx, vy, vz = d[0] - b[0], d[1] - b[1], d[2] - b[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in range(4):
            normal = normals[quads[q, k]]
            normal[0] += nx
            normal[1] += ny
            normal[2] += nz
    moved = np.empty_like(vertices)
    for i in range(len(vertices)):
        n = normals[i]
        length = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
        scale = distance / length if length > 1e-12 else 0.0
        for k in range(3):
            moved[i, k] = vertices[i, k] + scale * n[k]
    return moved


def _count_inside(points: NDArray[np.floating], vertices: NDArray[np.floating], triangles: NDArray[np.int32]) -> int:
    """How many of the points (P, 3) lie inside a part, the triangles (T, 3) of ``vertices``."""
    corners = vertices[triangles.ravel()]
    low, high = corners.min(axis=0), corners.max(axis=0)
    near = points[((points > low) & (points < high)).all(axis=1)]
    if len(near) == 0:
        return 0
    bottom, top = near[:, 1].min(), near[:, 1].max()
    layers = int((top - bottom) / _CELL) + 1
    return int(_inside(near, corners.reshape(-1, 3, 3), bottom, layers, _CELL))


@njit(cache=True, nogil=True)
def _inside(points, corners, bottom, layers, cell):
    """Counts points with a positive number of signed crossings on the ray to +z; triangles are sorted by height first."""
    starts = np.zeros(layers + 1, np.int64)
    first = np.empty(len(corners), np.int64)
    last = np.empty(len(corners), np.int64)
    for t in range(len(corners)):
        y0, y1, y2 = corners[t, 0, 1], corners[t, 1, 1], corners[t, 2, 1]
        first[t] = max(0, int(np.floor((min(y0, y1, y2) - bottom) / cell)))
        last[t] = min(layers - 1, int(np.floor((max(y0, y1, y2) - bottom) / cell)))
        for layer in range(first[t], last[t] + 1):
            starts[layer + 1] += 1
    for layer in range(layers):
        starts[layer + 1] += starts[layer]
    fill = starts[:-1].copy()
    order = np.empty(starts[layers], np.int64)
    for t in range(len(corners)):
        for layer in range(first[t], last[t] + 1):
            order[fill[layer]] = t
            fill[layer] += 1
    found = 0
    for p in range(len(points)):
        layer = min(layers - 1, int((points[p, 1] - bottom) / cell))
        crossings = 0
        for k in range(starts[layer], starts[layer + 1]):
            crossings += _crossing(points[p], corners[order[k]])
        if crossings > 0:
            found += 1
    return found


@njit(cache=True, nogil=True)
def _crossing(point, corner):
    """+1 where the ray from the point to +z leaves through a triangle, -1 where it enters, 0 where it misses."""
    x, y = point[0], point[1]
    ax, ay, bx, by, cx, cy = (
        corner[0, 0] - x,
        corner[0, 1] - y,
        corner[1, 0] - x,
        corner[1, 1] - y,
        corner[2, 0] - x,
        corner[2, 1] - y,
    )
    u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
    if not ((u > 0 and v > 0 and w > 0) or (u < 0 and v < 0 and w < 0)):
        return 0
    total = u + v + w
    z = (u * corner[0, 2] + v * corner[1, 2] + w * corner[2, 2]) / total
    if z <= point[2]:
        return 0
    return 1 if total > 0 else -1
