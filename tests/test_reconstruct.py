"""The whole pipeline with the model that ships, on real photos and on the example."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from conftest import REPOSITORY
from h2k_kernels import integrate_normals

from h2k_rt import Reconstructor, load_photo
from h2k_rt.errors import BundleError, EngineError, KeypointsError, MaskError, PersonError
from h2k_rt.inference import fine_scale_normals
from h2k_rt.joints import load_openpose
from h2k_rt.photo import Photo
from h2k_rt.reconstruct import Reconstruction

PHOTOS = ("0281.png", "DSC02808.jpg", "000060.jpg")


@pytest.fixture(scope="module")
def small() -> Reconstructor:
    return Reconstructor()


@pytest.fixture(scope="module")
def results(small: Reconstructor, photos_dir: Path) -> dict[str, Reconstruction]:
    return {name: small.reconstruct(load_photo(photos_dir / name)) for name in PHOTOS}


@pytest.fixture(scope="module")
def example(small: Reconstructor) -> Reconstruction:
    return small.reconstruct(load_photo(REPOSITORY / "examples" / "person.jpg"))


def check_closed(result: Reconstruction) -> None:
    """Every edge in exactly two faces and once in each direction; no degenerate face; one body."""
    faces = result.mesh.faces
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    forth = directed[:, 0] * len(result.mesh.vertices) + directed[:, 1]
    back = directed[:, 1] * len(result.mesh.vertices) + directed[:, 0]
    assert len(np.unique(forth)) == len(forth)
    assert np.array_equal(np.sort(forth), np.sort(back))
    corners = result.mesh.vertices[faces].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    assert areas.min() > 0
    solid = trimesh.Trimesh(result.mesh.vertices, faces, process=False)
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert solid.volume > 0


@pytest.mark.photos
@pytest.mark.parametrize("name", PHOTOS)
def test_photo_becomes_a_closed_standing_body(results: dict[str, Reconstruction], name: str) -> None:
    result = results[name]
    check_closed(result)
    low, high = result.mesh.vertices.min(0), result.mesh.vertices.max(0)
    assert low[1] == pytest.approx(0, abs=1e-4)
    assert 1.5 < high[1] < 2.4  # 1.70 m, more with raised arms
    depth = high[2] - low[2]
    assert 0.15 < depth < 1.2  # a body is neither flat nor a corridor
    # Volume of a body of about 1.7 m: 50 to 100 litres; half to double that for a hull without undercuts.
    volume = trimesh.Trimesh(result.mesh.vertices, result.mesh.faces, process=False).volume
    assert 0.03 < volume < 0.2


@pytest.mark.photos
@pytest.mark.parametrize("name", PHOTOS)
def test_mesh_falls_on_the_person_in_the_photo(results: dict[str, Reconstruction], name: str) -> None:
    """Projected through the photo's camera the mesh covers the person's mask."""
    result = results[name]
    mask = result.canvas.mask
    inside = result.canvas.framing
    height, width = result.photo.rgb.shape[:2]
    pixels = result.camera.project(result.mesh.vertices)
    drawn = np.zeros((height, width), np.uint8)
    at = np.clip(pixels.astype(int), 0, (width - 1, height - 1))
    drawn[at[:, 1], at[:, 0]] = 1
    drawn = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)) > 0
    photo_mask = cv2.warpAffine(
        mask,
        np.array([[inside.scale, 0, inside.dx], [0, inside.scale, inside.dy]]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    person = photo_mask > 127
    assert (drawn & person).sum() / (drawn | person).sum() > 0.93


def test_example_is_complete(example: Reconstruction) -> None:
    check_closed(example)
    assert example.people_found == 1
    assert example.person_number == 1
    assert not example.notes
    assert len(example.providers) == 8
    assert all(p.startswith("onnxruntime ") and p.endswith(" CPUExecutionProvider") for p in example.providers.values())
    assert {"find person", "fuse parts", "high depth", "surface"} <= set(example.timings)
    np.testing.assert_allclose(np.linalg.norm(example.mesh.normals, axis=1), 1, atol=1e-3)
    picture = example.preview()
    assert picture.dtype == np.uint8
    assert picture.shape[1] > 1000
    assert picture.std() > 20


def test_height_scales_the_mesh(small: Reconstructor, example: Reconstruction) -> None:
    photo = example.photo
    child = small.reconstruct(photo, height=0.85)
    np.testing.assert_allclose(child.mesh.vertices, example.mesh.vertices / 2, atol=1e-4)


def test_relief_of_the_normals_is_laid_on_the_trunks_depth(
    small: Reconstructor, example: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = small.method
    assert method.relief_wavelength_px
    monkeypatch.setattr(small, "method", replace(method, relief_wavelength_px=None))
    plain = small.reconstruct(example.photo).maps
    wanted = integrate_normals(
        plain.depth,
        plain.normals,
        wavelength=method.relief_wavelength_px,
        normal_z=method.normal_z,
        depth_unit=method.depth_unit_px,
    )
    np.testing.assert_array_equal(example.maps.depth, wanted)
    person = plain.depth[0] < plain.depth[1]
    moved = np.abs(wanted - plain.depth)[:, person] * method.depth_unit_px  # canvas pixels, about millimetres
    assert 0.5 < moved.mean() < 20
    assert np.array_equal(wanted[:, ~person], plain.depth[:, ~person])


def test_backs_hold_a_share_of_the_low_resolution_normals(
    small: Reconstructor, example: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = small.method
    assert method.back_low_share
    monkeypatch.setattr(small, "method", replace(method, back_low_share=None))
    plain = small.reconstruct(example.photo).maps
    fine = fine_scale_normals(plain.low_normals, method.size // method.low_size, method.normal_z)
    low = cv2.resize(fine.transpose(1, 2, 0), (method.size, method.size), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    person = plain.depth[0] < plain.depth[1]
    made = example.maps.normals
    np.testing.assert_array_equal(made[:3], plain.normals[:3])
    wanted = (1 - method.back_low_share) * plain.normals[3:] + method.back_low_share * low[3:]
    np.testing.assert_allclose(made[3:, person], wanted[:, person], atol=1e-4)
    assert np.abs(made[3:] - plain.normals[3:])[:, person].mean() > 1e-3, "the comparison is of something"


def test_cloud_with_and_without_seams(small: Reconstructor, example: Reconstruction) -> None:
    plain = small.reconstruct(example.photo, mesh="points")
    bridged = small.reconstruct(example.photo, mesh="points", seams=True)
    assert not len(plain.mesh.faces)
    assert len(plain.mesh.vertices) == 2 * int(plain.surface.depth.mask.sum())
    assert not (plain.mesh.colors == 128).all(1).mean() > 0.01
    grey = (bridged.mesh.colors == 128).all(1)
    # The shells are the last points: seven thin rings around the silhouette (SPEC 7).
    shells = int(grey[::-1].argmin())
    assert 1000 < shells < 0.2 * len(plain.mesh.vertices)


@pytest.mark.photos
def test_missing_foot_and_hand_fall_back_and_are_told(small: Reconstructor, photos_dir: Path) -> None:
    photo = load_photo(photos_dir / "0281.png")
    joints = load_openpose(photos_dir / "0281_keypoints.json")
    joints[[17, 18, 19, 9, 23, 24, 25, 26]] = 0
    result = small.reconstruct(photo, joints=joints)
    check_closed(result)
    assert len(result.notes) == 2
    assert any("left foot" in note for note in result.notes)
    assert any("left forearm" in note for note in result.notes)
    # The fallback gives real normals, not a hole: the foot's own pixels are not background.
    foot = result.canvas.framing.points(load_openpose(photos_dir / "0281_keypoints.json")[[17, 19], :2]).mean(0).astype(int)
    window = result.maps.normals[:3, foot[1] - 20 : foot[1] + 20, foot[0] - 20 : foot[0] + 20]
    assert window[2].mean() > 0.4


@pytest.mark.photos
def test_parity_mode_runs_and_stops_where_the_published_program_stops(photos_dir: Path) -> None:
    strict = Reconstructor(parity=True)
    photo = load_photo(photos_dir / "0281.png")
    joints = load_openpose(photos_dir / "0281_keypoints.json")
    mask = np.zeros(photo.rgb.shape[:2], np.uint8)
    mask[200:2000, 400:1400] = 255
    result = strict.reconstruct(photo, joints=joints, mask=mask, mesh="points")
    assert not len(result.mesh.faces)
    joints[23:27] = 0
    with pytest.raises(KeypointsError, match="published program stops"):
        strict.reconstruct(photo, joints=joints, mask=mask)


def test_what_is_wrong_is_said(small: Reconstructor, example: Reconstruction) -> None:
    blank = Photo(np.full((300, 200, 3), 127, np.uint8), "blank.png", None)
    with pytest.raises(PersonError):
        small.reconstruct(blank)
    with pytest.raises(MaskError, match="pixels"):
        small.reconstruct(blank, mask=np.zeros((10, 10), np.uint8))
    with pytest.raises(BundleError, match="nowhere"):
        Reconstructor("nowhere")
    with pytest.raises(EngineError, match="warp drive"):
        Reconstructor(engine="warp drive")  # type: ignore[arg-type]
    with pytest.raises(PersonError, match="2"):
        small.reconstruct(example.photo, person=2)
