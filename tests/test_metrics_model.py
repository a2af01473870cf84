"""The model's evaluation, fed with predictions that are right, or wrong by known amounts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import surface_bodies as bodies

from h2k_rt.constants import METHOD
from h2k_rt.data.dataset import Sample
from h2k_rt.data.people.view import View, ViewCamera
from h2k_rt.framing import Framing
from h2k_rt.inference import CanvasMaps
from h2k_rt.metrics.model import Truth, measure_maps, measure_mesh, truth_on_canvas
from h2k_rt.metrics.picture_camera import PictureCamera, on_canvas_camera
from h2k_rt.surface.build import Surface
from h2k_rt.surface.clean import CleanDepth
from h2k_rt.surface.grid_mesh import grid_mesh
from h2k_rt.surface.normals import normal_from_depth
from h2k_rt.surface.points import lift

trimesh = pytest.importorskip("trimesh")
o3d = pytest.importorskip("open3d")

METRES_PER_UNIT = 2.4
#: Metres by which the figure stands off the world's origin, so that a forgotten centre shows.
CENTRE = np.array([0.3, 0.9, -0.2])
STATURE = 1.62


@pytest.fixture(scope="module")
def body() -> Any:
    """One closed surface in scan units: an ellipsoid as tall as a person, with waves on it."""
    ball = trimesh.creation.icosphere(subdivisions=6)
    x, y, z = ball.vertices.T
    waves = 1 + 0.06 * np.sin(9 * y + 2 * x) * np.cos(3 * x + 2 * z)
    return trimesh.Trimesh(ball.vertices * waves[:, None] * (0.12, 0.35, 0.08), ball.faces, process=False)


@pytest.fixture(scope="module")
def mesh_file(body: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The body in world metres."""
    path = tmp_path_factory.mktemp("truth") / "mesh.ply"
    trimesh.Trimesh(body.vertices * METRES_PER_UNIT + CENTRE, body.faces, process=False).export(path)
    return path


