"""Pictures of a dense mesh without a graphics card or a display: samples splatted into a depth buffer, in NumPy.

The mesh of a 2048 canvas has more than one vertex per pixel of a preview, so its vertices alone nearly cover it; faces that are
larger than a pixel (limbs seen from the side, decimated meshes) are covered by samples on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.surface.mesh import Mesh

#: Front, the person's left side (+x, the right of the front view), back, right side.
FOUR_SIDES = (0.0, 90.0, 180.0, 270.0)

#: Directions to key, fill and headlight in the viewer's frame (x right, y up, z to the viewer) with their strengths.
_CLAY_LIGHTS = (((-0.45, 0.55, 0.70), 0.55), ((0.75, 0.10, 0.55), 0.20), ((0.0, 0.0, 1.0), 0.15))
_CLAY_AMBIENT, _CLAY = 0.12, (222, 216, 206)
#: The colours are a photo's and hold its light already: only a hint of shape is added.
_COLOR_LIGHTS = (((-0.30, 0.45, 0.85), 0.25), ((0.0, 0.0, 1.0), 0.20))
_COLOR_AMBIENT = 0.62
_MARGIN = 1.04  # the picture shows this much more than the mesh's height
_SPACING = 0.8  # pixels between the samples on a face
_DEPTH_STEPS = (1 << 30) - 1
_BLOCK = 1 << 20  # samples splatted at a time


@dataclass(frozen=True)
class Visible:
    """What an orthographic view sees, per pixel.

    Attributes:
        pixels: (P,) flat index of the pixels that the mesh covers.
        corners: (P, 3) int32 the vertices that a pixel's sample lies between.
        weights: (P, 3) float32 their shares.
        width: of the picture in pixels.
        axes: (3, 3) float32, rows: right, up, towards the viewer.
    """

    pixels: NDArray[np.int64]
    corners: NDArray[np.int32]
    weights: NDArray[np.float32]
    width: int
    axes: NDArray[np.float32]


def render_views(
    mesh: Mesh,
    yaws: Sequence[float] = FOUR_SIDES,
    size: int | tuple[int, int] = 512,
    *,
    looks: Sequence[str] = ("color",),
    supersample: int = 2,
    background: tuple[int, int, int] = (255, 255, 255),
) -> list[list[NDArray[np.uint8]]]:
    """Draw a closed mesh from several sides, orthographically, at one common scale.

    Args:
        mesh: faces counter-clockwise from outside, unit normals, y up, any unit of length.
        yaws: degrees; 0 looks at the front (+z), 90 at the side that the front view has at its right (+x), 180 at the back.
        size: width and height of the pictures in pixels, or the side of square ones.
        looks: "color" (with the mesh's colours) and "clay" (one colour, so that the relief is seen).
        supersample: drawn so many times larger, then reduced.

    Returns:
        for each look the list of its views, each (height, width, 3) uint8 sRGB.

    Raises:
        ValueError: an unknown look, or a mesh without vertices.
    """
    if len(mesh.vertices) == 0:
        raise ValueError("a mesh without vertices cannot be drawn")
    low, high = mesh.bounds()
    middle = ((low + high) / 2).astype(np.float32)
    width, height = (size, size) if isinstance(size, int) else size
    across = 2 * max(float(np.abs(_project(mesh.vertices - middle, _axes(yaw)[0])).max()) for yaw in yaws)
    scale = supersample * min(height / max(float(high[1] - low[1]), 1e-9), width / max(across, 1e-9)) / _MARGIN
    large = _large_faces(mesh, scale)
    pictures: list[list[NDArray[np.uint8]]] = [[] for _ in looks]
    for yaw in yaws:
        seen = find_visible(mesh, yaw, (width * supersample, height * supersample), middle, scale, large)
        for row, look in zip(pictures, looks, strict=True):
            row.append(_reduce(shade(mesh, seen, look), seen, (width, height), supersample, background))
    return pictures


def render_view(
    mesh: Mesh,
    yaw: float = 0.0,
    size: int | tuple[int, int] = 512,
    *,
    look: str = "color",
    supersample: int = 2,
    background: tuple[int, int, int] = (255, 255, 255),
) -> NDArray[np.uint8]:
    """One view as :func:`render_views` draws it: (height, width, 3) uint8."""
    return render_views(mesh, (yaw,), size, looks=(look,), supersample=supersample, background=background)[0][0]


def find_visible(
    mesh: Mesh, yaw: float, size: tuple[int, int], centre: NDArray[np.float32], scale: float, faces: NDArray[np.int32]
) -> Visible:
    """The nearest sample in each pixel; what faces away from the viewer is left out.

    Args:
        size: width and height of the picture; ``centre`` is shown in its middle, ``scale`` pixels per unit of length.
        faces: the faces to be sampled besides the vertices: those longer than a pixel.
    """
    width, height = size
    axes = _axes(yaw)
    # One row each for column, row and depth: contiguous rows are faster to gather from.
    placed = mesh.vertices - centre
    view = np.stack([_project(placed, axis) for axis in axes])
    view[0] = view[0] * np.float32(scale) + np.float32(width / 2)
    view[1] = np.float32(height / 2) - view[1] * np.float32(scale)
    reach = float(np.abs(view[2]).max()) + 1e-9
    view[2] = (np.float32(reach) - view[2]) * np.float32(_DEPTH_STEPS / (2.002 * reach))  # near is small
    nearest = np.full(width * height, np.iinfo(np.int64).max)
    facing = np.flatnonzero(_project(mesh.normals, axes[2]) > 0)
    _splat(nearest, view[:, facing], facing, size)
    batches = list(_face_samples(view, faces, len(mesh.vertices)))
    for batch in batches:
        for points, identity in batch.points(view):
            _splat(nearest, points, identity, size)
    pixels = np.flatnonzero(nearest != np.iinfo(np.int64).max)
    identity = nearest[pixels] & 0xFFFFFFFF
    corners, weights = np.empty((pixels.size, 3), np.int32), np.zeros((pixels.size, 3), np.float32)
    corners[:] = np.minimum(identity, len(mesh.vertices) - 1)[:, None]
    weights[:, 0] = 1
    for batch in batches:
        batch.resolve(identity, corners, weights)
    return Visible(pixels, corners, weights, width, axes)


def shade(mesh: Mesh, seen: Visible, look: str) -> NDArray[np.float32]:
    """(P, 3) float32 sRGB 0..255 of the visible samples, lit from the viewer's side."""
    if look not in ("color", "clay"):
        raise ValueError(f"unknown look {look!r}; there are 'color' and 'clay'")
    weights = [np.ascontiguousarray(w)[:, None] for w in seen.weights.T]
    corners = [np.ascontiguousarray(c) for c in seen.corners.T]
    normal = sum(w * mesh.normals[c] for w, c in zip(weights, corners, strict=True))
    normal /= np.maximum(np.sqrt(_project(normal, normal.T)), 1e-6)[:, None]
    lights, level = (_CLAY_LIGHTS, _CLAY_AMBIENT) if look == "clay" else (_COLOR_LIGHTS, _COLOR_AMBIENT)
    light = np.full(len(normal), level, np.float32)
    for direction, strength in lights:
        towards = np.array(direction, np.float32) @ seen.axes  # in the mesh's frame
        light += np.float32(strength) * np.maximum(_project(normal, towards / np.linalg.norm(towards)), 0)
    if look == "clay":
        return light[:, None] * np.array(_CLAY, np.float32)
    base = sum(w * mesh.colors[c] for w, c in zip(weights, corners, strict=True))
    return base * np.minimum(light, np.float32(1.08))[:, None]


@dataclass(frozen=True)
class _Batch:
    """Faces that get the same number of samples: ``along`` from the apex to the opposite edge, ``across`` beside each other.

    Attributes:
        corners: (F, 3) int32, the apex (opposite of the shortest edge) first.
        first: identity of the first sample; sample k of face f is ``first + f * along * across + k``.
    """

    corners: NDArray[np.int32]
    along: int
    across: int
    first: int

    def weights(self) -> NDArray[np.float32]:
        """(along * across, 3) shares of the corners, the same for every face."""
        t = (np.arange(self.along, dtype=np.float32) + 0.5)[:, None] / self.along
        s = (np.arange(self.across, dtype=np.float32) + 0.5)[None] / self.across
        shares = np.stack((1 - t + 0 * s, t * (1 - s), t * s), axis=-1)
        return shares.reshape(-1, 3).astype(np.float32)

    def points(self, view: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        weights = self.weights()
        step = max(_BLOCK // len(weights), 1)
        for start in range(0, len(self.corners), step):
            block = self.corners[start : start + step]
            points = np.stack([_mix(row, block, weights) for row in view])  # (3, F, K)
            first = self.first + start * len(weights)
            yield points.reshape(3, -1), np.arange(first, first + points[0].size)

    def resolve(self, identity: NDArray[np.int64], corners: NDArray[np.int32], out: NDArray[np.float32]) -> None:
        """Write corners and weights of those identities that are this batch's samples."""
        weights = self.weights()
        mine = (identity >= self.first) & (identity < self.first + len(self.corners) * len(weights))
        face, k = np.divmod(identity[mine] - self.first, len(weights))
        corners[mine], out[mine] = self.corners[face], weights[k]


def _axes(yaw: float) -> NDArray[np.float32]:
    turn = math.radians(yaw)
    return np.array([[math.cos(turn), 0, -math.sin(turn)], [0, 1, 0], [math.sin(turn), 0, math.cos(turn)]], np.float32)


def _large_faces(mesh: Mesh, scale: float) -> NDArray[np.int32]:
    """The faces with an edge longer than a pixel."""
    if len(mesh.faces) == 0:
        return mesh.faces
    columns = [np.ascontiguousarray(c) for c in mesh.vertices.T]
    longest = np.zeros(len(mesh.faces), np.float32)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        a, b = mesh.faces[:, i], mesh.faces[:, j]
        square = np.zeros(len(mesh.faces), np.float32)
        for column in columns:
            difference = column[a] - column[b]
            square += difference * difference
        np.maximum(longest, square, out=longest)
    return mesh.faces[longest * np.float32(scale * scale) > 1]


def _face_samples(view: NDArray[np.float32], faces: NDArray[np.int32], first: int) -> Iterator[_Batch]:
    """Batches of the faces that are turned to the viewer and longer than a pixel in the view."""
    if len(faces) == 0:
        return
    corners = [np.ascontiguousarray(c) for c in faces.T]
    x, y = [view[0][c] for c in corners], [view[1][c] for c in corners]
    # Rows grow downwards, so a face that is counter-clockwise for the viewer has a negative area here.
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    edges = [np.hypot(x[i] - x[j], y[i] - y[j]) for i, j in ((0, 1), (1, 2), (2, 0))]
    longest = np.maximum(np.maximum(edges[0], edges[1]), edges[2])
    keep = np.flatnonzero((area < 0) & (longest > 1))
    a, b, c = (corner[keep] for corner in corners)
    ab, bc, ca = (edge[keep] for edge in edges)
    # The apex, first of the three, lies opposite of the shortest edge.
    is_ab, is_bc = (ab <= bc) & (ab <= ca), bc <= ca
    faces = np.empty((keep.size, 3), np.int32)
    faces[:, 0] = np.where(is_ab, c, np.where(is_bc, a, b))
    faces[:, 1] = np.where(is_ab, a, np.where(is_bc, b, c))
    faces[:, 2] = np.where(is_ab, b, np.where(is_bc, c, a))
    along = _rounded_up(longest[keep] / _SPACING)
    across = _rounded_up(np.minimum(np.minimum(ab, bc), ca) / _SPACING)
    kind = along.astype(np.int64) << 32 | across
    for value in np.unique(kind):
        chosen = faces[kind == value]
        batch = _Batch(chosen, int(value >> 32), int(value & 0xFFFFFFFF), first)
        yield batch
        first += len(chosen) * batch.along * batch.across


def _mix(row: NDArray[np.float32], corners: NDArray[np.int32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(F, K) sums of a coordinate over the corners; spelled out, as BLAS is slow with three terms."""
    out = row[corners[:, 0]][:, None] * weights[:, 0]
    out += row[corners[:, 1]][:, None] * weights[:, 1]
    out += row[corners[:, 2]][:, None] * weights[:, 2]
    return out


def _project(vectors: NDArray[np.float32], direction: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 3) . (3,) -> (n,), without BLAS."""
    return vectors[:, 0] * direction[0] + vectors[:, 1] * direction[1] + vectors[:, 2] * direction[2]


def _rounded_up(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """1, 2, 3, 4, 6, 8, 12, 16, ...: few different counts, so few batches."""
    power = np.exp2(np.ceil(np.log2(np.clip(values, 1, 8192))))
    smaller = power * 0.75
    return np.where((smaller >= values) & (power >= 4), smaller, power).astype(np.int32)


def _splat(nearest: NDArray[np.int64], points: NDArray[np.float32], identity: NDArray[np.int64], size: tuple[int, int]) -> None:
    """Keep the nearest of the samples and of what the pixels hold; depth in the upper bits, identity in the lower 32."""
    column, row = points[0].astype(np.int32), points[1].astype(np.int32)
    inside = (column >= 0) & (column < size[0]) & (row >= 0) & (row < size[1])
    key = (points[2].astype(np.int64) << 32) | identity
    pixel = row.astype(np.int64) * size[0] + column
    if not inside.all():
        key, pixel = key[inside], pixel[inside]
    np.minimum.at(nearest, pixel, key)


def _reduce(
    shaded: NDArray[np.float32], seen: Visible, size: tuple[int, int], step: int, background: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Average the large picture down over the background; single pixels that no sample hit are closed first."""
    rows, columns = np.divmod(seen.pixels, seen.width)
    # Only the window that the mesh covers is worked on; it begins and ends at pixels of the small picture.
    out = np.empty((size[1], size[0], 3), np.uint8)
    out[:] = background
    if rows.size == 0:
        return out
    y0, x0 = int(rows.min()) // step, int(columns.min()) // step
    y1, x1 = int(rows.max()) // step + 1, int(columns.max()) // step + 1
    height, width = (y1 - y0) * step, (x1 - x0) * step
    at = (rows - y0 * step) * width + columns - x0 * step
    color = np.zeros((height * width, 3), np.float32)
    covered = np.zeros(height * width, np.float32)
    color[at], covered[at] = shaded, 1
    picture, cover = color.reshape(height, width, 3), covered.reshape(height, width)
    closed = cv2.morphologyEx(cover, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    holes = (closed > 0) & (cover == 0)
    if holes.any():
        total = cv2.boxFilter(cover, -1, (3, 3), normalize=False)
        picture[holes] = (cv2.boxFilter(picture, -1, (3, 3), normalize=False)[holes].T / np.maximum(total[holes], 1)).T
        cover = np.maximum(cover, closed)
    picture += (1 - cover)[..., None] * np.array(background, np.float32)
    small = cv2.resize(picture, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    out[y0:y1, x0:x1] = np.clip(np.rint(small), 0, 255).astype(np.uint8)
    return out
