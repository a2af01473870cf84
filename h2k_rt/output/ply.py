"""PLY files, binary little endian."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2k_rt.output.atomic import replace_file
from h2k_rt.surface.mesh import Mesh

_VERTEX = np.dtype(
    [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [(name, "u1") for name in ("red", "green", "blue")]
)
_FACE = np.dtype([("count", "u1"), ("indices", "<i4", (3,))])


def write_ply(mesh: Mesh, path: str | os.PathLike[str]) -> None:
    """Write vertices with normals and sRGB colours, and the faces if there are any (else a point cloud).

    Raises:
        OutputError: the file cannot be written.
    """
    vertices = np.empty(mesh.vertices.shape[0], _VERTEX)
    for axis, name in enumerate("xyz"):
        vertices[name] = mesh.vertices[:, axis]
        vertices["n" + name] = mesh.normals[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = mesh.colors[:, channel]
    header = ["ply", "format binary_little_endian 1.0", "comment made by h2k-rt", f"element vertex {vertices.size}"]
    header += [f"property {'float' if _VERTEX[name] == np.dtype('<f4') else 'uchar'} {name}" for name in _VERTEX.names or ()]
    if mesh.faces.shape[0]:
        header += [f"element face {mesh.faces.shape[0]}", "property list uchar int vertex_indices"]
    with replace_file(path) as temporary, temporary.open("wb") as file:
        file.write(("\n".join([*header, "end_header"]) + "\n").encode("ascii"))
        file.write(vertices.tobytes())
        if mesh.faces.shape[0]:
            faces = np.empty(mesh.faces.shape[0], _FACE)
            faces["count"] = 3
            faces["indices"] = mesh.faces
            file.write(faces.tobytes())


def write_shape(vertices: NDArray[np.float32], faces: NDArray[np.int32], path: str | os.PathLike[str]) -> None:
    """Write bare geometry, without normals and colours: (V, 3) vertices and (F, 3) faces.

    Raises:
        OSError: the file cannot be written.
    """
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment made by h2k-rt\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces), _FACE)
    rows["count"] = 3
    rows["indices"] = faces
    with Path(path).open("wb") as file:
        file.write(header.encode("ascii"))
        file.write(np.ascontiguousarray(vertices, "<f4").tobytes())
        file.write(rows.tobytes())
