"""Poses: on the floor, in balance, joints bent the right way, no limb through the body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import shared_dir

pytest.importorskip("anny")

from scipy.spatial import ConvexHull

from h2k_rt.data.people import collision, gestures
from h2k_rt.data.people.body import SKIN_VERTICES, Body, Posed, body_model
from h2k_rt.data.people.bvh import load_bvh
from h2k_rt.data.people.pose import HOLDOUT_POSES, TRAIN_POSES, PoseLibrary, sample_pose
from h2k_rt.data.people.stance import volume_centroid
from h2k_rt.data.people.turns import rotation_angle, turn, twist_angle, two_bones
from h2k_rt.errors import DataError

Drawn = tuple[Body, Posed, dict]


@pytest.fixture(scope="module")
def library() -> PoseLibrary:
    assets = shared_dir() / "assets" / "makehuman"
    if not (assets / "poses").is_dir():
        pytest.skip(f"no MakeHuman assets in {assets}; set H2K_SHARED")
    return PoseLibrary(assets)


def draw(library: PoseLibrary, split: str, seed: int, count: int) -> list[Drawn]:
    people = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        body = body_model().sample_shape(rng)
        people.append((body, *sample_pose(rng, split, body, library)))
    return people


@pytest.fixture(scope="module")
def people(library: PoseLibrary) -> list[Drawn]:
    return draw(library, "train", 100, 40)


def skin_of(body: Body, posed: Posed) -> np.ndarray:
    return body.vertices(posed)[:SKIN_VERTICES]


def head(body: Body, posed: Posed, label: str) -> np.ndarray:
    return posed.heads[body.model.bone_index[label]]


def test_centre_of_a_box() -> None:
    corners = np.array([[x, y, z] for x in (1, 3) for y in (0, 1) for z in (-1, 2)], float)
    sides = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], np.int32)
    np.testing.assert_allclose(volume_centroid(corners, sides), [2, 0.5, 0.5])


def test_feet_stand_on_the_floor(people: list[Drawn]) -> None:
    for body, posed, about in people:
        skin = skin_of(body, posed)
        assert abs(skin[:, 1].min()) < 1e-6
        if not about["stance"].startswith(("swing", "knee_up")):
            for side in (1, -1):
                half = skin[(skin[:, 0] - head(body, posed, "root")[0]) * side > 0]
                assert half[:, 1].min() < 0.003, about


def test_centre_of_mass_is_above_the_feet(people: list[Drawn]) -> None:
    for body, posed, about in people:
        skin = skin_of(body, posed)
        centre = volume_centroid(skin, body.model.quads)[[0, 2]]
        hull = ConvexHull(skin[skin[:, 1] < 0.02][:, [0, 2]])
        beyond = (hull.equations[:, :2] @ centre + hull.equations[:, 2]).max()
        assert beyond < 0.0, (about, beyond)


def test_knees_and_elbows_bend_the_right_way(people: list[Drawn]) -> None:
    for body, posed, _ in people:
        for side in "LR":
            hip, knee, ankle = (head(body, posed, f"{label}.{side}") for label in ("upperleg01", "lowerleg01", "foot"))
            # The knee lies in front of the line from hip to ankle, seen along the thigh's own front.
            front = posed.rotations[body.model.bone_index[f"lowerleg01.{side}"]][:, 2]
            line = (ankle - hip) / np.linalg.norm(ankle - hip)
            offset = (knee - hip) - line * ((knee - hip) @ line)
            assert offset @ front > -0.004
            shoulder, elbow, wrist = (head(body, posed, f"{label}.{side}") for label in ("upperarm01", "lowerarm01", "wrist"))
            bend = np.degrees(np.arccos(np.clip(_cosine(elbow - shoulder, wrist - elbow), -1, 1)))
            assert bend < 150


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_standing_people_do_not_lean(people: list[Drawn]) -> None:
    tilts = []
    for body, posed, about in people:
        if about["stance"] in ("both_feet", "one_leg_relaxed"):
            trunk = head(body, posed, "neck01") - head(body, posed, "root")
            tilts.append(np.degrees(np.arctan2(trunk[0], trunk[1])))
    assert len(tilts) > 15
    assert np.abs(tilts).max() < 9
    assert abs(np.mean(tilts)) < 3


def test_no_limb_goes_through_the_body(people: list[Drawn]) -> None:
    """An independent check: winding numbers of all hand and forearm vertices about the trunk."""
    inside = 0
    for body, posed, about in people[:12]:
        assert about["gestures"] != "plain"
        parts = collision.parts_of(body.model)
        vertices = body.vertices(posed)
        trunk = vertices[parts.triangles["trunk"]]
        for side in "LR":
            hand = vertices[parts.points[f"forearm.{side}"]]
            near = hand[((hand > trunk.min(axis=(0, 1))) & (hand < trunk.max(axis=(0, 1)))).all(axis=1)]
            inside += int((_winding(near, trunk) > 0.6).sum())
    assert inside == 0


def _winding(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Solid angle over 4 pi by van Oosterom and Strackee's formula."""
    total = np.zeros(len(points))
    for index, point in enumerate(points):
        a, b, c = (triangles[:, corner] - point for corner in range(3))
        la, lb, lc = (np.linalg.norm(edge, axis=1) for edge in (a, b, c))
        numerator = np.einsum("ij,ij->i", a, np.cross(b, c))
        dots = [np.einsum("ij,ij->i", *pair) for pair in ((a, b), (b, c), (c, a))]
        denominator = la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb
        total[index] = np.arctan2(numerator, denominator).sum() * 2 / (4 * np.pi)
    return total


