"""One door for mesh files: the suffix tells the format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from h2k_rt.errors import OutputError
from h2k_rt.output.glb import write_glb
from h2k_rt.output.obj import write_obj
from h2k_rt.output.ply import write_ply
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.placement import Camera

MESH_SUFFIXES = (".glb", ".obj", ".ply")


def write_mesh(
    mesh: Mesh, path: str | os.PathLike[str], *, camera: Camera | None = None, extras: dict[str, Any] | None = None
) -> None:
    """Write a mesh as GLB, OBJ or PLY. Only GLB has room for the camera and the extras.

    Raises:
        OutputError: the suffix is of no mesh format, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".glb":
        write_glb(mesh, path, camera=camera, extras=extras)
    elif suffix == ".obj":
        write_obj(mesh, path)
    elif suffix == ".ply":
        write_ply(mesh, path)
    else:
        raise OutputError(f"{path}: unknown mesh format {suffix or '(none)'}; use {', '.join(MESH_SUFFIXES)}")
