"""The modules that are exported: each network with the activations that belong to it, one definition for every engine."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from h2k_rt.bundle import NETWORKS
from h2k_rt.constants import METHOD
from h2k_rt.networks import PART_GROUPS, HighDepthNet, HumanNet, LowDepthNet


class LowDepthGraph(nn.Module):
    """picture, normals -> depth (B, 2, H, W) in network units, background where the mask says so; mask (B, 1, H, W) in [0, 1].

    ReLU6, sigmoid and the masking (front 6, back 0 where the mask is at most 0.5) of SPEC 4.2.
    """

    background: Tensor

    def __init__(self, net: LowDepthNet) -> None:
        super().__init__()
        self.net = net
        background = torch.tensor([METHOD.front_background, METHOD.back_background]).view(1, 2, 1, 1)
        self.register_buffer("background", background, persistent=False)

    def forward(self, picture: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.net(picture, normals)
        mask = torch.sigmoid(raw[:, 2:3])
        depth = torch.where(mask > METHOD.mask_threshold, F.relu6(raw[:, 0:2]), self.background)
        return depth, mask


class HighDepthGraph(nn.Module):
    """depth, normals -> depth (B, 2, 8H, 8W) after ReLU6, mask (B, 1, 8H, 8W) after the sigmoid; no masking (SPEC 4.3)."""

    def __init__(self, net: HighDepthNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, depth: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.net(depth, normals)
        return F.relu6(raw[:, 0:2]), torch.sigmoid(raw[:, 2:3])


def exported_modules(net: HumanNet) -> dict[str, nn.Module]:
    """The eight modules by network name, in the order of ``NETWORKS``; they share their weights with ``net``."""
    modules: dict[str, nn.Module] = {"low_normal": net.img2normal_down}
    modules.update((group, net.part_net(group)) for group in PART_GROUPS)
    modules["low_depth"] = LowDepthGraph(net.ImgNorm_to_Dep)
    modules["high_depth"] = HighDepthGraph(net.refine)
    return {name: modules[name] for name in NETWORKS}
