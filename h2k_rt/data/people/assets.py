"""MakeHuman's CC0 assets on disk: where the folder is, its meshes, bindings and pictures."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.errors import DataError

ENVIRONMENT = "H2K_MAKEHUMAN"
_FOLDERS = ("clothes", "hair", "eyebrows", "eyelashes", "eyes", "skins", "poses")
_WHERE = (
    "they are CC0 and come from two GitHub repositories: folders clothes, hair, eyebrows, eyelashes, poses and skins from "
    "base/ of makehumancommunity/makehuman-assets (with Git LFS, which holds the pictures), folder eyes from "
    "makehuman/data/ of makehumancommunity/makehuman; put them side by side in one folder"
)


def find_assets(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder of MakeHuman's assets: the argument, else the environment variable ``H2K_MAKEHUMAN``.

    Raises:
        DataError: nothing given, or sub-folders are missing; the message says where to get them.
    """
    given = folder if folder is not None else os.environ.get(ENVIRONMENT)
    if not given:
        raise DataError(f"synthetic people need MakeHuman's assets: give their folder with --assets or {ENVIRONMENT}; {_WHERE}")
    path = Path(given)
    missing = [name for name in _FOLDERS if not (path / name).is_dir()]
    if missing:
        raise DataError(f"{path}: not a folder of MakeHuman's assets, without {', '.join(missing)}; {_WHERE}")
    return path


@dataclass(frozen=True)
class QuadMesh:
    """A mesh of quads, each with its corners' places in the texture; a triangle has its first corner twice.

    Attributes:
        vertices: (V, 3) float64, in the file's units.
        quads: (F, 4) int32; uv: (T, 2) float32, origin lower left; uv_quads: (F, 4) int32 into ``uv``.
    """

    vertices: NDArray[np.float64]
    quads: NDArray[np.int32]
    uv: NDArray[np.float32]
    uv_quads: NDArray[np.int32]


def read_obj(path: Path, groups: Sequence[str] | None = None) -> QuadMesh:
    """Reads positions, texture places and quads of a Wavefront file.

    Args:
        groups: keep only the faces of these ``g`` groups; all vertices stay, so that indices hold.

    Raises:
        DataError: the file is missing, or holds something else than quads and triangles with texture places.
    """
    vertices: list[list[str]] = []
    uv: list[list[str]] = []
    corners: list[str] = []
    wanted = groups is None
    for line in _lines(path):
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append(rest.split()[:3])
        elif kind == "vt":
            uv.append(rest.split()[:2])
        elif kind == "g":
            wanted = groups is None or rest.strip() in groups
        elif kind == "f" and wanted:
            fields = rest.split()
            corners += fields if len(fields) == 4 else _as_quad(fields, path)
    try:
        pairs = np.array([corner.split("/")[:2] for corner in corners], np.int32).reshape(-1, 4, 2) - 1
        places = np.array(uv, np.float32).reshape(-1, 2)
        mesh = QuadMesh(np.array(vertices, np.float64).reshape(-1, 3), pairs[..., 0], places, pairs[..., 1])
    except ValueError as error:
        raise DataError(f"{path}: not a Wavefront mesh with texture places; get the file again ({error})") from error
    if not len(mesh.quads) or mesh.quads.max() >= len(mesh.vertices) or mesh.uv_quads.max() >= len(mesh.uv) or pairs.min() < 0:
        raise DataError(f"{path}: a mesh without faces or with faces of vertices that are not there; get the file again")
    return mesh


def _as_quad(fields: list[str], path: Path) -> list[str]:
    if len(fields) != 3:
        raise DataError(f"{path}: a face with {len(fields)} corners; only triangles and quads are understood")
    return [*fields, fields[0]]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; {_WHERE}") from error


