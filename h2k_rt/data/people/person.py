"""The dressing room: body, pose, clothes, hair and face come together as one figure."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.accessories import Headwear, glasses, head_texture
from h2k_rt.data.people.assets import Pictures, find_assets
from h2k_rt.data.people.body import Body, BodyModel, Posed, body_model
from h2k_rt.data.people.cloth import make_surface
from h2k_rt.data.people.dressing import Clothes, Dresser
from h2k_rt.data.people.fabrics import Colour, sample_fabric
from h2k_rt.data.people.figure import Figure, Surface
from h2k_rt.data.people.garments import Piece, load_piece
from h2k_rt.data.people.hair_and_face import Look, coloured_hair, sample_look
from h2k_rt.data.people.joints import joints_31
from h2k_rt.data.people.pose import PoseLibrary, sample_pose
from h2k_rt.data.people.subdivide import refine, triangles
from h2k_rt.data.people.wardrobe import Split

#: Shares of people who wear them; headscarves among women.
_GLASSES, _BEANIES, _HEADSCARVES = 0.14, 0.05, 0.05
_FRAMES = ((20, 20, 22), (20, 20, 22), (70, 45, 30), (150, 150, 155), (190, 160, 90), (40, 50, 90))


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
        head = self._head(rng, body, posed, look, clothes)
        surfaces = [self._skin_surface(body, posed, look, clothes.hidden), *head, *clothes.surfaces]
        about = {"body": dict(body.about), **pose_about, **clothes.about, "hair": look.hair, "skin": look.skin, "split": self.split}
        return Figure(tuple(surfaces), joints_31(body, posed), about)

    @functools.cached_property
    def _headwear(self) -> Headwear:
        return Headwear(self.model, self.detail)

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

    def _head(self, rng: np.random.Generator, body: Body, posed: Posed, look: Look, clothes: Clothes) -> list[Surface]:
        """Eyes, brows, lashes, hair, glasses and what is worn on the head."""

        def worn(folder: str, name: str, texture: NDArray, alpha: NDArray | None = None, **finish: Any) -> Surface:
            piece = self._piece(folder, name)
            on = piece.wear(body, posed)
            return make_surface(f"{folder} {name}", on.vertices, on.rest, piece.mesh, texture, alpha=alpha, **finish)

        def strands(folder: str, name: str, colour: Colour, suffix: str = "") -> tuple[NDArray, NDArray]:
            size = self._hair_pixels if folder == "hair" else self._hair_pixels // 2
            return coloured_hair(self.assets / folder / name / f"{name}{suffix}.png", colour, self.pictures, size)

        iris = self.pictures.read(self.assets / "eyes" / "materials" / f"{look.iris}_eye.jpg", 512)
        surfaces = [worn("eyes", "low-poly", iris, specular=0.1, gloss=150.0)]
        darker = look.hair_colour * rng.uniform(0.6, 0.95)
        surfaces.append(worn("eyebrows", look.brows, *strands("eyebrows", look.brows, darker)))
        if look.lashes is not None:
            surfaces.append(worn("eyelashes", look.lashes, *strands("eyelashes", look.lashes, np.full(3, 0.06))))
        cap, height = self._headwear_of(rng, body, posed, look, clothes)
        if look.hair is not None and height is not None:
            finish: dict[str, Any] = {"fold": 0.0008, "seed": int(rng.integers(1 << 31)), "specular": 0.03, "gloss": 22.0}
            hair = worn("hair", look.hair, *strands("hair", look.hair, look.hair_colour, "_diffuse"), **finish)
            if cap is not None:
                shown = self._headwear.shown_hair(self._piece("hair", look.hair), height)
                hair = replace(hair, faces=hair.faces[shown], uv_faces=hair.uv_faces[shown])
            surfaces += [hair] if len(hair.faces) else []
        surfaces += [cap] if cap is not None else []
        if rng.random() < _GLASSES:
            clothes.about["accessories"].append("glasses")
            surfaces.append(_glasses_surface(rng, body, posed))
        return surfaces

    def _headwear_of(
        self, rng: np.random.Generator, body: Body, posed: Posed, look: Look, clothes: Clothes
    ) -> tuple[Surface | None, float | None]:
        """A beanie or headscarf, and the height above which it hides the hair; None: all of it."""
        draw, female = rng.random(), float(body.about.get("gender", 0.5)) > 0.5
        scarf = female and draw < _HEADSCARVES
        if not scarf and draw > 1 - _BEANIES:
            height = rng.uniform(0.035, 0.065)
            sewn = self._headwear.beanie(
                body, posed, height, rng.uniform(0.008, 0.02), rng.choice((0.0, 0.03, 0.08)) * rng.random()
            )
            fabric, name = sample_fabric(rng, ("knit", "plain", "melange")), "beanie"
        elif scarf:
            height = None
            sewn = self._headwear.headscarf(body, posed, rng.uniform(0.008, 0.018), rng.uniform(0.062, 0.075))
            fabric, name = sample_fabric(rng, ("plain", "melange")), "headscarf"
        else:
            return None, 0.0
        clothes.hidden |= sewn.hidden
        clothes.about["accessories"].append(name)
        texture = head_texture(rng, fabric.tile(1 / self._hair_pixels), self._hair_pixels)
        finish: dict[str, Any] = {"fold": 0.002, "seed": int(rng.integers(1 << 31)), "specular": 0.01}
        if scarf:
            # Its ends lie around the neck, over the collar.
            ends = self._dresser.tailor.band("snood", body, posed, clothes.under)
            clothes.surfaces.append(make_surface("scarf", ends.vertices, ends.rest, ends.mesh, texture, **finish))
        return make_surface(name, sewn.vertices, sewn.rest, sewn.mesh, texture, **finish), height

    # --- loading, once each ------------------------------------------------------------------------------------------------------

    def _load_piece(self, folder: str, name: str) -> Piece:
        detail = self.detail if folder == "eyes" else 0
        return load_piece(self.assets / folder / name / f"{name}.mhclo", self.model, detail)


def _glasses_surface(rng: np.random.Generator, body: Body, posed: Posed) -> Surface:
    vertices, rest, faces = glasses(rng, body, posed)
    colour = np.array(_FRAMES[int(rng.integers(len(_FRAMES)))], np.uint8)
    uv = np.full((1, 2), 0.5, np.float32)
    mesh = (faces, uv, np.zeros_like(faces))
    return make_surface("glasses", vertices, rest, mesh, np.broadcast_to(colour, (2, 2, 3)).copy(), specular=0.12, gloss=60.0)
