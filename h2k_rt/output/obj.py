"""Wavefront OBJ files with vertex colours (``v x y z r g b``), written without a Python loop over the vertices."""

from __future__ import annotations

import os
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from h2k_rt.output.atomic import replace_file
from h2k_rt.surface.mesh import Mesh

_CHUNK = 1 << 17  # lines formatted at a time: about 10 MB of text


def write_obj(mesh: Mesh, path: str | os.PathLike[str]) -> None:
    """Write vertices (metres, 1/100 mm) with sRGB colours 0..1, normals, and faces ``v//n``.

    The format has no word for vertex colours; six numbers after ``v`` are what MeshLab, Blender and Open3D read.

    Raises:
        OutputError: the file cannot be written.
        ValueError: the mesh holds numbers that are not finite, or coordinates of more than 10 km.
    """
    if not (np.isfinite(mesh.vertices).all() and np.isfinite(mesh.normals).all()):
        raise ValueError("the mesh holds numbers that are not finite")
    if mesh.vertices.size and np.abs(mesh.vertices).max() >= 1e4:
        raise ValueError("the mesh is larger than 10 km")
    with replace_file(path) as temporary, temporary.open("wb") as file:
        file.write(b"# made by h2k-rt; metres, y up; v x y z r g b with sRGB colours\no person\n")
        for start in range(0, len(mesh.vertices), _CHUNK):
            block = slice(start, start + _CHUNK)
            position, colour = mesh.vertices[block], mesh.colors[block]
            _write_lines(file, b"v", [*(_fixed(p, 5) for p in position.T), *(_COLOUR[c] for c in colour.T)])
        for start in range(0, len(mesh.normals), _CHUNK):
            _write_lines(file, b"vn", [_fixed(n, 4) for n in mesh.normals[start : start + _CHUNK].T])
        for start in range(0, len(mesh.faces), _CHUNK):
            numbers = [_digits(index.astype(np.int64) + 1) for index in mesh.faces[start : start + _CHUNK].T]
            _write_lines(file, b"f", [np.concatenate((n, _constant(len(n), b"//"), n), axis=1) for n in numbers])


def _write_lines(file: BinaryIO, keyword: bytes, columns: list[NDArray[np.uint8]]) -> None:
    """Write one line per row: keyword and columns with single blanks between; zero bytes are padding and are left out."""
    rows = len(columns[0])
    parts = [_constant(rows, keyword)]
    for column in columns:
        parts += [_constant(rows, b" "), column]
    text = np.concatenate([*parts, _constant(rows, b"\n")], axis=1).ravel()
    file.write(text[text != 0].tobytes())


def _constant(rows: int, text: bytes) -> NDArray[np.uint8]:
    return np.broadcast_to(np.frombuffer(text, np.uint8), (rows, len(text)))


def _digits(values: NDArray[np.int64], least: int = 1) -> NDArray[np.uint8]:
    """(n,) non-negative integers -> (n, width) ASCII digits, left-padded with zero bytes, at least ``least`` digits."""
    width = max(len(str(int(values.max()))) if values.size else 1, least)
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    quotient = values[:, None] // powers
    text = (quotient % 10 + ord("0")).astype(np.uint8)
    text[:, : width - least][quotient[:, : width - least] == 0] = 0
    return text


def _fixed(values: NDArray[np.float32], decimals: int) -> NDArray[np.uint8]:
    """(n,) floats -> (n, width) ASCII with ``decimals`` decimals, padded with zero bytes; no minus before a zero."""
    scaled = np.rint(values.astype(np.float64) * 10**decimals).astype(np.int64)
    digits = _digits(np.abs(scaled), decimals + 1)
    sign = np.where(scaled < 0, ord("-"), 0).astype(np.uint8)[:, None]
    return np.concatenate((sign, digits[:, :-decimals], _constant(len(digits), b"."), digits[:, -decimals:]), axis=1)


#: (256, width) text of each 8-bit colour level as a number of 0..1.
_COLOUR = _fixed((np.arange(256) / 255).astype(np.float32), 4)
