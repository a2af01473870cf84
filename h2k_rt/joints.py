"""2D joints from OpenPose files, and their way onto the canvas (SPEC 2)."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import OPENPOSE_BODY, OPENPOSE_EAR_FALLBACK, OPENPOSE_FINGERS
from h2k_rt.errors import KeypointsError

#: Larger keypoint files are refused unread; OpenPose writes some 10 kB per person.
MAX_FILE_BYTES = 4 << 20
#: No camera has a pixel beyond this coordinate.
MAX_COORDINATE = 1e6
#: OpenPose's scores are meant to lie in 0..1; the peak of a score map can be a little higher.
MAX_CONFIDENCE = 2.0

_BODY_POINTS, _HAND_POINTS = 25, 21


def load_openpose(path: str | os.PathLike[str], person: int = 0) -> NDArray[np.float64]:
    """Read one person's joints from an OpenPose file (BODY_25, with or without hands).

    Returns:
        (31, 3) float64 in the order of ``JOINT_NAMES``: x, y in pixels of the photo (edge coordinates), confidence.

    Raises:
        KeypointsError: the file cannot be read, is not such a file, or has no person of that number.
    """
    return parse_openpose(_read_json(path), os.fspath(path), person)


def parse_openpose(data: object, source: str, person: int = 0) -> NDArray[np.float64]:
    """Joints of one person (counted from 0; messages count from 1) of a parsed OpenPose document; ``source`` names it in errors.

    A missing ear is replaced by the eye of its side (SPEC 2); a missing joint is (0, 0, 0); without hands all fingers are missing.

    Returns:
        (31, 3) float64 in the order of ``JOINT_NAMES``.

    Raises:
        KeypointsError: the document is not OpenPose's, has no person of that number, or impossible numbers.
    """
    people = data.get("people") if isinstance(data, dict) else None
    if not isinstance(people, list):
        raise KeypointsError(f'{source}: not an OpenPose file: it has no list "people"')
    if not people:
        raise KeypointsError(f"{source}: holds no person: OpenPose found nobody in the photo")
    if not 0 <= person < len(people):
        raise KeypointsError(f"{source}: has no person {person + 1}: it holds {len(people)}")
    fields = people[person]
    if not isinstance(fields, dict):
        raise KeypointsError(f"{source}: person {person + 1} is not an OpenPose person: it has no named fields")
    body = _points(fields, "pose_keypoints_2d", _BODY_POINTS, source)
    if body is None:
        raise KeypointsError(f'{source}: person {person + 1} has no body joints: "pose_keypoints_2d" is missing or empty')
    if not body[:, :2].any():
        raise KeypointsError(f"{source}: person {person + 1} has no visible body joint: all are 0")
    joints = np.zeros((31, 3))
    joints[: len(OPENPOSE_BODY)] = body[list(OPENPOSE_BODY)]
    for ear, eye in OPENPOSE_EAR_FALLBACK.items():
        if not joints[ear, :2].any():
            joints[ear] = body[eye]
    for first, field in ((23, "hand_left_keypoints_2d"), (27, "hand_right_keypoints_2d")):
        hand = _points(fields, field, _HAND_POINTS, source)
        if hand is not None:
            joints[first : first + len(OPENPOSE_FINGERS)] = hand[list(OPENPOSE_FINGERS)]
    return joints


def check_joints_fit(joints: NDArray[np.float64], height: int, width: int, source: str) -> None:
    """Refuse joints that belong to another picture.

    Raises:
        KeypointsError: more than half of the (31, 3) joints that are there lie outside the photo.
    """
    at = joints[joints[:, :2].any(1), :2]
    outside = (at < 0).any(1) | (at[:, 0] > width) | (at[:, 1] > height)
    if 2 * int(outside.sum()) > len(at):
        far = at.max(0)
        raise KeypointsError(
            f"{source}: {int(outside.sum())} of {len(at)} joints lie outside the photo of {width} x {height} pixels"
            f" (joints reach {far[0]:.0f}, {far[1]:.0f}); the keypoints are those of another picture or another size"
        )


def pad_joints(joints: NDArray[np.float64], height: int, width: int, size: int) -> NDArray[np.float64]:
    """Joints of a photo of ``height`` x ``width`` after it was padded to a square and resized to ``size`` (SPEC 1, 2).

    As published, the padding is also added to missing joints. (31, 3) in, (31, 3) out.
    """
    padded = joints.copy()
    difference = abs(height - width)
    padded[:, 0 if height > width else 1] += difference // 2
    padded[:, :2] *= size / max(height, width)
    return padded


def normalise_published(joints: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Canvas joints as the published network gets them: (31, 2) in -1..1, coordinates of exactly 0 moved to the centre (SPEC 2)."""
    at = joints[:, :2]
    return 2 * np.where(at == 0, size / 2, at) / size - 1


def _read_json(path: str | os.PathLike[str]) -> object:
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise KeypointsError(f"{path}: not a file but a folder, pipe or device")
        if status.st_size > MAX_FILE_BYTES:
            raise KeypointsError(
                f"{path}: {status.st_size / 1e6:.1f} MB are too many for a keypoint file (limit {MAX_FILE_BYTES / 1e6:.1f} MB)"
            )
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise KeypointsError(f"{path}: there is no such file") from error
    except OSError as error:
        raise KeypointsError(f"{path}: the file cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise KeypointsError(f"{path}: not JSON: it is no UTF-8 text") from error
    except ValueError as error:  # a null byte in the name
        raise KeypointsError(f"{os.fspath(path)!r}: not a file name") from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise KeypointsError(f"{path}: not JSON ({error.msg}, line {error.lineno})") from error
    except ValueError as error:  # an integer of thousands of digits
        raise KeypointsError(f"{path}: holds a number that is too long") from error
    except RecursionError as error:
        raise KeypointsError(f"{path}: not an OpenPose file: nested too deeply") from error


def _points(fields: dict, name: str, count: int, source: str) -> NDArray[np.float64] | None:
    """(count, 3) numbers of one field, checked one by one; None where it is missing or empty."""
    values = fields.get(name)
    if values is None or values == []:
        return None
    if not isinstance(values, list):
        raise KeypointsError(f'{source}: "{name}" must be a list of {3 * count} numbers')
    if len(values) != 3 * count:
        hint = "; run OpenPose with --model_pose BODY_25" if count == _BODY_POINTS else ""
        raise KeypointsError(
            f'{source}: "{name}" has {len(values)} numbers, not {3 * count} (x, y, confidence of {count} points){hint}'
        )
    for index, value in enumerate(values):
        low, high = (0.0, MAX_CONFIDENCE) if index % 3 == 2 else (-MAX_COORDINATE, MAX_COORDINATE)
        # bool is an int in Python; an int may be too large for a float, so it is compared as it is.
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise KeypointsError(f'{source}: "{name}" holds something that is no number at place {index}')
        if (isinstance(value, float) and not math.isfinite(value)) or not low <= value <= high:
            what = "confidence" if index % 3 == 2 else "coordinate"
            raise KeypointsError(f'{source}: "{name}" holds an impossible {what} at place {index}')
    return np.array(values, np.float64).reshape(count, 3)
