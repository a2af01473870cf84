"""All eight networks of the method in one module, named as in the published checkpoint."""

from __future__ import annotations

import math

from torch import nn

from h2k_rt.networks.depth_net import LowDepthNet
from h2k_rt.networks.high_depth_net import HighDepthNet
from h2k_rt.networks.normal_net import NormalNet

#: Part groups in the order of the published model; each has a network ``img2normal_<group>``.
PART_GROUPS = ("face", "upper", "arm", "leg", "shoe")


class HumanNet(nn.Module):
    """The eight networks of the method, without the geometry between them (that is ``h2k_rt.reconstruct``).

    ``width`` scales every channel count; 1.0 is the published size (77 655 212 parameters, 1504 state-dict entries).
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        base = 64 * width
        if not math.isfinite(width) or base < 4 or base % 4:
            raise ValueError(f"width {width} gives {base:g} base channels; they must be a positive multiple of 4")
        normal_base, depth_base = int(base), int(base) // 2
        self.width = width
        for group in PART_GROUPS:
            self.add_module(f"img2normal_{group}", NormalNet(6, normal_base))
        self.img2normal_down = NormalNet(3, normal_base)
        self.ImgNorm_to_Dep = LowDepthNet(depth_base)
        self.refine = HighDepthNet(depth_base)
        self.apply(_initialise)

    def part_net(self, group: str) -> NormalNet:
        """The part-normal network of one group ("face", "upper", "arm", "leg", "shoe")."""
        net = self.get_submodule(f"img2normal_{group}")
        assert isinstance(net, NormalNet)
        return net


def _initialise(module: nn.Module) -> None:
    """Published initial weights: normal(0, sqrt(2 / (k k out_channels))) for convolutions (SPEC section 9)."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))


def build_networks(width: float = 1.0) -> HumanNet:
    """Networks with fresh weights, in training mode."""
    return HumanNet(width)
