"""Weights to start from: a training's result, a bundle's graphs, or the published checkpoint.

A bundle's graphs have their batch norms folded into the convolutions. They are read into networks whose batch norms do nothing;
:func:`calibrate` then gives each the mean and variance that it sees on training samples, so that the networks compute the same
as before, and nearly the same with the statistics of a batch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from h2k_export import load_human_net, read_checkpoint
from h2k_export.weights import net_of_state
from torch import Tensor, nn

from h2k_rt.bundle import NETWORKS, Bundle
from h2k_rt.errors import CheckpointError, TrainingError
from h2k_rt.networks import HumanNet, build_networks
from h2k_rt.training.nets import MODULES, network
from h2k_rt.training.pass_through import pass_through


def fresh_networks(width: float, seed: int, start: str) -> HumanNet:
    """Networks with first weights.

    Args:
        start: "random" as published, or "pass-through", see :func:`pass_through`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build_networks(width)
    if start == "pass-through":
        for name in NETWORKS:
            if not pass_through(network(net, name)):
                continue
            for module in network(net, name).modules():
                if isinstance(module, nn.BatchNorm2d):
                    _set_identity(module)
    return net


def load_initial(paths: Sequence[Path], width: float) -> HumanNet:
    """Networks from files: all of the first, then of each further one those that it says were trained in its run.

    Args:
        paths: each a ``.safetensors`` file, the folder of a run (its ``model.safetensors``), a model bundle, or a checkpoint in
            the published format.
        width: what they must have.

    Raises:
        CheckpointError: a file is missing, damaged or of another width.
    """
    nets = [_load(path, width) for path in paths]
    net = nets[0]
    for path, other in zip(paths[1:], nets[1:], strict=True):
        for name in trained_networks(path):
            network(net, name).load_state_dict(network(other, name).state_dict())
    return net


def trained_networks(path: Path) -> tuple[str, ...]:
    """Which networks a training's result was about.

    Raises:
        CheckpointError: the file does not say.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(_weights_file(path), "pt") as file:
            stated = json.loads((file.metadata() or {}).get("trained", "[]"))
    except (SafetensorError, OSError, ValueError):
        stated = []
    if not stated:
        raise CheckpointError(f"{path} does not say which networks were trained in it; only the first --init may be such a file")
    return tuple(name for name in stated if name in MODULES)


def _weights_file(path: Path) -> Path:
    return path / "model.safetensors" if path.is_dir() else path


def _load(path: Path, width: float) -> HumanNet:

    if (path / "model.toml").is_file() or path.suffix == ".zip" or not (path.suffix or path.exists()):
        net = networks_of_bundle(path, width)
    elif path.name.endswith((".pth.tar", ".pth", ".pt")):
        net = net_of_state(read_checkpoint(path), str(path), width)
    else:
        net = load_human_net(_weights_file(path), width)
    return net.requires_grad_(True)


def networks_of_bundle(path: Path, width: float | None = None) -> HumanNet:
    """Networks that compute what a bundle's FP32 graphs do.

    Args:
        path: the bundle's folder, .zip or name.
        width: what it must have; None: any.

    Raises:
        CheckpointError: another width, or graphs that are not these networks'.
    """
    bundle = Bundle.open(str(path))
    if width is not None and bundle.width != width:
        raise CheckpointError(f"{path} has width {bundle.width:g}, not {width:g}")
    weights = bundle.weights()
    if weights is not None:
        return load_human_net(weights, width)
    net = build_networks(bundle.width).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            _set_identity(module)
    for name in NETWORKS:
        _load_graph(network(net, name), bundle.network(name), f"{path}: {name}")
    return net


def _load_graph(net: nn.Module, graph: Path | bytes, what: str) -> None:
    """Fill a network's convolutions from the initialisers of its graph."""
    import onnx
    from onnx import numpy_helper

    stored = {}
    model = onnx.load_from_string(graph) if isinstance(graph, bytes) else onnx.load(graph)
    for tensor in model.graph.initializer:
        stored[tensor.name.removeprefix("net.").removesuffix(".fp16")] = tensor
    for name, module in net.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        for entry, parameter in module.named_parameters():
            tensor = stored.get(f"{name}.{entry}")
            if tensor is None or tuple(tensor.dims) != tuple(parameter.shape):
                raise CheckpointError(f"{what}: the graph has no {name}.{entry} of shape {tuple(parameter.shape)}")
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(numpy_helper.to_array(tensor).astype("float32")))


def _set_identity(norm: nn.BatchNorm2d) -> None:
    """Make a batch norm do nothing in evaluation mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    with torch.no_grad():
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
        norm.weight.fill_(math.sqrt(1 + norm.eps))
        norm.bias.zero_()


def needs_calibration(net: nn.Module) -> bool:
    """Whether the batch norms of a network are those of a bundle's graph, which do nothing."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    identity = nn.BatchNorm2d(1)
    _set_identity(identity)

    def same(ours: Tensor | None, value: Tensor | None) -> bool:
        assert ours is not None and value is not None
        return bool((ours == value).all())

    return all(same(n.weight, identity.weight) and same(n.running_var, identity.running_var) for n in norms)


@torch.no_grad()
def calibrate(nets: Iterable[nn.Module], run: Callable[[], Any]) -> None:
    """Give the batch norms of ``nets``, which do nothing, the statistics of their inputs while ``run`` feeds the networks.

    With mean m and variance v of a channel, running mean m, running variance v, weight sqrt(v + eps) and bias m leave the
    output as it was in evaluation mode.

    Args:
        nets: networks for which :func:`needs_calibration`.
        run: runs training samples through them.
    """
    sums: dict[nn.BatchNorm2d, list[Tensor]] = {}

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        value = inputs[0].double()
        count = torch.tensor(float(value.numel() // value.shape[1]), dtype=torch.float64, device=value.device)
        new = [count, value.sum(dim=(0, 2, 3)), value.square().sum(dim=(0, 2, 3))]
        sums[norm] = [a + b for a, b in zip(sums[norm], new, strict=True)] if norm in sums else new

    nets = list(nets)
    modes = [net.training for net in nets]
    norms = [module for net in nets for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    handles = [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        for net in nets:
            net.eval()
        run()
    finally:
        for handle in handles:
            handle.remove()
        for net, mode in zip(nets, modes, strict=True):
            net.train(mode)
    for norm in norms:
        if norm not in sums:
            raise TrainingError("a network was not reached by any training sample; nothing to calibrate its batch norms with")
        count, total, squares = sums[norm]
        mean = total / count
        variance = (squares / count - mean**2).clamp_min(0)
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)
