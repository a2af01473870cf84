"""Bodies against Anny's own forward pass, skinning, and the 31 joints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from h2k_rt.constants import JOINT_NAMES

pytest.importorskip("anny")
torch = pytest.importorskip("torch")

from anny import Anny  # noqa: E402

from h2k_rt.data.people.body import SKIN_VERTICES, BodyModel, body_model  # noqa: E402
from h2k_rt.data.people.joints import joints_31  # noqa: E402
from h2k_rt.data.people.shape import LOCAL_CHANGES, PHENOTYPES, Shape, sample_shape  # noqa: E402


@pytest.fixture(scope="module")
def model() -> BodyModel:
    return body_model()


@pytest.fixture(scope="module")
def anny() -> Anny:
    return Anny(
        topology="makehuman",
        rig="makehuman",
        local_changes=list(LOCAL_CHANGES),
        facial_actions="all",
        phenotypes="all",
        phenotype_blendshapes="original",
        skinning_method="lbs",
    )


def turned_about(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = c
    rotation[first, second], rotation[second, first] = -s, s
    return rotation


@pytest.mark.parametrize("seed", range(4))
def test_rest_shape_is_annys(model: BodyModel, anny: Anny, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = sample_shape(rng)
    shape = replace(drawn, stature=None, phenotypes={**drawn.phenotypes, "height": rng.random()})
    body = model.build(shape)
    with torch.no_grad():
        expected = anny(
            phenotype_kwargs=dict(shape.phenotypes), local_changes_kwargs=dict(shape.changes), facial_actions=dict(shape.actions)
        )
    vertices = expected["rest_vertices"][0].numpy()
    np.testing.assert_allclose(body.rest[:, 0], vertices[:, 0], atol=1e-5)
    np.testing.assert_allclose(body.rest[:, 1], vertices[:, 2], atol=1e-5)
    np.testing.assert_allclose(body.rest[:, 2], -vertices[:, 1], atol=1e-5)
    heads = expected["rest_bone_heads"][0].numpy()
    np.testing.assert_allclose(body.heads, np.stack([heads[:, 0], heads[:, 2], -heads[:, 1]], axis=1), atol=1e-5)


def test_posed_skin_is_annys(model: BodyModel, anny: Anny) -> None:
    body = model.sample_shape(np.random.default_rng(5))
    turns = {"upperarm01.L": turned_about(2, 35), "lowerarm01.L": turned_about(0, -40), "spine03": turned_about(1, 12)}
    posed = body.pose(turns)
    to_anny = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    transforms = np.tile(np.eye(4), (len(body.heads), 1, 1))
    transforms[:, :3, :3] = to_anny @ posed.rotations @ to_anny.T
    transforms[:, :3, 3] = posed.translations @ to_anny.T
    rest = torch.from_numpy(body.rest @ to_anny.T)[None]
    with torch.no_grad():
        expected = anny.get_skinned_vertices(rest.to(anny.dtype), torch.from_numpy(transforms)[None].to(anny.dtype))[0].numpy()
    np.testing.assert_allclose(body.vertices(posed) @ to_anny.T, expected, atol=1e-6)


def test_bones_turn_about_their_heads(model: BodyModel) -> None:
    body = model.sample_shape(np.random.default_rng(6))
    posed = body.pose({"lowerarm01.L": turned_about(2, 50)})
    elbow, wrist = (model.bone_index[label] for label in ("lowerarm01.L", "wrist.L"))
    np.testing.assert_allclose(posed.heads[elbow], body.heads[elbow], atol=1e-12)
    arm = body.heads[wrist] - body.heads[elbow]
    np.testing.assert_allclose(posed.heads[wrist] - posed.heads[elbow], turned_about(2, 50) @ arm, atol=1e-12)
    with pytest.raises(KeyError):
        body.pose({"tail": np.eye(3)})


def test_stature_and_variety(model: BodyModel) -> None:
    bodies = [model.sample_shape(np.random.default_rng([7, index])) for index in range(60)]
    statures = np.array([np.ptp(body.rest[:SKIN_VERTICES, 1]) for body in bodies])
    assert statures.min() > 1.35 and statures.max() < 2.08
    assert statures.std() > 0.05
    women = np.array([body.about["gender"] > 0.5 for body in bodies])
    assert 15 < women.sum() < 45
    assert statures[~women].mean() - statures[women].mean() > 0.05
    shape = Shape({**dict.fromkeys(PHENOTYPES, 0.5), "age": 0.7}, stature=1.70)
    assert abs(np.ptp(model.build(shape).rest[:SKIN_VERTICES, 1]) - 1.70) < 0.005


def test_same_seed_same_body(model: BodyModel) -> None:
    first, second = (model.sample_shape(np.random.default_rng(8)) for _ in range(2))
    np.testing.assert_array_equal(first.rest, second.rest)


def test_joints_lie_where_openpose_puts_them(model: BodyModel) -> None:
    body = model.sample_shape(np.random.default_rng(9))
    joints = dict(zip(JOINT_NAMES, joints_31(body, body.pose({})), strict=True))
    for name, place in joints.items():
        if name.startswith("left_"):
            mirrored = joints["right_" + name[5:]]
            assert place[0] > 0.01 > -0.01 > mirrored[0], name
            # The rest pose is symmetric but for small differences of the face.
            np.testing.assert_allclose(place * [-1, 1, 1], mirrored, atol=0.02)
    skin = body.rest[:SKIN_VERTICES]
    head = skin[skin[:, 1] > joints["nose"][1] - 0.02]
    assert joints["nose"][2] > head[:, 2].max() - 0.004  # nothing of the head is further in front
    for side in ("left", "right"):
        eye, ear = joints[f"{side}_eye"], joints[f"{side}_ear"]
        assert 0.02 < eye[1] - joints["nose"][1] < 0.08
        assert ear[2] < eye[2] - 0.06 and abs(ear[0]) > abs(eye[0]) + 0.03
        heights = [joints[f"{side}_{part}"][1] for part in ("shoulder", "hip", "knee", "ankle", "heel")]
        assert heights == sorted(heights, reverse=True)
        assert joints[f"{side}_big_toe"][2] > joints[f"{side}_ankle"][2] > joints[f"{side}_heel"][2]
        assert abs(joints[f"{side}_small_toe"][0]) > abs(joints[f"{side}_big_toe"][0])
        for finger in ("index", "middle", "ring", "pinky"):
            # The joint after the knuckle is some 10 to 14 cm from the wrist.
            assert 0.08 < np.linalg.norm(joints[f"{side}_{finger}"] - joints[f"{side}_wrist"]) < 0.16


def test_joints_follow_the_pose(model: BodyModel) -> None:
    body = model.sample_shape(np.random.default_rng(10))
    turn = turned_about(1, 90)  # the person turns to its left
    rest, turned = joints_31(body, body.pose({})), joints_31(body, body.pose({}).turned(turn))
    np.testing.assert_allclose(turned, rest @ turn.T, atol=1e-9)
    nose = JOINT_NAMES.index("nose")
    assert turned[nose, 0] > 0.05
