"""The published 3D joints of scans: which rows they are, and what stands for missing ones (SPEC 10)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import JOINT_NAMES
from h2k_rt.errors import DataError

#: Rows of the whole-body order (17 body, 6 foot, 68 face, 21 + 21 hand points) that are joints 0..22.
_BODY_ROWS = tuple(range(23))
#: The finger bases, as the published training takes them.
PUBLISHED_ROWS = (*_BODY_ROWS, 96, 100, 104, 108, 117, 121, 125, 129)
#: The finger joints next to them, which OpenPose points 6, 10, 14, 18 are, as networks get them from photos (quirk Q6).
PHOTO_ROWS = (*_BODY_ROWS, 97, 101, 105, 109, 118, 122, 126, 130)

_MIN_ROWS = 131

_INDEX = {name: index for index, name in enumerate(JOINT_NAMES)}


def read_joints(path: Path, rows: tuple[int, ...] = PHOTO_ROWS) -> NDArray[np.float64]:
    """(31, 3) joints in the scan's own coordinates, missing ones repaired or NaN.

    Args:
        path: JSON with ``joint3d`` (131 rows or more of three numbers) and ``visible`` (as many flags).

    Raises:
        DataError: the file is not that.
    """
    try:
        raw = json.loads(path.read_bytes())
        points = np.array(raw["joint3d"], np.float64).reshape(-1, 3)
        visible = np.array(raw["visible"]).reshape(-1).astype(bool)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no Joint3D file: it needs joint3d (rows of three numbers) and visible ({error})") from error
    if len(points) < _MIN_ROWS or len(visible) != len(points):
        raise DataError(f"{path}: has {len(points)} joints and {len(visible)} flags; expected as many, and {_MIN_ROWS} or more")
    joints = points[list(rows)]
    joints[~visible[list(rows)] | ~np.isfinite(joints).all(1)] = np.nan
    return repair_feet(joints)


def repair_feet(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """A missing heel is put at the ankle, one missing toe at the other toe of the foot (SPEC 10); missing: NaN."""
    repaired = joints.copy()
    for side in ("left", "right"):
        big, small, heel, ankle = (_INDEX[f"{side}_{part}"] for part in ("big_toe", "small_toe", "heel", "ankle"))
        for missing, stand_in in ((heel, ankle), (big, small), (small, big)):
            if np.isnan(joints[missing]).any():
                repaired[missing] = joints[stand_in]
    return repaired
