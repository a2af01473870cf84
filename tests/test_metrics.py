"""Metrics against shapes whose answers are known from geometry."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import surface_bodies as bodies

from h2k_rt.constants import METHOD
from h2k_rt.errors import DataError
from h2k_rt.framing import Framing
from h2k_rt.metrics.alignment import at_height, shift_between
from h2k_rt.metrics.maps import angles_between, depth_errors, facing_normal_error, mask_iou, normal_error
from h2k_rt.metrics.mesh import MeshErrors, compare_meshes, sample_points
from h2k_rt.metrics.picture_camera import PictureCamera, normals_of_depth, normals_of_encoded
from h2k_rt.metrics.regions import face_region, hands_region
from h2k_rt.metrics.shape import Shape, load_shape
from h2k_rt.surface.normals import normal_from_depth

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("open3d")


def sphere(radius: float = 1.0, centre: tuple[float, float, float] = (0, 0, 0), subdivisions: int = 5) -> Shape:
    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Shape(np.float32(made.vertices + np.array(centre)), np.int32(made.faces))


def box(size: tuple[float, float, float] = (1, 1, 1), centre: tuple[float, float, float] = (0, 0, 0)) -> Shape:
    made = trimesh.creation.box(extents=size)
    return Shape(np.float32(made.vertices + np.array(centre)), np.int32(made.faces))


def compare(prediction: Shape, truth: Shape, **options: object) -> MeshErrors:
    return compare_meshes(prediction, truth, cm_per_unit=1.0, threads=1, **options)  # type: ignore[arg-type]


# Meshes


def test_concentric_spheres() -> None:
    """Every point is 0.2 from the other sphere; the facets of 20 480 triangles stand in by less than 0.0002."""
    errors = compare(sphere(0.8), sphere(1.0))
    assert errors.p2s == pytest.approx(0.2, abs=5e-4)
    assert errors.truth_to_prediction == pytest.approx(0.2, abs=5e-4)
    assert errors.chamfer == pytest.approx(0.2, abs=5e-4)
    assert errors.chamfer_squared == pytest.approx(0.04, abs=2e-4)
    assert errors.iou == pytest.approx(0.8**3, abs=3 * errors.iou_std_error)
    assert 0 < errors.iou_std_error < 0.003


def test_unit_of_the_results() -> None:
    errors = compare_meshes(sphere(0.8, subdivisions=4), sphere(1.0, subdivisions=4), threads=1, samples=2000, volume_points=1000)
    assert errors.p2s == pytest.approx(20, abs=0.1)
    assert errors.chamfer_squared == pytest.approx(400, abs=4)


def test_moved_sphere() -> None:
    """A point at angle a from the move t is |sqrt(1 + t^2 + 2 t cos a) - 1| from the unmoved sphere; cos a is uniform."""
    t = 0.3
    u = np.linspace(-1, 1, 200_001)
    distance = np.abs(np.sqrt(1 + t * t + 2 * t * u) - 1)
    errors = compare(sphere(1.0, (0, 0, t)), sphere(1.0))
    tolerance = 4 * errors.p2s_std_error
    assert 1e-4 < errors.p2s_std_error == pytest.approx(distance.std() / math.sqrt(30_000), rel=0.02)
    assert errors.p2s == pytest.approx(distance.mean(), abs=tolerance)
    assert errors.truth_to_prediction == pytest.approx(distance.mean(), abs=tolerance)
    assert errors.chamfer_squared == pytest.approx((distance**2).mean(), abs=tolerance)
    lens = math.pi * (4 + t) * (2 - t) ** 2 / 12
    assert errors.iou == pytest.approx(lens / (8 / 3 * math.pi - lens), abs=3 * errors.iou_std_error)


def test_shifted_boxes() -> None:
    """Unit cubes shifted by t along x: the shifted face and t of the four sides stand out."""
    t = 0.25
    errors = compare(box(centre=(t, 0, 0)), box())
    # Of the six faces one is t outside, one t inside (nearest: the face t away; a rim of it is nearer to the sides), and of each of
    # the four along x the strip of length t is on average t / 2 away.
    inside = np.minimum.reduce([np.full((1001, 1001), t), *_edge_distances(1001)]).mean()
    expected = (t + inside + 4 * t * t / 2) / 6
    assert errors.p2s == pytest.approx(expected, abs=4 * errors.p2s_std_error)
    assert errors.truth_to_prediction == pytest.approx(expected, abs=4 * errors.p2s_std_error)
    assert errors.iou == pytest.approx((1 - t) / (1 + t), abs=3 * errors.iou_std_error)


def _edge_distances(n: int) -> list[np.ndarray]:
    at = (np.arange(n) + 0.5) / n
    edge = np.minimum(at, 1 - at)
    return [np.broadcast_to(edge[:, None], (n, n)), np.broadcast_to(edge[None], (n, n))]


def test_directions_are_not_mixed_up() -> None:
    """A prediction that lacks half of the truth: its own points lie on the truth, not the other way round."""
    truth = Shape(
        np.concatenate((box().vertices, box(centre=(5, 0, 0)).vertices)),
        np.concatenate((box().faces, box().faces + 8)),
        "two boxes",
    )
    errors = compare(box(), truth)
    assert errors.p2s == pytest.approx(0, abs=1e-5)
    assert 2 < errors.truth_to_prediction < 3
    assert errors.iou == pytest.approx(0.5, abs=0.01)


def test_same_mesh_far_from_the_origin_has_no_error() -> None:
    far = sphere(0.5).moved(shift=(100, -300, 50))
    errors = compare(far, far)
    assert errors.p2s < 1e-5 and errors.chamfer_squared < 1e-9 and errors.iou == 1


def test_same_seed_same_numbers() -> None:
    one, other = (compare(sphere(0.9), box(), seed=3, samples=500, volume_points=500) for _ in range(2))
    assert one == other
    assert one != compare(sphere(0.9), box(), seed=4, samples=500, volume_points=500)


def test_volume_survives_holes_overlaps_and_inside_out_faces() -> None:
    whole = sphere(1.0)
    holed = Shape(whole.vertices, whole.faces[np.random.default_rng(0).random(len(whole.faces)) > 0.01])
    assert compare(holed, whole).iou > 0.99
    body = sphere(0.7, subdivisions=3)
    dressed = Shape(
        np.concatenate((whole.vertices, body.vertices)), np.concatenate((whole.faces, body.faces + len(whole.vertices)))
    )
    assert compare(dressed, whole).iou > 0.999
    assert compare(Shape(whole.vertices, whole.faces[:, ::-1].copy()), whole).iou > 0.999


def test_points_are_even_on_the_surface() -> None:
    """Large and small faces get points by area: a box of 1 x 1 x 10 has 20 / 21 of its area on its sides."""
    points = sample_points(box((1, 1, 10)), 20_000, np.random.default_rng(1))
    share = float((np.abs(points[:, 2]) > 4.9999).mean())
    assert share == pytest.approx(1 / 21, abs=4 * math.sqrt(1 / 21 / 20_000))


def test_alignment() -> None:
    truth, moved = box((1, 2, 1)), box((1, 2, 1), (0.1, 0.2, 0.3))
    assert np.allclose(shift_between(moved, truth, "none"), 0)
    assert np.allclose(shift_between(moved, truth, "z"), (0, 0, -0.3), atol=1e-6)
    assert np.allclose(shift_between(moved, truth, "centroid"), (-0.1, -0.2, -0.3), atol=1e-6)
    tall = at_height(moved, 1.7)
    low, high = tall.bounds
    assert np.allclose(low, (-0.425, 0, -0.425), atol=1e-6) and np.allclose(high, (0.425, 1.7, 0.425), atol=1e-6)
    with pytest.raises(ValueError, match="has no height"):
        at_height(Shape(np.float32([[0, 0, 0], [1, 0, 0], [0, 0, 1]]), np.int32([[0, 1, 2]])), 1.7)


def test_centroid_weights_by_area() -> None:
    """A box meshed finely on one side only has its centroid in the middle all the same."""
    vertices, faces = trimesh.remesh.subdivide(box().vertices, box().faces, face_index=np.arange(4))
    assert np.allclose(Shape(np.float32(vertices), np.int32(faces)).centroid, 0, atol=1e-6)


# Files


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb", ".stl"])
def test_mesh_files(tmp_path: Path, suffix: str) -> None:
    made = trimesh.creation.box(extents=(1, 2, 3))
    made.export(tmp_path / f"box{suffix}")
    loaded = load_shape(tmp_path / f"box{suffix}")
    assert np.allclose(loaded.bounds, ((-0.5, -1, -1.5), (0.5, 1, 1.5)))
    assert loaded.areas.sum() == pytest.approx(22)


def test_nodes_of_a_scene_are_placed(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box(), transform=trimesh.transformations.translation_matrix((5, 0, 0)))
    scene.add_geometry(trimesh.creation.box())
    scene.export(tmp_path / "two.glb")
    low, high = load_shape(tmp_path / "two.glb").bounds
    assert np.allclose(low, -0.5) and np.allclose(high, (5.5, 0.5, 0.5))


def test_bad_mesh_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.ply: no such file"):
        load_shape(tmp_path / "gone.ply")
    (tmp_path / "mesh.txt").write_text("x")
    with pytest.raises(DataError, match="known mesh format"):
        load_shape(tmp_path / "mesh.txt")
    for suffix in (".ply", ".obj", ".glb", ".stl"):
        (tmp_path / f"bad{suffix}").write_bytes(b"\x00 no mesh at all")
        with pytest.raises(DataError, match=f"bad{suffix}"):
            load_shape(tmp_path / f"bad{suffix}")
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "cloud.ply")
    with pytest.raises(DataError, match="no triangles"):
        load_shape(tmp_path / "cloud.ply")


def test_impossible_meshes() -> None:
    corners = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    with pytest.raises(DataError, match="not a finite number"):
        Shape(corners * np.float32(np.nan), np.int32([[0, 1, 2]]))
    with pytest.raises(DataError, match="vertex that is not in the file"):
        Shape(corners, np.int32([[0, 1, 3]]))
    with pytest.raises(DataError, match="area 0"):
        Shape(corners, np.int32([[0, 1, 1]]))


# Maps


def test_angles() -> None:
    for degrees in (1e-3, 1, 30, 90, 150, 180):
        turned = np.float32([math.sin(math.radians(degrees)), 0, math.cos(math.radians(degrees))])
        assert float(angles_between(turned, np.float32([0, 0, 1]))) == pytest.approx(degrees, rel=1e-3)


def test_normal_error_counts_the_mask_only() -> None:
    truth = np.zeros((2, 2, 3), np.float32)
    truth[..., 2] = 1
    tilted = truth.copy()
    tilted[0, 0] = (0.6, 0, 0.8)
    mask = np.array([[True, True], [False, False]])
    assert normal_error(tilted, truth, mask) == pytest.approx(math.degrees(math.acos(0.8)) / 2, abs=1e-3)
    assert math.isnan(normal_error(tilted, truth, np.zeros((2, 2), bool)))


def ray_sphere(camera: PictureCamera, size: int, step: int, centre: np.ndarray, radius: float) -> tuple[np.ndarray, ...]:
    """Depth (2, n, n) in nu, normals (2, n, n, 3) and hits of a sphere in units of the reference distance, every step-th pixel."""
    first = step // 2 - 1 if step > 1 else 0
    at = np.arange(first, size, step) + 0.5
    shape = (len(at), len(at))
    depth, normals, hit = np.zeros((2, *shape), np.float32), np.zeros((2, *shape, 3), np.float32), np.zeros(shape, bool)
    x, y, z = centre
    reach = 1.3 * radius * camera.focal / (1 - z)
    columns = np.flatnonzero(np.abs(at - camera.cx - camera.focal * x / (1 - z)) < reach)
    rows = np.flatnonzero(np.abs(at - camera.cy + camera.focal * y / (1 - z)) < reach)
    window = np.ix_(rows, columns)
    tx, ty = np.meshgrid((at[columns] - camera.cx) / camera.focal, (at[rows] - camera.cy) / camera.focal)
    ray = np.stack((tx, -ty, -np.ones_like(tx)), -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    away = centre - (0, 0, 1)
    along = ray @ away
    inside = along**2 - (away @ away - radius**2)
    hit[window] = inside > 0
    for side, half in enumerate((-np.sqrt(np.maximum(inside, 0)), np.sqrt(np.maximum(inside, 0)))):
        distance = along + half
        nu = ((distance - 1) * camera.focal + METHOD.size / 2) / METHOD.depth_unit_px
        depth[side][window] = np.where(inside > 0, nu, 0)
        normals[side][window] = (distance[..., None] * ray - away) / radius
    return depth, normals, hit


#: Off the axis, where the obliquity of the rays matters: by 20 degrees.
CENTRE, RADIUS = np.array([-0.22, 0.25, 0.05]), 0.1
CAMERAS = {
    "published": PictureCamera(),
    "long focus": PictureCamera.of(2048, 20.0),
    "shifted": PictureCamera(1900.0, 1100.0, 960.0),
}


def _sphere_of(name: str) -> tuple[PictureCamera, np.ndarray, float]:
    scale = METHOD.focal_px / CAMERAS[name].focal
    return CAMERAS[name], CENTRE * (scale if scale < 1 else 1), RADIUS * min(scale, 1)


@pytest.mark.parametrize("name", CAMERAS)
def test_true_normals_of_encoded_ones(name: str) -> None:
    """A sphere's normals come back from the published encoding at both resolutions, up to 70 degrees of slope."""
    camera, centre, radius = _sphere_of(name)
    depth, normals, hit = ray_sphere(camera, 2048, 1, centre, radius)
    rows, columns = (slice(int(w.min()), int(w.max()) + 1) for w in np.nonzero(hit))
    for step, most in ((1, 0.5), (8, 1.0)):
        coarse, _, _ = ray_sphere(camera, 2048, step, centre, radius)
        for side in (0, 1):
            encoded = normal_from_depth(coarse[side])
            distance = camera.distance(depth[side][rows, columns])
            found = normals_of_encoded(encoded, (rows, columns), distance, camera, back=side == 1)
            truth = normals[side][rows, columns]
            # Away from the outline, where the differences reach across it, and where 8 px are far on the sphere.
            viewed = np.abs(truth @ (centre - (0, 0, 1)) / np.linalg.norm(centre - (0, 0, 1)))
            sure = hit[rows, columns] & (viewed > math.cos(math.radians(70)))
            assert sure.sum() > 10_000
            assert normal_error(found, truth, sure) < most, (step, side)
            assert np.allclose(np.linalg.norm(found[sure], axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("name", CAMERAS)
def test_true_normals_of_depth(name: str) -> None:
    camera, centre, radius = _sphere_of(name)
    depth, normals, hit = ray_sphere(camera, 2048, 1, centre, radius)
    rows, columns = (slice(int(w.min()) - 2, int(w.max()) + 3) for w in np.nonzero(hit))
    window = camera.cut(rows, columns)
    for side in (0, 1):
        found = normals_of_depth(depth[side][rows, columns], hit[rows, columns], window, back=side == 1)
        assert normal_error(found, normals[side][rows, columns], hit[rows, columns]) < 0.5
        assert not found[~hit[rows, columns]].any()


def test_plane_seen_at_an_angle() -> None:
    """A plane through the reference point, turned by 30 degrees about x or y, all over the picture, also at its corners."""
    camera = PictureCamera()
    at = (np.arange(3, 2048, 8) + 0.5 - 1024) / camera.focal
    tx, ty = np.meshgrid(at, at)
    ray = np.stack((tx, -ty, -np.ones_like(tx)), -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    for degrees in (0, 30, -30):
        turn = math.radians(degrees)
        for normal in (np.array([math.sin(turn), 0, math.cos(turn)]), np.array([0, math.sin(turn), math.cos(turn)])):
            nu = (((-normal[2] / (ray @ normal)) - 1) * camera.focal + 1024) / 512
            encoded = normal_from_depth(nu.astype(np.float32))
            for low in (2, 230):  # a corner, and the opposite one
                window = (slice(8 * low, 8 * low + 160), slice(8 * low, 8 * low + 160))
                distance = camera.distance(np.kron(nu[low : low + 20, low : low + 20], np.ones((8, 8))).astype(np.float32))
                found = normals_of_encoded(encoded, window, distance, camera, back=False)
                truth = np.broadcast_to(normal.astype(np.float32), found.shape)
                everywhere = np.ones(found.shape[:2], bool)
                assert normal_error(found, truth, everywhere) < 0.3
                assert facing_normal_error(truth, everywhere, back=False) == pytest.approx(abs(degrees), abs=1e-3)


def test_camera_follows_the_framing() -> None:
    """A point seen at pixel p before is seen at scale * p + shift after."""
    camera = PictureCamera.of(512, 50).framed(Framing(4.2, -50.0, 31.0, 2048))
    x, y = camera.tangents(2048, 2048)
    before_x, before_y = PictureCamera.of(512, 50).tangents(512, 512)
    for pixel in (100, 300):
        column, row = 4.2 * (pixel + 0.5) - 50 - 0.5, 4.2 * (pixel + 0.5) + 31 - 0.5
        assert np.interp(column, np.arange(2048), x) == pytest.approx(before_x[pixel], abs=1e-6)
        assert np.interp(row, np.arange(2048), y) == pytest.approx(before_y[pixel], abs=1e-6)


def test_depth_with_a_known_offset() -> None:
    front, back = bodies.bulge(256)
    mask = back > 0
    truth = np.stack((front, back))
    exact = depth_errors(truth + np.float32(0.2), truth, mask, unit=10)
    assert exact.offset == pytest.approx(2, abs=1e-5)
    assert exact.front == pytest.approx(0, abs=1e-5) and exact.back == pytest.approx(0, abs=1e-5)
    assert exact.flat_front == pytest.approx(10 * np.abs(front[mask] - np.median(front[mask])).mean(), rel=1e-5)
    # A person too thick by 0.1 on each side: no offset, 0.1 on both sides, nothing when each side may move.
    thick = truth + np.float32([-0.1, 0.1])[:, None, None]
    errors = depth_errors(thick, truth, mask, unit=10)
    assert errors.front == pytest.approx(1, abs=1e-4) and errors.back == pytest.approx(1, abs=1e-4)
    assert abs(errors.offset) <= 1 + 1e-4
    assert errors.front_alone == pytest.approx(0, abs=1e-5) and errors.back_alone == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="empty mask"):
        depth_errors(truth, truth, np.zeros_like(mask))


def test_flat_sheet_is_the_prediction_of_a_flat_sheet() -> None:
    front, back = bodies.bulge(256)
    mask, truth = back > 0, np.stack((front, back))
    sheet = np.stack((np.full_like(front, 1.7), np.full_like(back, 2.2)))
    errors = depth_errors(sheet, truth, mask)
    assert (errors.front_alone, errors.back_alone) == pytest.approx((errors.flat_front, errors.flat_back), rel=1e-5)
    assert replace(errors, offset=0.0) != errors


def test_mask_iou() -> None:
    one, other = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    one[:, :6], other[:, 4:] = True, True
    assert mask_iou(one, other) == pytest.approx(0.2)
    assert mask_iou(one, one) == 1 and mask_iou(one, ~one) == 0 and mask_iou(one & other & False, other & False) == 1


def test_regions_lie_on_face_and_hands() -> None:
    joints = bodies.person_joints(2048)
    face = face_region(joints, 1568, 2048)
    rows, columns = np.nonzero(face)
    assert np.hypot(columns.mean() + 0.5 - joints[0, 0], rows.mean() + 0.5 - joints[:5, 1].mean()) < 20
    assert math.sqrt(face.sum() / math.pi) == pytest.approx(0.065 * 1568, rel=0.01)
    assert not hands_region(joints, 1568, 2048).any()  # this person has no fingers
    joints[23:27] = (*(joints[9, :2] + (10, 80)), 1)
    hands = hands_region(joints, 1568, 2048)
    rows, columns = np.nonzero(hands)
    assert np.hypot(columns.mean() + 0.5 - joints[23, 0], rows.mean() + 0.5 - joints[23, 1]) < 1
    assert math.sqrt(hands.sum() / math.pi) == pytest.approx(math.hypot(10, 80), rel=0.01)
    joints[0] = 0
    assert not face_region(joints, 1568, 2048).any()
