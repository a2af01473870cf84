"""``[run] compile``: networks and losses through torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from h2k_rt.training.config import TrainingConfig

#: Shapes for which one piece of code may be compiled before it runs unfused.
RECOMPILATIONS = 64

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R], config: TrainingConfig) -> Callable[P, R]:
    """``function``, fused for the shapes that it meets if the configuration asks for it."""
    if not config.run.compile:
        return function
    # Five part networks share their code, each with crops of its own size and number.
    torch._dynamo.config.recompile_limit = RECOMPILATIONS
    # Windows and crops have fixed sizes; a dynamic shape would only make slower code.
    return torch.compile(function, dynamic=False)
