"""Checkpoints of a training, from which it goes on as if nothing had happened, and its result.

One safetensors file holds all tensors and, as JSON in its metadata, the numbers: a checkpoint is there whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from h2k_rt.errors import CheckpointError
from h2k_rt.output.atomic import replace_file
from h2k_rt.training.nets import network
from h2k_rt.training.state import Networks, load_optimizer_tensors, optimizer_tensors

FOLDER, RESULT = "checkpoints", "model.safetensors"
#: Checkpoints that are kept.
KEPT = 2


@dataclass(frozen=True)
class Position:
    """Where a training stands. The order of the samples and all augmentations follow from the step.

    Attributes:
        step: steps made; seconds: time spent on them, in all runs together.
        counts: network -> steps it has made.
        phase, networks, config: what is trained and how, to refuse another training's checkpoint.
        samples: how many samples there were.
    """

    step: int
    seconds: float
    counts: Mapping[str, int]
    phase: int
    networks: tuple[str, ...]
    samples: int
    config: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(folder: Path, networks: Networks, position: Position) -> Path:
    """Write ``folder/checkpoints/<step>.safetensors`` and remove all but the last ones.

    Raises:
        OutputError: the disk is full or the folder cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, net in (("live", networks.live), ("averaged", networks.averaged)):
        tensors |= {f"{prefix}/{key}": value for key, value in net.state_dict().items()}
    for name, optimizer in networks.optimizers.items():
        found = optimizer_tensors(network(networks.live, name), optimizer)
        tensors |= {f"optimizer/{name}/{key}": value for key, value in found.items()}
    path = folder / FOLDER / f"{position.step:08d}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.write_bytes(save(_plain(tensors), {"position": json.dumps(asdict(position))}))
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(path for path in (folder / FOLDER).glob("*.safetensors") if path.stem.isdecimal())


def read_position(path: Path) -> Position:
    """Where the training stood.

    Raises:
        CheckpointError: not a checkpoint of a training, or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            raw = json.loads((file.metadata() or {})["position"])
        raw["networks"] = tuple(raw["networks"])
        return Position(**raw)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a checkpoint of h2k-rt train, or it is damaged: {error}") from error


def load_checkpoint(path: Path, networks: Networks, phase: int) -> Position:
    """Put a checkpoint's weights, averages and optimiser states back.

    Raises:
        CheckpointError: damaged, or of another training: width, phase or networks differ.
    """
    position = read_position(path)
    if position.phase != phase or position.networks != networks.names:
        raise CheckpointError(
            f"{path} is of phase {position.phase} with {', '.join(position.networks)}, "
            f"not of phase {phase} with {', '.join(networks.names)}; give the same --phase and --networks, or another -o"
        )
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for prefix, net in (("live", networks.live), ("averaged", networks.averaged)):
            net.load_state_dict(_under(tensors, f"{prefix}/"))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"{path} does not fit these networks (another width?): {reason[min(1, len(reason) - 1)].strip()}"
        ) from error
    for name, optimizer in networks.optimizers.items():
        load_optimizer_tensors(network(networks.live, name), optimizer, _under(tensors, f"optimizer/{name}/"))
    networks.counts.update(position.counts)
    return position


def save_result(path: Path, networks: Networks, trained: tuple[str, ...], about: Mapping[str, Any]) -> None:
    """Write the averaged weights under their published names, for ``h2k-rt export``.

    Args:
        trained: the networks that this and earlier runs trained, for merging.
        about: figures and recipe for the metadata.
    """
    metadata = {
        **networks.stated(),
        "trained": json.dumps(trained),
        "recipe": json.dumps(networks.config.to_dict()),
        "about": json.dumps(about),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.write_bytes(save(_plain(networks.averaged.state_dict()), metadata))


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().to("cpu", copy=True).contiguous() for key, value in tensors.items()}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
