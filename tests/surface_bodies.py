"""Test bodies with known geometry: the vectors' bulge, and a person of capsules whose depths are found by ray casting."""

from __future__ import annotations

import numpy as np
import oracle_rules

from h2k_rt.constants import METHOD, Method
from h2k_rt.surface.rays import nu_from_distance, tangents

#: (start, end, radius) in scan units, scan frame: a standing person with arms a little away from the trunk.
CAPSULES = (
    ((0.0, 0.285, 0.0), (0.0, 0.315, 0.0), 0.035),  # head
    ((0.0, 0.22, 0.0), (0.0, 0.27, 0.0), 0.018),  # neck
    ((0.0, 0.17, 0.0), (0.0, 0.02, 0.0), 0.058),  # trunk
    ((-0.06, 0.2, 0.0), (0.06, 0.2, 0.0), 0.026),  # shoulders
    ((0.075, 0.195, 0.0), (0.115, 0.09, 0.0), 0.02),
    ((0.115, 0.09, 0.0), (0.14, -0.02, 0.03), 0.016),
    ((-0.075, 0.195, 0.0), (-0.115, 0.09, 0.0), 0.02),
    ((-0.115, 0.09, 0.0), (-0.14, -0.02, 0.03), 0.016),
    ((0.035, 0.02, 0.0), (0.045, -0.16, 0.0), 0.033),
    ((0.045, -0.16, 0.0), (0.05, -0.32, -0.01), 0.024),
    ((0.05, -0.33, -0.005), (0.06, -0.335, 0.04), 0.018),
    ((-0.035, 0.02, 0.0), (-0.045, -0.16, 0.0), 0.033),
    ((-0.045, -0.16, 0.0), (-0.05, -0.32, -0.01), 0.024),
    ((-0.05, -0.33, -0.005), (-0.06, -0.335, 0.04), 0.018),
)

#: Where the capsule person's joints are, scan frame (order of JOINT_NAMES; LEFT is at +x, the picture's right).
JOINTS_3D = {
    0: (0.0, 0.295, 0.035), 1: (0.012, 0.305, 0.03), 2: (-0.012, 0.305, 0.03), 3: (0.033, 0.3, 0.0), 4: (-0.033, 0.3, 0.0),
    5: (0.075, 0.195, 0.0), 6: (-0.075, 0.195, 0.0), 7: (0.115, 0.09, 0.0), 8: (-0.115, 0.09, 0.0), 9: (0.135, 0.0, 0.025),
    10: (-0.135, 0.0, 0.025), 11: (0.035, 0.02, 0.0), 12: (-0.035, 0.02, 0.0), 13: (0.045, -0.16, 0.0), 14: (-0.045, -0.16, 0.0),
    15: (0.05, -0.32, 0.0), 16: (-0.05, -0.32, 0.0), 17: (0.06, -0.34, 0.05), 18: (0.065, -0.34, 0.045), 19: (0.05, -0.345, -0.01),
    20: (-0.06, -0.34, 0.05), 21: (-0.065, -0.34, 0.045), 22: (-0.05, -0.345, -0.01),
}  # fmt: skip


def bulge(n: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The analytic test body of the reference vectors: front and back depth (n, n) float32 in nu, 0 outside."""
    front, back = oracle_rules.bulge(n, offset)
    return front.astype(np.float32), back.astype(np.float32)


def person(n: int, method: Method = METHOD) -> tuple[np.ndarray, np.ndarray]:
    """The capsule person as the networks would give it: depth in nu, front 6 and back 0 outside."""
    tangent = tangents(n, method).astype(np.float64)
    tx, ty = np.meshgrid(tangent, tangent)
    ray = np.stack((tx, -ty, -np.ones_like(tx)), axis=-1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    origin = np.array([0.0, 0.0, 1.0])
    near, far = np.full((n, n), np.inf), np.full((n, n), -np.inf)
    for start, end, radius in CAPSULES:
        for enter, leave in _capsule(origin, ray, np.array(start), np.array(end), radius):
            near, far = np.minimum(near, enter), np.maximum(far, leave)
    hit = np.isfinite(near)
    front = np.where(hit, nu_from_distance(np.where(hit, near, 1), method), method.front_background)
    back = np.where(hit, nu_from_distance(np.where(hit, far, 1), method), method.back_background)
    return front.astype(np.float32), back.astype(np.float32)


def person_joints(n: int, method: Method = METHOD) -> np.ndarray:
    """(31, 3) joints of the capsule person, canvas pixels of an n x n canvas; the fingers are missing."""
    out = np.zeros((31, 3))
    for index, (x, y, z) in JOINTS_3D.items():
        focal = method.focal_px * n / method.size
        out[index] = (n / 2 + focal * x / (1 - z), n / 2 - focal * y / (1 - z), 1)
    return out


def _capsule(origin, ray, start, end, radius):
    """Enter and leave distances of the two spheres and the cylinder of a capsule, inf / -inf where missed."""
    axis = end - start
    length = np.linalg.norm(axis)
    axis = axis / length
    for centre in (start, end):
        b = ((origin - centre) * ray).sum(-1)
        root = b * b - ((origin - centre) @ (origin - centre) - radius * radius)
        yield _interval(-b, root)
    across, offset = ray - (ray @ axis)[..., None] * axis, origin - start
    offset = offset - (offset @ axis) * axis
    a, b = (across * across).sum(-1), (across @ offset)
    root = (b * b - a * (offset @ offset - radius * radius)) / (a * a)
    enter, leave = _interval(-b / a, root)
    for t in (enter, leave):
        along = (origin - start) @ axis + np.where(np.isfinite(t), t, 0) * (ray @ axis)
        inside = np.isfinite(t) & (along >= 0) & (along <= length)
        yield np.where(inside, t, np.inf), np.where(inside, t, -np.inf)


def _interval(middle, root):
    hit = root > 0
    half = np.sqrt(np.where(hit, root, 0))
    return np.where(hit, middle - half, np.inf), np.where(hit, middle + half, -np.inf)