def sample_of(body: Any, size: int, mesh_file: Path | None = None, fov: float = 50.0) -> Sample:
    """The body seen by a camera so far away that its size in the picture stays; SPEC 7 along the rays of the canvas camera."""
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(o3d.core.Tensor(np.float32(body.vertices)), o3d.core.Tensor(np.uint32(body.faces)))
    half_tan = np.tan(np.radians(fov / 2))
    away = np.tan(np.radians(25)) / half_tan
    edge = ((np.arange(size) + 0.5) / size * 2 - 1) * half_tan
    columns = np.abs(edge * away) < 0.15
    x, y = np.meshgrid(edge[columns], -edge)
    rays = np.stack((x, y, -np.ones_like(x)), -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    eye, beyond = np.array([0, 0, away]), 2 * away
    near, far = (
        scene.cast_rays(o3d.core.Tensor(np.float32(np.concatenate((np.broadcast_to(start, rays.shape), way), -1))), nthreads=1)[
            "t_hit"
        ]
        .numpy()
        .astype(float)
        for start, way in ((eye, rays), (eye + beyond * rays, -rays))
    )
    hit = np.isfinite(near)
    depth, mask = np.zeros((2, size, size), np.float32), np.zeros((size, size), np.uint8)
    mask[:, columns] = 255 * hit
    for side, distance in zip(depth, (near, beyond - far), strict=True):
        side[:, columns] = np.where(hit, ((np.where(hit, distance, 0) - away) * METHOD.focal_px + 1024) / 512, 0)
    seen_by = ViewCamera(np.eye(3), CENTRE, METRES_PER_UNIT, away, fov, size, View(fov=fov))
    seen_by.canvas_depth(depth, mask)
    camera = seen_by.as_dict()
    return Sample(
        "000000",
        size,
        bodies.person_joints(size),
        mask=mask,
        depth=depth,
        camera=camera,
        about={"stature_m": STATURE},
        mesh_path=mesh_file,
    )


def prediction_of(truth: Truth, depth: np.ndarray | None = None) -> Any:
    """A reconstruction whose networks said just this depth, (2, N, N), and normals that agree with the truth's."""
    depth = truth.depth if depth is None else depth
    low = depth[:, 3::8, 3::8].copy()
    low[0][~truth.mask[3::8, 3::8]] = METHOD.front_background
    maps = CanvasMaps(
        low_normals=np.concatenate([normal_from_depth(side) for side in truth.depth[:, 3::8, 3::8]]),
        part_normals=(),
        normals=np.concatenate([normal_from_depth(side) for side in truth.depth]),
        low_depth=low,
        low_mask=truth.mask[3::8, 3::8].astype(np.float32),
        depth=np.where(truth.mask, depth, np.float32([6, 0])[:, None, None]),
        mask=truth.mask.astype(np.float32),
    )
    clean = CleanDepth(depth[0], depth[1], truth.mask)
    blank = np.zeros((*truth.mask.shape, 3), np.uint8)
    return SimpleNamespace(maps=maps, surface=Surface(grid_mesh(clean, blank, blank), clean))


UNCHANGED = Framing(1.0, 0.0, 0.0, METHOD.size)


@pytest.fixture(scope="module")
def truth(body: Any, mesh_file: Path) -> Truth:
    return truth_on_canvas(sample_of(body, METHOD.size, mesh_file), UNCHANGED)


def test_right_prediction_has_no_error(truth: Truth) -> None:
    result = prediction_of(truth)
    errors = measure_maps(result, truth)
    assert errors["mask_iou"] == errors["final_mask_iou"] == 1
    for stage in ("", "network_"):
        assert abs(errors[f"depth_{stage}front_cm"]) + abs(errors[f"depth_{stage}offset_cm"]) < 1e-4
    # Low depth is right within what 8 mm of the surface's slope are; normals too, away from the outline.
    assert errors["depth_low_front_cm"] < 0.25
    assert errors["normal_body_front_mesh"] < 0.01
    assert errors["normal_body_front_fused"] < 2
    assert errors["normal_body_front_low"] < 10
    assert errors["normal_body_front_constant"] > 20
    assert errors["normal_face_front_fused"] < 3 and np.isnan(errors["normal_hands_front_fused"])
    assert truth.shape is not None
    found = measure_mesh(result, truth, truth.shape, 0.0, threads=1)
    assert found["p2s_cm"] < 0.03 and found["truth_to_prediction_cm"] < 0.03 and found["volume_iou"] > 0.995


def test_centimetres_follow_the_stature(body: Any, truth: Truth) -> None:
    """A canvas pixel at the reference plane is metres_per_unit / f; the person of 1.62 m is measured as one of 1.70 m."""
    assert truth.cm_per_px == pytest.approx(100 * METRES_PER_UNIT / METHOD.focal_px * 1.70 / STATURE)
    assert truth.shape is not None
    assert truth.shape.height == pytest.approx(METRES_PER_UNIT * np.ptp(body.vertices[:, 1]) * 100 * 1.70 / STATURE, rel=1e-5)


def test_known_errors_come_out(truth: Truth) -> None:
    """5 cm too far away, and 1 cm too thick on either side: the offset is told apart, the thickness stays."""
    px = 1 / truth.cm_per_px / METHOD.depth_unit_px
    wrong = truth.depth + np.float32(px) * np.float32([5 - 1, 5 + 1])[:, None, None]
    result = prediction_of(truth, np.where(truth.mask, wrong, 0).astype(np.float32))
    errors = measure_maps(result, truth)
    for stage in ("", "network_", "low_"):
        assert 4 - 0.01 <= errors[f"depth_{stage}offset_cm"] <= 6 + 0.01
        assert errors[f"depth_{stage}front_cm"] + errors[f"depth_{stage}back_cm"] == pytest.approx(2, abs=0.3)
    assert errors["depth_front_alone_cm"] < 1e-3
    assert truth.shape is not None
    found = measure_mesh(result, truth, truth.shape, 5.0, threads=1)
    assert 0.3 < found["p2s_cm"] < 1.0  # 1 cm along the rays, less where the surface is steep
    far = measure_mesh(result, truth, truth.shape, 0.0, threads=1)
    assert far["p2s_cm"] > found["p2s_cm"] + 1.5


@pytest.mark.parametrize("fov", [50.0, 20.0])
def test_reframed_and_smaller_samples(body: Any, mesh_file: Path, truth: Truth, fov: float) -> None:
    """A half-size sample, enlarged and shifted on the canvas, of a near or a far camera: its maps still fit its mesh."""
    framing = Framing(2.1, -70.0, -95.0, METHOD.size)
    sample = sample_of(body, 1024, mesh_file, fov)
    moved = truth_on_canvas(sample, framing)
    assert moved.cm_per_px == pytest.approx(truth.cm_per_px / 1.05)
    assert np.allclose(moved.joints[0, :2], framing.points(sample.joints[0, :2]))
    # Relief in centimetres is what it was, though the depth that stands for it is another.
    relief = [(t.depth[1] - t.depth[0])[t.mask].mean() * t.cm_per_px for t in (truth, moved)]
    assert relief[1] == pytest.approx(relief[0], rel=0.02)
    assert moved.shape is not None
    found = measure_mesh(prediction_of(moved), moved, moved.shape, 0.0, threads=1)
    # What is near is not enlarged by a far camera; the canvas camera takes it for smaller than it is. Lifted without regard to
    # the field of view it would be bent by 8 cm at its ends besides.
    assert found["p2s_cm"] < (0.1 if fov == 50 else 0.5) and found["volume_iou"] > (0.97 if fov == 50 else 0.88)


def test_depth_for_the_canvas_camera() -> None:
    """A flat plate is flat again when its depth is lifted along the canvas camera's rays, wherever it was seen from."""
    mask = np.zeros((2048, 2048), bool)
    mask[200:1800:50, 700:1300:50] = True
    row, column = np.nonzero(mask)
    for camera in (PictureCamera(), PictureCamera.of(2048, 18.0), PictureCamera(2400.0, 1050.0, 1000.0)):
        plate = 1 - 60 / camera.focal  # 60 pixels before the reference plane
        oblique = np.sqrt(1 + ((column + 0.5 - camera.cx) / camera.focal) ** 2 + ((row + 0.5 - camera.cy) / camera.focal) ** 2)
        depth = np.zeros((1, 2048, 2048), np.float32)
        depth[0, row, column] = ((plate * oblique - 1) * camera.focal + 1024) / 512
        points, _ = lift(on_canvas_camera(depth, mask, camera)[0] * np.float32(512 * 32))
        assert np.allclose((1 - points[:, 2]) * METHOD.focal_px, 60, atol=0.01)


def test_size_of_a_person_without_stature(body: Any) -> None:
    """Without it the outline counts, as in the pipeline: here it is the standing height."""
    sample = sample_of(body, 512)
    assert sample.mask is not None
    bare = Sample(sample.id, 512, sample.joints, mask=sample.mask, depth=sample.depth)
    rows = np.flatnonzero(sample.mask.any(1))
    seen = truth_on_canvas(bare, Framing(4.0, 0.0, 0.0, METHOD.size))
    assert seen.cm_per_px == pytest.approx(170 / (4 * (rows[-1] - rows[0] + 1)))
    assert seen.shape is None
