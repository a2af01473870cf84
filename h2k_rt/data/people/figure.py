"""What a synthetic person is made of, between the dressing room and the renderer.

World coordinates: metres, x right as the camera sees it, y up, z toward the camera; the person faces +z, the left is +x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Surface:
    """One textured triangle mesh of a figure: skin, a garment, hair.

    Attributes:
        name: what it is, for reports.
        vertices: (V, 3) float32, posed, world metres.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        uv: (T, 2) float32, (0, 0) is the lower left of the texture; uv_faces: (F, 3) int32 into it.
        texture: (h, w, 3) uint8 sRGB.
        tint: (3,) float32, factor of the linear colour.
        alpha: (h, w) uint8, cut out below 110; None: opaque.
        rest: (V, 3) float32, the same vertices in the rest pose in metres; folds are placed in it so that they move with the cloth.
        fold: (V,) float32, amplitude of fine wrinkles in metres, displaced along the normal; 0 is smooth.
        fold_seed: which wrinkles.
        specular: share of light mirrored at grazing-free incidence, 0..1; gloss: Blinn-Phong exponent.
        decal: brows and lashes: painted by their alpha on what lies within millimetres of them, no part of depth and mask.
        colours: (V, 3) uint8 sRGB, used instead of the texture where given (scans).
    """

    name: str
    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    uv_faces: NDArray[np.int32]
    texture: NDArray[np.uint8]
    tint: NDArray[np.float32]
    alpha: NDArray[np.uint8] | None
    rest: NDArray[np.float32]
    fold: NDArray[np.float32]
    fold_seed: int = 0
    specular: float = 0.04
    gloss: float = 20.0
    colours: NDArray[np.uint8] | None = None
    decal: bool = False


@dataclass(frozen=True)
class Figure:
    """A dressed, posed person.

    Attributes:
        surfaces: drawn together; the nearest and the farthest hit of all of them count.
        joints: (31, 3) float64, world metres, in the order of ``constants.JOINT_NAMES``.
        about: what was drawn (body numbers, garments, pose), plain values for the sample's JSON.
    """

    surfaces: tuple[Surface, ...]
    joints: NDArray[np.float64]
    about: Mapping[str, Any] = field(default_factory=dict)
