"""MakeHuman's outfits and shoes, taken apart so that every part gets its own cloth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from h2k_rt.data.people.assets import Binding, Pictures, QuadMesh, read_mhclo, read_obj
from h2k_rt.data.people.body import SKIN_VERTICES, BodyModel
from h2k_rt.data.people.fabrics import Fabric, paint
from h2k_rt.data.people.garments import Piece, components, take

_FLAT = 150  # grey of a garment without a picture
_SOCK = 0.06  # metres above the ankle that no shoe reaches


@dataclass(frozen=True)
class Picture:
    """Where a part's light and dark come from.

    Attributes:
        diffuse: colour picture, or None where MakeHuman's is missing; shading: picture of occluded light, or None.
        metres_per_uv: length on the body of one texture width.
        box: what the part uses of the texture: u from, u to, v from, v to.
        samples: (N, 2) texture places inside the part, for its middle grey.
    """

    diffuse: Path | None
    shading: Path | None
    metres_per_uv: float
    box: tuple[float, float, float, float]
    samples: NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """A garment, or a part of an outfit: its mesh and its picture."""

    role: str
    piece: Piece
    picture: Picture

    def light(self, pictures: Pictures, size: int) -> NDArray[np.uint8]:
        """(h, w) uint8: the grey picture with the occluded light in it."""
        key = ("light", self.picture.diffuse, self.picture.shading, size)
        return pictures.made(key, lambda: _light(self.picture, pictures, size))

    def painted(self, fabric: Fabric, pictures: Pictures, size: int) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 sRGB: the part made of a fabric."""
        light = self.light(pictures, size)
        height, width = light.shape
        u = np.clip((self.picture.samples[:, 0] * width).astype(int), 0, width - 1)
        v = np.clip(((1 - self.picture.samples[:, 1]) * height).astype(int), 0, height - 1)
        left, right, low, high = self.picture.box
        rows = max(int((1 - high) * height) - 2, 0), min(int((1 - low) * height) + 3, height)
        columns = max(int(left * width) - 2, 0), min(int(right * width) + 3, width)
        tile = fabric.tile(self.picture.metres_per_uv / width)
        return paint(light, float(np.median(light[v, u])), tile, (*rows, *columns))

    def original(self, pictures: Pictures, size: int) -> NDArray[np.uint8] | None:
        """(h, w, 3) uint8 sRGB as MakeHuman has it, or None where there is none."""
        return None if self.picture.diffuse is None else pictures.read(self.picture.diffuse, size)


def _light(picture: Picture, pictures: Pictures, size: int) -> NDArray[np.uint8]:
    if picture.diffuse is None:
        grey = np.full((size, size), _FLAT, np.float32)
    else:
        grey = cv2.cvtColor(pictures.read(picture.diffuse, size), cv2.COLOR_RGB2GRAY).astype(np.float32)
    if picture.shading is not None:
        shade = pictures.read(picture.shading, size)[..., 0]
        # Ambient light is drawn by the renderer too, so that only the deep creases are kept.
        grey *= cv2.resize(shade, grey.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) * (0.5 / 255) + 0.5
    return grey.astype(np.uint8)


def load_suit(folder: Path, islands: Mapping[str, Sequence[int]], model: BodyModel, detail: int) -> dict[str, Part]:
    """The parts of an outfit by role.

    Args:
        folder: of the outfit, with one .mhclo file.
        islands: role -> islands of the texture that belong to it (see wardrobe.SUITS).

    Raises:
        DataError: files are missing or malformed.
    """
    path = folder / f"{folder.name}.mhclo"
    binding = read_mhclo(path)
    mesh = read_obj(binding.mesh_path)
    island = components(mesh.uv_quads, len(mesh.uv))
    found = {role: take(mesh, binding, np.isin(island, numbers)) for role, numbers in islands.items()}
    parts = {}
    for role, (own_mesh, own_binding) in found.items():
        piece = Piece(f"{folder.name} {role}", model, own_mesh, own_binding, detail)
        parts[role] = Part(role, piece, _picture(folder, own_mesh, piece.fit(model.template_vertices)))
    _share_hidden(model, binding, [part.piece for part in parts.values()])
    return parts


def load_shoes(folder: Path, model: BodyModel, detail: int) -> dict[str, Part]:
    """A pair of shoes: parts "shoes" and, where there are, "socks", the tubes that rise from them.

    Raises:
        DataError: files are missing or malformed.
    """
    binding = read_mhclo(folder / f"{folder.name}.mhclo")
    mesh = read_obj(binding.mesh_path)
    points = Piece(folder.name, model, mesh, binding, 0).fit(model.template_vertices)
    piece_of = components(mesh.quads, len(mesh.vertices))
    top = np.full(piece_of.max() + 1, -np.inf)
    np.maximum.at(top, piece_of, points[mesh.quads].max(axis=1)[:, 1])
    ankle = float(model.template_heads[model.bone_index["foot.L"], 1])
    is_sock = (top > ankle + _SOCK)[piece_of]
    parts = {}
    for role, chosen in (("shoes", ~is_sock), ("socks", is_sock)):
        if chosen.any():
            own_mesh, own_binding = take(mesh, binding, chosen)
            piece = Piece(f"{folder.name} {role}", model, own_mesh, own_binding, detail)
            parts[role] = Part(role, piece, _picture(folder, own_mesh, piece.fit(model.template_vertices)))
    _share_hidden(model, binding, [part.piece for part in parts.values()])
    return parts


def _picture(folder: Path, mesh: QuadMesh, points: NDArray[np.float64]) -> Picture:
    corners, places = points[mesh.quads], mesh.uv[mesh.uv_quads]
    diagonals = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    area = np.linalg.norm(np.cross(*diagonals), axis=1).sum()
    flat = [places[:, 2] - places[:, 0], places[:, 3] - places[:, 1]]
    area_uv = np.abs(flat[0][:, 0] * flat[1][:, 1] - flat[0][:, 1] * flat[1][:, 0]).sum()
    low, high = places.reshape(-1, 2).min(0), places.reshape(-1, 2).max(0)
    box = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    diffuse, shading = (next(iter(sorted(folder.glob(f"*_{kind}.*"))), None) for kind in ("diffuse", "ao"))
    return Picture(diffuse, shading, float(np.sqrt(area / max(area_uv, 1e-9))), box, places.mean(1))


def _share_hidden(model: BodyModel, binding: Binding, pieces: Sequence[Piece]) -> None:
    """Gives every skin vertex that the outfit covers to the part next to it, so that a part can be worn without the others."""
    template = model.template_vertices
    covered = binding.hidden[binding.hidden < SKIN_VERTICES]
    distances = [cKDTree(piece.fit(template)).query(template[covered])[0] for piece in pieces]
    nearest = np.argmin(distances, axis=0)
    for number, piece in enumerate(pieces):
        piece.hidden[covered[nearest == number]] = True
