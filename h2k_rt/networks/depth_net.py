"""Dual-encoder attention U-Net: picture and normals -> low-resolution depth of front and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from h2k_rt.networks.blocks import AttentionGate, DoubleConv, UpConv, gated_concat


class LowDepthNet(nn.Module):
    """256 x 256 picture and low normals -> raw front depth, back depth and mask logit.

    Args:
        base: channels of one encoder at full resolution, 32 in the published size.

    ``forward``: picture (B, 3, H, W), normals (B, 6, H, W) -> (B, 3, H, W) before any activation; H and W multiples of 16.
    """

    def __init__(self, base: int = 32) -> None:
        super().__init__()
        c = [base << level for level in range(5)]
        self.Maxpool = nn.MaxPool2d(2)
        for encoder, channels in ((1, 3), (2, 6)):
            for level in range(5):
                block = DoubleConv(channels if level == 0 else c[level - 1], c[level])
                self.add_module(f"Conv{level + 1}_{encoder}", block)
        # Both encoders are joined at every level: a skip has twice an encoder's channels.
        for level in (5, 4, 3, 2):
            low, high = 2 * c[level - 1], 2 * c[level - 2]
            self.add_module(f"Up{level}", UpConv(low, high))
            self.add_module(f"Att{level}", AttentionGate(high, high // 2))
            self.add_module(f"Up_conv{level}", DoubleConv(2 * high, high))
        self.Conv_1x1 = nn.Conv2d(2 * c[0], 3, 1)

    def forward(self, picture: Tensor, normals: Tensor) -> Tensor:
        return self.Conv_1x1(self.features(picture, normals))

    def features(self, picture: Tensor, normals: Tensor) -> Tensor:
        """What the last convolution reads, (B, 2 base, H, W); training keeps that convolution in full precision."""
        a, b = self.get_submodule("Conv1_1")(picture), self.get_submodule("Conv1_2")(normals)
        skips = [torch.cat([a, b], dim=1)]
        for level in (2, 3, 4, 5):
            a = self.get_submodule(f"Conv{level}_1")(self.Maxpool(a))
            b = self.get_submodule(f"Conv{level}_2")(self.Maxpool(b))
            skips.append(torch.cat([a, b], dim=1))
        x = skips[4]
        for level in (5, 4, 3, 2):
            up = self.get_submodule(f"Up{level}")(x)
            x = gated_concat(self.get_submodule(f"Att{level}"), up, skips[level - 2])  # type: ignore[arg-type]
            x = self.get_submodule(f"Up_conv{level}")(x)
        return x
