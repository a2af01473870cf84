"""The networks while they are trained: live weights, averaged weights, and one optimiser for each trained network."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from h2k_rt.networks import HumanNet
from h2k_rt.training.compiled import compiled
from h2k_rt.training.config import OptimizerConfig, TrainingConfig
from h2k_rt.training.nets import RawNet, freeze, network


class Networks:
    """All eight networks, some of them trained.

    Attributes:
        live: trained weights; the trained networks are in training mode.
        averaged: exponential moving average of them (batch-norm statistics too), in evaluation mode; what is kept in the end.
        raw: trained network -> what gives its output before the last activation.
        optimizers: trained network -> its optimiser.
        counts: trained network -> steps it has made.
    """

    def __init__(self, net: HumanNet, names: tuple[str, ...], config: TrainingConfig, device: torch.device) -> None:
        self.config, self.names, self.device = config, names, device
        self.live = net.to(device).eval()
        freeze(self.live, names)
        self.averaged = copy.deepcopy(self.live).eval().requires_grad_(False)
        run = config.run
        self.raw: dict[str, Callable[..., Tensor]] = {
            name: compiled(RawNet(network(self.live, name), run.precision, run.channels_last), config) for name in names
        }
        self._averaged_raw = {name: RawNet(network(self.averaged, name), run.precision, run.channels_last) for name in names}
        for name in names:
            network(self.live, name).train(not run.frozen_statistics)
        self.optimizers = {name: make_optimizer(network(self.live, name), config.optimizer) for name in names}
        self.counts = dict.fromkeys(names, 0)

    def stated(self) -> dict[str, str]:
        """What the result's metadata says of the method, as JSON by name."""
        background = self.config.model.background_value
        return {"constants": json.dumps({} if background is None else {"background_value": background})}

    def averaged_raw(self, name: str) -> RawNet:
        """The averaged network as :class:`RawNet`; made when it is first asked for."""
        if name not in self._averaged_raw:
            run = self.config.run
            self._averaged_raw[name] = RawNet(network(self.averaged, name), run.precision, run.channels_last).eval()
        return self._averaged_raw[name]

    def step(self, name: str, rate: float) -> float:
        """One step of a network's optimiser at a learning rate, then of its average. Returns the gradient's norm."""
        optimizer, settings = self.optimizers[name], self.config.optimizer
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip or float("inf"))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average(network(self.averaged, name), network(self.live, name), ema_decay(settings.ema, self.counts[name]))
        self.counts[name] += 1
        return float(norm)


def ema_decay(decay: float, step: int) -> float:
    """Decay of the average at a step, warmed up so that the first weights do not stay in it."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def average(averaged: nn.Module, live: nn.Module, decay: float) -> None:
    """Move every floating entry of ``averaged`` towards ``live``: ``a := decay a + (1 - decay) w``; whole numbers are copied."""
    ours, theirs = averaged.state_dict(), live.state_dict()
    floating = [key for key, value in ours.items() if value.is_floating_point()]
    torch._foreach_lerp_([ours[key] for key in floating], [theirs[key] for key in floating], 1 - decay)
    for key in ours.keys() - set(floating):
        ours[key].copy_(theirs[key])


def make_optimizer(net: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    kernels = [p for p in net.parameters() if p.ndim == 4]
    others = [p for p in net.parameters() if p.ndim != 4]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.kind == "rmsprop":
        return torch.optim.RMSprop(groups, lr=config.peak)
    return torch.optim.AdamW(groups, lr=config.peak)


def optimizer_tensors(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as tensors, named ``<parameter>.<entry>``."""
    names = {id(p): name for name, p in net.named_parameters()}
    return {
        f"{names[id(parameter)]}.{entry}": value
        for parameter, state in optimizer.state.items()
        for entry, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(net: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` gave."""
    for name, parameter in net.named_parameters():
        found = {key.rpartition(".")[2]: value for key, value in tensors.items() if key.rpartition(".")[0] == name}
        if found:
            optimizer.state[parameter] = {
                entry: value if entry == "step" else value.to(parameter.device).clone(memory_format=torch.preserve_format)
                for entry, value in found.items()
            }
