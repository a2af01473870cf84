"""Which stages a training has: each makes its own examples and steps its own networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from h2k_rt.constants import METHOD
from h2k_rt.errors import TrainingError
from h2k_rt.training.config import TrainingConfig
from h2k_rt.training.data import Collate, ExampleMaker, Source
from h2k_rt.training.low_stage import LowStage
from h2k_rt.training.nets import LOW_NAMES, PART_NAMES
from h2k_rt.training.parts_stage import PartsStage
from h2k_rt.training.phase2 import TrunkStage
from h2k_rt.training.published import ParityPhase2, PublishedPhase1, PublishedPhase2
from h2k_rt.training.state import Networks
from h2k_rt.training.update import Update


class Stage(Protocol):
    """A part of every step.

    Attributes:
        name, number: for logs, and for the seeds of its examples.
        networks: those that it trains.
        source: its samples; maker, collate: how they become a batch of ``batch`` examples.
        holdout_maker: makes an example of a held-out sample, without augmentation.
    """

    name: str
    number: int
    networks: tuple[str, ...]
    source: Source
    maker: ExampleMaker
    holdout_maker: ExampleMaker
    batch: int
    collate: Collate

    def updates(self, batch: Any, networks: Networks) -> Iterator[Update]:
        """Losses of a batch; each is to be followed by its backward pass before the next is asked for."""
        ...

    def measure(self, batch: Any, networks: Networks) -> dict[str, float]:
        """Figures of a batch of one held-out sample."""
        ...

    def pictures(self, batch: Any, networks: Networks) -> Tensor:
        """What the networks make of a batch, (3, H, W) in 0..1."""
        ...


#: Gives the samples of one picture size; None: of all sizes.
OpenSource = Callable[[int | None], Source]


def make_stages(
    config: TrainingConfig, names: tuple[str, ...], open_source: OpenSource, networks: Networks, cache: Path
) -> list[Stage]:
    """The stages that train the networks ``names``; none without networks.

    Args:
        cache: folder for prepared samples of the trunk.
    """
    if config.objective == "published" and names:
        return [_published(config, names, open_source(METHOD.size), networks, cache)]
    stages: list[Stage] = []
    if set(names) & set(LOW_NAMES):
        stages.append(LowStage(config, names, open_source(None)))
    if set(names) & set(PART_NAMES):
        stages.append(PartsStage(config, names, open_source(METHOD.size)))
    if "high_depth" in names:
        stages.append(TrunkStage(config, open_source(METHOD.size), networks, cache))
    return stages


def _published(config: TrainingConfig, names: tuple[str, ...], source: Source, networks: Networks, cache: Path) -> Stage:
    if "high_depth" in names:
        return (ParityPhase2 if config.parity else PublishedPhase2)(config, source, networks, cache)
    lacking = [name for name in PublishedPhase1.networks if name not in names]
    if lacking:
        raise TrainingError(f"the published phase 1 trains all seven networks together, --networks lacks {', '.join(lacking)}")
    return PublishedPhase1(config, source)
