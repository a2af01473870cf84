"""Calibrated cameras: projection, files of all formats, the person's cube, and cameras that do not match their photos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from view_scenes import BALLS, draw, occupied, ring

from h2k_rt.errors import CameraError, MaskError
from h2k_rt.views.camera_files import load_cameras, match_cameras, save_cameras
from h2k_rt.views.cameras import CalibratedCamera, camera_of_matrix
from h2k_rt.views.network_picture import network_view, outline_distance, projection_of
from h2k_rt.views.subject import check_views, find_cube
from h2k_rt.views.turntable import turntable_cameras


def points(count: int = 40) -> np.ndarray:
    return np.random.default_rng(1).uniform((-0.5, 0, -0.5), (0.5, 1.7, 0.5), (count, 3))


def bent(camera: CalibratedCamera) -> CalibratedCamera:
    return replace(camera, distortion=(-0.2, 0.05, 0.002, -0.003, 0.01))


def test_projection_is_opencvs() -> None:
    camera = bent(ring(3)[1])
    expected, _ = cv2.projectPoints(points(), camera.rotation, camera.translation, camera.intrinsics, np.array(camera.distortion))
    np.testing.assert_allclose(camera.project(points()), expected[:, 0], atol=1e-9)


def test_a_matrix_gives_its_camera_back() -> None:
    for camera in ring(4):
        for factor in (1.0, -0.01):
            found = camera_of_matrix("x", factor * camera.matrix, camera.width, camera.height)
            np.testing.assert_allclose(found.matrix, camera.matrix, atol=1e-9)
    with pytest.raises(CameraError, match="3 x 4"):
        camera_of_matrix("x", np.zeros((3, 4)), 10, 10)


def test_json_there_and_back(tmp_path: Path) -> None:
    cameras = [bent(camera) for camera in ring(3)]
    save_cameras(cameras, tmp_path / "cameras.json")
    loaded = load_cameras(tmp_path / "cameras.json")
    for a, b in zip(cameras, loaded, strict=True):
        assert a.name == b.name
        np.testing.assert_allclose(a.project(points()), b.project(points()), atol=1e-9)


def test_json_of_opencv_counts_from_the_first_pixels_middle(tmp_path: Path) -> None:
    camera = ring(1)[0]
    entry = camera.as_dict() | {"rotation": cv2.Rodrigues(camera.rotation)[0].ravel().tolist(), "distortion": []}
    (tmp_path / "c.json").write_text(json.dumps({"cameras": [entry]}))
    (loaded,) = load_cameras(tmp_path / "c.json")
    np.testing.assert_allclose(loaded.project(points()), camera.project(points()) + 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intrinsics": [[1, 2], [3, 4]]}, "intrinsics"),
        ({"rotation": [[2, 0, 0], [0, 1, 0], [0, 0, 1]]}, "rotation"),
        ({"size": [0, 5]}, "size"),
        ({"translation": None}, "translation"),
        ({"intrinsics": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "focal"),
        ({"translation": [0, 0, float("nan")]}, "finite"),
    ],
)
def test_bad_json_is_told(tmp_path: Path, change: dict, message: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"cameras": [ring(1)[0].as_dict() | change]}))
    with pytest.raises(CameraError, match=message):
        load_cameras(tmp_path / "c.json")


def test_colmap(tmp_path: Path) -> None:
    cameras = ring(2)
    fx, fy, cx, cy = 400.0, 405.0, 123.0, 158.0
    (tmp_path / "cameras.txt").write_text(f"# comment\n7 OPENCV 240 320 {fx} {fy} {cx} {cy} -0.2 0.05 0.002 -0.003\n")
    lines = ["# images"]
    for k, camera in enumerate(cameras):
        w, x, y, z = quaternion(camera.rotation)
        t = " ".join(map(str, camera.translation))
        lines += [f"{k + 1} {w} {x} {y} {z} {t} 7 {camera.name}", "1.0 2.0 -1" if k == 0 else ""]
    (tmp_path / "images.txt").write_text("\n".join(lines) + "\n")
    loaded = load_cameras(tmp_path)
    for a, b in zip(cameras, loaded, strict=True):
        expected = replace(a, distortion=(-0.2, 0.05, 0.002, -0.003, 0.0))
        np.testing.assert_allclose(b.project(points()), expected.project(points()), atol=1e-6)
        assert b.name == a.name
    (tmp_path / "cameras.txt").write_text("7 FISHEYE 240 320 1 2 3 4\n")
    with pytest.raises(CameraError, match="FISHEYE"):
        load_cameras(tmp_path)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    vector = cv2.Rodrigues(rotation)[0].ravel()
    angle = np.linalg.norm(vector)
    return np.concatenate(([np.cos(angle / 2)], np.sin(angle / 2) * vector / angle))


def test_projection_matrices_of_the_articulated_set(tmp_path: Path) -> None:
    cameras = ring(11)
    for k, camera in enumerate(cameras):
        np.savetxt(tmp_path / f"Camera{k}.Pmat.cal", camera.matrix)
    loaded = load_cameras(tmp_path, (240, 320))
    for a, b in zip(cameras, loaded, strict=True):  # Camera10 after Camera9
        np.testing.assert_allclose(a.project(points()), b.project(points()), atol=1e-6)
    with pytest.raises(CameraError, match="how large"):
        load_cameras(tmp_path)


def test_photos_find_their_cameras() -> None:
    cameras = ring(3)
    assert match_cameras(cameras, [Path("a/2.png"), Path("0.jpg")]) == [cameras[2], cameras[0]]
    assert match_cameras(cameras, [Path("x.png"), Path("y.png"), Path("z.png")]) == cameras
    with pytest.raises(CameraError, match=r"2 photos"):
        match_cameras(cameras, [Path("x.png"), Path("y.png")])
    with pytest.raises(CameraError, match=r"nobody\.png"):
        match_cameras(cameras, [Path("0.png"), Path("nobody.png")])


def test_a_photo_of_another_size() -> None:
    camera = ring(1)[0]
    twice = camera.for_photo(480, 640)
    np.testing.assert_allclose(twice.project(points()), 2 * camera.project(points()), atol=1e-9)
    with pytest.raises(CameraError, match="turned by 90"):
        camera.for_photo(320, 240)


def test_undistorted_pictures_fit_the_plain_camera() -> None:
    camera = bent(ring(1, (200, 260))[0])
    spot = np.array([[0.05, 1.1, 0.1]])
    picture = np.zeros((260, 200), np.uint8)
    x, y = camera.project(spot)[0]
    cv2.circle(picture, (round(x - 0.5), round(y - 0.5)), 4, 255, -1)
    plain, straight = camera.undistorted(picture)
    ys, xs = np.nonzero(straight > 127)
    np.testing.assert_allclose((xs.mean() + 0.5, ys.mean() + 0.5), plain.project(spot)[0], atol=0.8)


def test_the_cube_holds_the_body_and_the_views_show_it() -> None:
    cameras = ring(4)
    masks = [draw(camera) for camera in cameras]
    cube = find_cube(cameras, masks)
    low, high = (BALLS[:, :3] - BALLS[:, 3:]).min(0), (BALLS[:, :3] + BALLS[:, 3:]).max(0)
    assert (low > cube.centre - cube.radius).all() and (high < cube.centre + cube.radius).all()
    assert cube.radius < 1.2 * (high - low).max() / 2 * 1.12
    assert min(check_views(cameras, masks, cube)) > 0.97


def test_a_single_view_takes_the_height() -> None:
    camera = ring(1, lift=0.0)[0]
    cube = find_cube([camera], [draw(camera)], height=1.7)
    assert abs(cube.centre - (0, 0.85, 0)).max() < 0.12


def test_wrong_cameras_are_told() -> None:
    cameras = ring(4, lift=0.6)
    aside = BALLS + np.array([0.6, 0, 0, 0])  # in the middle of the ring, swapped photos of a body would look alike
    masks = [draw(camera, aside) for camera in cameras]
    assert min(check_views(cameras, masks, find_cube(cameras, masks))) > 0.97
    swapped = [masks[i] for i in (1, 3, 0, 2)]
    with pytest.raises(CameraError, match=r"do not match.*beside the person in \d\.png"):
        check_views(cameras, swapped, find_cube(cameras, swapped))
    inverted = [  # camera to world instead
        CalibratedCamera(c.name, c.width, c.height, c.intrinsics, c.rotation.T, c.centre) for c in cameras
    ]
    with pytest.raises(CameraError, match="do not match"):
        check_views(inverted, masks, find_cube(inverted, masks))
    with pytest.raises(MaskError, match=r"2\.png"):
        find_cube(cameras, [m * (i != 2) for i, m in enumerate(masks)])


def test_another_persons_outline_is_told() -> None:
    cameras = ring(4)
    masks = [draw(camera) for camera in cameras]
    rows = np.flatnonzero(masks[3].any(axis=1))
    masks[3][rows[0] : rows[-1], 1:-1] = 255  # as wide as the picture
    with pytest.raises(CameraError, match=r"do not match: only \d+ % of the person in 3\.png"):
        check_views(cameras, masks, find_cube(cameras, masks))


def test_turntable() -> None:
    cameras = ring(4, lift=0.0)
    masks = [draw(camera, BALLS[[0, 1, 3, 5]]) for camera in cameras]
    made = turntable_cameras([c.name for c in cameras], masks, 4, height=1.7, fov=2 * np.degrees(np.arctan(160 / 402)))
    cube = find_cube(made, masks)
    assert min(check_views(made, masks, cube)) > 0.9
    assert abs(cube.centre[1] - 0.85) < 0.05
    # The second photo is taken from the person's left, +x.
    assert made[1].centre[0] > 1 and turntable_cameras("0123", masks, -4)[1].centre[0] < -1
    with pytest.raises(CameraError, match="needs 3 photos"):
        turntable_cameras("0123", masks, 3)


def test_network_pictures_follow_their_projection() -> None:
    camera = ring(3)[2]
    mask = draw(camera)
    cube = find_cube(ring(3), [draw(c) for c in ring(3)])
    rgb = np.dstack([mask, np.full_like(mask, 128), mask // 2])
    view = network_view(camera, rgb, mask, cube, 96)
    assert view.picture.shape == (5, 96, 96) and view.picture[:3, 0, 0].tolist() == [0, 0, 0]
    inside = points(4000)
    q = (inside - cube.centre) / cube.radius
    inside, q = inside[abs(q).max(axis=1) < 0.7], q[abs(q).max(axis=1) < 0.7]
    u, v, w = (np.column_stack((q, np.ones(len(q)))) @ projection_of(camera, cube).T.astype(float)).T
    np.testing.assert_allclose(w * cube.radius, camera.to_camera(inside)[:, 2], rtol=1e-5)
    seen = np.floor(camera.project(inside)).astype(int)
    at = np.floor(np.stack((u / w, v / w)) * 96).astype(int)
    assert (at >= 0).all() and (at < 96).all()
    # Away from the outline the small picture says what the photo says.
    share = view.picture[3, at[1], at[0]]
    sure = (share == 0) | (share == 1)
    assert sure.mean() > 0.8
    agreed = (mask[seen[:, 1], seen[:, 0]] > 127) == (share > 0.5)
    assert agreed[sure].mean() > 0.99
    assert (share[occupied(inside) > 0.03] > 0.5).all()


def test_outline_distance_of_a_disc() -> None:
    """Radius less distance to the middle, in eighths of the side, to half a pixel; -1 where nobody is."""
    y, x = np.mgrid[:96, :96] + 0.5
    away = np.hypot(x - 48, y - 48)
    share = np.clip(20.5 - away, 0, 1).astype(np.float32)
    found = outline_distance(share)
    assert np.abs(found - np.clip((20 - away) / 12, -1, 1)).max() < 0.75 / 12
    assert (outline_distance(np.zeros((64, 64), np.float32)) == -1).all()
    assert (outline_distance(np.ones((64, 64), np.float32)) == 1).all()
