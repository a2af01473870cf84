"""Stacked hourglasses (Newell et al. 2016) with group normalisation, as PIFu's picture encoder has them.

Shapes are (batch, channels, height, width), float32. Channel counts are multiples of 8.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Most groups of a normalisation (PIFu: 32), and channels of a group where there are fewer than 256.
_GROUPS, _GROUP_CHANNELS = 32, 8


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation for any of the widths."""
    return nn.GroupNorm(min(_GROUPS, max(1, channels // _GROUP_CHANNELS)), channels)


class Residual(nn.Module):
    """Three 3x3 convolutions whose outputs are joined, before each a normalisation and a ReLU; added to the input.

    The block of Bulat and Tzimiropoulos (2017) that PIFu uses.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        widths = (in_channels, out_channels // 2, out_channels // 4, out_channels // 4)
        self.norms = nn.ModuleList(group_norm(n) for n in widths[:3])
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in itertools.pairwise(widths))
        same = in_channels == out_channels
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(group_norm(in_channels), nn.ReLU(), nn.Conv2d(in_channels, out_channels, 1, bias=False))
        )

    def forward(self, x: Tensor) -> Tensor:
        parts, value = [], x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            value = conv(F.relu(norm(value)))
            parts.append(value)
        return torch.cat(parts, 1) + self.shortcut(x)


class Hourglass(nn.Module):
    """Residual blocks at ``depth`` + 1 resolutions, each added to the next finer one. Height and width: multiples of 2^depth."""

    def __init__(self, channels: int, depth: int = 2) -> None:
        super().__init__()
        self.skip = Residual(channels, channels)
        self.down = Residual(channels, channels)
        self.inner: nn.Module = Hourglass(channels, depth - 1) if depth > 1 else Residual(channels, channels)
        self.up = Residual(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        low = self.up(self.inner(self.down(F.avg_pool2d(x, 2))))
        return self.skip(x) + F.interpolate(low, scale_factor=2.0, mode="nearest")
