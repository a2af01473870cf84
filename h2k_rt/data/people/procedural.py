"""Clothes cut from the base mesh's shells: tops, trousers, skirts, dresses, jackets and coats, worn over each other.

Each garment is the shell, pushed outward by its ease, skinned and rounded, then cut along its hems: sleeve length, length, neckline
and front opening are lines of a field on the template, so they sit at the same place on every body.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from h2k_rt.data.people.body import SKIN_VERTICES, Body, BodyModel, Posed
from h2k_rt.data.people.cloth import Field, Sewn, sew
from h2k_rt.data.people.drape import Torso, push_out
from h2k_rt.data.people.garments import Piece
from h2k_rt.data.people.raster import vertex_normals
from h2k_rt.data.people.shells import BodySuit, SkirtShell, landmarks
from h2k_rt.data.people.subdivide import Refined, triangles

#: Least distance between the layers of cloth, metres.
LAYER = 0.005
#: How often neighbours are averaged until hollows of the body are bridged.
_SMOOTHING = 12
#: How far trousers reach up under a top that hangs over them, metres.
_TUCKED = 0.045
#: The rest pose stands astride, so skirts are wide enough at the sides already.
_SIDEWAYS = 0.55
#: Distance of skirts from the legs; their vertices are 5 cm apart, so that the cloth between them needs room.
_SKIRT_GAP = 0.012


@dataclass(frozen=True)
class Top:
    """How a top is cut. Lengths as shares: ``sleeve`` 0 at the shoulder, 1 at the wrist; ``hem`` 1 at the waist, 0 at the crotch.

    Attributes:
        neck: "crew", "scoop", "v", "boat" or "high"; neck_drop: metres below the pit of the neck.
        ease: metres off the body at the hem, sleeve_ease at the sleeves' ends; gap: everywhere.
        drape: 0..1, how far hollows of the body are bridged.
        opening: half width of the open front at the hem in metres; 0 closed.
        fall: metres inward per metre downward below bust and belly; large: it clings.
    """

    sleeve: float
    hem: float
    neck: str = "crew"
    neck_drop: float = 0.01
    ease: float = 0.02
    sleeve_ease: float = 0.012
    gap: float = 0.004
    drape: float = 0.7
    opening: float = 0.0
    fall: float = 1.0


@dataclass(frozen=True)
class Bottom:
    """How trousers are cut: ``length`` 0 at the crotch, 1 at the ankle; ``waist`` as a top's hem; eases at thigh, knee and hem."""

    length: float
    waist: float = 0.75
    thigh_ease: float = 0.01
    knee_ease: float = 0.012
    hem_ease: float = 0.012
    gap: float = 0.003
    drape: float = 0.5


@dataclass(frozen=True)
class Skirt:
    """How a skirt is cut: ``length`` 0 at the crotch, 1 at the ankle; ``flare`` widens it toward the hem; ``folds`` around it.

    Attributes:
        gap: metres off the body at the waist; depth: of the folds at the hem, as a share of the radius.
        opening: half width of the open front of a coat in metres; 0 closed.
    """

    length: float
    waist: float = 0.9
    flare: float = 0.2
    folds: int = 0
    depth: float = 0.0
    gap: float = 0.006
    opening: float = 0.0
    phase: float = 0.0


@dataclass(frozen=True)
class Inner:
    """A garment of MakeHuman that something procedural is worn over; posed vertices (N, 3) float32, metres."""

    piece: Piece
    vertices: NDArray[np.float32]


