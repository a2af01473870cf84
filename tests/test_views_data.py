"""Sets of several views: what a rig sees is what its cameras say, both folder layouts, reading and writing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")

from people_bodies import ellipsoid, figure
from view_scenes import draw, ring

from h2k_rt.data.people.closed import closed_mesh
from h2k_rt.data.views.articulated import find_frames
from h2k_rt.data.views.make import FrameJob, MeshJob, make_view_sets, part_of
from h2k_rt.data.views.occupancy import sample_occupancy
from h2k_rt.data.views.rig import draw_rig
from h2k_rt.data.views.viewset import OccupancySamples, SetDescription, ViewSets, ViewSetWriter
from h2k_rt.errors import DataError
from h2k_rt.output.ply import write_shape
from h2k_rt.views.subject import check_views, find_cube

AXES = np.array((0.3, 0.85, 0.25))


def test_a_rig_sees_what_its_cameras_say() -> None:
    body = ellipsoid(rings=24)
    mesh = closed_mesh(body.vertices, body.faces, 0.04)
    drawing = draw_rig(figure(body), mesh, np.random.default_rng(3), 3, 96)
    for camera, mask, photo in zip(drawing.cameras, drawing.masks, drawing.photos, strict=True):
        assert photo.shape == (96, 96, 3)
        at = np.floor(camera.project(body.vertices * 0.97 + np.array([0, 0.027, 0]))).astype(int)
        assert (mask[at[:, 1], at[:, 0]] > 0).mean() > 0.99
        hull = cv2.convexHull(camera.project(body.vertices).astype(np.float32))
        assert abs(cv2.contourArea(hull) / (mask > 0).sum() - 1) < 0.03
    assert min(check_views(drawing.cameras, drawing.masks, find_cube(drawing.cameras, drawing.masks))) > 0.95


def test_occupancy_is_near_the_surface_and_true() -> None:
    body = ellipsoid(rings=48)
    samples = sample_occupancy(body.vertices, body.faces, np.random.default_rng(0), 17_000)
    q = np.linalg.norm((samples.points - (0, 0.9, 0)) / AXES, axis=1)
    clear = abs(q - 1) > 0.02
    assert (samples.inside == (q < 1))[clear].mean() > 0.999
    distance = np.abs(np.linalg.norm(samples.points - (0, 0.9, 0), axis=1) * (1 - 1 / q))[:16_000]
    # At most the deviate's length in three dimensions, at least its part along the normal: 5 % of 0.85 m.
    assert 0.03 < np.sqrt((distance**2).mean()) < 0.075
    assert np.abs(samples.points[16_000:] - (0, 0.9, 0)).max() > 0.9
    points, inside = samples.draw(np.random.default_rng(1), 501)
    assert points.shape == (501, 3) and inside.sum() == 250


def test_sets_are_written_whole_and_read_back(tmp_path: Path) -> None:
    body = ellipsoid(rings=16)
    cameras = ring(2, (72, 96))
    from h2k_rt.data.views.viewset import Drawing

    samples = OccupancySamples(np.zeros((4, 3), np.float32), np.array([True, False, True, False]))
    rgb = np.random.default_rng(0).integers(0, 255, (96, 72, 3), np.uint8)
    mask = np.full((96, 72), 255, np.uint8)
    description = SetDescription(2, 2, {"kind": "test", "seed": 1}, "x", "CC0")
    writer = ViewSetWriter(tmp_path / "set", description)
    writer.write(1, Drawing([rgb, rgb], [mask, mask], cameras, samples), {"n": np.float32(2)}, (body.vertices, body.faces))
    assert writer.has(1) and not writer.has(0)
    found = ViewSets(tmp_path / "set")
    assert found.ids == ("000001",) and found.description == description
    person = found.read("000001")
    np.testing.assert_array_equal(person.rgb(1), rgb)
    np.testing.assert_array_equal(person.mask(0), mask)
    np.testing.assert_allclose(person.cameras[1].matrix, cameras[1].matrix)
    assert person.occupancy().inside.tolist() == samples.inside.tolist()
    ViewSetWriter(tmp_path / "set", description)
    with pytest.raises(DataError, match="other options"):
        ViewSetWriter(tmp_path / "set", SetDescription(2, 2, {"kind": "test", "seed": 2}))
    (tmp_path / "set" / "people" / "000001" / "00.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"00\.png"):
        person.rgb(0)
    with pytest.raises(DataError, match="--rig"):
        ViewSets(tmp_path)


def articulated(folder: Path) -> np.ndarray:
    """A sequence of one frame by three cameras in the set's layout; returns the mesh's vertices."""
    body = ellipsoid(rings=16)
    sequence = folder / "T_test"
    for part in ("meshes", "images", "silhouettes", "calibration"):
        (sequence / part).mkdir(parents=True)
    write_shape(body.vertices, body.faces, sequence / "meshes" / "mesh_0007.ply")
    balls = np.array([(0, y, 0, 0.25) for y in np.linspace(0.3, 1.5, 7)])
    for k, camera in enumerate(ring(3, (72, 96)), 1):
        np.savetxt(sequence / "calibration" / f"Camera{k}.Pmat.cal", camera.matrix)
        mask = draw(camera, balls)
        cv2.imwrite(str(sequence / "silhouettes" / f"Silhouette{k}_0007.png"), mask)
        cv2.imwrite(str(sequence / "images" / f"Image{k}_0007.png"), cv2.merge([mask // 2] * 3))
        cv2.imwrite(str(sequence / "images" / f"Image{k}_0008.png"), cv2.merge([mask] * 3))  # a frame without a mesh
    return body.vertices


@pytest.mark.slow
def test_the_articulated_layout_and_plain_meshes(tmp_path: Path) -> None:
    vertices = articulated(tmp_path / "articulated")
    (frame,) = frames = find_frames(tmp_path / "articulated")
    assert frame.name == "T_test/mesh_0007" and len(frame.photos) == 3
    assert make_view_sets(tmp_path / "a", FrameJob(frames, metres_per_unit=0.5)) == 1
    person = ViewSets(tmp_path / "a").read("000000")
    for a, b in zip(person.cameras, ring(3, (72, 96)), strict=True):
        np.testing.assert_allclose(a.project(vertices * 0.5), b.project(vertices), atol=1e-6)
    assert person.mask(1).max() == 255 and person.occupancy().inside.any()
    (tmp_path / "articulated" / "T_test" / "calibration" / "Camera2.Pmat.cal").unlink()
    with pytest.raises(DataError, match="camera 2"):
        find_frames(tmp_path / "articulated")
    meshes = (tmp_path / "articulated" / "T_test" / "meshes" / "mesh_0007.ply",)
    assert make_view_sets(tmp_path / "m", MeshJob(meshes, 2, size=64)) == 1
    person = ViewSets(tmp_path / "m").read("000000")
    assert person.mask(0).shape == (64, 64) and (person.mask(0) > 0).mean() > 0.1
    assert json.loads((person.folder / "about.json").read_text()) == {"mesh": "mesh_0007.ply"}


def test_parts_are_80_and_20_percent() -> None:
    items = list(range(10))
    assert part_of(items, "test") == (4, 9) and len(part_of(items, "train")) == 8 and len(part_of(items, "all")) == 10
