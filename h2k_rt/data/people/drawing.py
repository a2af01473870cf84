"""From the surfaces of a figure to the arrays that the kernels read, and the drawing of all of them into one z-buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people import raster
from h2k_rt.data.people.figure import Surface
from h2k_rt.data.people.folds import fold_pattern
from h2k_rt.data.people.points import DrawnMesh, Lens
from h2k_rt.data.people.shade import Material
from h2k_rt.data.people.textures import reduced, texels_per_pixel
from h2k_rt.data.people.view import ViewCamera

_NO_ALPHA = np.zeros((0, 0), np.uint8)
_NO_FOLDS = np.zeros((0, 8), np.float32)
_NO_COLOURS = np.zeros((0, 3), np.uint8)


class Bands:
    """Work in equal parts on several threads; the kernels release the interpreter's lock."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self.pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def __enter__(self) -> Bands:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown()

    def over(self, count: int, work: Callable[[slice], None]) -> None:
        """Call ``work`` with slices that cover ``range(count)``."""
        if count == 0:
            return
        if self.pool is None:
            work(slice(0, count))
            return
        edges = [count * i // self.threads for i in range(self.threads + 1)]
        list(self.pool.map(work, [slice(a, b) for a, b in pairwise(edges)]))


@dataclass(frozen=True)
class Buffers:
    """Near and far buffers, see raster.draw."""

    depths: NDArray[np.float32]
    hits: NDArray[np.int32]
    owners: NDArray[np.int8]


def draw_all(
    meshes: Sequence[DrawnMesh], materials: Sequence[Material], alphas: Sequence[NDArray[np.uint8]], size: int, bands: Bands
) -> Buffers:
    depths = np.zeros((2, size, size), np.float32)
    depths[1] = np.inf
    hits = np.empty((2, size, size), np.int32)
    owners = np.full((2, size, size), -1, np.int8)

    def draw(rows: slice) -> None:
        for number, (mesh, material, alpha) in enumerate(zip(meshes, materials, alphas, strict=True)):
            texture = (material.uv, material.uv_faces, alpha)
            raster.draw(mesh.screen, mesh.faces, *texture, number, rows.start, rows.stop, depths, hits, owners)

    bands.over(size, draw)
    return Buffers(depths, hits, owners)


def lens_of(camera: ViewCamera, smooth: bool) -> Lens:
    scale, offset = camera.nu_scale()
    return Lens(*(np.float32(value) for value in (camera.focal_px, camera.size / 2, scale, offset, 1.0 if smooth else 0.0)))


def _plain(array: NDArray, dtype: Any) -> NDArray:
    """Contiguous and writeable, so that the kernels are compiled for one kind of array."""
    array = np.ascontiguousarray(array, dtype)
    return array if array.flags.writeable else array.copy()


def _place(
    vertices: NDArray, faces: NDArray[np.int32], camera: ViewCamera
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Screen vertices, points and normals in camera axes."""
    turn = camera.rotation * np.array([[1.0], [-1.0], [-1.0]])
    offset = -turn @ camera.centre + (0, 0, camera.distance_metres)
    source = _plain(vertices, np.float32)
    points, screen, normals = np.empty_like(source), np.empty_like(source), np.empty_like(source)
    raster.to_camera(source, turn.astype(np.float32), offset.astype(np.float32), points)
    raster.perspective(points, np.float32(camera.focal_px), np.float32(camera.size / 2), screen)
    raster.vertex_normals(points, faces, normals)
    return screen, points, normals


def drawn_mesh(surface: Surface, camera: ViewCamera) -> DrawnMesh:
    faces = _plain(surface.faces, np.int32)
    fold = _plain(surface.fold, np.float32)
    pattern = _NO_FOLDS
    if fold.any():
        pattern = fold_pattern(surface.fold_seed)
    else:
        fold = np.zeros(0, np.float32)
    screen, points, normals = _place(surface.vertices, faces, camera)
    return DrawnMesh(screen, points, normals, faces, _plain(surface.rest, np.float32), fold, pattern)


def material_of(surface: Surface, mesh: DrawnMesh) -> Material:
    uv, uv_faces = _plain(surface.uv, np.float32), _plain(surface.uv_faces, np.int32)
    colours = _NO_COLOURS if surface.colours is None else _plain(surface.colours, np.uint8)
    texture = reduced(surface.texture, texels_per_pixel(mesh.screen, mesh.faces, uv, uv_faces, surface.texture))
    look = (np.float32(surface.specular), np.float32(surface.gloss))
    return Material(uv, uv_faces, _plain(texture, np.uint8), colours, _plain(surface.tint, np.float32), *look)


def alpha_of(surface: Surface, material: Material | None) -> NDArray[np.uint8]:
    """The cut-out texture, reduced as the colours were; (0, 0) for opaque surfaces."""
    if surface.alpha is None:
        return _NO_ALPHA
    factor = 1.0 if material is None else surface.texture.shape[0] / material.texture.shape[0]
    return _plain(reduced(surface.alpha, factor), np.uint8)


def visible_vertices(surface: Surface) -> NDArray[np.float32]:
    """Vertices that faces use and that a cut-out texture leaves."""
    seen = np.zeros(len(surface.vertices), np.bool_)
    if surface.alpha is None:
        seen[surface.faces.ravel()] = True
        return surface.vertices[seen]
    height, width = surface.alpha.shape
    at = surface.uv[surface.uv_faces.ravel()] % 1
    column, row = (at[:, 0] * (width - 1)).astype(np.int64), ((1 - at[:, 1]) * (height - 1)).astype(np.int64)
    seen[surface.faces.ravel()[surface.alpha[row, column] >= raster.ALPHA_CUT]] = True
    return surface.vertices[seen]
