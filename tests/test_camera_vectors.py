"""The camera and depth convention against the published renderer: rays cast at a turned ellipsoid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import trimesh

from h2k_rt.constants import Method
from h2k_rt.surface.rays import tangents

pytestmark = pytest.mark.parity

N = 128


def hits(origins: np.ndarray, directions: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest and farthest distance along each ray (R,), inf and -inf without a hit (Moeller and Trumbore)."""
    near, far = np.full(len(directions), np.inf), np.full(len(directions), -np.inf)
    edge1, edge2 = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    for start in range(0, len(directions), 256):
        d, o = directions[start : start + 256, None], origins[start : start + 256, None]
        h = np.cross(d, edge2[None])
        a = (edge1 * h).sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            s = o - triangles[None, :, 0]
            u = (s * h).sum(-1) / a
            q = np.cross(s, np.broadcast_to(edge1, s.shape))
            v = (d * q).sum(-1) / a
            t = (edge2 * q).sum(-1) / a
            inside = (np.abs(a) > 1e-14) & (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 0)
        near[start : start + 256] = np.where(inside, t, np.inf).min(1)
        far[start : start + 256] = np.where(inside, t, -np.inf).max(1)
    return near, far


def test_rendered_depth(load_vectors: Callable[[str], dict[str, np.ndarray]]) -> None:
    data = load_vectors("render")
    method = Method(size=N)
    ball = trimesh.creation.icosphere(subdivisions=4)
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    vertices = (ball.vertices / np.linalg.norm(ball.vertices, axis=1, keepdims=True) * data["axes"]) @ turn.T
    # The order of the vertices is that of the mesh library: each stored one must be among ours.
    for vertex in data["rotated_vertices_every50"]:
        assert np.linalg.norm(vertices - vertex, axis=1).min() < 1e-6
    triangles = vertices[ball.faces]
    rows = np.s_[:: N // 21]  # enough of the picture; every ray meets every triangle

    def grid(line: np.ndarray) -> np.ndarray:
        x, y = np.meshgrid(line, line)
        return np.stack([x[rows].ravel(), -y[rows].ravel(), np.full(x[rows].size, -1.0)], 1)

    plane = grid(tangents(N, method))
    rays = plane / np.linalg.norm(plane, axis=1, keepdims=True)
    camera = np.broadcast_to([0.0, 0.0, 1.0], rays.shape)
    # The optional orthographic rendering takes the grid from edge to edge of the picture.
    parallel = grid(np.linspace(-method.half_tan, method.half_tan, N)) * (1, 1, -1)
    straight = np.broadcast_to([0.0, 0.0, -1.0], rays.shape)
    for name, found in (("depth", hits(camera, rays, triangles)), ("ortho", hits(parallel, straight, triangles))):
        for side, r in zip(("near", "far"), found, strict=True):
            hit = np.isfinite(r)
            depth = np.where(hit, (np.where(hit, r, 1) - 1) * method.focal_px + N / 2, 0).reshape(-1, N)
            theirs = data[f"{name}_{side}"][rows]
            assert hit.sum() > 400
            # A pixel right at the silhouette may differ.
            assert ((depth > 0) != (theirs > 0)).sum() <= 2
            both = (depth > 0) & (theirs > 0)
            assert np.abs(depth - theirs)[both].max() <= 1e-3, (name, side)
