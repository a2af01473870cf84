"""The 31 joints of a posed body, where OpenPose's BODY_25 and hand models put them."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from h2k_rt.constants import JOINT_NAMES
from h2k_rt.data.people.body import SKIN_VERTICES, Body, BodyModel, Posed

_LIMBS = {
    "shoulder": "upperarm01",
    "elbow": "lowerarm01",
    "wrist": "wrist",
    "hip": "upperleg01",
    "knee": "lowerleg01",
    "ankle": "foot",
    # OpenPose 6, 10, 14, 18: the joints next to the knuckles, where the middle phalanges start.
    "index": "finger2-2",
    "middle": "finger3-2",
    "ring": "finger4-2",
    "pinky": "finger5-2",
}


def joints_31(body: Body, posed: Posed) -> NDArray[np.float64]:
    """World positions (31, 3) in metres in the order of ``constants.JOINT_NAMES``; "left" is the person's left.

    Limbs and fingers are joint centres; nose, eyes, ears, toes and heels lie on the skin or the eyeball.
    """
    marks = landmarks(body.model)
    points = np.empty((len(JOINT_NAMES), 3))
    for index, name in enumerate(JOINT_NAMES):
        side, _, part = name.partition("_")
        if part in _LIMBS:
            points[index] = posed.heads[body.model.bone_index[f"{_LIMBS[part]}.{side[0].upper()}"]]
    on_skin = list(marks)
    vertices = np.array([marks[name] for name in on_skin])
    placed = posed.skin(body.rest[vertices], csr_array(body.model.skin_weights[vertices]))
    points[[JOINT_NAMES.index(name) for name in on_skin]] = placed
    return points


@functools.cache
def landmarks(model: BodyModel) -> dict[str, int]:
    """Vertex of each joint that is a point of the surface, found on the template."""
    points = model.template_vertices
    marks = {"nose": _nose(model)}
    for side, letter, sign in (("left", "L", 1.0), ("right", "R", -1.0)):
        marks[f"{side}_eye"] = _farthest(points, _eyeball(model, letter), (0, 0, 1))
        marks[f"{side}_ear"] = _ear(model, points[marks[f"{side}_eye"]], sign)
        skin = points[:SKIN_VERTICES]
        marks[f"{side}_big_toe"] = _farthest(skin, _moved_by(model, f"toe1-2.{letter}")[:SKIN_VERTICES], (0, 0, 1))
        marks[f"{side}_small_toe"] = _farthest(skin, _moved_by(model, f"toe5-3.{letter}")[:SKIN_VERTICES], (0, 0, 1))
        foot = _moved_by(model, f"foot.{letter}")[:SKIN_VERTICES] & (skin[:, 1] < skin[:, 1].min() + 0.05)
        marks[f"{side}_heel"] = _farthest(skin, foot, (0, 0, -1))
    return marks


def _moved_by(model: BodyModel, bone: str) -> NDArray[np.bool_]:
    """(19158,) the vertices that mostly follow a bone."""
    return model.skin_weights[:, [model.bone_index[bone]]].toarray()[:, 0] > 0.5


def _farthest(points: NDArray[np.float64], among: NDArray[np.bool_], direction: tuple[float, float, float]) -> int:
    candidates = np.flatnonzero(among)
    return int(candidates[(points[candidates] @ np.array(direction)).argmax()])


def _eyeball(model: BodyModel, letter: str) -> NDArray[np.bool_]:
    """(19158,) the vertices of one eyeball: lashes follow the eye's bone too, but are helper geometry without faces."""
    drawn = np.zeros(len(model.template_vertices), np.bool_)
    drawn[model.all_quads.ravel()] = True
    return drawn & _moved_by(model, f"eye.{letter}")


def _nose(model: BodyModel) -> int:
    """The tip: the foremost vertex near the middle, up to 6.5 cm below the eyes."""
    points, eyes = model.template_vertices[:SKIN_VERTICES], model.template_vertices[_eyeball(model, "L"), 1].mean()
    band = (np.abs(points[:, 0]) < 0.01) & (points[:, 1] < eyes) & (points[:, 1] > eyes - 0.065)
    return _farthest(points, band, (0, 0, 1))


def _ear(model: BodyModel, eye: NDArray[np.float64], sign: float) -> int:
    """The middle of the ear: the outermost vertex within 7 mm of a point 8.8 cm behind and 2 cm below the eye."""
    points = model.template_vertices[:SKIN_VERTICES]
    beside = (np.hypot(points[:, 1] - (eye[1] - 0.02), points[:, 2] - (eye[2] - 0.088)) < 0.007) & (np.abs(points[:, 0]) < 0.2)
    return _farthest(points, beside, (sign, 0, 0))
