"""Building blocks shared by every network of the method.

Attribute names (``conv``, ``up``, ``W_g``, ``W_x``, ``psi``) follow the published checkpoint: its state dict loads strictly.
Shapes are (batch, channels, height, width), float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _conv3(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


class SingleConv(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*_conv3(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class DoubleConv(nn.Module):
    """Two times (3x3 convolution, batch norm, ReLU)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*_conv3(in_channels, out_channels), *_conv3(out_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class UpConv(nn.Module):
    """Nearest-neighbour upsampling by 2, then 3x3 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), *_conv3(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x)


class PointConv(nn.Module):
    """1x1 convolution with bias, then ReLU; no batch norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class AttentionGate(nn.Module):
    """Additive attention gate: ``skip * sigmoid(psi(relu(W_g(gate) + W_x(skip))))``, one weight for each pixel.

    ``gate`` and ``skip`` have ``channels`` channels and the same size; ``hidden`` is the width in between.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.W_g = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden))
        self.W_x = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden))
        self.psi = nn.Sequential(nn.Conv2d(hidden, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())
        self.relu = nn.ReLU(inplace=True)

    def forward(self, gate: Tensor, skip: Tensor) -> Tensor:
        return skip * self.psi(self.relu(self.W_g(gate) + self.W_x(skip)))


def gated_concat(gate: AttentionGate, upsampled: Tensor, skip: Tensor) -> Tensor:
    """Concatenate [gated skip, upsampled]: the order of the published decoder."""
    return torch.cat([gate(upsampled, skip), upsampled], dim=1)
