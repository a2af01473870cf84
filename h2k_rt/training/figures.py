"""How well networks do on held-out samples, in the units that ``h2k-rt eval`` reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from h2k_rt.constants import METHOD
from h2k_rt.metrics.maps import depth_errors, mask_iou
from h2k_rt.training.objective import chords

#: Centimetres of one nu for a person of 1.70 m.
CM_PER_NU = METHOD.depth_unit_px * 170.0 / METHOD.person_height_px

SIDES = ("front", "back")


def normal_figures(encoded: Tensor, target: Tensor, factor: int) -> dict[str, float]:
    """Mean angles in degrees between normals of the surface, front and back, over the pixels of the person.

    Args:
        encoded: (B, 6, H, W); target: the same, 0 outside the person.
        factor: canvas pixels of one pixel.
    """
    person = target[:, 2] > 0
    straight_on = torch.zeros_like(target)
    straight_on[:, 2], straight_on[:, 5] = 1, 1
    straight_on[:, (0, 1, 3, 4)] = 0.5
    found = {}
    for name, value in (("", encoded), ("_constant", straight_on)):
        angles = 2 * torch.rad2deg(torch.asin((chords(value, target, factor) / 2).clamp(max=1)))
        for side, title in enumerate(SIDES):
            found[f"normal_{title}{name}"] = float(angles[:, side][person].mean())
    return found


def depth_figures(depth: Tensor, person: Tensor, target: Tensor) -> dict[str, float]:
    """Errors of one sample: cm with the person's offset removed, the offset, a flat sheet's error; IoU of the silhouette.

    Args:
        depth: (2, H, W) nu; person: (H, W) bool, where the networks see the person; target: (2, H, W) nu, 0 outside.
    """
    true = (target[0] > 0).numpy()
    errors = depth_errors(depth.numpy(), target.numpy(), true, CM_PER_NU)
    return {
        "depth_front": errors.front,
        "depth_back": errors.back,
        "depth_front_alone": errors.front_alone,
        "depth_back_alone": errors.back_alone,
        "offset": abs(errors.offset),
        "depth_front_flat": errors.flat_front,
        "depth_back_flat": errors.flat_back,
        "iou": mask_iou(person.numpy(), true),
    }


def averaged(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each figure over the samples that have it."""
    values: dict[str, list[float]] = {}
    for figures in found:
        for name, value in figures.items():
            if np.isfinite(value):
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(numbers)) for name, numbers in values.items()}
