"""A scan's mesh and colours as one ``Surface``; the files are read by trimesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.figure import Surface
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
    vertices, same = np.unique(corners, axis=0, return_inverse=True)
    welded = same.reshape(-1).astype(np.int32)[faces]
    uv, uv_faces, picture = _colours(loaded, faces, texture, mesh)
    positions = vertices.astype(np.float32)
    return Surface(
        name=mesh.stem,
        vertices=positions,
        faces=welded,
        uv=uv,
        uv_faces=uv_faces,
        texture=picture,
        tint=np.ones(3, np.float32),
        alpha=None,
        rest=positions,
        fold=np.zeros(len(positions), np.float32),
    )


def _colours(
    loaded: Any, faces: NDArray[np.int32], texture: Path | None, mesh: Path
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.uint8]]:
    """(T, 2) texture coordinates, (F, 3) faces into them, and the texture."""
    visual = loaded.visual
    uv = getattr(visual, "uv", None)
    if uv is not None and len(uv) == len(loaded.vertices):
        picture = _material_picture(visual)
        if picture is None and texture is not None:
            picture = _read_picture(texture)
        if picture is not None:
            return np.asarray(uv, np.float32), faces, _at_most(picture, _MAX_TEXTURE)
        if getattr(visual, "kind", None) == "texture":
            raise DataError(f"{mesh}: its texture is not there; put the colour picture into the scan's folder")
    if getattr(visual, "kind", None) in ("vertex", "face"):
        return _baked(np.asarray(visual.face_colors)[:, :3])
    return np.zeros((1, 2), np.float32), np.zeros_like(faces), np.full((1, 1, 3), 160, np.uint8)


def _material_picture(visual: Any) -> NDArray[np.uint8] | None:
    material = getattr(visual, "material", None)
    image = getattr(material, "image", None)
    if image is None:
        image = getattr(material, "baseColorTexture", None)
    # trimesh puts a picture of 2 x 2 pixels where it does not find the material's.
    return None if image is None or max(image.size) <= 2 else np.asarray(image.convert("RGB"))


def _baked(colours: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.uint8]]:
    """(F, 3) colours of the faces -> a texture with one texel for each face, as the published renderer colours them: flat."""
    side = int(np.ceil(np.sqrt(len(colours))))
    picture = np.zeros((side * side, 3), np.uint8)
    picture[: len(colours)] = colours
    row, column = np.divmod(np.arange(len(colours)), side)
    uv = np.stack(((column + 0.5) / side, 1 - (row + 0.5) / side), axis=1).astype(np.float32)
    return uv, np.repeat(np.arange(len(colours), dtype=np.int32)[:, None], 3, axis=1), picture.reshape(side, side, 3)


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
