"""Framing: a person of any size and place is brought to where the networks were trained, and back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from h2k_rt.camera import photo_camera
from h2k_rt.constants import METHOD
from h2k_rt.errors import PersonError
from h2k_rt.framing import Framing, frame_person, pad_framing, pad_square
from h2k_rt.high_depth import HALO, plan_strips
from h2k_rt.inference import bounding_box, fine_scale_normals
from h2k_rt.person import PersonFinder
from h2k_rt.photo import load_photo
from h2k_rt.surface.normals import normal_from_depth
from h2k_rt.surface.placement import Placement

#: Joints of an upright person of height 1, feet at y = 1, centred at x = 0 (only those that framing reads).
UPRIGHT = {
    **{0: (0, 0.085), 1: (0.01, 0.07), 2: (-0.01, 0.07), 3: (0.04, 0.08), 4: (-0.04, 0.08), 5: (0.1, 0.2), 6: (-0.1, 0.2)},
    **{11: (0.06, 0.49), 12: (-0.06, 0.49), 13: (0.06, 0.72), 14: (-0.06, 0.72), 15: (0.06, 0.955), 16: (-0.06, 0.955)},
}


def person(height: int, width: int, tall: float, x: float, top: float, arms: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mask and joints of a paper figure ``tall`` pixels high, head at ``top``; ``arms`` raised by that share of its height."""
    mask = np.zeros((height, width), np.uint8)
    box = np.array([[x - 0.1 * tall, top + 0.12 * tall], [x + 0.1 * tall, top + tall]])
    cv2.rectangle(mask, tuple(box[0].astype(int).tolist()), tuple(box[1].astype(int).tolist()), 255, -1)
    cv2.ellipse(mask, (int(x), int(top + 0.08 * tall)), (int(0.05 * tall), int(0.08 * tall)), 0, 0, 360, 255, -1)
    if arms:
        cv2.rectangle(mask, (int(x + 0.13 * tall), int(top - arms * tall)), (int(x + 0.16 * tall), int(top + 0.3 * tall)), 255, -1)
        cv2.rectangle(mask, (int(x), int(top + 0.25 * tall)), (int(x + 0.16 * tall), int(top + 0.3 * tall)), 255, -1)
    joints = np.zeros((31, 3))
    for index, (u, v) in UPRIGHT.items():
        at = (x + u * tall, top + v * tall)
        if 0 <= at[0] <= width and 0 <= at[1] <= height:
            joints[index] = (*at, 0.9)
    return mask, joints


@pytest.mark.parametrize(("tall", "x", "top"), [(300, 200, 50), (700, 600, 20), (120, 900, 600), (60, 30, 10)])
def test_person_is_centred_and_of_the_trained_size(tall: float, x: float, top: float) -> None:
    mask, joints = person(760, 1000, tall, x, top)
    framing = frame_person(mask, joints, METHOD)
    canvas = framing.image(mask, border=cv2.BORDER_CONSTANT)
    left, upper, width, height = cv2.boundingRect((canvas > 127).astype(np.uint8))
    assert max(width, height) == pytest.approx(METHOD.person_height_px, rel=0.02)
    assert left + width / 2 == pytest.approx(1024, abs=12)
    assert upper + height / 2 == pytest.approx(1024, abs=16)
    assert framing.height_share == pytest.approx(1, abs=0.03)
    assert framing.hidden_below == 0
    assert not framing.notes
    # Joints go with the picture: the nose stays in the middle of the head.
    assert canvas[tuple(framing.joints(joints)[0, 1::-1].astype(int))] == 255


def test_raised_arms_do_not_make_a_person_taller() -> None:
    mask, joints = person(1000, 800, 600, 400, 300, arms=0.25)
    framing = frame_person(mask, joints, METHOD)
    assert framing.height_share == pytest.approx(1.25, abs=0.05)


def test_cut_off_at_the_hips_keeps_the_size_of_the_body() -> None:
    """A half-length portrait gets the scale of the whole body: the visible half is half the trained height."""
    mask, joints = person(400, 600, 700, 300, 20)
    framing = frame_person(mask, joints, METHOD)
    assert framing.scale * 700 == pytest.approx(METHOD.person_height_px, rel=0.08)
    assert framing.height_share == pytest.approx(380 / 700, abs=0.05)
    assert framing.hidden_below == pytest.approx(320 / 700, abs=0.05)
    assert "cuts the person off" in framing.notes[0]


