"""A scan's mesh and colours as one ``Surface``; the files are read by trimesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.figure import Surface
from h2k_rt.data.people.render import plain_surface
from h2k_rt.errors import DataError, MissingPackageError

#: A person is 1568 pixels tall on the canvas, so a larger texture would not show.
_MAX_TEXTURE = 4096


def read_surface(mesh: Path, texture: Path | None = None) -> Surface:
    """The mesh in its own coordinates, with the texture of its material, else ``texture``, else its vertex colours, else grey.

    Args:
        mesh: OBJ or PLY; several materials are joined into one.

    Raises:
        DataError: the mesh or the texture cannot be read, or the mesh is empty or not finite.
        MissingPackageError: trimesh is not installed.
    """
    try:
        import trimesh
    except ImportError as error:
        raise MissingPackageError('scans are read by trimesh: pip install "h2k-rt[people]"') from error
    try:
        loaded: Any = trimesh.load(mesh, process=False, force="mesh")
    except Exception as error:
        # Readers of damaged files raise nearly anything.
        raise DataError(f"{mesh}: cannot be read as a mesh ({type(error).__name__}: {error})") from error
    corners, faces = np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int32)
    if not len(faces):
        raise DataError(f"{mesh}: has no triangles")
    if not np.isfinite(corners).all():
        raise DataError(f"{mesh}: has coordinates that are not finite")
    # The reader doubles vertices along the seams of the texture; the surface has none there.
    vertices, first, same = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    welded = same.reshape(-1).astype(np.int32)[faces]
    picture = _picture(loaded, texture, mesh)
    if picture is not None:
        uv = np.asarray(loaded.visual.uv, np.float32)
        return plain_surface(vertices, welded, uv=uv, uv_faces=faces, texture=_at_most(picture, _MAX_TEXTURE))
    if getattr(loaded.visual, "kind", None) in ("vertex", "face"):
        colours = np.asarray(loaded.visual.vertex_colors, np.uint8)[first, :3]
        return plain_surface(vertices, welded, colours=np.ascontiguousarray(colours))
    return plain_surface(vertices, welded)


def _picture(loaded: Any, texture: Path | None, mesh: Path) -> NDArray[np.uint8] | None:
    """The texture of a mesh that has texture coordinates; None for one that has none."""
    uv = getattr(loaded.visual, "uv", None)
    if uv is None or len(uv) != len(loaded.vertices):
        return None
    picture = _material_picture(loaded.visual)
    if picture is None and texture is not None:
        picture = _read_picture(texture)
    if picture is None:
        raise DataError(f"{mesh}: its texture is not there; put the colour picture into the scan's folder")
    return picture


def _material_picture(visual: Any) -> NDArray[np.uint8] | None:
    material = getattr(visual, "material", None)
    image = getattr(material, "image", None)
    if image is None:
        image = getattr(material, "baseColorTexture", None)
    # trimesh puts a picture of 2 x 2 pixels where it does not find the material's.
    return None if image is None or max(image.size) <= 2 else np.asarray(image.convert("RGB"))


def _read_picture(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise DataError(f"{path}: the texture cannot be read")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)


def _at_most(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(picture)
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
