"""Keypoint files: parity of the mapping, and every document that must be refused with one sentence."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from h2k_rt.constants import JOINT_NAMES
from h2k_rt.errors import KeypointsError
from h2k_rt.joints import check_joints_fit, load_openpose, normalise_published, pad_joints, parse_openpose
from h2k_rt.photo import load_photo

Vectors = Callable[[str], dict[str, np.ndarray]]


def document(people: int = 1) -> dict[str, Any]:
    """An OpenPose document whose numbers tell their place: point i of person p has x = 1000 p + i, y = 2 x."""

    def points(count: int, start: int) -> list[float]:
        return [number for i in range(count) for number in (start + i, 2.0 * (start + i), 0.5)]

    return {
        "version": 1.3,
        "people": [
            {
                "pose_keypoints_2d": points(25, 1000 * p + 1),
                "hand_left_keypoints_2d": points(21, 1000 * p + 101),
                "hand_right_keypoints_2d": points(21, 1000 * p + 201),
            }
            for p in range(people)
        ],
    }


def refused(data: object, person: int = 0) -> str:
    with pytest.raises(KeypointsError) as caught:
        parse_openpose(data, "file.json", person)
    message = str(caught.value)
    assert message.startswith("file.json: ") and "\n" not in message
    return message


# --- parity ---


@pytest.mark.parity
def test_every_published_case(load_vectors: Vectors, photos_dir: Path) -> None:
    data = load_vectors("keypoints_affine")
    assert len(data["names"]) >= 3
    for name, base, edits, status in zip(data["names"], data["base"], data["edits"], data["status"], strict=True):
        content = json.loads((photos_dir / f"{base}_keypoints.json").read_text())
        for field, points in json.loads(str(edits)):
            for point in points:
                content["people"][0][field][3 * point : 3 * point + 3] = [0, 0, 0]
        raw = parse_openpose(content, str(name))
        if status != "ok":  # the published program stopped and left no numbers
            assert not raw[23:27].any() or not raw[27:].any()
            continue
        np.testing.assert_allclose(raw, data[f"{name}__raw"], atol=1e-9, rtol=0, err_msg=str(name))
        photo = next(path for path in photos_dir.glob(f"{base}.*") if path.suffix in (".png", ".jpg"))
        height, width = load_photo(photo).rgb.shape[:2]
        padded = pad_joints(raw, height, width, 2048)
        np.testing.assert_allclose(padded, data[f"{name}__padded"], atol=1e-9, rtol=0, err_msg=str(name))
        norm = data[f"{name}__norm"]
        np.testing.assert_allclose(normalise_published(padded, 2048), norm, atol=1e-9, rtol=0, err_msg=str(name))


@pytest.mark.parity
def test_padding_of_every_published_size(load_vectors: Vectors) -> None:
    data = load_vectors("preprocess")
    sizes = [name[3:] for name in data if name.startswith("kp_")]
    assert len(sizes) >= 3
    for size in sizes:
        height, width = map(int, size.split("x"))
        joints = np.stack([np.linspace(10, width - 10, 31), np.linspace(20, height - 20, 31), np.ones(31)], 1)
        joints[5, :2] = 0
        np.testing.assert_allclose(pad_joints(joints, height, width, 2048), data[f"kp_{size}"], atol=1e-9, rtol=0, err_msg=size)


def test_odd_padding_puts_the_smaller_half_first() -> None:
    joints = np.zeros((31, 3))
    joints[0] = 3.0, 4.0, 1.0
    tall = pad_joints(joints, 105, 100, 210)
    np.testing.assert_allclose(tall[0], [(3 + 2) * 2, 4 * 2, 1])
    np.testing.assert_allclose(tall[1], [2 * 2, 0, 0])  # as published, the padding is added to missing joints too
    np.testing.assert_allclose(pad_joints(joints, 100, 105, 105)[0], [3, 6, 1])
    assert joints[0, 0] == 3.0  # the input is left alone


def test_normalisation_replaces_single_zeros() -> None:
    joints = np.zeros((31, 3))
    joints[1] = 0.0, 512.0, 1.0
    joints[2] = 2048.0, 1024.0, 0.0
    normalised = normalise_published(joints, 2048)
    assert normalised.shape == (31, 2)
    np.testing.assert_array_equal(normalised[:3], [[0, 0], [0, -0.5], [1, 0]])


# --- mapping ---


def test_mapping_by_name() -> None:
    joints = parse_openpose(document(), "file.json")
    assert joints.shape == (31, 3) and joints.dtype == np.float64
    at = dict(zip(JOINT_NAMES, joints[:, 0] - 1, strict=True))
    # OpenPose's output documentation, BODY_25 and hand models.
    expected = {
        "nose": 0, "left_eye": 16, "right_eye": 15, "left_ear": 18, "right_ear": 17, "left_shoulder": 5, "right_shoulder": 2,
        "left_elbow": 6, "right_elbow": 3, "left_wrist": 7, "right_wrist": 4, "left_hip": 12, "right_hip": 9, "left_knee": 13,
        "right_knee": 10, "left_ankle": 14, "right_ankle": 11, "left_big_toe": 19, "left_small_toe": 20, "left_heel": 21,
        "right_big_toe": 22, "right_small_toe": 23, "right_heel": 24, "left_index": 106, "left_middle": 110, "left_ring": 114,
        "left_pinky": 118, "right_index": 206, "right_middle": 210, "right_ring": 214, "right_pinky": 218,
    }  # fmt: skip
    assert at == expected
    np.testing.assert_array_equal(joints[:, 1], 2 * joints[:, 0])
    np.testing.assert_array_equal(joints[:, 2], 0.5)


def test_missing_ear_is_replaced_by_the_eye_of_its_side() -> None:
    data = document()
    body = data["people"][0]["pose_keypoints_2d"]
    body[3 * 17 : 3 * 17 + 2] = [0, 0]
    body[3 * 18] = 0  # x alone is no missing ear
    joints = parse_openpose(data, "file.json")
    np.testing.assert_array_equal(joints[4], joints[2])
    np.testing.assert_array_equal(joints[3], [0, 38, 0.5])


@pytest.mark.parametrize("empty", [None, [], "absent"])
def test_without_hands_fingers_are_missing(empty: object) -> None:
    data = document()
    if empty == "absent":
        del data["people"][0]["hand_left_keypoints_2d"]
    else:
        data["people"][0]["hand_left_keypoints_2d"] = empty
    joints = parse_openpose(data, "file.json")
    assert not joints[23:27].any() and joints[27:].all() and joints[:23].all()


def test_person_number() -> None:
    data = document(3)
    assert [parse_openpose(data, "file.json", p)[0, 0] for p in range(3)] == [1, 1001, 2001]
    for person in (-1, 3):
        assert f"has no person {person + 1}: it holds 3" in refused(data, person)


def test_file_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    text = json.dumps(document(2))
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "b.json").write_text("\ufeff" + text, encoding="utf-8")
    for name in ("a.json", "b.json"):
        np.testing.assert_array_equal(load_openpose(tmp_path / name, 1), parse_openpose(document(2), "", 1))


# --- documents that must be refused ---


@pytest.mark.parametrize(
    "data", [None, 3, "people", [], [1], {}, {"people": None}, {"people": {}}, {"people": "x"}, {"person": []}]
)
def test_not_openpose(data: object) -> None:
    assert "people" in refused(data)


def test_nobody() -> None:
    assert "no person" in refused({"people": []})
    assert "named fields" in refused({"people": [[1, 2, 3]]})
    assert "no body joints" in refused({"people": [{}]})
    assert "no visible body joint" in refused({"people": [{"pose_keypoints_2d": [0] * 75}]})


@pytest.mark.parametrize("length", [1, 54, 74, 76, 150])
def test_wrong_lengths(length: int) -> None:
    data = document()
    data["people"][0]["pose_keypoints_2d"] = [1.0] * length
    assert f"has {length} numbers, not 75" in refused(data)
    data = document()
    data["people"][0]["hand_right_keypoints_2d"] = [1.0] * length
    assert f"has {length} numbers, not 63" in refused(data)


@pytest.mark.parametrize("field", ["pose_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"])
@pytest.mark.parametrize("value", ["12", None, True, [1], {}, math.nan, math.inf, -math.inf, 1e300, 10**400, -(10**400), 1e7])
def test_values_that_are_no_coordinates(field: str, value: object) -> None:
    for place in (0, 1, 62):
        data = copy.deepcopy(document())
        data["people"][0][field][place] = value
        assert f"at place {place}" in refused(data)


@pytest.mark.parametrize("field", [True, 7, "1,2,3", {"0": 1}])
def test_fields_that_are_no_lists(field: object) -> None:
    data = document()
    data["people"][0]["pose_keypoints_2d"] = field
    assert "must be a list" in refused(data)


@pytest.mark.parametrize("confidence", [-0.1, 3.0, 10**400])
def test_impossible_confidence(confidence: float) -> None:
    data = document()
    data["people"][0]["pose_keypoints_2d"][5] = confidence
    assert "impossible confidence at place 5" in refused(data)


HOSTILE = {
    "empty": (b"", "not JSON"),
    "text": (b"hello", "not JSON"),
    "cut": (json.dumps(document()).encode()[:300], "not JSON"),
    "binary": (b"\xff\xd8\xff\xe0" + bytes(range(200)), "no UTF-8"),
    "utf16": (json.dumps(document()).encode("utf-16"), "no UTF-8"),
    "deep lists": (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
    "deep objects": (b'{"people":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    "long integer": (b'{"people": [{"pose_keypoints_2d": [' + b"9" * 100_000 + b"]}]}", "number|not 75"),
    "NaN": (json.dumps(document()).replace("0.5", "NaN", 1).encode(), "impossible"),
    "Infinity": (json.dumps(document()).replace("0.5", "-Infinity", 1).encode(), "impossible"),
    "overflow": (json.dumps(document()).replace("0.5", "1e999", 1).encode(), "impossible"),
    "large": (b" " * (5 << 20) + json.dumps(document()).encode(), "too many"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path: Path, name: str) -> None:
    content, words = HOSTILE[name]
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(KeypointsError, match=words) as caught:
        load_openpose(tmp_path / "a.json")
    assert "\n" not in str(caught.value) and "a.json" in str(caught.value) and len(str(caught.value)) < 300


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "device.json").symlink_to("/dev/zero")
    for path, words in ((tmp_path / "x.json", "no such file"), (tmp_path, "folder"), (tmp_path / "device.json", "device")):
        with pytest.raises(KeypointsError, match=words):
            load_openpose(path)


def test_joints_of_another_picture() -> None:
    joints = np.zeros((31, 3))
    joints[:20] = 50.0, 60.0, 1.0
    joints[:9, 0] = 500.0
    check_joints_fit(joints, 100, 100, "file.json")
    joints[:11, 0] = 500.0
    with pytest.raises(KeypointsError, match=r"11 of 20 joints lie outside the photo of 100 x 90 pixels"):
        check_joints_fit(joints, 90, 100, "file.json")
