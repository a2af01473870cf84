"""Errors of normals, depth and masks, each beside what a constant guess would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def angles_between(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Degrees between unit vectors (..., 3); by the chord, which keeps its digits for small angles."""
    difference = one - other
    chord = np.sqrt(np.einsum("...k,...k->...", difference, difference))
    return np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1)))


def normal_error(prediction: NDArray[np.float32], truth: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Mean angle in degrees between unit normals (h, w, 3), over the pixels of the mask; NaN where it is empty."""
    return float(angles_between(prediction[mask], truth[mask]).mean(dtype=np.float64)) if mask.any() else float("nan")


def facing_normal_error(truth: NDArray[np.float32], mask: NDArray[np.bool_], *, back: bool) -> float:
    """The same for the constant guess: every normal along the camera's axis, towards it (back: away from it)."""
    guess = np.array([0, 0, -1 if back else 1], np.float32)
    return normal_error(np.broadcast_to(guess, truth.shape), truth, mask)


def mask_iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Pixels of both over pixels of either; 1 where both are empty."""
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0


@dataclass(frozen=True)
class DepthErrors:
    """Mean absolute errors of depth over the pixels of both masks, in the unit of the given depth (or cm).

    Attributes:
        front, back: with the person's own offset removed: one number for both sides, the median of all differences.
        offset: that number (prediction less truth; positive: too far away).
        front_alone, back_alone: with each side's own median removed, so without the error of the thickness.
        flat_front, flat_back: of the constant guess, a flat sheet at that person's own median depth of the side.
    """

    front: float
    back: float
    offset: float
    front_alone: float
    back_alone: float
    flat_front: float
    flat_back: float


def depth_errors(
    prediction: NDArray[np.float32], truth: NDArray[np.float32], mask: NDArray[np.bool_], unit: float = 1.0
) -> DepthErrors:
    """Compare front and back depth (2, h, w) over the pixels of the mask; ``unit`` multiplies the results.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("depth is compared over an empty mask")
    true = truth[:, mask].astype(np.float64)
    difference = prediction[:, mask] - true
    offset = float(np.median(difference))

    def spread(values: NDArray[np.float64], around: float) -> float:
        return float(np.abs(values - around).mean()) * unit

    front, back = difference
    return DepthErrors(
        front=spread(front, offset),
        back=spread(back, offset),
        offset=offset * unit,
        front_alone=spread(front, float(np.median(front))),
        back_alone=spread(back, float(np.median(back))),
        flat_front=spread(true[0], float(np.median(true[0]))),
        flat_back=spread(true[1], float(np.median(true[1]))),
    )
