"""Places on a body that hands go to: points of the trunk by level and azimuth, the ears, the chin."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from h2k_rt.data.people.body import SKIN_VERTICES, Body, BodyModel, Posed
from h2k_rt.data.people.turns import Vector

_TRUNK = ("root", "pelvis", "spine", "breast", "upperleg01")


@dataclass(frozen=True)
class Place:
    """A point of the posed skin with its outward direction, world axes."""

    point: Vector
    outward: Vector


def trunk_place(body: Body, posed: Posed, level: float, azimuth: float) -> Place:
    """A point of the trunk's skin.

    Args:
        level: height, 0 at the hip joints, 1 at the shoulder joints.
        azimuth: degrees, 0 the front, 90 the person's left, 180 the back.
    """
    vertex = _trunk_vertex(body.model, level, azimuth)
    angle = np.radians(azimuth)
    bone = "root" if level < 0.35 else "spine01"
    outward = posed.rotations[body.model.bone_index[bone]] @ np.array([np.sin(angle), 0.0, np.cos(angle)])
    return Place(skin_point(body, posed, vertex), outward)


def skin_point(body: Body, posed: Posed, vertex: int) -> Vector:
    """World position (3,) of one vertex."""
    weights = csr_array(body.model.skin_weights[[vertex]])
    return posed.skin(body.rest[[vertex]], weights)[0]


def _trunk_vertex(model: BodyModel, level: float, azimuth: float) -> int:
    """The trunk's vertex nearest to a level and an azimuth, on the template."""
    vertices, angles = _trunk(model)
    points = model.template_vertices[vertices]
    hip, shoulder = (model.template_heads[model.bone_index[f"{bone}.L"], 1] for bone in ("upperleg01", "upperarm01"))
    height = hip + level * (shoulder - hip)
    turned = np.abs((angles - azimuth + 180) % 360 - 180)
    cost = np.abs(points[:, 1] - height) + np.radians(turned) * 0.15  # metres on a trunk of that radius
    return int(vertices[cost.argmin()])


@functools.cache
def _trunk(model: BodyModel) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The trunk's vertices and their azimuth in degrees."""
    main = [model.bone_labels[bone] for bone in model.main_bone[:SKIN_VERTICES]]
    vertices = np.flatnonzero([label.startswith(_TRUNK) for label in main])
    points = model.template_vertices[vertices]
    axis = points[:, 2].mean()
    return vertices, np.degrees(np.arctan2(points[:, 0], points[:, 2] - axis))