@pytest.mark.photos
@pytest.mark.parametrize(("name", "row"), [("0281.png", 1250), ("DSC02808.jpg", 1250), ("000060.jpg", 1600)])
def test_a_photo_cut_at_the_thighs_keeps_its_size(photos_dir: Path, name: str, row: int) -> None:
    """The upper part of a photo alone is framed at nearly the size that the whole photo gives."""
    finder, rgb = PersonFinder(), load_photo(photos_dir / name).rgb
    whole, part = (finder.find(np.ascontiguousarray(picture))[0] for picture in (rgb, rgb[:row]))
    wanted = frame_person(whole.mask, whole.joints, METHOD)
    found = frame_person(part.mask, part.joints, METHOD)
    assert found.scale == pytest.approx(wanted.scale, rel=0.15)
    assert found.hidden_below > 0.15
    assert found.notes
    assert not wanted.notes


def test_empty_mask_is_named() -> None:
    with pytest.raises(PersonError, match="empty"):
        frame_person(np.zeros((50, 50), np.uint8), np.zeros((31, 3)), METHOD)


@pytest.mark.parametrize("shape", [(701, 1000), (1000, 701), (512, 512)])
def test_padding_and_its_framing_agree(shape: tuple[int, int]) -> None:
    """A bright pixel of the photo is found where the framing says."""
    image = np.zeros((*shape, 3), np.uint8)
    y, x = 300, 411
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    canvas = pad_square(image, 2048)
    want = pad_framing(*shape, 2048).points(np.array([x + 0.5, y + 0.5]))
    weight = canvas[..., 0].astype(float)
    rows, columns = np.mgrid[0:2048, 0:2048] + 0.5
    found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    np.testing.assert_allclose(found, want, atol=0.6)


def test_camera_puts_the_mesh_back_on_the_photo() -> None:
    """A point lifted from a canvas pixel, placed in metres, projects to the photo pixel that the canvas pixel came from."""
    framing = Framing(1.7, -320.5, 44.25, METHOD.size)
    placement = Placement(2.3, (0.4, 0.9, -0.2))
    camera = photo_camera(framing, placement, METHOD, (900, 1200))
    canvas_points = np.array([[10.0, 20.0], [1024.0, 1024.0], [1500.5, 700.25]])
    depth = np.array([0.9, 1.0, 1.2])  # z from the camera in scan units
    x = (canvas_points[:, 0] - 1024) / METHOD.focal_px * depth
    y = (canvas_points[:, 1] - 1024) / METHOD.focal_px * depth
    metres = placement.apply(np.stack([x, -y, 1 - depth], 1))
    photo_points = (canvas_points - (framing.dx, framing.dy)) / framing.scale
    np.testing.assert_allclose(camera.project(metres), photo_points, atol=2e-3)


def test_strips_cover_the_region_and_stay_on_the_grid() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        region = np.zeros((2048, 2048), bool)
        for _ in range(3):
            y, x, h, w = rng.integers(0, 2000), rng.integers(0, 2000), rng.integers(1, 700), rng.integers(1, 300)
            region[y : y + h, x : x + w] = True
        covered = np.zeros_like(region)
        for strip in plan_strips(region):
            assert not covered[strip.y0 : strip.y1, strip.x0 : strip.x1].any()
            covered[strip.y0 : strip.y1, strip.x0 : strip.x1] = True
            rows, columns = strip.window
            assert all(v % 8 == 0 for v in (rows.start, rows.stop, columns.start, columns.stop))
            assert rows.start == max(0, strip.y0 - HALO)
            assert columns.stop == min(2048, strip.x1 + HALO)
        assert (covered | ~region).all()
    assert not list(plan_strips(np.zeros((2048, 2048), bool)))


def test_low_normals_in_the_fine_encoding_are_those_of_the_finer_depth() -> None:
    """A plane's normals at 256, rescaled, are the normals of the same plane sampled at 2048."""
    for slope_x, slope_y in ((0.0005, 0.0), (-0.0008, 0.0003), (0.0, 0.0)):
        fine_axis, coarse_axis = np.arange(64.0), np.arange(8) * 8 + 3.5

        def plane(axis: np.ndarray, a: float = slope_x, b: float = slope_y) -> np.ndarray:
            return (2 + a * axis[None, :] + b * axis[:, None]).astype(np.float32)

        low = normal_from_depth(plane(coarse_axis))
        fine = normal_from_depth(plane(fine_axis))
        rescaled = fine_scale_normals(np.concatenate([low, low]), 8, METHOD.normal_z)
        np.testing.assert_allclose(rescaled[:3, 4, 4], fine[:, 32, 32], atol=2e-4)
        np.testing.assert_allclose(rescaled[3:, 4, 4], fine[:, 32, 32], atol=2e-4)
    assert not fine_scale_normals(np.zeros((6, 4, 4), np.float32), 8, METHOD.normal_z).any()


def test_bounding_box() -> None:
    region = np.zeros((50, 60), bool)
    assert bounding_box(region, 3) == (0, 0, 0, 0)
    region[10:12, 55:60] = True
    assert bounding_box(region, 3) == (52, 7, 60, 15)
