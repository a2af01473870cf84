"""First weights with which a network begins by giving its low-resolution input back, instead of noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from h2k_rt.networks import HighDepthNet, LowDepthNet, NormalNet
from h2k_rt.training.nets import head_of

#: Share of their random size that the other weights of a last convolution keep.
_HEAD_SHARE = 0.1
#: Bias before a gate's sigmoid: open to 98 %.
_OPEN_GATE = 4.0
#: Slope of the trunk's first mask logit over the thickness in nu.
_MASK_SLOPE = 2.0
_BINOMIAL = torch.outer(torch.tensor([0.25, 0.5, 0.25]), torch.tensor([0.25, 0.5, 0.25]))


@torch.no_grad()
def pass_through(net: nn.Module) -> bool:
    """Change the random weights of a network so that its input of low resolution passes.

    The trunk gives the low depth, interpolated; a part network the low-resolution front normals; each carries them in its first
    channels past every convolution (they are not negative, so ReLUs let them through; batch norms must do nothing). The
    low-resolution networks, which have no such input, begin with quiet last convolutions, the depth in the middle of its range.

    Returns:
        Whether something is carried: the network's batch norms must then be made to do nothing.
    """
    if isinstance(net, HighDepthNet):
        _carry_depth(net)
        return True
    if isinstance(net, NormalNet):
        if net.Conv1.conv[0].in_channels == 6:
            _carry_normals(net)
            return True
        _quiet_head(net)
    if isinstance(net, LowDepthNet):
        _quiet_head(net).bias.copy_(torch.tensor([1.8, 2.2, 0.0]))  # type: ignore[union-attr]
    return False


def _carry_depth(net: HighDepthNet) -> None:
    for level in (1, 2, 3):
        # After nearest-neighbour upsampling by 2 a binomial kernel makes it bilinear interpolation: no terraces to unlearn.
        _carry(net.get_submodule(f"depth{level}.up.1"), (0, 1), (0, 1), _BINOMIAL)
        for place in (0, 3):
            _carry(net.get_submodule(f"merge{level}_1.conv.{place}"), (0, 1), (0, 1))
        if level < 3:
            _carry(net.get_submodule(f"merge{level}_2.conv.0"), (0, 1), (0, 1))
    head = _quiet_head(net)
    _carry(head, (0, 1), (0, 1))
    # Person where the back lies behind the front.
    head.weight[2, :2, 0, 0] = torch.tensor([-_MASK_SLOPE, _MASK_SLOPE])


def _carry_normals(net: NormalNet) -> None:
    _carry(net.Conv1.conv[0], (3, 4, 5), (0, 1, 2))
    _carry(net.Conv1.conv[3], (0, 1, 2), (0, 1, 2))
    gate = net.Att2.psi[0]
    assert isinstance(gate, nn.Conv2d) and gate.bias is not None
    gate.weight.mul_(_HEAD_SHARE)
    gate.bias.fill_(_OPEN_GATE)
    for place in (0, 3):
        _carry(net.Up_conv2.conv[place], (0, 1, 2), (0, 1, 2))
    # The back's slopes are unknown; where there is a person at all is known.
    _carry(_quiet_head(net), (0, 1, 2, 2), (0, 1, 2, 5))


def _carry(conv: nn.Module, sources: Sequence[int], targets: Sequence[int], kernel: Tensor | None = None) -> None:
    """Make channels ``targets`` of a convolution's output copies of channels ``sources`` of its input, through a kernel."""
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    if kernel is None:
        kernel = torch.zeros(conv.kernel_size)
        kernel[conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = 1
    for source, target in zip(sources, targets, strict=True):
        conv.weight[target] = 0
        conv.weight[target, source] = kernel
        conv.bias[target] = 0


def _quiet_head(net: nn.Module) -> nn.Conv2d:
    head = head_of(net)
    assert head.bias is not None
    head.weight.mul_(_HEAD_SHARE)
    head.bias.zero_()
    return head
