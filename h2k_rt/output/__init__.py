"""Writers: meshes, maps and previews to files, each whole or not at all."""

from __future__ import annotations

from h2k_rt.output.atomic import replace_file
from h2k_rt.output.glb import write_glb
from h2k_rt.output.mesh_file import MESH_SUFFIXES, write_mesh
from h2k_rt.output.obj import write_obj
from h2k_rt.output.ply import write_ply

__all__ = ["MESH_SUFFIXES", "replace_file", "write_glb", "write_mesh", "write_obj", "write_ply"]
