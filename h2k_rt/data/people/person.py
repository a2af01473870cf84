"""The dressing room: body, pose, clothes, hair and face come together as one figure."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.assets import Pictures, find_assets
from h2k_rt.data.people.body import Body, BodyModel, Posed, body_model
from h2k_rt.data.people.dressing import Dresser
from h2k_rt.data.people.figure import Figure, Surface
from h2k_rt.data.people.garments import Piece, Worn, load_piece
from h2k_rt.data.people.hair_and_face import Look, coloured_hair, sample_look
from h2k_rt.data.people.joints import joints_31
from h2k_rt.data.people.pose import PoseLibrary, sample_pose
from h2k_rt.data.people.subdivide import refine, triangles
from h2k_rt.data.people.wardrobe import Split


@dataclass(frozen=True)
class _Skin:
    """The bare body, subdivided."""

    matrix: Any
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    uv_faces: NDArray[np.int32]
    source: NDArray[np.int32]


class PersonFactory:
    """Draws dressed, posed people.

    Args:
        assets: folder of MakeHuman's assets; None: see ``assets.find_assets``.
        split: "train", or "holdout" for people in clothes, hair, skins and poses that training never draws.
        detail: 1: body and clothes are subdivided once and textures are sharp enough for 2048 pixels; 0: for 512 and below.

    Raises:
        DataError: the assets are missing; the message says where to get them.
        MissingPackageError: anny is not installed.
    """

    def __init__(self, assets: Path | None, split: Split = "train", detail: int = 1) -> None:
        self.assets, self.split, self.detail = find_assets(assets), split, detail
        self.model: BodyModel = body_model()
        self.pictures = Pictures()
        self._poses = PoseLibrary(self.assets)
        self._skin_pixels, self._hair_pixels = (2048, 1024) if detail else (1024, 512)
        self._piece = functools.cache(self._load_piece)
        self._dresser = Dresser(self.assets, self.model, self.pictures, split, detail)

    def sample(self, rng: np.random.Generator) -> Figure:
        """A random person. The same state of ``rng`` gives the same figure."""
        body = self.model.sample_shape(rng)
        posed, pose_about = sample_pose(rng, self.split, body, self._poses)
        look = sample_look(rng, body.about, self.split)
        clothes = self._dresser.dress(rng, body, posed)
        skin = self._skin_surface(body, posed, look, clothes.hidden)
        surfaces = [skin, *self._head(rng, body, posed, look), *clothes.surfaces]
        about = {"body": dict(body.about), **pose_about, **clothes.about, "hair": look.hair, "skin": look.skin, "split": self.split}
        return Figure(tuple(surfaces), joints_31(body, posed), about)

    # --- body and head -----------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _skin(self) -> _Skin:
        model = self.model
        refined = refine(len(model.template_vertices), model.quads, model.uv, model.uv_quads, self.detail)
        source = np.repeat(refined.source, 2)
        return _Skin(refined.matrix, triangles(refined.quads), refined.uv, triangles(refined.uv_quads), source)

    def _skin_surface(self, body: Body, posed: Posed, look: Look, hidden: NDArray[np.bool_]) -> Surface:
        skin = self._skin
        keep = ~hidden[self.model.quads].all(axis=1)[skin.source]
        rest = skin.matrix @ body.rest.astype(np.float32)
        return Surface(
            name="skin",
            vertices=skin.matrix @ body.vertices(posed).astype(np.float32),
            faces=skin.faces[keep],
            uv=skin.uv,
            uv_faces=skin.uv_faces[keep],
            texture=self.pictures.read(self.assets / "skins" / "textures" / f"{look.skin}.jpg", self._skin_pixels),
            tint=look.skin_tint,
            alpha=None,
            rest=rest,
            fold=np.zeros(len(rest), np.float32),
            specular=0.035,
            gloss=18.0,
        )

    def _head(self, rng: np.random.Generator, body: Body, posed: Posed, look: Look) -> list[Surface]:
        def surface(name: str, folder: str, piece: Piece, texture: NDArray, alpha: NDArray | None, **finish: float) -> Surface:
            fold = float(finish.pop("fold", 0.0))
            worn = piece.wear(body, posed)
            amplitude = np.full(len(worn.rest), fold, np.float32)
            return _surface(f"{folder} {name}", piece, worn, texture, alpha, amplitude, int(rng.integers(1 << 31)), **finish)

        iris = self.pictures.read(self.assets / "eyes" / "materials" / f"{look.iris}_eye.jpg", 512)
        surfaces = [surface(look.iris, "eyes", self._piece("eyes", "low-poly"), iris, None, specular=0.04, gloss=180.0)]
        darker = look.hair_colour * rng.uniform(0.6, 0.95)
        brows = coloured_hair(
            self.assets / "eyebrows" / look.brows / f"{look.brows}.png", darker, self.pictures, self._hair_pixels // 2
        )
        surfaces.append(replace(surface(look.brows, "eyebrows", self._piece("eyebrows", look.brows), *brows), decal=True))
        if look.lashes is not None:
            lashes = coloured_hair(
                self.assets / "eyelashes" / look.lashes / f"{look.lashes}.png",
                np.full(3, 0.06),
                self.pictures,
                self._hair_pixels // 2,
            )
            surfaces.append(replace(surface(look.lashes, "eyelashes", self._piece("eyelashes", look.lashes), *lashes), decal=True))
        if look.hair is not None:
            path = self.assets / "hair" / look.hair / f"{look.hair}_diffuse.png"
            strands = coloured_hair(path, look.hair_colour, self.pictures, self._hair_pixels)
            surfaces.append(
                surface(look.hair, "hair", self._piece("hair", look.hair), *strands, fold=0.0008, specular=0.03, gloss=22.0)
            )
        return surfaces

    # --- loading, once each ------------------------------------------------------------------------------------------------------

    def _load_piece(self, folder: str, name: str) -> Piece:
        detail = self.detail if folder == "eyes" else 0
        return load_piece(self.assets / folder / name / f"{name}.mhclo", self.model, detail)


def _surface(
    name: str,
    piece: Piece,
    worn: Worn,
    texture: NDArray[np.uint8],
    alpha: NDArray[np.uint8] | None,
    fold: NDArray[np.float32],
    seed: int,
    specular: float = 0.04,
    gloss: float = 20.0,
) -> Surface:
    return Surface(
        name=name,
        vertices=worn.vertices,
        faces=piece.faces,
        uv=piece.uv,
        uv_faces=piece.uv_faces,
        texture=texture,
        tint=np.ones(3, np.float32),
        alpha=alpha,
        rest=worn.rest,
        fold=fold.astype(np.float32),
        fold_seed=seed,
        specular=float(specular),
        gloss=float(gloss),
    )
