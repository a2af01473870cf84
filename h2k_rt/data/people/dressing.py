"""What a person puts on: outfits of MakeHuman, procedural clothes, both mixed, and jackets over them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people import sewing, styles, wardrobe
from h2k_rt.data.people.accessories import backpack, bag_light
from h2k_rt.data.people.assets import Pictures
from h2k_rt.data.people.body import Body, BodyModel, Posed
from h2k_rt.data.people.cloth import Sewn, make_surface
from h2k_rt.data.people.fabrics import FABRICS, Fabric, paint, sample_colour, sample_fabric
from h2k_rt.data.people.figure import Surface
from h2k_rt.data.people.folds import fold_height
from h2k_rt.data.people.garments import bend_closeness
from h2k_rt.data.people.procedural import Bottom, Inner, Skirt, Tailor, Top
from h2k_rt.data.people.raster import vertex_normals
from h2k_rt.data.people.shells import BOTTOM_SIZE, TOP_SIZE
from h2k_rt.data.people.suits import Part, load_shoes, load_suit
from h2k_rt.data.people.wardrobe import Split

_SIDES = ("L", "R")
#: Where cloth bends: bone that starts there, reach in metres.
_BENDS = (
    *((f"lowerarm01.{side}", 0.10) for side in _SIDES), *((f"upperarm01.{side}", 0.10) for side in _SIDES),
    *((f"wrist.{side}", 0.08) for side in _SIDES), *((f"lowerleg01.{side}", 0.13) for side in _SIDES),
    *((f"upperleg01.{side}", 0.15) for side in _SIDES), *((f"foot.{side}", 0.12) for side in _SIDES), ("spine04", 0.12),
)  # fmt: skip
#: Things worn on top of everything, with their share of people.
_EXTRAS = {"belt": 0.06, "snood": 0.03, "across": 0.04, "backpack": 0.06}
#: Broad folds are so much wider than the renderer's widest, which are 58 mm apart.
_BROAD = 0.45
_SKIRT_SIZE = 1.2  # metres around, about, for the scale of patterns


@dataclass
class Clothes:
    """What is put on so far: surfaces, hidden base vertices (19158,) bool, thickness over the body suit, and a description.

    ``inner`` are the garments of MakeHuman among it.
    """

    surfaces: list[Surface]
    hidden: NDArray[np.bool_]
    under: NDArray[np.float64]
    inner: list[Inner] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Wearer:
    rng: np.random.Generator
    body: Body
    posed: Posed
    female: bool


class Dresser:
    """Dresses bodies from one split of the wardrobe; see ``PersonFactory`` for the arguments."""

    def __init__(self, assets: Path, model: BodyModel, pictures: Pictures, split: Split, detail: int) -> None:
        self._clothes, self._model, self._pictures = assets / "clothes", model, pictures
        self._split, self._detail = split, detail
        self._pixels = 1536 if detail else 768
        self._bends = bend_closeness(model, _BENDS)
        self._suit = functools.cache(self._load_suit)
        self._shoes = functools.cache(self._load_shoes)
        self._thickness = functools.cache(self._measure)
        self._kinds = wardrobe.available("fabric", tuple(FABRICS), split)

    @functools.cached_property
    def tailor(self) -> Tailor:
        return Tailor(self._model, self._bends, self._detail)

    def dress(self, rng: np.random.Generator, body: Body, posed: Posed) -> Clothes:
        """A random outfit for a posed body."""
        wearer = _Wearer(rng, body, posed, float(body.about.get("gender", 0.5)) > 0.5)
        clothes = Clothes([], np.zeros(len(body.rest), np.bool_), self.tailor.bare, about={"garments": {}, "accessories": []})
        draw = rng.random()
        if wearer.female:
            draw = draw if draw > 0.3 else draw * 0.75 / 0.3  # fewer outfits of MakeHuman for women than for men
        if draw < (0.22 if wearer.female else 0.36):
            self._wear_suit(clothes, wearer)
        elif draw < 0.52:
            self._wear_mixed(clothes, wearer)
        elif wearer.female and draw > 0.84:
            self._wear_dress(clothes, wearer)
        else:
            self._wear_procedural(clothes, wearer)
        self._wear_extras(clothes, wearer)
        clothes.surfaces = _wrinkled(clothes.surfaces, rng)
        if rng.random() < 0.96:
            self._wear_shoes(clothes, wearer)
        return clothes

    # --- outfits -----------------------------------------------------------------------------------------------------------------

    def _wear_suit(self, clothes: Clothes, wearer: _Wearer) -> None:
        name = self._pick_suit(wearer, None)
        parts = self._suit(name)
        for part in parts.values():
            self._put_on_part(clothes, wearer, name, part)
        if not {"jacket", "overall"} & set(parts) and wearer.rng.random() < 0.25:
            self._wear_jacket(clothes, wearer)

    def _wear_mixed(self, clothes: Clothes, wearer: _Wearer) -> None:
        """Half an outfit of MakeHuman, the other half procedural."""
        rng = wearer.rng
        if rng.random() < 0.5:
            name = self._pick_suit(wearer, "bottom")
            self._put_on_part(clothes, wearer, name, self._suit(name)["bottom"])
            self._wear_top(clothes, wearer)
        else:
            name = self._pick_suit(wearer, "top")
            part = self._suit(name)["top"]
            over = self._thickness(name, "top")
            if wearer.female and rng.random() < 0.35:
                self._wear_skirt(clothes, wearer)
            else:
                self._wear_bottom(clothes, wearer, over)
            self._put_on_part(clothes, wearer, name, part)
        if rng.random() < 0.2:
            self._wear_jacket(clothes, wearer)

    def _wear_procedural(self, clothes: Clothes, wearer: _Wearer) -> None:
        rng = wearer.rng
        if wearer.female and rng.random() < 0.3:
            self._wear_top(clothes, wearer, tucked=True)
            self._wear_skirt(clothes, wearer)
        elif rng.random() < 0.3:
            self._wear_top(clothes, wearer, tucked=True)
            self._wear_bottom(clothes, wearer, None)
        else:
            self._wear_bottom(clothes, wearer, None)
            self._wear_top(clothes, wearer)
        if rng.random() < 0.3:
            self._wear_jacket(clothes, wearer)

    def _wear_dress(self, clothes: Clothes, wearer: _Wearer) -> None:
        """A top and a skirt of one cloth."""
        fabric = sample_fabric(wearer.rng, self._kinds, calm=0.3)
        waist = wearer.rng.uniform(0.85, 1.25)
        self._wear_top(clothes, wearer, tucked=True, fabric=fabric, hem=waist - 0.3)
        self._wear_skirt(clothes, wearer, fabric, waist)
        if wearer.rng.random() < 0.2:
            self._wear_jacket(clothes, wearer)

    # --- single garments ---------------------------------------------------------------------------------------------------------

    def _wear_top(
        self, clothes: Clothes, wearer: _Wearer, tucked: bool = False, fabric: Fabric | None = None, hem: float | None = None
    ) -> None:
        rng = wearer.rng
        name, style = self._pick_style(wearer, "top", styles.TOPS)
        if fabric is None:
            kinds = ("knit", "plain", "melange") if "ribs" in style.details and self._split == "train" else self._kinds
            fabric = sample_fabric(rng, kinds, calm=0.2)
        top = styles.sample_top(rng, style, loose=0.3 if tucked else 1.0)
        if tucked:
            # Short below the waist: what lies under a skirt could only poke through it.
            top = replace(top, hem=rng.uniform(0.45, 0.55) if hem is None else hem, ease=min(top.ease, 0.008))
        self._put_on_top(clothes, wearer, name, top, style.details, fabric, printed=hem is None)

    def _wear_jacket(self, clothes: Clothes, wearer: _Wearer) -> None:
        rng = wearer.rng
        name, style = self._pick_style(wearer, "jacket", styles.JACKETS)
        kinds = ("knit", "plain", "melange") if name == "cardigan" and self._split == "train" else self._kinds
        fabric = sample_fabric(rng, kinds, calm=0.85)
        jacket = styles.sample_top(rng, style)
        self._put_on_top(clothes, wearer, name, jacket, style.details, fabric, printed=name == "hoodie")
        if name == "coat":
            skirt = Skirt(
                length=rng.uniform(0.2, 0.75), waist=rng.uniform(0.8, 1.1), flare=rng.uniform(0.05, 0.3), gap=0.012,
                opening=0.0 if jacket.opening == 0 else rng.uniform(0.02, 0.12),
            )  # fmt: skip
            self._put_on_skirt(clothes, wearer, "coat skirt", skirt, fabric)

    def _put_on_top(
        self, clothes: Clothes, wearer: _Wearer, name: str, top: Top, details: Sequence[str], fabric: Fabric, printed: bool
    ) -> None:
        rng = wearer.rng
        sewn = self.tailor.top(top, wearer.body, wearer.posed, clothes.under, clothes.inner)
        light = sewing.top_light(rng, top, details, self._pixels)
        texture = paint(light, sewing.MIDDLE, fabric.tile(TOP_SIZE[0] / self._pixels))
        if printed and top.opening == 0 and fabric.kind in ("plain", "melange") and rng.random() < 0.3:
            sewing.stamp_print(rng, texture)
        self._put_on_sewn(clothes, wearer, name, sewn, texture, fabric)

    def _wear_bottom(self, clothes: Clothes, wearer: _Wearer, over: NDArray[np.float64] | None) -> None:
        rng = wearer.rng
        name, style = self._pick_style(wearer, "bottom", styles.BOTTOMS)
        bottom: Bottom = styles.sample_bottom(rng, style)
        if clothes.surfaces:  # a tucked top
            bottom = replace(bottom, waist=max(bottom.waist, 0.78))
        denim = "jeans" in style.details and rng.random() < 0.5
        fabric = sample_fabric(rng, ("denim",) if denim else self._kinds, calm=0.8)
        sewn = self.tailor.bottom(bottom, wearer.body, wearer.posed, clothes.under, over)
        width = round(self._pixels * BOTTOM_SIZE[0] / TOP_SIZE[0])
        light = sewing.bottom_light(rng, bottom, style.details, width)
        texture = paint(light, sewing.MIDDLE, fabric.tile(BOTTOM_SIZE[0] / width))
        self._put_on_sewn(clothes, wearer, name, sewn, texture, fabric)

    def _wear_skirt(self, clothes: Clothes, wearer: _Wearer, fabric: Fabric | None = None, waist: float | None = None) -> None:
        rng = wearer.rng
        name, style = self._pick_style(wearer, "skirt", styles.SKIRTS)
        self._put_on_skirt(
            clothes, wearer, name, styles.sample_skirt(rng, style, waist), fabric or sample_fabric(rng, self._kinds, 0.5)
        )

    def _put_on_skirt(self, clothes: Clothes, wearer: _Wearer, name: str, skirt: Skirt, fabric: Fabric) -> None:
        sewn = self.tailor.skirt_of(skirt, wearer.body, wearer.posed, clothes.under)
        width = round(self._pixels * _SKIRT_SIZE / TOP_SIZE[0])
        light = sewing.skirt_light(wearer.rng, skirt, width)
        self._put_on_sewn(clothes, wearer, name, sewn, paint(light, sewing.MIDDLE, fabric.tile(_SKIRT_SIZE / width)), fabric)

    def _wear_shoes(self, clothes: Clothes, wearer: _Wearer) -> None:
        rng = wearer.rng
        names = wardrobe.available("shoes", wardrobe.SHOES, self._split)
        name = names[int(rng.integers(len(names)))]
        parts = self._shoes(name)
        fabrics = {"shoes": None if rng.random() < 0.5 else sample_fabric(rng, ("plain",)), "socks": self._sock_fabric(rng)}
        # Under long trousers socks are not seen, and would only poke through them.
        bare = clothes.under[self.tailor.ankles].max() < 0
        for role, part in parts.items():
            if role == "socks" and not bare:
                continue
            worn = part.piece.wear(wearer.body, wearer.posed)
            fabric = fabrics[role]
            texture = part.original(self._pictures, self._pixels // 2)
            if texture is None or fabric is not None:
                fabric = fabric or sample_fabric(rng, ("plain",))
                texture = part.painted(fabric, self._pictures, self._pixels // 2)
            specular, gloss = (0.05, 30.0) if role == "shoes" else (0.01, 10.0)
            clothes.surfaces.append(
                make_surface(part.piece.name, worn.vertices, worn.rest, part.piece.mesh, texture, specular=specular, gloss=gloss)
            )
            clothes.hidden |= part.piece.hidden
        clothes.about["shoes"] = name

    def _sock_fabric(self, rng: np.random.Generator) -> Fabric:
        colour = np.full(3, float(rng.choice((0.06, 0.2, 0.5, 0.9)))) if rng.random() < 0.8 else sample_colour(rng)
        return sample_fabric(rng, ("plain",), colour=colour)

    def _wear_extras(self, clothes: Clothes, wearer: _Wearer) -> None:
        """Now and then a belt, a snood, or a bag with its straps."""
        rng, extras = wearer.rng, clothes.about["accessories"]
        for kind, share in _EXTRAS.items():
            if rng.random() >= share:
                continue
            extras.append(kind)
            fabric = sample_fabric(rng, ("knit", "plain") if kind == "snood" else ("plain",))
            if kind == "backpack":
                self._put_on_backpack(clothes, wearer, fabric)
            sewn = self.tailor.band({"backpack": "straps"}.get(kind, kind), wearer.body, wearer.posed, clothes.under)
            size = self._pixels // 2
            texture = paint(np.full((size, size), sewing.MIDDLE, np.uint8), sewing.MIDDLE, fabric.tile(TOP_SIZE[0] / size))
            self._put_on_sewn(clothes, wearer, kind, sewn, texture, None)

    def _put_on_backpack(self, clothes: Clothes, wearer: _Wearer, fabric: Fabric) -> None:
        rng, suit = wearer.rng, self.tailor.suit
        back = clothes.under[(suit.height > 0) & (suit.arm_share < 0.1)]
        vertices, rest, faces, uv = backpack(rng, suit, wearer.body, wearer.posed, max(0.0, float(back.max())) + 0.01)
        size = self._pixels // 3
        texture = paint(bag_light(rng, size, sewing.MIDDLE), sewing.MIDDLE, fabric.tile(0.7 / size))
        clothes.surfaces.append(make_surface("bag", vertices, rest, (faces, uv, faces), texture, fold=0.001, seed=1))

    def _put_on_part(self, clothes: Clothes, wearer: _Wearer, suit: str, part: Part) -> None:
        rng, piece = wearer.rng, part.piece
        worn = piece.wear(wearer.body, wearer.posed)
        texture = part.original(self._pictures, self._pixels)
        kind = "original"
        if texture is None or rng.random() < 0.88:
            bottom = part.role in ("bottom", "overall")
            denim = bottom and rng.random() < 0.4
            calm = 0.15 if part.role in ("top", "shirt") else 0.8
            fabric = sample_fabric(rng, ("denim",) if denim else self._kinds, calm)
            texture, kind = part.painted(fabric, self._pictures, self._pixels), fabric.kind
        finish = self._finish(rng, piece.carry(self._bends))
        clothes.surfaces.append(make_surface(piece.name, worn.vertices, worn.rest, piece.mesh, texture, **finish))
        clothes.hidden |= piece.hidden
        clothes.under = np.maximum(clothes.under, self._thickness(suit, part.role))
        clothes.inner.append(Inner(piece, worn.vertices))
        clothes.about["garments"][piece.name] = kind

    def _put_on_sewn(
        self, clothes: Clothes, wearer: _Wearer, name: str, sewn: Sewn, texture: NDArray[np.uint8], fabric: Fabric | None
    ) -> None:
        finish = self._finish(wearer.rng, sewn.bend)
        clothes.surfaces.append(make_surface(name, sewn.vertices, sewn.rest, sewn.mesh, texture, **finish))
        clothes.hidden |= sewn.hidden
        clothes.under = np.maximum(clothes.under, sewn.thickness)
        if fabric is not None:
            clothes.about["garments"][name] = fabric.kind

    def _finish(self, rng: np.random.Generator, bend: NDArray[np.float32]) -> dict[str, Any]:
        """Wrinkles and shine of a cloth: 2 to 8 mm high, highest where it bends; stiff cloth has less."""
        fold = (rng.uniform(0.55, 1.2) * (0.0028 + 0.0037 * bend)).astype(np.float32)
        return {"fold": fold, "seed": int(rng.integers(1 << 31)), "specular": rng.uniform(0, 0.03)}

    # --- choice and loading ------------------------------------------------------------------------------------------------------

    def _pick_suit(self, wearer: _Wearer, role: str | None) -> str:
        suits = wardrobe.available("suit", tuple(wardrobe.SUITS), self._split)
        fitting = [suit for suit in suits if role is None or role in wardrobe.SUITS[suit]]
        own = [suit for suit in fitting if suit.startswith("female") == wearer.female] or fitting
        return own[int(wearer.rng.integers(len(own)))]

    def _pick_style(self, wearer: _Wearer, kind: str, table: Mapping[str, Any]) -> tuple[str, Any]:
        names = wardrobe.available("style", tuple(table), self._split)
        shares = np.array([getattr(table[name], "women" if wearer.female else "men", 1.0) for name in names])
        shares = shares if shares.sum() > 0 else np.ones(len(names))
        name = names[wearer.rng.choice(len(names), p=shares / shares.sum())]
        return name, table[name]

    def _load_suit(self, name: str) -> dict[str, Part]:
        return load_suit(self._clothes / name, wardrobe.SUITS[name], self._model, self._detail)

    def _load_shoes(self, name: str) -> dict[str, Part]:
        return load_shoes(self._clothes / name, self._model, 0)

    def _measure(self, suit: str, role: str) -> NDArray[np.float64]:
        return self.tailor.thickness(self._suit(suit)[role].piece)


def _wrinkled(surfaces: Sequence[Surface], rng: np.random.Generator) -> list[Surface]:
    """Broad folds, a decimetre apart, as shape: outward only, and the same for all layers, so that none cuts through another."""
    seed, height = int(rng.integers(1 << 31)), float(np.exp(rng.uniform(np.log(0.7), np.log(2.6))))
    wave = fold_height(np.concatenate([surface.rest for surface in surfaces]) * np.float32(_BROAD), seed)
    share = 0.5 + 0.5 * np.clip(wave, -1, 1)
    ends = np.cumsum([len(surface.rest) for surface in surfaces])
    folded = []
    for surface, own in zip(surfaces, np.split(share, ends[:-1]), strict=True):
        normals = np.empty_like(surface.vertices)
        vertex_normals(surface.vertices, surface.faces, normals)
        # Fine and broad wrinkles are high at the same places.
        rise = np.float32(height) * surface.fold * own
        folded.append(replace(surface, vertices=surface.vertices + rise[:, None] * normals))
    return folded
