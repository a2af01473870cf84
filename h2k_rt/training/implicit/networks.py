"""The implicit function's two networks while they are trained."""

from __future__ import annotations

import copy
import json

import torch
from torch import Tensor

from h2k_rt.errors import TrainingError
from h2k_rt.networks.view_net import Seen, ViewNet, ViewNetShape
from h2k_rt.training.config import TrainingConfig
from h2k_rt.training.nets import network
from h2k_rt.training.state import Networks, make_optimizer

#: Names of the networks, as in a bundle.
NAMES = ("encoder", "points")


def shape_of(config: TrainingConfig) -> ViewNetShape:
    """The networks' shape that a configuration asks for.

    Raises:
        TrainingError: width, stages and picture do not go together.
    """
    wanted = config.implicit
    try:
        multi_scale = wanted.features == "multi-scale"
        return ViewNetShape(wanted.width, wanted.stages, multi_scale, wanted.merge, wanted.picture, wanted.local)
    except ValueError as error:
        raise TrainingError(f"[implicit]: {error}") from error


def fresh_view_net(config: TrainingConfig) -> ViewNet:
    """Networks with PyTorch's first weights, from the configuration's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        return ViewNet(shape_of(config))


class ViewNetworks(Networks):
    """Live and averaged weights of a :class:`ViewNet`; both its networks are trained together."""

    def __init__(self, net: ViewNet, config: TrainingConfig, device: torch.device) -> None:
        self.config, self.names, self.device = config, NAMES, device
        self.live: ViewNet = net.to(device).train()  # type: ignore[assignment]
        if config.run.channels_last:
            self.live.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged: ViewNet = copy.deepcopy(self.live).eval().requires_grad_(False)  # type: ignore[assignment]
        self.optimizers = {name: make_optimizer(network(self.live, name), config.optimizer) for name in NAMES}
        self.counts = dict.fromkeys(NAMES, 0)

    def seen(self, batch: dict[str, Tensor], *, averaged: bool = False) -> Seen:
        """What the networks say of a batch, in float32."""
        net = self.averaged if averaged else self.live
        mixed = self.config.run.precision == "bfloat16"
        with torch.autocast(batch["points"].device.type, torch.bfloat16, enabled=mixed):
            found: Seen = net(batch["pictures"], batch["projections"], batch["points"])
        return Seen(*([value.float() for value in values] for values in found))

    def stated(self) -> dict[str, str]:
        """The method and the networks' shape."""
        return {"method": json.dumps("implicit"), "shape": json.dumps(self.live.shape.as_dict())}
