"""Frames that hold posed vertices without faces, as CAPE ships them (Ma et al. 2020): ``.npz`` with SMPL's 6890 vertices.

A frame of CAPE has ``v_posed``, the clothed body's vertices (6890, 3) in metres where they were captured, and ``v_cano``,
``transl`` and ``pose``, which are not needed here. The faces are SMPL's, which its licence does not let us ship: they come from a
mesh that the user has. Written without the set at hand, from programs that read it; tested on frames made up in its layout.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2k_rt.errors import DataError
from h2k_rt.metrics.shape import Shape, load_shape

SUFFIX = ".npz"
_KEY = "v_posed"


def find_posed(folder: Path, template: Path) -> tuple[Path, ...]:
    """The frames in a folder and its subfolders, by name; the first one is tried.

    Args:
        template: a mesh with the same vertices, for its faces.

    Raises:
        DataError: there is no frame, the first one or the template is damaged, or the two do not go together.
    """
    found = sorted(folder.rglob(f"*{SUFFIX}"))
    if not found:
        raise DataError(f"{folder}: there are no frames of posed vertices ({SUFFIX}) in it, which --template would give faces to")
    load_posed(found[0], load_template(template))
    return tuple(found)


def load_template(path: Path) -> Shape:
    """The mesh whose faces are taken; its vertices stay in the file's order, also where a texture has seams.

    Raises:
        DataError: missing, damaged, of an unknown format, or without triangles.
    """
    return load_shape(path, keep_order=True)


def load_posed(path: Path, template: Shape) -> Shape:
    """A frame with the template's faces.

    Raises:
        DataError: missing, damaged, without posed vertices, or of another number of them than the template.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            if _KEY not in data.files:
                raise DataError(f"{path}: holds no {_KEY} (posed vertices), but {', '.join(data.files) or 'nothing'}")
            vertices: NDArray[np.float32] = np.asarray(data[_KEY], np.float32)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as frame of posed vertices ({error})") from error
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise DataError(f"{path}: {_KEY} must be (vertices, 3), not {vertices.shape}")
    if len(vertices) != len(template.vertices):
        raise DataError(
            f"{path}: has {len(vertices)} vertices, the template {template.name} has {len(template.vertices)}; "
            "give the mesh that the frames were made with (CAPE: SMPL's, 6890 vertices)"
        )
    return Shape(vertices, template.faces, str(path))
