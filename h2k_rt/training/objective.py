"""Our losses, where they depart from the published ones (``losses``), and why.

- A person's distance cannot be told from a picture, so depth is compared with each person's mean offset removed, and the
  offset has a small weight of its own.
- The published smooth L1 is spent on the jump from the person to the background (front 6, back 0), so depth counts inside the
  person, as values and as differences between pixels near and far; outside only the wrong side of the jump counts.
- Networks are trained before their last ReLU or ReLU6, which would stop the gradients of a channel that has once left the range.
- Normals are compared on the person, as encoded values and as directions of the surface.

All terms are means over a sample's person, averaged over the batch. Tensors are (B, C, H, W) float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from h2k_rt.constants import METHOD
from h2k_rt.training.config import LossConfig
from h2k_rt.training.losses import normal_from_depth, ssim

Terms = Mapping[str, Tensor]

#: Below this difference (nu; about a centimetre) the robust L1 is quadratic.
SHAPE_BETA = 0.02
#: The same for the trunk (about a millimetre).
RELIEF_BETA = 0.002
#: Standard deviation in low-resolution pixels over which the trunk's target follows the low-resolution depth.
BEND_SIGMA = 2.5
#: Distances in pixels at which differences of depth are compared.
GRADIENT_STEPS = (1, 4, 16)


def masked_mean(value: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, C, H, W) over the pixels of (B, 1 or C, H, W) that are 1, for each sample, averaged over the batch."""
    mask = mask.expand_as(value)
    total = (value * mask).sum(dim=(1, 2, 3))
    return (total / mask.sum(dim=(1, 2, 3)).clamp_min(1)).mean()


def normal_terms(raw: Tensor, target: Tensor, weights: LossConfig, factor: int) -> dict[str, Tensor]:
    """Weighted terms of encoded normals, front and back.

    Args:
        raw: (B, 6, H, W), the network before its ReLU.
        target: (B, 6, H, W), encoded, 0 outside the person.
        factor: canvas pixels of one pixel: 8 at low resolution, 1 on the canvas.
    """
    # The z of an encoded normal is above 0 everywhere on the person.
    person = (target[:, 2:3] > 0).to(raw.dtype)
    # A ReLU follows: outside the person everything up to 0 is right.
    terms = {
        "normal": weights.normal * masked_mean((raw - target).abs(), person),
        "normal_background": weights.normal_background * masked_mean(raw.clamp_min(0), 1 - person),
    }
    terms["normal_angle"] = weights.normal_angle * masked_mean(chords(raw, target, factor), person)
    if weights.normal_ssim:
        terms["normal_ssim"] = weights.normal_ssim * (1 - ssim(raw.clamp(0, 1), target))
    return terms


def chords(encoded: Tensor, target: Tensor, factor: int) -> Tensor:
    """Lengths of the differences of unit normals of front and back, 2 sin(angle / 2): (B, 2, H, W) for (B, 6, H, W) each.

    The normals are the surface's own. The encoding (SPEC 8) takes the same z at every resolution, so that at low resolution a
    slope of 45 degrees looks like one of 76, and steep slopes hardly differ; their angles do.
    """
    sides = [
        _chord(_directions(encoded[:, side], factor), _directions(target[:, side], factor)) for side in (slice(0, 3), slice(3, 6))
    ]
    return torch.cat(sides, 1)