@dataclass(frozen=True)
class Binding:
    """An .mhclo file: how a mesh hangs on the vertices of the base mesh hm08.

    Vertex i lies at ``sum_k weights[i, k] base[indices[i, k]] + offsets[i] * scale``, with scale on axis c =
    ``|base[a] - base[b]|_c / denominator`` of ``scales[c] = (a, b, denominator)``.

    Attributes:
        mesh_path: the .obj file.
        indices: (V, 3) int32; weights: (V, 3) float64; offsets: (V, 3) float64.
        scales: three of (vertex, vertex, denominator), for x, y, z.
        hidden: base vertices that the garment covers.
    """

    mesh_path: Path
    indices: NDArray[np.int32]
    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]
    scales: tuple[tuple[int, int, float], ...]
    hidden: NDArray[np.int32]


def read_mhclo(path: Path) -> Binding:
    """Reads a binding. Raises DataError where the file is missing or malformed."""
    mesh = ""
    scales: dict[str, tuple[int, int, float]] = {}
    bound: list[list[float]] = []
    hidden: list[int] = []
    section = ""
    try:
        for line in _lines(path):
            fields = line.split()
            if not fields or fields[0].startswith("#"):
                continue
            if fields[0] == "obj_file":
                mesh = fields[1]
            elif fields[0] in ("x_scale", "y_scale", "z_scale"):
                scales[fields[0][0]] = (int(fields[1]), int(fields[2]), float(fields[3]))
            elif fields[0] in ("verts", "weights", "delete_verts"):
                section = fields[0]
            elif section == "verts" and fields[0].isdigit():
                bound.append(_bound_vertex(fields))
            elif section == "delete_verts":
                hidden += _ranges(fields)
        table = np.array(bound, np.float64).reshape(-1, 9)
        order = tuple(scales[axis] for axis in "xyz")
    except (ValueError, IndexError, KeyError) as error:
        raise DataError(f"{path}: not a MakeHuman binding; get the file again ({error})") from error
    if not mesh or not len(table):
        raise DataError(f"{path}: a binding without mesh or vertices; get the file again")
    covered = np.unique(hidden).astype(np.int32)
    return Binding(path.parent / mesh, table[:, :3].astype(np.int32), table[:, 3:6], table[:, 6:], order, covered)


def _bound_vertex(fields: list[str]) -> list[float]:
    if len(fields) == 1:
        return [float(fields[0])] * 3 + [1.0, 0, 0, 0, 0, 0]
    values = [float(field) for field in fields[:9]]
    return values + [0.0] * (9 - len(values))


def _ranges(fields: list[str]) -> list[int]:
    """``a b - c d`` -> a, b..c, d."""
    numbers: list[int] = []
    i = 0
    while i < len(fields):
        if fields[i] == "-":
            numbers += range(numbers[-1] + 1, int(fields[i + 1]) + 1)
            i += 2
        else:
            numbers.append(int(fields[i]))
            i += 1
    return numbers


class Pictures:
    """Pictures read once and kept while they fit: the least recently used go first.

    Args:
        limit: bytes to keep.
    """

    def __init__(self, limit: int = 128 << 20) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[object, ...], NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0

    def read(self, path: Path, largest: int, alpha: bool = False) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 sRGB, with ``alpha`` (h, w, 4); shrunk by halves until no side exceeds ``largest``.

        Raises:
            DataError: the picture is missing, damaged, or has no alpha where one is needed.
        """
        return self.made((path, largest, alpha), lambda: _read_picture(path, largest, alpha))

    def made(self, key: tuple[object, ...], make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """What ``make`` returns, kept under ``key``; not to be written to."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        picture = make()
        self._kept[key] = picture
        self._bytes += picture.nbytes
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return picture


def _read_picture(path: Path, largest: int, alpha: bool) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_COLOR)
    if picture is None:
        raise DataError(f"{path}: no readable picture (a Git LFS pointer instead of the picture?); {_WHERE}")
    if alpha and (picture.ndim != 3 or picture.shape[2] != 4):
        raise DataError(f"{path}: a picture without alpha where hair needs one; get the file again")
    factor = 1
    while max(picture.shape[:2]) > largest * factor:
        factor *= 2
    if factor > 1:
        size = (max(picture.shape[1] // factor, 1), max(picture.shape[0] // factor, 1))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA if alpha else cv2.COLOR_BGR2RGB), np.uint8)
