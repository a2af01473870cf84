"""The method's networks in PyTorch. Needs torch (extra ``train``); inference never imports this package."""

from h2k_rt.networks.depth_net import LowDepthNet
from h2k_rt.networks.high_depth_net import HighDepthNet, sub_sampled_normals
from h2k_rt.networks.human_net import PART_GROUPS, HumanNet, build_networks
from h2k_rt.networks.normal_net import NormalNet

__all__ = ["PART_GROUPS", "HighDepthNet", "HumanNet", "LowDepthNet", "NormalNet", "build_networks", "sub_sampled_normals"]
