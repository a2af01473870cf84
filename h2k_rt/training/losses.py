"""The published losses of both phases (SPEC 9).

Means are taken over one sample and summed over the batch, so the loss grows with the batch and four arm crops count four times
(quirk Q11); SSIM is averaged over the batch. Tensors are (batch, channel, height, width) float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from h2k_rt.constants import METHOD

#: Weights of the terms: normals (L1 and SSIM), depth, normals of the depth, mask.
NORMAL_WEIGHT, L1_SHARE, SSIM_SHARE = 0.5, 0.85, 0.15
DEPTH_WEIGHT, CONSISTENCY_WEIGHT, MASK_WEIGHT = 0.85, 0.15, 1.0
_SSIM_WINDOW, _SSIM_SIGMA, _SSIM_K = 5, 1.5, (0.01, 0.03)


@dataclass(frozen=True)
class Losses:
    """The weighted terms, scalars; ``normals`` is 0 in phase 2."""

    normals: Tensor
    depth: Tensor
    consistency: Tensor
    mask: Tensor

    @property
    def total(self) -> Tensor:
        return self.normals + self.depth + self.consistency + self.mask


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of a sample, summed over the batch."""
    return (prediction - target).abs().mean(dim=(1, 2, 3)).sum()


def smooth_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 (beta 1): mean of a sample, summed over the batch."""
    return F.smooth_l1_loss(prediction, target, reduction="none").mean(dim=(1, 2, 3)).sum()


def mask_loss(mask: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy: mean of a sample, summed over the batch.

    Args:
        mask: logits. The published program feeds probabilities, so that a second sigmoid is inside (quirk Q8); feed them
            too where its numbers are wanted.
        target: 0 or 1.
    """
    return F.binary_cross_entropy_with_logits(mask, target, reduction="none").mean(dim=(1, 2, 3)).sum()


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity for values in 0..1: Gaussian window of 5, sigma 1.5, no padding.

    The mean over a channel's pixels is clipped at 0, then averaged over channels and batch.
    """
    channels = prediction.shape[1]
    offset = torch.arange(_SSIM_WINDOW, dtype=prediction.dtype, device=prediction.device) - _SSIM_WINDOW // 2
    line = torch.exp(-(offset**2) / (2 * _SSIM_SIGMA**2))
    line = line / line.sum()
    window = (line[:, None] * line[None, :]).expand(channels, 1, -1, -1)

    def blurred(value: Tensor) -> Tensor:
        return F.conv2d(value, window, groups=channels)

    mean_p, mean_t = blurred(prediction), blurred(target)
    var_p = blurred(prediction * prediction) - mean_p**2
    var_t = blurred(target * target) - mean_t**2
    covariance = blurred(prediction * target) - mean_p * mean_t
    c1, c2 = _SSIM_K[0] ** 2, _SSIM_K[1] ** 2
    structure = (2 * covariance + c2) / (var_p + var_t + c2)
    similarity = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1) * structure
    return similarity.mean(dim=(2, 3)).clamp_min(0).mean()


def normal_from_depth(depth: Tensor) -> Tensor:
    """Encoded normals (B, 3, H, W) of a depth map (B, 1, H, W) in nu; differentiable (SPEC 8)."""
    gx = F.pad(depth[..., :, :-1] - depth[..., :, 1:], (0, 1, 0, 0))
    gy = F.pad(depth[..., :-1, :] - depth[..., 1:, :], (0, 0, 1, 0))
    # Written out: a norm over three strided channels takes several times longer on CPUs.
    scale = 0.5 / (gx * gx + gy * gy + METHOD.normal_z**2).sqrt()
    encoded = torch.cat([gx * scale, gy * scale, METHOD.normal_z * scale], dim=1) + 0.5
    return torch.where(depth < METHOD.normal_min_depth, torch.zeros_like(encoded), encoded)


def normal_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """L1 and SSIM of encoded normals, (B, 6, H, W) each: front and back are two terms."""
    total = prediction.new_zeros(())
    for side in (slice(0, 3), slice(3, 6)):
        p, t = prediction[:, side], target[:, side]
        total = total + L1_SHARE * l1(p, t) + SSIM_SHARE * (1 - ssim(p, t))
    return NORMAL_WEIGHT * total


def _depth_terms(depth: Tensor, mask: Tensor, target: Tensor, blank_target: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Depth, consistency and mask terms for a target (B, 2, H, W) whose background is 0."""
    person = (target[:, :1] > 0).to(target.dtype)
    front = torch.where(person > 0, target[:, :1], torch.full_like(person, METHOD.front_background))
    wanted = torch.cat([front, target[:, 1:]], dim=1)
    depth_term = depth.new_zeros(())
    consistency = depth.new_zeros(())
    for side in (0, 1):
        depth_term = depth_term + smooth_l1(depth[:, side : side + 1], wanted[:, side : side + 1])
        ours = normal_from_depth(depth[:, side : side + 1]) * person
        theirs = normal_from_depth(target[:, side : side + 1])
        consistency = consistency + smooth_l1(ours, theirs * person if blank_target else theirs)
    return DEPTH_WEIGHT * depth_term, CONSISTENCY_WEIGHT * consistency, MASK_WEIGHT * mask_loss(mask, person)


def phase1_losses(
    normals: Mapping[str, Tensor],
    normal_targets: Mapping[str, Tensor],
    depth: Tensor,
    mask: Tensor,
    depth_target: Tensor,
) -> Losses:
    """Loss of the seven networks of phase 1.

    Args:
        normals: of each normal network (B, 6, h, w), encoded, front and back.
        normal_targets: the same from the ground-truth depth: parts from the full resolution, "low" from the low one.
        depth: (B, 2, n, n) low depth after ReLU6.
        mask: (B, 1, n, n), see :func:`mask_loss`.
        depth_target: (B, 2, n, n) nu, background 0 on both sides.
    """
    missing = normals.keys() ^ normal_targets.keys()
    if missing:
        raise ValueError(f"predictions and targets differ in {', '.join(sorted(missing))}")
    normal_term = sum((normal_loss(normals[name], normal_targets[name]) for name in normals), depth.new_zeros(()))
    return Losses(normal_term, *_depth_terms(depth, mask, depth_target, blank_target=False))


def phase2_losses(depth: Tensor, mask: Tensor, depth_target: Tensor) -> Losses:
    """Loss of the high-resolution trunk: arguments as in :func:`phase1_losses`, at the full resolution."""
    return Losses(depth.new_zeros(()), *_depth_terms(depth, mask, depth_target, blank_target=True))
