"""Which network is which, and each as a module that training calls: mixed precision inside, its last convolution in float32."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from h2k_rt.bundle import NETWORKS
from h2k_rt.constants import PART_GROUPS
from h2k_rt.errors import TrainingError
from h2k_rt.networks import HighDepthNet, LowDepthNet, NormalNet

PART_NAMES = tuple(group.name for group in PART_GROUPS)
LOW_NAMES = ("low_normal", "low_depth")

#: Network name (as in a bundle) -> its module in :class:`HumanNet`.
MODULES = {
    "low_normal": "img2normal_down",
    **{name: f"img2normal_{name}" for name in PART_NAMES},
    "low_depth": "ImgNorm_to_Dep",
    "high_depth": "refine",
}
assert set(MODULES) == set(NETWORKS)

_GROUPS = {"low": LOW_NAMES, "parts": PART_NAMES}


def network(net: nn.Module, name: str) -> nn.Module:
    """One network by its name in a bundle."""
    return net.get_submodule(MODULES.get(name, name))


def parse_networks(text: str | None, phase: int) -> tuple[str, ...]:
    """Networks to train, in bundle order, from ``low``, ``parts`` or names with commas; None: all of the phase.

    Raises:
        TrainingError: an unknown name, or one of the other phase.
    """
    allowed = ("high_depth",) if phase == 2 else (*LOW_NAMES, *PART_NAMES)
    if text is None:
        return allowed
    chosen: set[str] = set()
    for word in text.split(","):
        names = _GROUPS.get(word.strip(), (word.strip(),))
        for name in names:
            if name not in MODULES:
                raise TrainingError(f"there is no network {name!r}; there are {', '.join((*_GROUPS, *MODULES))}")
            if name not in allowed:
                raise TrainingError(f"network {name} is not trained in phase {phase}, but in phase {3 - phase}")
            chosen.add(name)
    return tuple(name for name in MODULES if name in chosen)


class RawNet(nn.Module):
    """A network up to its last convolution, without the activation behind it (a ReLU would cut off gradients for good).

    Args:
        net: the network, whose weights are shared.
        precision: "bfloat16" or "float32".
        channels_last: memory format of weights and inputs.
    """

    def __init__(self, net: nn.Module, precision: str, channels_last: bool) -> None:
        super().__init__()
        assert isinstance(net, NormalNet | LowDepthNet | HighDepthNet)
        self.net = net
        self._mixed = precision == "bfloat16"
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self._format)  # type: ignore[call-overload]

    def forward(self, *inputs: Tensor) -> Tensor:
        formatted = [value.contiguous(memory_format=self._format) for value in inputs]
        with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=self._mixed):
            features = self.net.features(*formatted)
        with torch.autocast(inputs[0].device.type, enabled=False):
            return head_of(self.net)(features.float())


def head_of(net: nn.Module) -> nn.Conv2d:
    """The last convolution of a network."""
    if isinstance(net, NormalNet):
        head = net.Conv_1x1.conv[0]
    else:
        head = net.Conv_1x1 if isinstance(net, LowDepthNet) else net.get_submodule("merge3_2")
    assert isinstance(head, nn.Conv2d)
    return head


def freeze(net: nn.Module, names: Iterable[str] = ()) -> None:
    """Switch off the gradients of ``net``, but for the named networks of a :class:`HumanNet`."""
    net.requires_grad_(False)
    for name in names:
        net.get_submodule(MODULES[name]).requires_grad_(True)
