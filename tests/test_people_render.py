"""The geometry that the renderer of synthetic people draws, against analytic bodies, ray casting, and the published camera."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from people_bodies import card, ellipsoid, figure

from h2k_rt.constants import METHOD
from h2k_rt.data.people.folds import fold_height
from h2k_rt.data.people.render import frame_figure, plain_surface, render, render_relief
from h2k_rt.data.people.scene import Scene
from h2k_rt.data.people.view import PUBLISHED_VIEW, View, ViewCamera, camera_from_dict, published_camera, sample_view
from h2k_rt.surface.rays import distance_from_nu, lift_to_scan, tangents

SIZE = 192


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
    truth = [to_nu(camera, distance) for distance in (near, far)]
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


@pytest.mark.parametrize("fov", [18.0, 50.0, 60.0])
def test_a_plate_stays_flat_whatever_lens_it_was_seen_with(fov: float) -> None:
    """The surface stage lifts every depth along the canvas camera's rays."""
    plate = card(-0.3, 0.3, 0.0, 1.7, 0.0)
    camera = frame_figure(figure(plate), View(fov=fov), SIZE)
    drawn = render_relief(plate.vertices + np.float32((0, 0, 0.05)), plate.faces, camera)
    rows, columns = np.nonzero(drawn.mask)
    points = np.empty((len(rows), 3), np.float32)
    tangent = tangents(SIZE)
    lift_to_scan(distance_from_nu(drawn.depth[0][rows, columns]), tangent[columns], tangent[rows], METHOD, points)
    assert np.abs(points[:, 2] * camera.metres_per_unit - 0.05).max() < 1e-4
    world = camera.lift(drawn.depth[0])[rows, columns]
    assert np.abs(world[:, 2] - 0.05).max() < 1e-4
    assert np.ptp(world[:, 1]) == pytest.approx(1.7, abs=0.03)  # but for the pixels at its ends


