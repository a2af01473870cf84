"""Garments, shoes, hair and eyes bound to the base mesh: fitted to a body, skinned, rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components

from h2k_rt.data.people.assets import Binding, QuadMesh, read_mhclo, read_obj
from h2k_rt.data.people.body import Body, BodyModel, Posed
from h2k_rt.data.people.subdivide import refine, triangles
from h2k_rt.errors import DataError


@dataclass(frozen=True)
class Worn:
    """A garment on a posed body: (V, 3) float32 world metres, ``rest`` the same vertices in the rest pose."""

    rest: NDArray[np.float32]
    vertices: NDArray[np.float32]


class Piece:
    """A mesh that hangs on the base mesh, subdivided.

    Attributes:
        name: what it is.
        base: (coarse, 19158) csr, the barycentric weights of the binding.
        weights: (coarse, B) csr, skin weights.
        matrix: (fine, coarse) csr float32, subdivision.
        faces: (F, 3) int32; uv: (T, 2) float32; uv_faces: (F, 3) int32.
        hidden: (19158,) bool, base vertices that it covers.
    """

    def __init__(self, name: str, model: BodyModel, mesh: QuadMesh, binding: Binding, detail: int) -> None:
        count = len(model.template_vertices)
        if len(binding.indices) != len(mesh.vertices) or binding.indices.max() >= count:
            raise DataError(f"{binding.mesh_path}: the mesh does not fit its .mhclo file; get both again")
        self.name = name
        rows = np.repeat(np.arange(len(mesh.vertices)), 3)
        entries = (binding.weights.ravel(), (rows, binding.indices.ravel()))
        self.base = csr_array(coo_array(entries, shape=(len(mesh.vertices), count)))
        self.weights = _normalised(csr_array(self.base @ model.skin_weights))
        self._offsets, self._scales = binding.offsets, binding.scales
        refined = refine(len(mesh.vertices), mesh.quads, mesh.uv, mesh.uv_quads, detail)
        self.matrix, self.uv = refined.matrix, refined.uv
        self.faces, self.uv_faces = triangles(refined.quads), triangles(refined.uv_quads)
        self.hidden = np.zeros(count, np.bool_)
        self.hidden[binding.hidden] = True

    @property
    def mesh(self) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
        """Faces, texture places and their faces."""
        return self.faces, self.uv, self.uv_faces

    def fit(self, rest: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coarse vertices (coarse, 3) float64 on a body whose base mesh is ``rest`` (19158, 3), metres."""
        scale = [abs(rest[a, axis] - rest[b, axis]) / size for axis, (a, b, size) in enumerate(self._scales)]
        return self.base @ rest + self._offsets * scale

    def wear(self, body: Body, posed: Posed) -> Worn:
        """Fitted to a body and posed with it."""
        rest = self.fit(body.rest)
        return Worn(self.matrix @ rest.astype(np.float32), self.matrix @ posed.skin(rest, self.weights).astype(np.float32))

    def carry(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Values of base vertices (19158,) at the fine vertices."""
        return self.matrix @ (self.base @ values).astype(np.float32)


def _normalised(weights: csr_array) -> csr_array:
    total = np.asarray(weights.sum(axis=1)).ravel()
    result = csr_array(diags_array(1 / np.where(total == 0, 1, total)) @ weights)
    result.sort_indices()
    return result


def load_piece(path: Path, model: BodyModel, detail: int = 0) -> Piece:
    """A piece from its .mhclo file. Raises DataError where files are missing or do not fit each other."""
    binding = read_mhclo(path)
    return Piece(path.stem, model, read_obj(binding.mesh_path), binding, detail)


def take(mesh: QuadMesh, binding: Binding, quads: NDArray[np.bool_]) -> tuple[QuadMesh, Binding]:
    """Only the chosen quads, (F,) bool, without the vertices and texture places that they do not use; covers nothing."""
    vertices, corners = np.unique(mesh.quads[quads], return_inverse=True)
    places, uv_corners = np.unique(mesh.uv_quads[quads], return_inverse=True)
    part = QuadMesh(
        mesh.vertices[vertices],
        corners.reshape(-1, 4).astype(np.int32),
        mesh.uv[places],
        uv_corners.reshape(-1, 4).astype(np.int32),
    )
    bound = Binding(
        binding.mesh_path, binding.indices[vertices], binding.weights[vertices], binding.offsets[vertices], binding.scales,
        np.empty(0, np.int32),
    )  # fmt: skip
    return part, bound


def components(quads: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """(F,) connected component of each quad: quads that share vertices (or texture places) are one."""
    a = quads[:, :3].ravel()
    b = quads[:, 1:].ravel()
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(count, count))
    return connected_components(graph, directed=False)[1][quads[:, 0]].astype(np.int32)


def bend_closeness(model: BodyModel, joints: Sequence[tuple[str, float]]) -> NDArray[np.float32]:
    """(19158,) 0..1: how close to a joint where cloth folds, by (bone label, reach in metres), in the rest pose."""
    closeness = np.zeros(len(model.template_vertices))
    heads = model.template_heads
    for label, reach in joints:
        distance = np.linalg.norm(model.template_vertices - heads[model.bone_index[label]], axis=1)
        closeness = np.maximum(closeness, np.exp(-((distance / reach) ** 2)))
    return closeness.astype(np.float32)
