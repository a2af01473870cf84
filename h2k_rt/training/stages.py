"""Which stages a training has: each makes its own examples and steps its own networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from h2k_rt.constants import METHOD
from h2k_rt.training.config import TrainingConfig
from h2k_rt.training.data import Collate, ExampleMaker, FolderSource, Source
from h2k_rt.training.low_stage import LowStage
from h2k_rt.training.nets import LOW_NAMES, PART_NAMES
from h2k_rt.training.state import Networks
from h2k_rt.training.update import Update


class Stage(Protocol):
    """A part of every step.

    Attributes:
        name, number: for logs, and for the seeds of its examples.
        networks: those that it trains.
        source: its samples; maker, collate: how they become a batch of ``batch`` examples.
    """

    name: str
    number: int
    networks: tuple[str, ...]
    source: Source
    maker: ExampleMaker
    batch: int
    collate: Collate

    def updates(self, batch: Any, networks: Networks) -> Iterator[Update]: ...


def make_stages(
    config: TrainingConfig, names: tuple[str, ...], data: Sequence[Path], networks: Networks, cache: Path
) -> list[Stage]:
    """The stages that train the networks ``names`` on the datasets ``data``; none without networks."""
    stages: list[Stage] = []
    if set(names) & set(LOW_NAMES):
        stages.append(LowStage(config, names, FolderSource(data)))
    if set(names) & set(PART_NAMES):
        from h2k_rt.training.parts_stage import PartsStage

        stages.append(PartsStage(config, names, FolderSource(data, METHOD.size)))
    if "high_depth" in names:
        from h2k_rt.training.phase2 import TrunkStage

        stages.append(TrunkStage(config, FolderSource(data, METHOD.size), networks, cache))
    return stages
