"""Fewer faces for a mesh, by quadric error (Garland and Heckbert 1997), through fast-simplification."""

from __future__ import annotations

from typing import Any

import numpy as np

from h2k_rt.errors import MissingPackageError
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.topology import is_closed, vertex_normals

#: How readily the library takes the cheaper collapse; tried from quick to careful until the mesh stays closed.
_AGGRESSIVENESS = (7.0, 5.0, 3.0)


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with about ``faces`` faces; a closed mesh stays closed.

    Each new vertex takes the mean colour of the vertices that were drawn together in it; normals are those of the new faces.
    A mesh with no more faces than asked for is returned as it is.

    Raises:
        MissingPackageError: fast-simplification is not installed.
        ValueError: fewer than four faces are asked for, or the mesh cannot be reduced that far and stay closed.
    """
    if faces < 4:
        raise ValueError(f"a closed mesh has at least 4 faces, not {faces}")
    if len(mesh.faces) <= faces:
        return mesh
    library = _fast_simplification()
    closed = is_closed(mesh.faces)
    for aggressiveness in _AGGRESSIVENESS:
        out = _simplify(library, mesh, faces, aggressiveness)
        if not closed or is_closed(out.faces):
            return out
    raise ValueError(f"the mesh cannot be reduced to {faces} faces without holes; ask for more")


def _simplify(library: Any, mesh: Mesh, faces: int, aggressiveness: float) -> Mesh:
    low = mesh.vertices.min(axis=0)
    scale = float((mesh.vertices.max(axis=0) - low).max()) or 1.0
    # The library's thresholds are absolute: bring the mesh to unit size.
    points = ((mesh.vertices - low) / scale).astype(np.float64)
    _, _, collapses = library.simplify(points, mesh.faces, target_count=faces, agg=aggressiveness, return_collapses=True)
    reduced, triangles, into = library.replay_simplification(points, mesh.faces, collapses)
    count = len(reduced)
    members = np.maximum(np.bincount(into, minlength=count), 1)
    colors = np.stack([np.bincount(into, mesh.colors[:, c], count) / members for c in range(3)], axis=1)
    vertices = (reduced * scale + low).astype(np.float32)
    triangles = triangles.astype(np.int32)
    used = np.zeros(count, bool)
    used[triangles] = True
    number = (np.cumsum(used) - 1).astype(np.int32)
    vertices, triangles = vertices[used], number[triangles]
    return Mesh(vertices, triangles, vertex_normals(vertices, triangles), np.rint(colors[used]).astype(np.uint8))


def _fast_simplification() -> Any:
    try:
        import fast_simplification
    except ImportError as error:
        raise MissingPackageError('Decimation needs fast-simplification: pip install "h2k-rt[simplify]"') from error
    return fast_simplification
