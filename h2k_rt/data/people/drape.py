"""How cloth hangs: around a torso as its convex hull, below what sticks out in a slanting fall, and outside of what is below it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_ANGLES = 48
_BAND = 0.02  # metres between the cross-sections, and their half height


class Torso:
    """Cross-sections of a body suit's torso, chosen once on the template.

    Args:
        template: (V, 3) float64, metres; of_torso: (V,) bool; low, high: heights between which cloth hangs.
    """

    def __init__(self, template: NDArray[np.float64], of_torso: NDArray[np.bool_], low: float, high: float) -> None:
        self.heights = np.arange(high, low - _BAND / 2, -_BAND)  # downward
        y = template[:, 1]
        self._members = [np.flatnonzero(of_torso & (np.abs(y - height) < _BAND)) for height in self.heights]
        self._members = [members if len(members) > 3 else np.flatnonzero(of_torso) for members in self._members]
        self._inside = np.flatnonzero(of_torso & (y > low - _BAND))
        # Fades out above, where the cloth lies on the shoulders.
        self._share = np.clip((high - y[self._inside]) / 0.06 + 0.2, 0, 1)
        position = np.clip((high - y[self._inside]) / _BAND, 0, len(self.heights) - 1.001)
        self._row = position.astype(np.intp)
        self._part = (position - self._row)[:, None]
        angles = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
        self._directions = np.stack([np.sin(angles), np.cos(angles)])
        turn = np.cos(angles[:, None] - angles[None])
        self._secant = 1 / np.where(turn > 0.05, turn, np.nan)

    def hang(self, points: NDArray[np.float64], fall: float) -> NDArray[np.float64]:
        """(V, 3) level offsets from the torso's surface to taut cloth around it.

        Args:
            points: (V, 3) of the body suit in the rest pose.
            fall: metres inward per metre downward at which cloth falls from what sticks out; large: it clings.
        """
        flat = points[:, [0, 2]]
        centres = np.array([(flat[members].min(0) + flat[members].max(0)) / 2 for members in self._members])
        # The hull's distance in a direction is the least of its supporting lines'.
        support = np.array([((flat[m] - c) @ self._directions).max(axis=0) for m, c in zip(self._members, centres, strict=True)])
        radius = np.nanmin(np.maximum(support, 0.02)[:, None] * self._secant[None], axis=2)
        for k in range(1, len(radius)):
            radius[k] = np.maximum(radius[k], radius[k - 1] - fall * _BAND)
        own = flat[self._inside]
        centre = centres[self._row] * (1 - self._part) + centres[self._row + 1] * self._part
        away = own - centre
        distance = np.linalg.norm(away, axis=1)
        angle = np.arctan2(away[:, 0], away[:, 1]) % (2 * np.pi) * (_ANGLES / (2 * np.pi))
        left = angle.astype(np.intp) % _ANGLES
        right, share = (left + 1) % _ANGLES, angle - np.floor(angle)

        def at(row: NDArray[np.intp]) -> NDArray[np.float64]:
            return radius[row, left] * (1 - share) + radius[row, right] * share

        part = self._part[:, 0]
        lift = np.maximum(at(self._row) * (1 - part) + at(self._row + 1) * part - distance, 0) * self._share
        offsets = np.zeros_like(points)
        level = away * (lift / np.maximum(distance, 1e-6))[:, None]
        offsets[self._inside, 0], offsets[self._inside, 2] = level[:, 0], level[:, 1]
        return offsets


@njit(cache=True, nogil=True)
def push_out(points, inner, normals, nearest, gap, reach):
    """Moves ``points`` (V, 3) float32, in place, off the garment below.

    Args:
        inner: (N, 3) its vertices; normals: (N, 3) outward; nearest: (V,) which of them is below each point.
        gap: least distance in metres; reach: points further away than this are not near that garment and stay.
    """
    for p in range(points.shape[0]):
        n = nearest[p]
        x, y, z = points[p, 0] - inner[n, 0], points[p, 1] - inner[n, 1], points[p, 2] - inner[n, 2]
        if x * x + y * y + z * z > reach * reach:
            continue
        push = gap - (x * normals[n, 0] + y * normals[n, 1] + z * normals[n, 2])
        if push > 0:
            points[p, 0] += push * normals[n, 0]
            points[p, 1] += push * normals[n, 1]
            points[p, 2] += push * normals[n, 2]
