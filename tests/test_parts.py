"""The twelve similarity transforms: parity, and what is done where joints are missing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from h2k_rt.constants import PARTS
from h2k_rt.errors import KeypointsError
from h2k_rt.parts import fit_parts, fit_parts_published, invert_similarity

Vectors = Callable[[str], dict[str, np.ndarray]]


def standing_joints() -> np.ndarray:
    """A plausible upright person on a 2048 canvas, seen from the front (the person's left is at the picture's right)."""
    xy = {
        0: (1024, 330), 1: (1050, 310), 2: (998, 310), 3: (1085, 325), 4: (963, 325), 5: (1190, 520), 6: (858, 520),
        7: (1260, 780), 8: (788, 780), 9: (1290, 1010), 10: (758, 1010), 11: (1110, 1000), 12: (938, 1000),
        13: (1125, 1370), 14: (923, 1370), 15: (1130, 1720), 16: (918, 1720), 17: (1150, 1800), 18: (1180, 1790),
        19: (1125, 1750), 20: (898, 1800), 21: (868, 1790), 22: (923, 1750), 23: (1290, 1090), 24: (1300, 1095),
        25: (1310, 1092), 26: (1318, 1085), 27: (758, 1090), 28: (748, 1095), 29: (738, 1092), 30: (730, 1085),
    }  # fmt: skip
    return np.array([[*xy[i], 0.9] for i in range(31)], float)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parity
def test_published_transforms_match_every_case(load_vectors: Vectors) -> None:
    data = load_vectors("keypoints_affine")
    checked = 0
    for name, status in zip(data["names"], data["status"], strict=True):
        if status != "ok":
            lost = [23, 24, 25, 26] if "left" in name else [27, 28, 29, 30]
            joints = data[f"{data['base'][list(data['names']).index(name)]}__norm"].copy()
            joints[lost] = 0
            with pytest.raises(KeypointsError, match="no finger"):
                fit_parts_published(joints)
            continue
        transforms = fit_parts_published(data[f"{name}__norm"])
        for ours, theirs, tolerance in (
            (transforms.to_part, data[f"{name}__fit"], 2e-6),
            (transforms.to_canvas, data[f"{name}__z"], 2e-5),
        ):
            assert np.abs(ours - theirs).max() <= tolerance * max(1.0, np.abs(theirs).max()), name
        checked += 1
    assert checked >= 3


def test_default_equals_published_when_every_joint_is_there() -> None:
    joints = standing_joints()
    ours = fit_parts(joints, 2048)
    assert ours.usable.all()
    np.testing.assert_allclose(ours.to_part, fit_parts_published(2 * joints[:, :2] / 2048 - 1).to_part, atol=1e-6)


def test_two_point_parts_hit_their_targets_exactly() -> None:
    joints = standing_joints()
    normalised = 2 * joints[:, :2] / 2048 - 1
    transforms = fit_parts(joints, 2048)
    for index in (0, 2, 4, 6, 7, 8, 9):
        part = PARTS[index]
        source = normalised[list(part.joints)]  # type: ignore[arg-type]
        length = np.hypot(*(source[-1] - source[0]))
        assert part.limit is not None
        want = np.array(part.targets) * min(1.0, length / part.limit)
        np.testing.assert_allclose(apply(transforms.to_part[index], source), want, atol=1e-6)


def test_inverse_maps_back() -> None:
    transforms = fit_parts(standing_joints(), 2048)
    points = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    for forth, back in zip(transforms.to_part, transforms.to_canvas, strict=True):
        np.testing.assert_allclose(apply(back, apply(forth, points)), points, atol=1e-5)
    np.testing.assert_allclose(invert_similarity(transforms.to_canvas), transforms.to_part, atol=1e-5)


@pytest.mark.parametrize(
    ("lost", "parts"),
    [
        ([17, 18], {10}),  # both toes: heel and ankle share one target, no direction left
        ([13], {6, 7}),  # a knee takes thigh and shin with it
        ([3], {0}),
        ([15], {7}),
        ([6, 11], {4, 6}),
        ([9, 23, 24, 25, 26], {3}),
        (list(range(31)), set(range(12))),
    ],
)
def test_missing_joints_take_out_only_their_parts(lost: list[int], parts: set[int]) -> None:
    joints = standing_joints()
    joints[lost] = 0
    transforms = fit_parts(joints, 2048)
    assert {i for i, ok in enumerate(transforms.usable) if not ok} == parts
    assert np.isfinite(transforms.to_part).all()
    assert np.isfinite(transforms.to_canvas).all()


@pytest.mark.parametrize("lost", [[23, 24, 25, 26], [19], [22], [18], [27, 28, 29], [28]])
def test_missing_joints_are_left_out_of_the_fit(lost: list[int]) -> None:
    """With a few joints gone the fit from the others stays close to the full one, unlike the published one (Q3, Q4)."""
    joints = standing_joints()
    full = fit_parts(joints, 2048)
    joints[lost] = 0
    part = fit_parts(joints, 2048)
    assert part.usable.all()
    for a, b in zip(full.to_part, part.to_part, strict=True):
        assert abs(np.hypot(b[0, 0], b[1, 0]) / np.hypot(a[0, 0], a[1, 0]) - 1) < 0.35
        turn = np.arctan2(b[1, 0], b[0, 0]) - np.arctan2(a[1, 0], a[0, 0])
        assert abs(np.arctan2(np.sin(turn), np.cos(turn))) < 0.5


def test_coinciding_joints_are_a_reported_problem() -> None:
    joints = standing_joints()
    joints[13, :2] = joints[15, :2]
    transforms = fit_parts(joints, 2048)
    assert transforms.problems[7] is not None
    assert "left shin" in transforms.problems[7]