def cast_triangles(camera: ViewCamera, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest and farthest hit of (F, 3, 3) triangles in metres along each ray (Moeller and Trumbore); NaN where none is."""
    tangent = np.tan(np.radians(camera.fov / 2)) * (2 * (np.arange(camera.size) + 0.5) / camera.size - 1)
    x, y = np.meshgrid(tangent, tangent)
    ray = np.stack((x, -y, -np.ones_like(x)), axis=-1).reshape(-1, 3)
    ray = ray / np.linalg.norm(ray, axis=-1, keepdims=True) @ camera.rotation
    origin = camera.centre + camera.rotation.T @ (0, 0, camera.distance_metres)
    near, far = np.full(len(ray), np.inf), np.full(len(ray), -np.inf)
    for a, b, c in corners:
        p = np.cross(ray, c - a)
        det = p @ (b - a)
        u = p @ (origin - a) / det
        q = np.cross(origin - a, b - a)
        v = ray @ q / det
        t = (q @ (c - a)) / det
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        near, far = np.where(hit, np.minimum(near, t), near), np.where(hit, np.maximum(far, t), far)
    near[np.isinf(near)] = far[np.isinf(far)] = np.nan
    return near.reshape(x.shape), far.reshape(x.shape)


def to_nu(camera: ViewCamera, metres: np.ndarray) -> np.ndarray:
    """(S, S) distances along this camera's rays -> SPEC 7 for points as far from the reference plane on canvas rays.

    With lengths in scan units: D = (r - 1) f + 1024 px of the full canvas, 512 px to a nu.
    """
    edge = 2 * (np.arange(camera.size) + 0.5) / camera.size - 1
    own, canvas = (np.hypot(1, np.hypot(*np.meshgrid(edge * t, edge * t))) for t in np.tan(np.radians([camera.fov / 2, 25.0])))
    behind = metres / camera.metres_per_unit / own - camera.distance
    return (((1 + behind) * canvas - 1) * METHOD.focal_px + 1024) / 512


def test_flat_faces_are_where_ray_casting_finds_them() -> None:
    """Random triangles through one another, seen aslant: nothing of them is smooth."""
    rng = np.random.default_rng(3)
    vertices = (rng.normal(0, 0.35, (40, 1, 3)) + rng.normal(0, 0.25, (40, 3, 3))).reshape(-1, 3).astype(np.float32)
    faces = np.arange(120, dtype=np.int32).reshape(-1, 3)
    camera = frame_figure(figure(plain_surface(vertices, faces)), View(yaw=20, pitch=-8, fov=40), SIZE)
    drawn = render_relief(vertices, faces, camera)
    near, far = cast_triangles(camera, vertices[faces].astype(np.float64))
    hit = np.isfinite(near)
    assert hit.mean() > 0.1
    assert (hit == (drawn.mask > 0)).mean() > 0.999
    both = hit & (drawn.mask > 0)
    for side, truth in enumerate((near, far)):
        error = np.abs(drawn.depth[side] - to_nu(camera, truth))[both]
        assert np.quantile(error, 0.997) < 2e-4  # the rest: pixels on a border that rounding gives to another face


def test_joints_are_projected_as_published() -> None:
    """SPEC 10: x = f X / (1 - Z) + 1024 on the canvas, here for a picture of another size."""
    body = figure(ellipsoid())
    drawn = render(body, PUBLISHED_VIEW, Scene(), SIZE)
    camera = camera_from_dict(drawn.camera)
    scan = (body.joints - camera.centre) / camera.metres_per_unit
    x = METHOD.focal_px * scan[:, 0] / (1 - scan[:, 2]) + 1024
    y = -METHOD.focal_px * scan[:, 1] / (1 - scan[:, 2]) + 1024
    np.testing.assert_allclose(drawn.joints[:, :2], np.stack((x, y), 1) * SIZE / 2048, atol=1e-9)
    assert (drawn.joints[:, 2] == 1).all()


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_framed_as_photos_are(seed: int) -> None:
    view = sample_view(np.random.default_rng(seed))
    mask = render(figure(ellipsoid()), view, Scene(), 256).mask
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    pixel = 2048 / 256
    assert (rows[-1] + 1 - rows[0]) * pixel == pytest.approx(METHOD.person_height_px * view.scale, abs=1.6 * pixel)
    assert (columns[0] + columns[-1] + 1) / 2 * pixel == pytest.approx(1024 + view.shift[0], abs=1.1 * pixel)
    assert (rows[0] + rows[-1] + 1) / 2 * pixel == pytest.approx(1024 + view.shift[1], abs=1.1 * pixel)


def test_the_surface_centroid_is_on_the_reference_plane() -> None:
    body = ellipsoid(centre=(0.3, 1.0, 0.7))
    camera = frame_figure(figure(body), View(yaw=25), SIZE)
    ahead = camera.rotation @ ((0.3, 1.0, 0.7) - camera.centre)
    assert ahead[2] == pytest.approx(0, abs=2e-3)


def surface_normals(camera: ViewCamera, depth: np.ndarray) -> np.ndarray:
    """(S, S, 3) normals in view axes from the points that the depth stands for, by central differences; toward the camera."""
    points = (camera.lift(depth) - camera.centre) @ camera.rotation.T
    down, right = np.gradient(points, axis=0), np.gradient(points, axis=1)
    normal = np.cross(right, -down)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


@pytest.mark.parametrize("side", [0, 1])
def test_depth_and_normals_are_of_the_same_wrinkled_surface(side: int) -> None:
    size = 768  # pixels of 1.5 mm, so that differences follow the wrinkles
    body = figure(ellipsoid(axes=(0.35, 0.85, 0.3), rings=96, fold=0.006))
    smooth = figure(ellipsoid(axes=(0.35, 0.85, 0.3), rings=96))
    drawn, plain = (render(each, View(yaw=15), Scene(), size) for each in (body, smooth))
    sign = 1 - 2 * side
    expected = sign * surface_normals(camera_from_dict(drawn.camera), drawn.depth[side])
    stored = drawn.normals[side]
    # Away from the silhouette, where displacement along the ray is limited.
    inside = (drawn.mask > 0) & (sign * plain.normals[side][..., 2] > 0.6)
    angle = np.degrees(np.arccos(np.clip((expected * stored).sum(-1), -1, 1)))[inside]
    bent = np.degrees(np.arccos(np.clip((plain.normals[side] * stored).sum(-1), -1, 1)))[inside]
    assert np.median(bent) > 3
    assert np.median(angle) < 0.7
    assert np.quantile(angle, 0.95) < 6


def test_normals_face_the_camera_in_front_and_away_behind() -> None:
    drawn = render(figure(ellipsoid(fold=0.006)), View(yaw=10, fov=30), Scene(), SIZE)
    tangent = np.tan(np.radians(15)) * (2 * (np.arange(SIZE) + 0.5) / SIZE - 1)
    x, y = np.meshgrid(tangent, tangent)
    ray = np.stack((x, -y, -np.ones_like(x)), axis=-1)
    inside = drawn.mask > 0
    for side, sign in ((0, -1), (1, 1)):
        normal = drawn.normals[side]
        assert (sign * (normal * ray).sum(-1)[inside] > 0).all()
        np.testing.assert_allclose(np.linalg.norm(normal[inside], axis=-1), 1, atol=1e-4)
        assert not normal[~inside].any()
    assert (drawn.depth[1] >= drawn.depth[0]).all()
    assert not drawn.depth[:, ~inside].any()


def test_a_mesh_displaced_by_the_fold_height_is_what_is_drawn() -> None:
    flat = card(-0.25, 0.25, 0.0, 0.5, 0.0)
    steps = np.linspace(0, 1, 301)
    u, v = np.meshgrid(steps, steps)
    vertices = np.stack((u * 0.5 - 0.25, v * 0.5, np.zeros_like(u)), axis=-1).reshape(-1, 3).astype(np.float32)
    corner = (np.arange(300)[:, None] * 301 + np.arange(300)[None]).ravel()
    faces = np.concatenate((np.stack((corner, corner + 1, corner + 302), 1), np.stack((corner, corner + 302, corner + 301), 1)))
    displaced = vertices.copy()
    displaced[:, 2] += 0.004 * fold_height(vertices, 5)
    wrinkled = card(-0.25, 0.25, 0.0, 0.5, 0.0, fold=np.full(4, 0.004, np.float32), fold_seed=5)
    camera = frame_figure(figure(flat), PUBLISHED_VIEW, 256)
    drawn = render(figure(wrinkled), PUBLISHED_VIEW, Scene(), 256, camera=camera)
    truth = render_relief(displaced, faces.astype(np.int32), camera)
    both = (drawn.mask > 0) & (truth.mask > 0)
    both[:40] = both[-40:] = False
    relief = 0.004 / camera.metres_per_unit * METHOD.focal_px / 512
    error = np.abs(drawn.depth[0] - truth.depth[0])[both] / relief
    # Displacement along the ray instead of the normal, and weave finer than two pixels, which is left out.
    assert np.median(error) < 0.04
    assert np.abs(truth.depth[0][both] - np.median(truth.depth[0][both])).max() / relief > 0.5


def test_cut_out_textures_let_the_ray_pass() -> None:
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, 32:] = 255
    behind = card(-0.3, 0.3, 0.0, 1.0, 0.0)
    before = card(-0.3, 0.3, 0.0, 1.0, 0.2, alpha=alpha, texture=np.full((64, 64, 3), 90, np.uint8))
    drawn = render(figure(behind, before), PUBLISHED_VIEW, Scene(), SIZE)
    row = drawn.depth[0][SIZE // 2]
    seen = np.flatnonzero(row)
    left, right = seen[len(seen) // 4], seen[3 * len(seen) // 4]
    camera = camera_from_dict(drawn.camera)
    world = camera.lift(drawn.depth[0])[SIZE // 2]
    assert world[left, 2] == pytest.approx(0.0, abs=1e-3)
    assert world[right, 2] == pytest.approx(0.2, abs=1e-3)
    # Both cards face the camera; seen from behind, the far one's normal is turned away and the near one's toward it.
    turned = render(figure(behind, before), View(yaw=180), Scene(), SIZE)
    middle = turned.mask > 0
    assert (turned.normals[0][middle][:, 2] > 0.9).all()
    assert (turned.normals[1][middle][:, 2] < -0.9).all()


def test_the_picture_does_not_depend_on_threads() -> None:
    body = figure(ellipsoid(fold=0.004), ellipsoid(centre=(0.3, 1.2, 0.2), axes=(0.1, 0.1, 0.1)))
    one, three = (render(body, View(yaw=12), Scene(), SIZE, threads=count) for count in (1, 3))
    for name in ("rgb", "albedo", "mask", "depth", "normals", "joints"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))