def _chord(ours: tuple[Tensor, Tensor, Tensor], theirs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    x, y, z = (a - b for a, b in zip(ours, theirs, strict=True))
    return (x * x + y * y + z * z + 1e-6).sqrt()


def _directions(encoded: Tensor, factor: int) -> tuple[Tensor, Tensor, Tensor]:
    """Unit normals of the surface, channel by channel: reductions over three strided channels are slow on CPUs."""
    x, y, z = (2 * encoded[:, i : i + 1] - 1 for i in range(3))
    # Canvas pixels of depth per canvas pixel, for one unit of x / z.
    slope = METHOD.normal_z * METHOD.depth_unit_px / factor
    x, y = slope * x, slope * y
    scale = (x * x + y * y + z * z + 1e-6).rsqrt()
    return x * scale, y * scale, z * scale


def depth_terms(raw: Tensor, target: Tensor, weights: LossConfig, background: float, factor: int) -> dict[str, Tensor]:
    """Weighted terms of depth and mask.

    Args:
        raw: (B, 3, H, W) before any activation: front, back, mask logit.
        target: (B, 2, H, W) nu, 0 outside the person.
        background: weight of the depth outside the person.
        factor: canvas pixels of one pixel.
    """
    person = (target[:, :1] > 0).to(raw.dtype)
    error = (raw[:, :2] - target) * person
    count = person.sum(dim=(1, 2, 3)).clamp_min(1)
    # One offset for both sides: the person's thickness stays in the shape.
    offset = error.sum(dim=(1, 2, 3)) / (2 * count)
    shape = (error - offset[:, None, None, None]) * person
    return {
        "depth_shape": weights.depth_shape * masked_mean(_huber(shape, SHAPE_BETA), person),
        "depth_offset": weights.depth_offset * (_huber(offset, SHAPE_BETA) * (count > 1)).mean(),
        **_gradient_terms(error, person, weights.depth_gradient),
        **_normal_terms(raw, target, person, weights.depth_normal, factor),
        **_outside_terms(raw, person, background, weights.mask),
    }


def trunk_terms(raw: Tensor, depth: Tensor, low_depth: Tensor, weights: LossConfig) -> dict[str, Tensor]:
    """Weighted terms of the trunk's depth and mask.

    Args:
        raw: (B, 3, H, W) before any activation: front, back, mask logit.
        depth: (B, 2, H, W) nu, the truth, 0 outside the person.
        low_depth: (B, 2, H / 8, W / 8) nu, the trunk's input.
    """
    person = (depth[:, :1] > 0).to(raw.dtype)
    target = bent_depth(depth, low_depth)
    error = (raw[:, :2] - target) * person
    return {
        "depth": weights.trunk_depth * masked_mean(_huber(error, RELIEF_BETA), person),
        **_gradient_terms(error, person, weights.trunk_gradient),
        **_normal_terms(raw, target, person, weights.trunk_normal, 1),
        **_outside_terms(raw, person, weights.trunk_background, weights.mask),
    }


def _gradient_terms(error: Tensor, person: Tensor, weights: Sequence[float]) -> dict[str, Tensor]:
    """How differences of depth between near and far pixels are wrong."""
    return {
        f"depth_gradient_{step}": weight * _difference_error(error, person, step)
        for step, weight in zip(GRADIENT_STEPS, weights, strict=True)
        if weight and min(error.shape[-2:]) > step
    }


def _normal_terms(raw: Tensor, target: Tensor, person: Tensor, weight: float, factor: int) -> dict[str, Tensor]:
    """How the normals of the depth are wrong."""
    return {"depth_normal": weight * _normal_error(raw[:, :2], target, person, factor)} if weight else {}


def _outside_terms(raw: Tensor, person: Tensor, background: float, mask: float) -> dict[str, Tensor]:
    """Depth outside the person, and the mask."""
    terms = {}
    if background:
        # ReLU6 follows, which holds front at 6 and back at 0: only the other side is wrong.
        front = METHOD.front_background - raw[:, :1]
        wrong = torch.cat([front, raw[:, 1:2]], 1).clamp_min(0)
        terms["depth_background"] = background * masked_mean(_huber(wrong, 1.0), 1 - person)
    terms["mask"] = mask * F.binary_cross_entropy_with_logits(raw[:, 2:3], person)
    return terms


def bent_depth(depth: Tensor, low_depth: Tensor) -> Tensor:
    """The true relief on the low-resolution depth: ``depth + S(low_depth - depth)``, S smoothing over some low-resolution pixels.

    The trunk cannot see that the low-resolution depth is centimetres off, and would learn the average of all such errors, which
    is a slab. Its own part is what the normals tell and the low-resolution depth lacks.

    Args:
        depth: (B, 2, 8h, 8w) nu, 0 outside the person; low_depth: (B, 2, h, w) nu, front behind back outside.

    Returns:
        (B, 2, 8h, 8w) nu, 0 outside the person.
    """
    factor = METHOD.size // METHOD.low_size
    person = depth[:, :1] > 0
    coarse = depth[..., factor // 2 - 1 :: factor, factor // 2 - 1 :: factor]
    known = ((coarse[:, :1] > 0) & (low_depth[:, :1] < low_depth[:, 1:])).to(depth.dtype)
    error = _smoothed((low_depth - coarse) * known) / _smoothed(known).clamp_min(1e-6)
    fine = F.interpolate(error, scale_factor=factor, mode="bilinear")
    return torch.where(person, depth + fine, depth)


def _smoothed(value: Tensor) -> Tensor:
    """Gaussian over (B, C, h, w), 0 around it."""
    reach = math.ceil(3 * BEND_SIGMA)
    axis = torch.arange(-reach, reach + 1, dtype=value.dtype, device=value.device)
    kernel = torch.exp(-(axis**2) / (2 * BEND_SIGMA**2))
    kernel = (kernel / kernel.sum()).expand(value.shape[1], 1, 1, -1)
    value = F.conv2d(value, kernel, padding=(0, reach), groups=value.shape[1])
    return F.conv2d(value, kernel.transpose(2, 3), padding=(reach, 0), groups=value.shape[1])


def _huber(value: Tensor, beta: float) -> Tensor:
    return F.smooth_l1_loss(value, torch.zeros_like(value), reduction="none", beta=beta)


def _difference_error(error: Tensor, person: Tensor, step: int) -> Tensor:
    """How differences between pixels ``step`` apart are wrong, where both are on the person."""
    down = masked_mean((error[..., step:, :] - error[..., :-step, :]).abs(), person[..., step:, :] * person[..., :-step, :])
    right = masked_mean((error[..., :, step:] - error[..., :, :-step]).abs(), person[..., :, step:] * person[..., :, :-step])
    return (down + right) / 2


def _normal_error(depth: Tensor, target: Tensor, person: Tensor, factor: int) -> Tensor:
    """:func:`chords` of the normals of both sides, where the pixel and the neighbours that its normal reads are on the person."""
    inside = person.clone()
    inside[..., 1:, :] *= person[..., :-1, :]
    inside[..., :, :-1] *= person[..., :, 1:]
    return masked_mean(chords(_both_normals(depth), _both_normals(target), factor), inside)


def _both_normals(depth: Tensor) -> Tensor:
    return torch.cat([normal_from_depth(depth[:, :1]), normal_from_depth(depth[:, 1:])], dim=1)


def total(terms: Terms) -> Tensor:
    """Sum of weighted terms."""
    return torch.stack(list(terms.values())).sum()
