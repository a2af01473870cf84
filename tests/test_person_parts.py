"""The pieces of finding a person, each against an independent calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from h2k_rt.constants import JOINT_NAMES
from h2k_rt.errors import PersonError
from h2k_rt.person import PersonFinder, visible_enough
from h2k_rt.person.body import _MIRRORED
from h2k_rt.person.crop import Pyramid, Roi, Window, invert, roi_matrix, transform
from h2k_rt.person.detector import anchors, decode, suppress
from h2k_rt.person.guided import GuidedFilter
from h2k_rt.person.hands import track_roi
from h2k_rt.person.joints import small_toe


def test_anchors_cover_each_layer_row_by_row():
    centres = anchors()
    assert centres.shape == (2254, 2)
    assert centres[0].tolist() == [4, 4] and centres[1].tolist() == [4, 4] and centres[2].tolist() == [12, 4]
    assert centres[2 * 28].tolist() == [4, 12]
    assert centres[2 * 28 * 28].tolist() == [8, 8]  # stride 16
    assert centres[-1].tolist() == [208, 208]  # the last cell of stride 32


def test_decode_adds_the_anchor_to_box_and_points():
    raw = np.array([[1, 2, 10, 20, 0, 0, 5, 5, -5, 5, 7, 8]], np.float32)
    boxes, points = decode(raw, np.array([[100, 50]], np.float32))
    assert boxes.tolist() == [[96, 42, 106, 62]]
    assert points[0].tolist() == [[100, 50], [105, 55], [95, 55], [107, 58]]


def test_suppression_averages_overlapping_boxes_by_score():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [0, 0, 0, 0]], np.float64)
    points = np.stack([np.full((4, 2), v) for v in (0.0, 1.0, 2.0, 3.0)])
    kept = suppress(np.array([0.6, 0.9, 0.7, 0.5]), boxes, points)
    assert [score for score, _, _ in kept] == [0.9, 0.7, 0.5]
    assert kept[0][1] == pytest.approx([0.6, 0, 10.6, 10])  # (0.6 * 0 + 0.9 * 1) / 1.5
    assert kept[0][2] == pytest.approx(np.full((4, 2), 0.6))


def test_roi_turns_clockwise_and_its_matrix_inverts():
    roi = Roi(100, 60, 40, math.pi / 2)  # up in the crop is right in the photo
    matrix = roi_matrix(roi, 20)
    assert transform(matrix, np.array([10.0, 0.0])) == pytest.approx([120, 60])
    assert transform(matrix, np.array([10.0, 10.0])) == pytest.approx([100, 60])
    points = np.array([[3.0, 4.0], [17.0, 1.0]])
    assert transform(invert(matrix), transform(matrix, points)) == pytest.approx(points)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi])
def test_crop_shows_what_the_matrix_says(scale, angle):
    """A ramp stays the ramp in the crop's own coordinates, at every level of the pyramid: no half-pixel shift anywhere.

    Neighbours 2 j and 2 j + 1 are halved to 2 j + 0.5, which OpenCV rounds up; further halvings are exact.
    """
    x, y = np.arange(250), np.arange(240)
    rgb = np.stack(np.broadcast_arrays(x[None], y[:, None], 7), axis=-1).astype(np.uint8)
    roi = Roi(125, 120, 20 * scale, angle)
    crop = Pyramid(rgb).crop(roi, 20).astype(np.float64)
    centre = np.arange(20) + 0.5
    want = transform(roi_matrix(roi, 20), np.stack(np.meshgrid(centre, centre), axis=-1)) - 0.5 + (0.5 if scale > 1 else 0)
    assert np.abs(crop[..., :2] - want).max() < 1.2  # half a pixel of the coarsest level would be 4
    assert abs((crop[..., :2] - want).mean()) < 0.15


def test_pyramid_survives_one_pixel():
    photo = Pyramid(np.full((1, 5, 3), 9, np.uint8))
    assert photo.crop(Roi(2.5, 0.5, 1000), 16).shape == (16, 16, 3)


def test_window_keeps_its_aspect_and_margin():
    window = Window.around(10, 20, 110, 220, margin=0.1, side=240)
    assert (window.x0, window.y0, window.x1, window.y1) == (-10, 0, 130, 240)
    assert (window.width, window.height) == (140, 240)
    assert transform(window.matrix, np.array([70.0, 120.0])) == pytest.approx([60, 120])


def test_guided_filter_is_the_least_squares_fit_of_each_window():
    """He, Sun and Tang (2013), equations 14 to 16, one window at a time."""
    rng = np.random.default_rng(0)
    guide, target = rng.random((14, 17, 3)).astype(np.float32), rng.random((14, 17)).astype(np.float32)
    radius, epsilon = 2, 0.01
    a, b = np.zeros((14, 17, 3)), np.zeros((14, 17))
    for row in range(radius, 14 - radius):
        for column in range(radius, 17 - radius):
            window = np.s_[row - radius : row + radius + 1, column - radius : column + radius + 1]
            colours, values = guide[window].reshape(-1, 3).astype(np.float64), target[window].ravel().astype(np.float64)
            # Ridge regression with the penalty epsilon on the slopes only.
            system = np.block([[colours - colours.mean(axis=0)], [math.sqrt(epsilon * len(values)) * np.eye(3)]])
            slope = np.linalg.lstsq(system, np.concatenate([values - values.mean(), np.zeros(3)]), rcond=None)[0]
            a[row, column], b[row, column] = slope, values.mean() - slope @ colours.mean(axis=0)
    got = GuidedFilter(guide, radius, epsilon).apply(target)
    inner = range(2 * radius, 14 - 2 * radius)
    for row in inner:
        for column in range(2 * radius, 17 - 2 * radius):
            window = np.s_[row - radius : row + radius + 1, column - radius : column + radius + 1]
            want = a[window].mean(axis=(0, 1)) @ guide[row, column] + b[window].mean()
            assert got[row, column] == pytest.approx(want, abs=1e-4)


def test_guided_filter_moves_a_blurred_mask_to_the_edge_of_the_guide():
    guide = np.zeros((64, 64, 3), np.float32)
    guide[:, 30:] = (0.2, 0.5, 0.1)
    blurred = np.broadcast_to(1 / (1 + np.exp(-(np.arange(64) - 33.0) / 3)), (64, 64)).astype(np.float32)
    result = GuidedFilter(guide, 8, 1e-4).apply(blurred)
    step = np.diff(result[32])
    assert np.argmax(np.diff(blurred[32])) != 29
    assert np.argmax(step) == 29 and step[29] > 4 * np.diff(blurred[32]).max()


def test_mirroring_swaps_left_and_right_and_undoes_itself():
    assert [_MIRRORED[i] for i in _MIRRORED] == list(range(39))
    assert _MIRRORED[11] == 12 and _MIRRORED[15] == 16 and _MIRRORED[27] == 28 and _MIRRORED[0] == 0 and _MIRRORED[33] == 33


def test_hand_window_is_up_along_the_fingers_whatever_their_direction():
    points = np.zeros((21, 2))
    points[:, 1] = -np.arange(21) / 2  # a hand pointing up ...
    points[:, 0] = np.tile([-2.0, 0.0, 2.0], 7)
    points[0] = 0
    up = track_roi(points)
    turned = track_roi(np.stack([-points[:, 1], points[:, 0]], axis=-1) + 50)  # ... and the same, turned clockwise by 90 degrees
    assert turned.size == pytest.approx(up.size)
    assert math.remainder(turned.angle - up.angle - math.pi / 2, 2 * math.pi) == pytest.approx(0, abs=1e-9)
    assert (turned.x, turned.y) == pytest.approx((50 - up.y, 50 + up.x))


def test_small_toe_lies_outside_the_big_toe_and_nearer_the_heel():
    # Seen from the front: the left foot is on the picture's right. Heel, ankle, big toe, knee: x, y, z (away).
    foot = np.array([[0, 0, 0], [0, -20, 0], [0, 10, -150], [0, -300, 0]], np.float64)
    left, right = small_toe(foot, 1.0), small_toe(foot, -1.0)
    assert left[0] > 8 and right[0] == pytest.approx(-left[0]) and left[1] == pytest.approx(right[1])
    assert 0 < left[1] < 10
    behind = small_toe(foot * (1, 1, -1), 1.0)  # seen from behind, the left foot is on the left
    assert behind[0] < -8


def _joints(**confidence: float) -> np.ndarray:
    joints = np.zeros((31, 3))
    joints[:, 2] = 0.9
    for name, value in confidence.items():
        for side in ("", "left_", "right_"):
            if side + name in JOINT_NAMES:
                joints[JOINT_NAMES.index(side + name), 2] = value
    return joints


def test_enough_is_torso_with_head_or_legs():
    visible_enough(_joints())
    visible_enough(_joints(nose=0, ear=0))
    visible_enough(_joints(knee=0, ankle=0))
    with pytest.raises(PersonError, match="the shoulders cannot be found"):
        visible_enough(_joints(shoulder=0.2))
    with pytest.raises(PersonError, match="the hips cannot be found"):
        visible_enough(_joints(hip=0))
    with pytest.raises(PersonError, match="the head and the legs cannot be found"):
        visible_enough(_joints(nose=0, ear=0, ankle=0))
    one_of_each = _joints()
    one_of_each[[JOINT_NAMES.index("left_shoulder"), JOINT_NAMES.index("left_hip")], 2] = 0.1
    with pytest.raises(PersonError, match="the torso cannot be found"):
        visible_enough(one_of_each)


def test_photo_of_another_type_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        PersonFinder().find(np.zeros((10, 10, 3), np.float32))
