"""People found by the real networks: rendered ones with known masks and joints, and the test photos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from h2k_engines import EngineFailure

from h2k_rt.constants import OPENPOSE_BODY, OPENPOSE_FINGERS
from h2k_rt.errors import EngineError, PersonError
from h2k_rt.person import Person, PersonFinder

PEOPLE = Path(__file__).parent / "data" / "people"
NAMES = sorted(path.stem for path in PEOPLE.glob("*.jpg"))


@pytest.fixture(scope="module")
def finder() -> PersonFinder:
    pytest.importorskip("onnxruntime")
    return PersonFinder(threads=2)


@pytest.fixture(scope="module")
def everyone(finder: PersonFinder) -> dict[str, tuple[list[Person], np.ndarray, np.ndarray]]:
    """Rendered person -> what was found, the true mask (H, W) bool, the true joints (31, 2)."""
    joints = json.loads((PEOPLE / "joints.json").read_text())
    return {name: (finder.find(picture(name)), true_mask(name), np.array(joints[name])) for name in NAMES}


def picture(name: str) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(PEOPLE / f"{name}.jpg")), cv2.COLOR_BGR2RGB)


def true_mask(name: str) -> np.ndarray:
    return cv2.imread(str(PEOPLE / f"{name}.png"), cv2.IMREAD_GRAYSCALE) > 127


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_masks_of_rendered_people(everyone):
    figures = {name: iou(found[0].mask >= 128, mask) for name, (found, mask, _) in everyone.items()}
    assert len(figures) == 5
    assert min(figures.values()) >= 0.96, figures


def test_masks_are_solid_soft_and_boxed(everyone):
    for found, mask, _ in everyone.values():
        person = found[0]
        assert person.mask.shape == mask.shape and person.mask.dtype == np.uint8
        assert np.count_nonzero((person.mask > 0) & (person.mask < 255)) > 100  # an edge, not a staircase
        rows, columns = np.nonzero(person.mask >= 128)
        assert person.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        inside = cv2.erode(mask.astype(np.uint8), np.ones((15, 15))) > 0
        assert person.mask[inside].min() >= 128  # no holes in the body


def test_joints_of_rendered_people(everyone):
    """The renderer's joints lie inside the body, the networks' where annotators click: near each other, not the same."""
    for found, _, joints in everyone.values():
        assert len(found) == 1
        got, height = found[0].joints, np.ptp(joints[:, 1])
        assert got.shape == (31, 3) and got.dtype == np.float64
        apart = np.hypot(*(got[:23, :2] - joints[:23]).T) / height
        assert apart.mean() < 0.03
        assert ((got[:, 2] >= 0) & (got[:, 2] <= 1)).all()


def test_two_people_largest_first(finder, everyone):
    left, right = picture("person1"), picture("person3")
    people = finder.find(np.hstack([left, right]))
    assert len(people) == 2
    pad = np.zeros_like(true_mask("person1"))
    assert iou(people[0].mask >= 128, np.hstack([pad, true_mask("person3")])) > 0.95
    assert iou(people[1].mask >= 128, np.hstack([true_mask("person1"), pad])) > 0.95
    assert finder.pick(people) is people[0] and finder.pick(people, 1) is people[0] and finder.pick(people, 2) is people[1]
    for number in (0, 3, -1):
        with pytest.raises(PersonError, match=f"no person {number}: 2 people were found"):
            finder.pick(people, number)


def test_person_upside_down(finder, everyone):
    upright = everyone["person1"][0][0]
    person = finder.find(np.ascontiguousarray(picture("person1")[::-1, ::-1]))[0]
    apart = np.hypot(*(640 - person.joints[:, :2] - upright.joints[:, :2]).T)
    assert apart.mean() < 0.02 * (upright.box[3] - upright.box[1])
    assert iou(person.mask[::-1, ::-1] >= 128, upright.mask >= 128) > 0.97


def test_small_person_in_a_large_photo(finder):
    small = cv2.resize(picture("person3"), (200, 200), interpolation=cv2.INTER_AREA)
    photo = np.full((1200, 1600, 3), 120, np.uint8)
    photo[900:1100, 1300:1500] = small
    person = finder.find(photo)[0]
    x0, y0, x1, y1 = person.box
    assert x0 >= 1300 and x1 <= 1500 and y0 >= 900 and y1 <= 1100 and y1 - y0 > 150


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 6), (9, 9), (480, 640)], ids=lambda shape: f"{shape[1]}x{shape[0]}")
def test_nobody(finder, shape):
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with pytest.raises(PersonError, match="No person was found"):
        finder.find(noise)


def test_too_little_of_a_person(finder):
    rows = np.nonzero(true_mask("person3"))[0]
    head = picture("person3")[: rows.min() + np.ptp(rows) // 4]
    with pytest.raises(PersonError, match="the hips cannot be found"):
        finder.find(np.ascontiguousarray(head))


def test_broken_engine_is_a_named_error():
    def broken(model: bytes, name: str, threads: int | None):
        assert len(model) > 1_000_000
        raise EngineFailure(f"{name}: cannot start")

    with pytest.raises(EngineError, match="pose_detection: cannot start"):
        PersonFinder(engine_factory=broken).find(picture("person1"))


def openpose(path: Path) -> np.ndarray:
    person = json.loads(path.read_text())["people"][0]
    read = {key: np.array(person[f"{key}_keypoints_2d"]).reshape(-1, 3) for key in ("pose", "hand_left", "hand_right")}
    fingers = list(OPENPOSE_FINGERS)
    return np.concatenate([read["pose"][list(OPENPOSE_BODY)], read["hand_left"][fingers], read["hand_right"][fingers]])


@pytest.mark.photos
def test_joints_of_the_test_photos(finder, photos_dir):
    """Mean distance to OpenPose's joints at most 1.5 % of the body's height (the extent in y of OpenPose's joints)."""
    figures = {}
    for path in sorted(photos_dir.glob("*_keypoints.json")):
        photo = next(p for p in photos_dir.glob(path.name.replace("_keypoints.json", ".*")) if p.suffix in (".jpg", ".png"))
        want = openpose(path)
        there = (want[:, :2] != 0).any(axis=1)
        people = finder.find(cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB))
        assert len(people) == 1
        apart = np.hypot(*(people[0].joints - want)[there, :2].T)
        figures[photo.name] = 100 * apart.mean() / np.ptp(want[there, 1])
    assert len(figures) >= 3
    assert max(figures.values()) <= 1.5, figures
