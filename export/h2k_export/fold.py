"""Batch norms folded into the convolutions before them."""

from __future__ import annotations

import copy

import torch
from torch import nn


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """A copy of ``module`` in evaluation mode whose batch norms are part of their convolutions.

    The sums are done in float64 and rounded to float32 once. Only a batch norm that follows a convolution inside an
    ``nn.Sequential`` is folded, which is every one of the method's.

    Raises:
        ValueError: a batch norm is left.
    """
    folded = copy.deepcopy(module).eval()
    for block in folded.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for i in range(len(block) - 1):
            conv, norm = block[i], block[i + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[i], block[i + 1] = _folded(conv, norm), nn.Identity()
    left = [name for name, child in folded.named_modules() if isinstance(child, nn.BatchNorm2d)]
    if left:
        raise ValueError(f"{left[0]} does not follow a convolution and cannot be folded")
    return folded


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = torch.zeros_like(scale) if conv.bias is None else conv.bias.double()
    with torch.no_grad():
        conv.weight.copy_(conv.weight.double() * scale[:, None, None, None])
        folded_bias = ((bias - norm.running_mean.double()) * scale + norm.bias.double()).float()
        conv.bias = nn.Parameter(folded_bias, requires_grad=False)
    return conv


def round_weights(module: nn.Module) -> nn.Module:
    """A copy of ``module`` whose convolution weights are the nearest FP16 numbers (kept as float32); biases stay.

    Raises:
        OverflowError: a weight is too large for FP16.
    """
    rounded = copy.deepcopy(module)
    for name, layer in rounded.named_modules():
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight.detach().half().float()
            if not torch.isfinite(weight).all():
                raise OverflowError(f"a weight of {name} is too large for FP16")
            layer.weight = nn.Parameter(weight, requires_grad=False)
    return rounded
