"""Small rotation algebra for posing: axis rotations, frames, twists, and the two-bone limb."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def unit(vector: Vector) -> Vector:
    """The vector (3,) at length one."""
    return vector / max(math.sqrt(float(vector @ vector)), 1e-12)


def across(vector: Vector, axis: Vector) -> Vector:
    """Unit vector: the part of ``vector`` that is perpendicular to the unit vector ``axis``."""
    return unit(vector - axis * float(vector @ axis))


def cross(a: Vector, b: Vector) -> Vector:
    """Cross product of two (3,) vectors; NumPy's own costs ten times as much on one pair."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def turn(axis: Vector, degrees: float) -> Matrix:
    """Rotation by an angle about a unit axis (Rodrigues' formula)."""
    angle = math.radians(degrees)
    c, s = math.cos(angle), math.sin(angle)
    x, y, z = axis
    u, v, w = (1 - c) * x, (1 - c) * y, (1 - c) * z
    return np.array(
        [
            [c + u * x, u * y - s * z, u * z + s * y],
            [v * x + s * z, c + v * y, v * z - s * x],
            [w * x - s * y, w * y + s * x, c + w * z],
        ]
    )


def turn_x(degrees: float) -> Matrix:
    """Positive leans forward: up goes to the front."""
    return turn(np.array([1.0, 0, 0]), degrees)


def turn_y(degrees: float) -> Matrix:
    """Positive turns the front to the person's left."""
    return turn(np.array([0, 1.0, 0]), degrees)


def turn_z(degrees: float) -> Matrix:
    """Positive leans to the person's right: up goes to -x."""
    return turn(np.array([0, 0, 1.0]), degrees)


def frame(first: Vector, second: Vector) -> Matrix:
    """Rotation whose columns are ``first``, ``second`` made perpendicular to it, and their cross product."""
    a = unit(first)
    b = across(second, a)
    return np.stack([a, b, cross(a, b)], axis=1)


def frame_turn(first: Vector, second: Vector, to_first: Vector, to_second: Vector) -> Matrix:
    """Rotation that takes direction ``first`` to ``to_first`` exactly and ``second`` to ``to_second`` as nearly as it can."""
    return frame(to_first, to_second) @ frame(first, second).T


def rotation_angle(rotation: Matrix) -> float:
    """Angle of a rotation in degrees, 0..180."""
    return math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(rotation)) - 1) / 2))))


def limited(rotation: Matrix, degrees: float) -> Matrix:
    """The rotation about the same axis, at most by an angle."""
    angle = rotation_angle(rotation)
    if angle <= degrees:
        return rotation
    return turn(_axis(rotation), degrees)


def blended(a: Matrix, b: Matrix, share: float) -> Matrix:
    """The rotation on the way from ``a`` (share 0) to ``b`` (share 1)."""
    step = a.T @ b
    angle = rotation_angle(step)
    return a if angle < 1e-6 else a @ turn(_axis(step), share * angle)


def _axis(rotation: Matrix) -> Vector:
    """Unit axis of a rotation that is not the identity; of half a turn, from the column that is best conditioned."""
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    if axis @ axis < 1e-10:
        symmetric = (rotation + np.eye(3)) / 2
        axis = symmetric[:, int(np.diag(symmetric).argmax())]
    return unit(axis)


def twist_angle(rotation: Matrix, axis: Vector) -> float:
    """Degrees by which a rotation turns about a unit axis (swing-twist decomposition), -180..180."""
    w = math.sqrt(max(0.0, 1 + float(np.trace(rotation)))) / 2
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    if w < 1e-6:
        return 180.0
    angle = 2 * math.degrees(math.atan2(float(skew @ axis) / (4 * w), w))
    return (angle + 180) % 360 - 180


def two_bones(start: Vector, target: Vector, first: float, second: float, pole: Vector, bend: float = 3.0) -> tuple[Vector, Vector]:
    """Where the middle and the end of a two-bone limb go.

    Args:
        start, target: world points; a target out of reach is brought into reach on the same line.
        first, second: bone lengths.
        pole: direction in which the middle joint points.
        bend: the least bending of the middle joint in degrees; the most is 145.

    Returns:
        Middle and end point.
    """
    longest, shortest = _span(first, second, bend), _span(first, second, 145.0)
    away = target - start
    direction = unit(away)
    length = min(max(math.sqrt(float(away @ away)), shortest), longest)
    along = (first**2 - second**2 + length**2) / (2 * length)
    height = math.sqrt(max(0.0, first**2 - along**2))
    middle = start + direction * along + across(pole, direction) * height
    return middle, start + direction * length


def _span(first: float, second: float, bend: float) -> float:
    """Distance of the ends of two bones whose middle joint is bent by an angle."""
    return math.sqrt(first**2 + second**2 + 2 * first * second * math.cos(math.radians(bend)))
