"""The renderer of synthetic people against analytic bodies, ray casting, and the published camera."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from h2k_rt.constants import METHOD
from h2k_rt.data.people.figure import Figure, Surface
from h2k_rt.data.people.render import render, render_relief
from h2k_rt.data.people.scene import Scene
from h2k_rt.data.people.view import PUBLISHED_VIEW, View, ViewCamera, camera_from_dict, published_camera
from h2k_rt.surface.rays import distance_from_nu, lift_to_scan, tangents

SIZE = 192


def ellipsoid(centre=(0.0, 0.9, 0.0), axes=(0.3, 0.85, 0.25), rings=64, fold=0.0, **changes) -> Surface:
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
    given = {
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


def cast_ellipsoid(camera: ViewCamera, centre, axes) -> tuple[np.ndarray, np.ndarray]:
    """Distances in metres along the rays to the near and the far side; NaN where a ray misses."""
    tangent = np.tan(np.radians(camera.fov / 2)) * (2 * (np.arange(camera.size) + 0.5) / camera.size - 1)
    x, y = np.meshgrid(tangent, tangent)
    ray = np.stack((x, -y, -np.ones_like(x)), axis=-1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    ray = ray @ camera.rotation / axes
    origin = (camera.centre + camera.rotation.T @ (0, 0, camera.distance_metres) - centre) / axes
    a, b, c = (ray**2).sum(-1), ray @ origin, origin @ origin - 1
    root = np.sqrt(np.where(b * b - a * c >= 0, b * b - a * c, np.nan))
    return (-b - root) / a, (-b + root) / a


@pytest.mark.parametrize("view", [PUBLISHED_VIEW, View(yaw=24, pitch=7, roll=-4, fov=22, scale=0.97, shift=(30, -20))])
def test_depth_is_that_of_the_analytic_body(view: View) -> None:
    centre, axes = np.array((0.1, 0.9, -0.2)), np.array((0.3, 0.85, 0.25))
    body = figure(ellipsoid(centre, axes, rings=96))
    drawn = render(body, view, Scene(), SIZE)
    camera = camera_from_dict(drawn.camera)
    near, far = cast_ellipsoid(camera, centre, axes)
    # SPEC 7 with lengths in scan units: D = (r - r0) f + 1024 px of the full canvas, 512 px to a nu.
    truth = [((r / camera.metres_per_unit - camera.distance) * METHOD.focal_px + 1024) / 512 for r in (near, far)]
    inside = np.isfinite(near)
    assert (inside == (drawn.mask > 0)).mean() > 0.999
    both = inside & (drawn.mask > 0)
    for side in (0, 1):
        error = np.abs(drawn.depth[side][both] - truth[side][both])
        assert np.median(error) < 2e-5  # a third of a step of the 16-bit picture
        assert np.quantile(error, 0.98) < 1e-3


def test_published_camera_is_that_of_the_surface_stage() -> None:
    """Depth lifted by the surface stage's own rays comes back to the vertices' place."""
    centre, axes = np.array((0.0, 0.9, 0.0)), np.array((0.3, 0.85, 0.25))
    mesh = ellipsoid(centre, axes, rings=96)
    camera = published_camera(mesh.vertices, PUBLISHED_VIEW, SIZE)
    assert camera.distance == pytest.approx(1)
    drawn = render_relief(mesh.vertices, mesh.faces, camera)
    tangent = tangents(SIZE)
    for side in (0, 1):
        rows, columns = np.nonzero(drawn.mask)
        points = np.empty((len(rows), 3), np.float32)
        lift_to_scan(distance_from_nu(drawn.depth[side][rows, columns]), tangent[columns], tangent[rows], METHOD, points)
        world = points * camera.metres_per_unit + camera.centre
        level = np.sqrt((((world - centre) / axes) ** 2).sum(1))
        assert np.abs(level - 1).max() < 2e-3
        again = camera.lift(drawn.depth[side])[rows, columns]
        assert np.abs(again - world).max() < 1e-5