def test_a_hand_in_the_belly_is_found() -> None:
    body = body_model().sample_shape(np.random.default_rng(3))
    rest = body.pose({})
    assert not collision.Obstacles(body, body.vertices(rest)).hit_by_arm(rest, "L")
    arm = body.heads[[body.model.bone_index[f"{label}.L"] for label in ("lowerarm01", "wrist")]]
    into = turn(np.array([0.0, 0.0, 1.0]), -75)  # the upper arm to the inside, and the forearm with it
    bad = body.pose({"upperarm01.L": into})
    assert collision.Obstacles(body, body.vertices(bad)).hit_by_arm(bad, "L")
    assert not collision.Obstacles(body, body.vertices(bad)).hit_by_arm(bad, "R")
    assert np.linalg.norm(arm[1] - arm[0]) > 0.2


def test_crossed_legs_and_arms_are_found() -> None:
    body = body_model().sample_shape(np.random.default_rng(4))
    assert not collision.legs_cross(body, body.vertices(body.pose({})))
    inward = {"upperleg01.L": turn(np.array([0, 0, 1.0]), -14), "upperleg01.R": turn(np.array([0, 0, 1.0]), 14)}
    assert collision.legs_cross(body, body.vertices(body.pose(inward)))
    assert not collision.arms_cross(body, body.pose({}))
    front = {"upperarm01.L": turn(np.array([0, 1.0, 0]), -75), "upperarm01.R": turn(np.array([0, 1.0, 0]), 75)}
    assert collision.arms_cross(body, body.pose(front))


def test_inside_of_a_cube() -> None:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], np.int32)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    rng = np.random.default_rng(0)
    for point in rng.uniform(-0.4, 1.4, (300, 3)):
        expected = bool(((point > 0) & (point < 1)).all())
        assert collision.any_inside(point[None], corners, triangles) == expected


def test_splits_share_no_pose(library: PoseLibrary) -> None:
    assert not set(HOLDOUT_POSES) & set(TRAIN_POSES)
    reserved = {*HOLDOUT_POSES, *gestures.HOLDOUT_GESTURES}
    for split, wanted in (("train", False), ("holdout", True)):
        for index in range(150):
            rng = np.random.default_rng([5, index])
            if rng.random() < 0.3:
                names = {library.draw(rng, split)[0]}
            else:
                names = {name for name, _ in gestures.sample_gestures(rng, split == "holdout", "").values()}
            assert bool(names & reserved) == wanted, (split, names)


def test_same_seed_same_pose(library: PoseLibrary) -> None:
    first, second = (draw(library, "holdout", 11, 3) for _ in range(2))
    for (_, a, about_a), (_, b, about_b) in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.translations, b.translations)
        assert about_a == about_b


def test_two_bones_keep_their_lengths() -> None:
    start, pole = np.array([0.1, 1.4, 0.0]), np.array([0.0, 0.0, 1.0])
    for target in np.random.default_rng(1).uniform(-0.6, 0.6, (50, 3)) + start:
        middle, end = two_bones(start, target, 0.3, 0.25, pole)
        assert abs(np.linalg.norm(middle - start) - 0.3) < 1e-9
        assert abs(np.linalg.norm(end - middle) - 0.25) < 1e-9
        if 0.2 < np.linalg.norm(target - start) < 0.54:
            np.testing.assert_allclose(end, target, atol=1e-9)


def test_twist_and_angle() -> None:
    axis = np.array([0.0, 0.6, 0.8])
    for angle in (-170, -30, 0, 55, 179):
        assert abs(twist_angle(turn(axis, angle), axis) - angle) < 1e-6
        assert abs(rotation_angle(turn(axis, angle)) - abs(angle)) < 1e-5
    across = np.array([1.0, 0.0, 0.0])
    assert abs(twist_angle(turn(across, 40) @ turn(axis, 25), axis) - 25) < 1e-6


def test_bvh_in_world_axes(tmp_path: Path) -> None:
    text = """HIERARCHY
ROOT root
{
\tOFFSET 0 0 0
\tCHANNELS 6 Xposition Yposition Zposition Xrotation Yrotation Zrotation
\tEnd Site
\t{
\t\tOFFSET 0 0 1
\t}
}
MOTION
Frames: 1
Frame Time: 0.04
1 2 3 0 0 90
"""
    path = tmp_path / "turn.bvh"
    path.write_text(text)
    # A quarter turn about the file's upright axis z is one about the world's y.
    np.testing.assert_allclose(load_bvh(path)[0]["root"], turn(np.array([0, 1.0, 0]), 90), atol=1e-12)
    path.write_text(text.replace("1 2 3 0 0 90", "1 2 3 0 0"))
    with pytest.raises(DataError, match=r"turn\.bvh"):
        load_bvh(path)
    with pytest.raises(DataError, match="assets"):
        PoseLibrary(tmp_path)
