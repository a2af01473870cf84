"""Garments cut from shells of the base mesh, and everything worn as surfaces of a figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.cut import cut
from h2k_rt.data.people.figure import Surface
from h2k_rt.data.people.subdivide import Refined, triangles

Field = NDArray[np.float64]
#: Faces (F, 3), texture places (T, 2), faces of them (F, 3).
Mesh = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]


@dataclass(frozen=True)
class Sewn:
    """A procedural garment on a posed body.

    Attributes:
        vertices, rest: (V, 3) float32 metres; faces: (F, 3) int32; uv: (T, 2) float32; uv_faces: (F, 3) int32.
        bend: (V,) float32 0..1, closeness to where cloth folds.
        hidden: (19158,) bool, base vertices that it covers.
        thickness: (N,) float64 on the body suit: how far its outside is from the suit, metres; -1 where it is not.
    """

    vertices: NDArray[np.float32]
    rest: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    uv_faces: NDArray[np.int32]
    bend: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    thickness: Field

    @property
    def mesh(self) -> Mesh:
        """Faces, texture places and their faces."""
        return self.faces, self.uv, self.uv_faces


def sew(
    field: Field,
    refined: Refined,
    rest: NDArray[np.float32],
    vertices: NDArray[np.float32],
    bend: NDArray[np.floating],
    hidden: NDArray[np.bool_],
    thickness: Field,
) -> Sewn:
    """Cuts a subdivided shell along its hems.

    Args:
        field: (coarse,) metres on the template, below zero where the garment is; bend: (coarse,).
        rest, vertices: (fine, 3), in the rest pose and posed.
    """
    left = cut(refined.matrix @ field.astype(np.float32), triangles(refined.quads), triangles(refined.uv_quads), len(refined.uv))
    bend = left.carry(refined.matrix @ bend.astype(np.float32))
    uv = left.carry_uv(refined.uv)
    return Sewn(left.carry(vertices), left.carry(rest), left.faces, uv, left.uv_faces, bend, hidden, thickness)


def make_surface(
    name: str,
    vertices: NDArray[np.float32],
    rest: NDArray[np.float32],
    mesh: Mesh,
    texture: NDArray[np.uint8],
    *,
    alpha: NDArray[np.uint8] | None = None,
    fold: NDArray[np.float32] | float = 0.0,
    seed: int = 0,
    specular: float = 0.02,
    gloss: float = 15.0,
) -> Surface:
    """A surface in the colours of its texture.

    Args:
        fold: amplitude of wrinkles in metres, one for all or (V,).
    """
    faces, uv, uv_faces = mesh
    return Surface(
        name=name,
        vertices=vertices,
        faces=faces,
        uv=uv,
        uv_faces=uv_faces,
        texture=texture,
        tint=np.ones(3, np.float32),
        alpha=alpha,
        rest=rest,
        fold=np.broadcast_to(np.asarray(fold, np.float32), (len(vertices),)).copy(),
        fold_seed=seed,
        specular=float(specular),
        gloss=float(gloss),
    )
