"""Attention U-Net that reads front and back normals off a picture (part normals and low-resolution normals)."""

from __future__ import annotations

from torch import Tensor, nn

from h2k_rt.networks.blocks import AttentionGate, DoubleConv, PointConv, UpConv, gated_concat


class NormalNet(nn.Module):
    """Picture (and, for parts, the low front normal) -> encoded front and back normals.

    Args:
        in_channels: 3 for the low-resolution net (R, G, B in [-1, 1]); 6 for a part net (picture crop, low front normal crop).
        base: channels at full resolution, 64 in the published size.

    ``forward``: (B, in_channels, H, W) -> (B, 6, H, W), channels 0..2 front, 3..5 back, encoded as (n + 1) / 2, 0 = background.
    H and W must be multiples of 8.
    """

    def __init__(self, in_channels: int, base: int = 64) -> None:
        super().__init__()
        c1, c2, c3, c4 = base, 2 * base, 4 * base, 8 * base
        self.Maxpool = nn.MaxPool2d(2)
        self.Conv1 = DoubleConv(in_channels, c1)
        self.Conv2 = DoubleConv(c1, c2)
        self.Conv3 = DoubleConv(c2, c3)
        self.Conv4 = DoubleConv(c3, c4)
        self.Up4 = UpConv(c4, c3)
        self.Att4 = AttentionGate(c3, c3 // 2)
        self.Up_conv4 = DoubleConv(2 * c3, c3)
        self.Up3 = UpConv(c3, c2)
        self.Att3 = AttentionGate(c2, c2 // 2)
        self.Up_conv3 = DoubleConv(2 * c2, c2)
        self.Up2 = UpConv(c2, c1)
        self.Att2 = AttentionGate(c1, c1 // 2)
        self.Up_conv2 = DoubleConv(2 * c1, c1)
        self.Conv_1x1 = PointConv(c1, 6)

    def forward(self, picture: Tensor) -> Tensor:
        return self.Conv_1x1(self.features(picture))

    def features(self, picture: Tensor) -> Tensor:
        """What the last convolution reads, (B, base, H, W); training keeps that convolution in full precision."""
        x1 = self.Conv1(picture)
        x2 = self.Conv2(self.Maxpool(x1))
        x3 = self.Conv3(self.Maxpool(x2))
        x4 = self.Conv4(self.Maxpool(x3))
        d4 = self.Up_conv4(gated_concat(self.Att4, self.Up4(x4), x3))
        d3 = self.Up_conv3(gated_concat(self.Att3, self.Up3(d4), x2))
        return self.Up_conv2(gated_concat(self.Att2, self.Up2(d3), x1))
