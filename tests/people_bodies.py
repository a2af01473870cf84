"""Small figures with known shape for the tests of the renderer of synthetic people."""

from __future__ import annotations

from typing import Any

import numpy as np

from h2k_rt.data.people.figure import Figure, Surface


def ellipsoid(centre=(0.0, 0.9, 0.0), axes=(0.3, 0.85, 0.25), rings=64, fold=0.0, **changes: Any) -> Surface:
    """A closed mesh of an ellipsoid whose vertices lie on it."""
    polar = np.linspace(0, np.pi, rings + 1)
    around = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, p = np.meshgrid(polar, around, indexing="ij")
    unit = np.stack((np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)), axis=-1).reshape(-1, 3)
    vertices = (unit * axes + centre).astype(np.float32)
    row, column = np.arange(rings)[:, None] * 2 * rings, np.arange(2 * rings)[None]
    a, b = row + column, row + (column + 1) % (2 * rings)
    c, d = a + 2 * rings, b + 2 * rings
    faces = np.concatenate((np.stack((a, c, d), -1).reshape(-1, 3), np.stack((a, d, b), -1).reshape(-1, 3))).astype(np.int32)
    uv = np.stack((p / (2 * np.pi), 1 - t / np.pi), axis=-1).reshape(-1, 2).astype(np.float32)
    given: dict[str, Any] = {
        "name": "ellipsoid",
        "vertices": vertices,
        "faces": faces,
        "uv": uv,
        "uv_faces": faces,
        "texture": np.full((8, 8, 3), 180, np.uint8),
        "tint": np.ones(3, np.float32),
        "alpha": None,
        "rest": vertices,
        "fold": np.full(len(vertices), fold, np.float32),
    }
    return Surface(**{**given, **changes})


def figure(*surfaces: Surface) -> Figure:
    joints = np.zeros((31, 3))
    joints[:, 1] = np.linspace(0.2, 1.6, 31)
    return Figure(surfaces, joints)


def card(x0: float, x1: float, y0: float, y1: float, z: float, **changes: Any) -> Surface:
    """Two triangles across the view, facing +z; texture coordinates 0..1 from the lower left."""
    vertices = np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]], np.float32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    given: dict[str, Any] = {
        "name": "card",
        "vertices": vertices,
        "faces": faces,
        "uv": uv,
        "uv_faces": faces,
        "texture": np.full((8, 8, 3), 128, np.uint8),
        "tint": np.ones(3, np.float32),
        "alpha": None,
        "rest": vertices,
        "fold": np.zeros(4, np.float32),
    }
    return Surface(**{**given, **changes})
