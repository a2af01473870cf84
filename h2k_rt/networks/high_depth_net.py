"""High-resolution depth trunk: low depth and normals at three scales -> depth eight times finer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from h2k_rt.networks.blocks import DoubleConv, PointConv, SingleConv, UpConv


def sub_sampled_normals(normals: Tensor) -> tuple[Tensor, Tensor]:
    """Normals at a quarter and at half resolution, taken without filtering: ``[1::4, 1::4]`` and ``[0::2, 0::2]``."""
    return normals[..., 1::4, 1::4], normals[..., 0::2, 0::2]


class HighDepthNet(nn.Module):
    """Low depth (B, 2, H, W) and normals (B, 6, 8H, 8W) -> raw (B, 3, 8H, 8W): front, back, mask logit.

    Args:
        base: channels of one branch, 32 in the published size.
    """

    #: Pixels at the output by which one output pixel sees beyond itself. Each level has three 3x3 convolutions in a row
    #: (after an upsampling, in the merge): 3 px at 512, 1024 and 2048 make 12 + 6 + 3.
    RECEPTIVE_RADIUS = 21

    def __init__(self, base: int = 32) -> None:
        super().__init__()
        c, m = base, 2 * base
        self.depth1 = UpConv(2, c)
        self.depth2 = UpConv(m, c)
        self.depth3 = UpConv(m, c)
        self.normal1 = SingleConv(6, c)
        self.normal2 = SingleConv(6, c)
        self.normal3 = SingleConv(6, c)
        self.merge1_1 = DoubleConv(m, m)
        self.merge2_1 = DoubleConv(m, m)
        self.merge3_1 = DoubleConv(m, m)
        self.merge1_2 = PointConv(m, m)
        self.merge2_2 = PointConv(m, m)
        self.merge3_2 = nn.Conv2d(m, 3, 1)

    def forward(self, depth: Tensor, normals: Tensor) -> Tensor:
        return self.merge3_2(self.features(depth, normals))

    def features(self, depth: Tensor, normals: Tensor) -> Tensor:
        """What the last convolution reads, (B, 2 base, 8H, 8W); training keeps that convolution in full precision."""
        quarter, half = sub_sampled_normals(normals)
        x = self.merge1_2(self.merge1_1(torch.cat([self.depth1(depth), self.normal1(quarter)], dim=1)))
        x = self.merge2_2(self.merge2_1(torch.cat([self.depth2(x), self.normal2(half)], dim=1)))
        return self.merge3_1(torch.cat([self.depth3(x), self.normal3(normals)], dim=1))
