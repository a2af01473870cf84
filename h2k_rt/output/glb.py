"""glTF 2.0 binary files (https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html)."""

from __future__ import annotations

import json
import os
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from h2k_rt.output.atomic import replace_file
from h2k_rt.output.colorspace import LINEAR_U16
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.placement import Camera

_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_ARRAY, _INDICES = 34962, 34963
_TRIANGLES, _POINTS = 4, 0


def write_glb(
    mesh: Mesh, path: str | os.PathLike[str], *, camera: Camera | None = None, extras: dict[str, Any] | None = None
) -> None:
    """Write a mesh (or, without faces, a point cloud) with normals and linear vertex colours.

    Args:
        mesh: in metres, y up, facing +z, as glTF wants it.
        camera: written as a second node, so that a viewer can look at the mesh as the photo does.
        extras: JSON data, kept under ``asset.extras``.

    Raises:
        OutputError: the file cannot be written.
        ValueError: the mesh is empty or holds numbers that are not finite.
    """
    if mesh.vertices.shape[0] == 0:
        raise ValueError("a mesh without vertices cannot be written")
    if not np.isfinite(mesh.vertices).all():
        raise ValueError("the mesh holds coordinates that are not finite")
    rgba = np.full((mesh.vertices.shape[0], 4), 65535, np.uint16)
    rgba[:, :3] = LINEAR_U16[mesh.colors]
    arrays: list[tuple[NDArray[Any], int, str, int]] = [
        (np.ascontiguousarray(mesh.vertices, "<f4"), _FLOAT, "VEC3", _ARRAY),
        (np.ascontiguousarray(mesh.normals, "<f4"), _FLOAT, "VEC3", _ARRAY),
        (rgba.astype("<u2", copy=False), _USHORT, "VEC4", _ARRAY),
    ]
    if mesh.faces.shape[0]:
        arrays.append((np.ascontiguousarray(mesh.faces, "<i4").view("<u4").reshape(-1), _UINT, "SCALAR", _INDICES))
    document = _document(mesh, arrays, camera, extras)
    with replace_file(path) as temporary, temporary.open("wb") as file:
        _write(file, document, [array for array, *_ in arrays])


def _document(
    mesh: Mesh, arrays: list[tuple[NDArray[Any], int, str, int]], camera: Camera | None, extras: dict[str, Any] | None
) -> dict[str, Any]:
    from h2k_rt import __version__

    views, accessors, offset = [], [], 0
    for array, component, kind, target in arrays:
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": array.nbytes, "target": target})
        accessor: dict[str, Any] = {"bufferView": len(views) - 1, "componentType": component, "count": len(array), "type": kind}
        if component == _USHORT:
            accessor["normalized"] = True
        accessors.append(accessor)
        offset += _padded(array.nbytes)
    low, high = mesh.bounds()
    accessors[0]["min"], accessors[0]["max"] = low.tolist(), high.tolist()
    primitive: dict[str, Any] = {
        "attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2},
        "material": 0,
        "mode": _TRIANGLES if len(arrays) > 3 else _POINTS,
    }
    if len(arrays) > 3:
        primitive["indices"] = 3
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"h2k-rt {__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "person", "mesh": 0}],
        "meshes": [{"name": "person", "primitives": [primitive]}],
        "materials": [
            {
                "name": "vertex colours",
                "pbrMetallicRoughness": {"baseColorFactor": [1.0, 1.0, 1.0, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.9},
                "doubleSided": False,
            }
        ],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
    }
    if extras:
        document["asset"]["extras"] = extras
    if camera is not None:
        perspective = {"yfov": camera.yfov, "aspectRatio": camera.aspect, "znear": 0.01}
        document["cameras"] = [{"name": "photo", "type": "perspective", "perspective": perspective}]
        document["nodes"].append({"name": "photo camera", "camera": 0, "matrix": [float(v) for v in camera.matrix.T.ravel()]})
        document["scenes"][0]["nodes"].append(1)
    return document


def _write(file: BinaryIO, document: dict[str, Any], arrays: list[NDArray[Any]]) -> None:
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (_padded(len(text)) - len(text))
    size = sum(_padded(array.nbytes) for array in arrays)
    file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + size))
    file.write(struct.pack("<I4s", len(text), b"JSON"))
    file.write(text)
    file.write(struct.pack("<I4s", size, b"BIN\0"))
    for array in arrays:
        file.write(array.data.cast("B"))
        file.write(bytes(_padded(array.nbytes) - array.nbytes))


def _padded(length: int) -> int:
    """Chunks and accessors start at multiples of four bytes."""
    return (length + 3) // 4 * 4
