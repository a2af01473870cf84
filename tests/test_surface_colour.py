"""Colours: no background at the silhouette, no face and no print on the back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from surface_bodies import person, person_joints

from h2k_rt.surface.clean import clean_depth
from h2k_rt.surface.colour import back_colours, canvas_colours, front_colours

SKIN, HAIR, SHIRT, PRINT, TROUSERS, BACKGROUND = (
    (205, 155, 130),
    (60, 40, 30),
    (40, 70, 150),
    (240, 230, 60),
    (60, 60, 65),
    (20, 220, 40),
)
SIZE = 1024


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A painted person: hair, face with dark eyes and red mouth, bare arms, a blue shirt with a yellow print, dark trousers."""
    mask = clean_depth(*person(SIZE)).mask
    joints = person_joints(SIZE)
    rgb = np.empty((SIZE, SIZE, 3), np.uint8)
    rgb[:] = BACKGROUND
    y, x = np.mgrid[:SIZE, :SIZE]
    eyes, nose, shoulders, hips = joints[1:3, :2].mean(0), joints[0, :2], joints[5:7, :2], joints[11:13, :2]
    person_rows = np.select([y < eyes[1] - 18, y < shoulders[:, 1].mean() - 24, y < hips[:, 1].mean() + 20], [0, 1, 2], 3)
    for number, color in enumerate((HAIR, SKIN, SHIRT, TROUSERS)):
        rgb[mask & (person_rows == number)] = color
    sides = mask & (y < eyes[1] + 12) & (np.abs(x - eyes[0]) > 26)
    rgb[sides] = HAIR
    arms = mask & (person_rows >= 2) & (np.abs(x - eyes[0]) > 75) & (y < hips[:, 1].mean() + 40)
    rgb[arms] = SKIN
    for eye in joints[1:3, :2]:
        cv2.circle(rgb, tuple(int(v) for v in eye), 4, (20, 20, 20), -1)
    cv2.ellipse(rgb, (int(nose[0]), int(nose[1] + 16)), (10, 4), 0, 0, 360, (190, 40, 50), -1)
    middle = (shoulders.mean(0) * 0.6 + hips.mean(0) * 0.4).astype(int)
    cv2.rectangle(rgb, (int(middle[0]) - 25, int(middle[1]) - 20), (int(middle[0]) + 25, int(middle[1]) + 20), PRINT, -1)
    rng = np.random.default_rng(1)
    noisy = rgb.astype(int) + rng.integers(-4, 5, rgb.shape)
    return cv2.GaussianBlur(np.clip(noisy, 0, 255).astype(np.uint8), (5, 5), 0), mask, joints


def near(picture: np.ndarray, color: tuple[int, int, int], tolerance: float = 45) -> np.ndarray:
    return np.abs(picture.astype(int) - color).max(axis=-1) < tolerance


def test_background_does_not_bleed_in(scene) -> None:
    rgb, mask, _ = scene

    def greenish(picture: np.ndarray) -> np.ndarray:
        return (picture[..., 1].astype(int) - np.maximum(picture[..., 0], picture[..., 2]) > 20) & mask

    assert greenish(rgb).sum() > 200
    assert greenish(front_colours(rgb, mask)).sum() == 0
    # The rim is evened out for 18 pixels of a 2048 canvas; farther inside nothing is touched.
    inner = cv2.erode(mask.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    assert inner.sum() > 1000
    np.testing.assert_array_equal(front_colours(rgb, mask)[inner], rgb[inner])


def test_back_of_the_head_is_hair(scene) -> None:
    rgb, mask, joints = scene
    front, back = canvas_colours(rgb, mask, joints)
    eyes = joints[1:3, :2].mean(0)
    face = np.s_[int(eyes[1]) - 12 : int(eyes[1]) + 20, int(eyes[0]) - 18 : int(eyes[0]) + 18]
    assert near(front[face], SKIN).mean() > 0.6
    assert near(back[face], HAIR, 30).mean() > 0.97
    mouth = joints[0, :2] + (0, 16)
    lips = back[int(mouth[1]) - 3 : int(mouth[1]) + 4, int(mouth[0]) - 8 : int(mouth[0]) + 8].astype(int)
    assert (lips[..., 0] - lips[..., 1]).max() < 80  # hair or skin, no red


def test_the_print_is_gone_and_the_shirt_stays(scene) -> None:
    rgb, mask, joints = scene
    front, back = canvas_colours(rgb, mask, joints)
    assert near(front, PRINT)[mask].sum() > 1500
    assert near(back, PRINT)[mask].sum() == 0
    middle = (joints[5:7, :2].mean(0) * 0.6 + joints[11:13, :2].mean(0) * 0.4).astype(int)
    patch = back[middle[1] - 15 : middle[1] + 15, middle[0] - 20 : middle[0] + 20]
    assert near(patch, SHIRT, 25).all()


def test_limbs_keep_the_front_colours(scene) -> None:
    rgb, mask, joints = scene
    front, back = canvas_colours(rgb, mask, joints)
    for joint in (9, 10, 13, 14, 15, 16):
        x, y = joints[joint, :2].astype(int)
        np.testing.assert_array_equal(front[y - 3 : y + 3, x - 3 : x + 3], back[y - 3 : y + 3, x - 3 : x + 3])


def test_a_bald_head_gets_skin(scene) -> None:
    rgb, mask, joints = scene
    rows = np.arange(SIZE)[:, None] < joints[5:7, 1].mean() - 30
    bald = rgb.copy()
    bald[mask & rows & near(rgb, HAIR, 60)] = SKIN
    _, back = canvas_colours(bald, mask, joints)
    eyes = joints[1:3, :2].mean(0).astype(int)
    assert near(back[eyes[1] - 40 : eyes[1] + 20, eyes[0] - 15 : eyes[0] + 15], SKIN).mean() > 0.97


@pytest.mark.parametrize("missing", [[], [0], [1, 2], [5], [11, 12], list(range(31)), [3, 4], [7, 8, 9, 10]])
def test_missing_joints_never_stop_it(scene, missing: list[int]) -> None:
    rgb, mask, joints = scene
    some = joints.copy()
    some[missing] = 0
    back = back_colours(rgb, mask, some)
    assert back.shape == rgb.shape and back.dtype == np.uint8
    if len(missing) == 31:
        np.testing.assert_array_equal(back, rgb)


def test_seen_from_behind_nothing_is_painted_over(scene) -> None:
    rgb, mask, joints = scene
    turned = joints.copy()
    for left, right in ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)):
        turned[[left, right]] = turned[[right, left]]
    np.testing.assert_array_equal(back_colours(rgb, mask, turned), rgb)


def test_without_joints_or_person() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    nobody = np.zeros((64, 64), bool)
    front, back = canvas_colours(rgb, nobody, None)
    np.testing.assert_array_equal(front, rgb)
    np.testing.assert_array_equal(back, rgb)
    thin = nobody.copy()
    thin[10:50, 30:32] = True  # thinner than the mixed rim: its own colours stay
    np.testing.assert_array_equal(front_colours(rgb, thin), rgb)
