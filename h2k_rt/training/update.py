"""One network's share of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from h2k_rt.training.objective import total


@dataclass(frozen=True)
class Update:
    """Weighted loss terms for some networks, with the samples they were computed from."""

    networks: tuple[str, ...]
    terms: Mapping[str, Tensor]
    samples: list[int]

    @property
    def loss(self) -> Tensor:
        return total(self.terms)