class Tailor:
    """Cuts procedural clothes for any body.

    Args:
        bends: (19158,) closeness of base vertices to bending joints.
        detail: 0 or 1 more subdivision for large pictures.
    """

    def __init__(self, model: BodyModel, bends: NDArray[np.floating], detail: int) -> None:
        self.model, self._bends = model, bends
        self.suit, self.skirt = BodySuit(model, 1 + detail), SkirtShell(model, 1 + detail)
        self._marks = landmarks(model)
        arm = np.linalg.norm(self._marks.elbow - self._marks.shoulder) + np.linalg.norm(self._marks.wrist - self._marks.elbow)
        self._arm = float(arm)
        self._suit_tree = cKDTree(self.suit.template)
        below = self.model.template_vertices[:SKIN_VERTICES, 1] < self._marks.waist + 0.1
        arms = [b for label, b in model.bone_index.items() if "arm" in label or label.startswith(("wrist", "finger", "metacarpal"))]
        of_arm = np.asarray(model.skin_weights[:SKIN_VERTICES][:, arms].sum(axis=1)).ravel() > 0.02
        self._lower_skin = below & ~of_arm
        self._torso = Torso(
            self.suit.template, self.suit.arm_share < 0.3, self._marks.crotch, float(self._marks.shoulder[1]) - 0.06
        )
        self._nearest_kept: dict[Piece, NDArray[np.int32]] = {}
        self._lower_suit = np.flatnonzero((self.suit.height < self._marks.waist + 0.1) & (self.suit.arm_share < 0.02))

    @functools.cached_property
    def ankles(self) -> NDArray[np.intp]:
        """Vertices of the body suit just above the ankles."""
        height = self._marks.ankle[1]
        return np.flatnonzero((self.suit.height > height + 0.03) & (self.suit.height < height + 0.10))

    @property
    def bare(self) -> Field:
        """``thickness`` of nothing at all."""
        return np.full(len(self.suit.indices), -1.0)

    def thickness(self, piece: Piece) -> Field:
        """How far a fitted garment stands off the body suit (N,), metres; -1 where it is not."""
        suit = self.suit
        points = piece.matrix @ piece.fit(self.model.template_vertices)
        normals = suit.normals(suit.template)
        near = self._suit_tree.query(points)[1]
        outward = np.einsum("pc,pc->p", points - suit.template[near], normals[near])
        out = np.full(len(suit.template), -1.0)
        np.maximum.at(out, near, outward)
        distance = cKDTree(points).query(suit.template)[0]
        filled = np.where(out < 0, suit.step @ np.maximum(out, 0), out)
        return np.where(distance < 0.045, np.maximum(suit.step @ filled, filled), -1.0)

    # --- garments ----------------------------------------------------------------------------------------------------------------

    def top(self, shape: Top, body: Body, posed: Posed, under: Field, inner: Sequence[Inner] = ()) -> Sewn:
        """A top over what is worn already (``under``: thickness; ``inner``: garments whose wrinkles it must clear)."""
        suit, marks = self.suit, self._marks
        hem = self._height(shape.hem)
        field = np.maximum(hem - suit.height, suit.down_arm - shape.sleeve * self._arm)
        field = np.maximum(field, self._neckline(shape.neck, shape.neck_drop))
        if shape.opening > 0:
            field = np.maximum(field, self._front_opening(suit.template, shape.opening, hem))
        down = np.clip((marks.shoulder[1] + 0.02 - suit.height) / (marks.shoulder[1] - hem), 0, 1)
        along = np.clip(suit.down_arm / max(shape.sleeve * self._arm, 0.05), 0, 1)
        share = suit.arm_share
        ease = (
            shape.gap + (1 - share) * shape.ease * down**1.3 + share * (shape.sleeve_ease * along + shape.ease * 0.35 * (1 - along))
        )
        return self._sew(field, ease, shape.drape, (body, posed), under, suit.top, fall=shape.fall, inner=inner)

    def bottom(self, shape: Bottom, body: Body, posed: Posed, under: Field, over: Field | None = None) -> Sewn:
        """Trousers; ``over`` is the thickness of a top that hangs over them: they end inside it, a hand's breadth above its hem."""
        suit, marks = self.suit, self._marks
        waist = self._height(shape.waist)
        if over is not None and (over > 0).any():
            waist = float(np.clip(suit.height[over > 0].min() + _TUCKED, min(waist, self._height(0.5)), self._height(1.0)))
        hem = marks.crotch + shape.length * (marks.ankle[1] - 0.02 - marks.crotch)
        field = np.maximum(suit.height - waist, hem - suit.height)
        field = np.maximum(field, np.where(suit.arm_share > 0.2, 0.1, -0.1))
        places = [marks.ankle[1], marks.knee[1], marks.crotch, marks.waist]
        eases = [shape.hem_ease, shape.knee_ease, shape.thigh_ease, 0.0]
        if hem > marks.knee[1]:
            places, eases = [hem, marks.crotch, marks.waist], [shape.hem_ease, shape.thigh_ease, 0.0]
        ease = shape.gap + np.interp(suit.height, places, eases)
        return self._sew(field, ease, shape.drape, (body, posed), under, suit.bottom, over)

    def skirt_of(self, shape: Skirt, body: Body, posed: Posed, under: Field) -> Sewn:
        """A skirt, or the lower half of a dress or coat."""
        shell, marks = self.skirt, self._marks
        waist = self._height(shape.waist)
        hem = marks.crotch + shape.length * (marks.ankle[1] - 0.02 - marks.crotch)
        field = np.maximum(shell.height - waist, hem - shell.height)
        if shape.opening > 0:
            field = np.maximum(field, self._front_opening(shell.template, shape.opening, hem))
        rest = body.rest[shell.indices]
        drop = np.clip((waist - shell.height) / max(waist - hem, 0.05), 0, 1.2)
        gap = np.maximum(shape.gap, self._at_skirt(under) + LAYER)
        centre = np.array([0.0, 0.0, rest[:, 2].mean()])
        away = (rest - centre) * (1, 0, 1)
        radius = np.linalg.norm(away, axis=1)
        away *= (_SIDEWAYS, 0, 1) / radius[:, None]
        wave = shape.depth * drop * np.cos(shape.folds * shell.around + shape.phase)
        rest = rest + away * (gap + radius * (shape.flare * drop**1.2))[:, None]
        moved = self._around_legs(posed.skin(rest, shell.weights), body, posed, under)
        refined = shell.cloth
        fine_rest, fine = (refined.matrix @ points.astype(np.float32) for points in (rest, moved))
        if shape.folds:
            ripple = (refined.matrix @ (wave * radius).astype(np.float32))[:, None]
            fine_rest, fine = (
                fine_rest + ripple * (refined.matrix @ away.astype(np.float32)),
                fine + ripple * _outward(fine, triangles(refined.quads)),
            )
        hidden = np.zeros(len(self.model.template_vertices), np.bool_)
        if shape.opening == 0:
            height = self.model.template_vertices[:SKIN_VERTICES, 1]
            hidden[:SKIN_VERTICES] = self._lower_skin & (height < waist - 0.03) & (height > hem + 0.10)
        return sew(field, refined, fine_rest, fine, self._bends[shell.indices], hidden, self.bare)

    def band(self, kind: str, body: Body, posed: Posed, under: Field) -> Sewn:
        """A strip over what is worn: "belt", "snood", "straps" of a backpack, or one strap "across" the chest."""
        p, marks = self.suit.template, self._marks
        x, y = p[:, 0], p[:, 1]
        chest = float(marks.shoulder[1])
        ease, drape = 0.003, 0.0
        if kind == "belt":
            field = np.abs(y - self._height(0.9)) - 0.018
        elif kind == "snood":
            field, ease, drape = np.maximum(float(marks.neck[1]) - 0.035 - y, np.abs(x) - 0.11), 0.022, 1.0
        elif kind == "straps":
            field = np.maximum(np.abs(np.abs(x) - 0.095) - 0.022, chest - 0.26 - y)
        else:
            field = np.maximum(np.abs(0.62 * (y - chest) - 0.78 * (x - 0.10)) - 0.016, self._height(0.35) - y)
        if kind != "snood":
            field = np.maximum(field, np.where(self.suit.arm_share > 0.45, 0.05, -0.05))
        return self._sew(field, np.full(len(p), ease), drape, (body, posed), under, self.suit.top)

    # --- shared ------------------------------------------------------------------------------------------------------------------

    def _sew(
        self,
        field: Field,
        ease: Field,
        drape: float,
        worn_on: tuple[Body, Posed],
        under: Field,
        refined: Refined,
        over: Field | None = None,
        fall: float | None = None,
        inner: Sequence[Inner] = (),
    ) -> Sewn:
        suit, (body, posed) = self.suit, worn_on
        rest = body.rest[suit.indices]
        smooth = rest
        for _ in range(_SMOOTHING):
            smooth = suit.step @ smooth
        normals = suit.normals(smooth)
        # Cloth spans hollows, but does not cut into what sticks out.
        off = ease + drape * np.maximum(np.einsum("vc,vc->v", smooth - rest, normals), 0)
        if fall is not None:
            off = np.maximum(off, ease + drape * np.einsum("vc,vc->v", self._torso.hang(rest, fall), normals))
        off = np.where(under >= 0, np.maximum(off, under + LAYER), off)
        off = np.maximum(off, suit.step @ off)
        if over is not None:
            off = np.where(over > 0, np.minimum(off, np.maximum(over - LAYER, 0.0005)), off)
        rest = rest + normals * off[:, None]
        moved = posed.skin(rest, suit.weights)
        fine_rest, fine = (refined.matrix @ points.astype(np.float32) for points in (rest, moved))
        for below in inner:
            normals = _outward(below.vertices, below.piece.faces)
            push_out(fine, below.vertices, normals, self._nearest(below.piece, refined), np.float32(LAYER), np.float32(0.06))
        # A little beyond the hem, so that what is worn over it does not dip in right behind it.
        thickness = np.where(field < 0.03, off, -1.0)
        return sew(field, refined, fine_rest, fine, self._bends[suit.indices], suit.covered_skin(field, 0.012), thickness)

    def _height(self, share: float) -> float:
        """Height on the template: 1 waist, 0 crotch, linear beyond."""
        return self._marks.crotch + share * (self._marks.waist - self._marks.crotch)

    def _neckline(self, kind: str, drop: float) -> Field:
        """Above zero inside the opening for the neck."""
        p, neck = self.suit.template, self._marks.neck
        x, y, z = p[:, 0], p[:, 1] - neck[1], p[:, 2] - neck[2]
        if kind == "high":
            return y - 0.018 + 0.25 * z
        wide, deep, forward = {"boat": (0.125, 0.045, 0.0), "scoop": (0.095, 0.085, 0.05)}.get(kind, (0.078, 0.048, 0.012))
        round_neck = wide * (1 - np.sqrt((x / wide) ** 2 + ((y - 0.02) / (deep + drop)) ** 2 + ((z - forward) / 0.09) ** 2))
        if kind != "v":
            return round_neck
        wedge = 0.5 * (y + 0.09 + 3 * drop) - 0.8 * np.abs(x)
        return np.maximum(round_neck, np.minimum(wedge, 2 * z))

    def _front_opening(self, points: NDArray[np.float64], half_width: float, hem: float) -> Field:
        """Above zero where an open front shows what is below; narrower at the chest."""
        chest = self._marks.shoulder[1] - 0.05
        width = half_width * (0.45 + 0.55 * np.clip((chest - points[:, 1]) / max(chest - hem, 0.1), 0, 1))
        return np.where(points[:, 2] > self._marks.neck[2] - 0.01, width - np.abs(points[:, 0]), -0.1)

    def _at_skirt(self, thickness: Field) -> Field:
        """Values of the body suit at the skirt's vertices near it, 0 elsewhere."""
        distance, near = self._suit_tree.query(self.skirt.template)
        return np.where(distance < 0.05, np.maximum(thickness[near], 0), 0.0)

    def _around_legs(self, points: NDArray[np.floating], body: Body, posed: Posed, under: Field) -> NDArray[np.floating]:
        """Posed coarse vertices of a skirt, moved out of the posed legs and what they wear."""
        suit = self.suit
        rest = body.rest[suit.indices]
        worn = posed.skin(rest + suit.normals(rest) * np.maximum(under, 0)[:, None], suit.weights)
        normals = suit.normals(worn)
        tree = cKDTree(worn[self._lower_suit])
        for _ in range(3):
            near = self._lower_suit[tree.query(points)[1]]
            outside = np.einsum("vc,vc->v", points - worn[near], normals[near])
            push = normals[near] * np.maximum(_SKIRT_GAP - outside, 0)[:, None]
            # The push is spread, or single vertices would stick out.
            points = points + np.where(np.abs(push) > np.abs(spread := self.skirt.step @ push), push, spread)
        return points

    def _nearest(self, piece: Piece, refined: Refined) -> NDArray[np.int32]:
        """Vertex of a garment next to each fine vertex of the body suit, on the template."""
        if piece not in self._nearest_kept:
            template = self.model.template_vertices
            tree = cKDTree(piece.matrix @ piece.fit(template).astype(np.float32))
            self._nearest_kept[piece] = tree.query(refined.matrix @ self.suit.template.astype(np.float32))[1].astype(np.int32)
        return self._nearest_kept[piece]


def _outward(points: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """(V, 3) unit normals."""
    out = np.empty_like(points)
    vertex_normals(points, faces, out)
    return out
