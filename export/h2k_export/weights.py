"""Weights in, networks out: from a .safetensors file or a state dict, strictly."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from h2k_export.errors import missing
from h2k_rt.errors import CheckpointError

if TYPE_CHECKING:
    from h2k_engines.torch_engine import TorchEngine

    from h2k_rt.networks import HumanNet

    #: A .safetensors file or its content, a state dict (tensors or NumPy arrays; the published key names), or networks.
    Weights: TypeAlias = str | os.PathLike[str] | bytes | HumanNet | Mapping[str, Any]

#: The entry whose first dimension is the number of base channels: 64 at width 1.
_WIDTH_KEY = "img2normal_face.Conv1.conv.0.weight"


def load_human_net(weights: Weights, width: float | None = None) -> HumanNet:
    """Networks in evaluation mode.

    Args:
        weights: a .safetensors file or its content, a state dict (tensors or NumPy arrays; the published key names), or
            networks.
        width: what the weights must be; None reads it off them.

    Raises:
        CheckpointError: the file cannot be read, or names, shapes or values are wrong.
    """
    try:
        from h2k_rt.networks import HumanNet
    except ImportError as error:
        raise missing(error) from error
    if isinstance(weights, HumanNet):
        if width is not None and width != weights.width:
            raise CheckpointError(f"the networks have width {weights.width:g}, not {width:g}")
        return weights.eval()
    if isinstance(weights, Mapping):
        return net_of_state(weights, "the state dict", width)
    if isinstance(weights, bytes):
        return net_of_state(read_safetensors(weights), "the bundle's weights", width)
    return net_of_state(read_safetensors(Path(weights)), str(weights), width)


def read_safetensors(source: Path | bytes) -> dict[str, Any]:
    """State dict of a .safetensors file or its content.

    Raises:
        CheckpointError: it is not there or not sound.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load, load_file
    except ImportError as error:
        raise missing(error) from error
    if isinstance(source, Path) and not source.is_file():
        raise CheckpointError(f"there are no weights at {source}")
    try:
        return load(source) if isinstance(source, bytes) else load_file(source)
    except (SafetensorError, OSError) as error:
        what = source if isinstance(source, Path) else "the bundle's weights file"
        raise CheckpointError(f"{what} is not a sound .safetensors file: {error}") from error


def stated_constants(path: Path) -> dict[str, Any]:
    """Constants of the method that a .safetensors file says its weights were trained with.

    They stand as JSON under ``constants`` in the file's metadata; none where there is no such entry.

    Raises:
        CheckpointError: the entry is not a JSON object.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("constants", "{}")
    try:
        constants = json.loads(text)
    except ValueError:
        constants = None
    if not isinstance(constants, dict):
        raise CheckpointError(f"{path}: the constants in its metadata are not a JSON object")
    return constants


def net_of_state(state: Mapping[str, Any], where: str, width: float | None = None) -> HumanNet:
    """Networks with exactly the entries of ``state``: every name, shape and number is checked.

    Raises:
        CheckpointError: the first thing that is wrong.
    """
    import torch

    from h2k_rt.networks import HumanNet

    first = state.get(_WIDTH_KEY)
    if first is None or getattr(first, "ndim", 0) != 4:
        raise CheckpointError(f"{where} does not hold the networks of this method: {_WIDTH_KEY} is missing")
    found = first.shape[0] / 64
    if width is not None and found != width:
        raise CheckpointError(f"{where} has width {found:g}, not {width:g}")
    try:
        with torch.device("meta"):
            net = HumanNet(found)
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error
    expected = net.state_dict()
    absent = [k for k in expected if k not in state]
    if absent:
        if all(k.startswith("refine.") for k in absent) and not any(k.startswith("refine.") for k in state):
            raise CheckpointError(
                f"{where} is a checkpoint of training phase 1: it has no refine.* weights (the high-resolution depth network); "
                "use one of phase 2"
            )
        raise CheckpointError(f"{where} lacks {_some(absent)}")
    unknown = [k for k in state if k not in expected]
    if unknown:
        raise CheckpointError(f"{where} holds {_some(unknown)}, which this method's networks do not have")
    tensors = {}
    for key, want in expected.items():
        value = torch.as_tensor(state[key])
        if value.numel() == want.numel() == 1:
            value = value.reshape(want.shape)  # some writers give single numbers one dimension
        if value.shape != want.shape:
            raise CheckpointError(f"{where}: {key} has shape {tuple(value.shape)} instead of {tuple(want.shape)}")
        if value.dtype.is_floating_point != want.dtype.is_floating_point:
            raise CheckpointError(f"{where}: {key} has type {value.dtype} instead of {want.dtype}")
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{where}: {key} holds numbers that are not finite; the file is damaged or the training diverged")
        if key.endswith("running_var") and (value < 0).any():
            raise CheckpointError(f"{where}: {key} holds a negative variance; the file is damaged")
        tensors[key] = value.to(want.dtype).contiguous()
    net.load_state_dict(tensors, strict=True, assign=True)
    return net.eval().requires_grad_(False)


def torch_engines(weights: Weights, *, device: str = "cpu", fold: bool = False) -> dict[str, TorchEngine]:
    """All eight networks on PyTorch, with the tensor names and meanings of the exported graphs: the reference.

    Args:
        fold: fold the batch norms into the convolutions first: faster, differs by rounding.
    """
    from h2k_engines.torch_engine import TorchEngine

    from h2k_export.fold import fold_batch_norms
    from h2k_export.parity import tensor_specs
    from h2k_export.specs import GRAPHS
    from h2k_export.wrappers import exported_modules

    modules = exported_modules(load_human_net(weights))
    return {
        name: TorchEngine(
            fold_batch_norms(module) if fold else module,
            name,
            tensor_specs(GRAPHS[name].inputs),
            tensor_specs(GRAPHS[name].outputs),
            device=device,
        )
        for name, module in modules.items()
    }


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more
