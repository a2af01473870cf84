"""The twelve body parts: a similarity transform for each, from the joints (SPEC 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import JOINT_NAMES, PARTS, Part
from h2k_rt.errors import KeypointsError

#: A fitted part whose size differs from the photo's by more than this factor is a wrong fit, not a body.
MAX_MAGNIFICATION = 8.0


@dataclass(frozen=True)
class PartTransforms:
    """Similarity transforms between the canvas and each part's upright frame, in normalised coordinates.

    Attributes:
        to_part: (12, 2, 3) float32, canvas -> canonical ("fit", ``inv_z`` but for rounding).
        to_canvas: (12, 2, 3) float32, canonical -> canvas ("z").
        problems: for each part None, or why it has no transform (its matrices are then the identity and it is to be left out).
    """

    to_part: NDArray[np.float32]
    to_canvas: NDArray[np.float32]
    problems: tuple[str | None, ...]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(12,) which parts have a transform."""
        return np.array([problem is None for problem in self.problems])


def invert_similarity(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inverse of [..., 2, 3] affine matrices as the published program takes it: inverse of the block, then ``-R^-1 t``."""
    block = np.linalg.inv(matrix[..., :2])
    shift = -(block @ matrix[..., 2:])
    return np.concatenate([block, shift], axis=-1).astype(np.float32)


def fit_similarity(points: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares similarity without reflection, (2, 3) float64, from (K, 2) points to (K, 2) targets.

    ``X = a x - b y + c``, ``Y = b x + a y + d``; solved with the Moore-Penrose inverse, as SPEC 3.
    """
    x, y = points.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, c, d = np.linalg.pinv(rows) @ targets.T.reshape(-1)
    return np.array([[a, -b, c], [b, a, d]])


def fit_parts(joints: NDArray[np.float64], size: int) -> PartTransforms:
    """Transforms for joints on the canvas, doing what is right where a joint is missing.

    A missing joint (x = y = 0, or confidence 0) is left out of its parts' fits; a part with too few joints left, or whose
    fit is singular or absurd, is reported in ``problems`` and gets no transform: the caller uses the low-resolution normals there.

    Args:
        joints: (31, 3) float64, x and y in canvas pixels (edge coordinates), confidence.
        size: side of the canvas in pixels.
    """
    present = np.isfinite(joints).all(1) & (joints[:, 2] > 0) & joints[:, :2].any(1)
    normalised = 2 * joints[:, :2] / size - 1
    fits, problems = [], []
    for part in PARTS:
        fit, problem = _fit_present(part, normalised, present)
        fits.append(fit)
        problems.append(problem)
    to_part = np.stack(fits).astype(np.float32)
    return PartTransforms(to_part, invert_similarity(to_part), tuple(problems))


def fit_parts_published(normalised: NDArray[np.float64]) -> PartTransforms:
    """Transforms exactly as the published program makes them, defects included (quirks Q3, Q4).

    Args:
        normalised: (31, 2) float64, normalised joints after the published replacement of zeros.

    Raises:
        KeypointsError: all fingers of a hand are missing; the published program stops there.
    """
    fits = []
    for part in PARTS:
        points = []
        for joint in part.joints:
            if isinstance(joint, int):
                points.append(normalised[joint])
                continue
            fingers = normalised[list(joint)]
            fingers = fingers[(fingers != 0).all(1)]
            if not len(fingers):
                raise KeypointsError(f"no finger of the {part.name}: the published program stops here; run without parity")
            points.append(fingers.mean(0))
        fits.append(_fit(part, np.array(points), np.array(part.targets), part.limit))
    to_part = np.stack(fits).astype(np.float32)
    return PartTransforms(to_part, invert_similarity(to_part), (None,) * len(PARTS))


def _fit(part: Part, points: NDArray[np.float64], targets: NDArray[np.float64], limit: float | None) -> NDArray[np.float64]:
    if limit is not None:
        length = float(np.hypot(*(points[-1] - points[0])))
        if length < limit:
            targets = targets * (length / limit)
    return fit_similarity(points, targets)


_IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def _fit_present(part: Part, normalised: NDArray[np.float64], present: NDArray[np.bool_]) -> tuple[NDArray[np.float64], str | None]:
    """One part's fit from the joints that are there; the identity and a reason where that is not possible."""
    points, targets, missing = [], [], []
    for joint, target in zip(part.joints, part.targets, strict=True):
        indices = [joint] if isinstance(joint, int) else list(joint)
        there = [i for i in indices if present[i]]
        if there:
            points.append(normalised[there].mean(0))
            targets.append(target)
        else:
            missing.append("fingers" if len(indices) > 1 else JOINT_NAMES[indices[0]].replace("_", " "))
    at, to = np.array(points).reshape(-1, 2), np.array(targets).reshape(-1, 2)
    lacking = f"{', '.join(missing)} not found" if missing else "its joints fall on one point"
    # The limit is the distance of the first and last target of the full set; with joints missing, that of those left.
    limit = part.limit
    if limit is not None and missing and len(to) >= 2:
        limit = float(np.hypot(*(to[-1] - to[0])))
    if len(at) < 2 or np.ptp(to, axis=0).max() < 1e-6 or np.ptp(at, axis=0).max() < 1e-4:
        return _IDENTITY, f"{part.name}: {lacking}"
    fit = _fit(part, at, to, limit)
    scale = float(np.hypot(fit[0, 0], fit[1, 0]))
    if not np.isfinite(fit).all() or not 1 / MAX_MAGNIFICATION <= scale <= MAX_MAGNIFICATION:
        return _IDENTITY, f"{part.name}: its joints give a size {scale:.2g} times the photo's"
    return fit, None
