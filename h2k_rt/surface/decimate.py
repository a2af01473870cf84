"""Fewer faces for a mesh, by quadric error (Garland and Heckbert 1997), through fast-simplification."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_rt.errors import H2KError, MissingPackageError
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.topology import is_closed, vertex_normals

#: Share of extra faces, and how readily the library takes a cheap collapse, in the order in which they are tried: a collapse may
#: pinch a thin limb so that two edges coincide, and a slightly different order of collapses does not.
_TRIES = ((1.0, 3.0), (1.0, 1.5), (1.0, 5.0), (1.1, 3.0), (1.25, 3.0), (1.6, 3.0), (2.2, 3.0))


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with about ``faces`` faces (some more where it would not stay closed otherwise); a closed mesh stays closed.

    Each new vertex takes the colour of the old vertices beside it that were drawn into it; normals are those of the new faces.
    A mesh with no more faces than asked for is returned as it is.

    Raises:
        MissingPackageError: fast-simplification is not installed.
        H2KError: the mesh cannot be reduced that far and stay closed.
        ValueError: fewer than four faces are asked for.
    """
    if faces < 4:
        raise ValueError(f"a closed mesh has at least 4 faces, not {faces}")
    if len(mesh.faces) <= faces:
        return mesh
    library = _fast_simplification()
    closed = is_closed(mesh.faces)
    for share, aggressiveness in _TRIES:
        out = _simplify(library, mesh, min(int(faces * share), len(mesh.faces)), aggressiveness)
        if not closed or is_closed(out.faces):
            return out
    raise H2KError(f"the mesh cannot be reduced to {faces} faces without tearing it; ask for more faces")


def _simplify(library: Any, mesh: Mesh, faces: int, aggressiveness: float) -> Mesh:
    low = mesh.vertices.min(axis=0)
    scale = float((mesh.vertices.max(axis=0) - low).max()) or 1.0
    # The library's thresholds are absolute: bring the mesh to unit size.
    points = ((mesh.vertices - low) / scale).astype(np.float64)
    _, _, collapses = library.simplify(points, mesh.faces, target_count=faces, agg=aggressiveness, return_collapses=True)
    reduced, triangles, into = library.replay_simplification(points, mesh.faces, collapses)
    count = len(reduced)
    # Colours of the old vertices right beside the new one: those of all that were drawn into it would smear.
    offset = points - reduced[into]
    near = _edge_length(points, mesh.faces)
    weight = 1 / (np.einsum("ij,ij->i", offset, offset) + near * near) ** 2
    total = np.maximum(np.bincount(into, weight, count), 1e-300)
    colors = np.stack([np.bincount(into, weight * mesh.colors[:, c], count) / total for c in range(3)], axis=1)
    vertices = (reduced * scale + low).astype(np.float32)
    triangles = triangles.astype(np.int32)
    used = np.zeros(count, bool)
    used[triangles] = True
    number = (np.cumsum(used) - 1).astype(np.int32)
    vertices, triangles = vertices[used], number[triangles]
    return Mesh(vertices, triangles, vertex_normals(vertices, triangles), np.rint(colors[used]).astype(np.uint8))


def _edge_length(points: NDArray[np.float64], faces: NDArray[np.int32]) -> float:
    """Median length of the edges, from a sample of them."""
    some = faces[:: max(len(faces) // 10000, 1)]
    return max(float(np.median(np.linalg.norm(points[some[:, 0]] - points[some[:, 1]], axis=1))), 1e-9)


def _fast_simplification() -> Any:
    try:
        import fast_simplification
    except ImportError as error:
        raise MissingPackageError('Decimation needs fast-simplification: pip install "h2k-rt[simplify]"') from error
    return fast_simplification
