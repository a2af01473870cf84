"""Learning rates of the schedules a configuration can name."""

from __future__ import annotations

import math

from h2k_rt.training.config import OptimizerConfig
from h2k_rt.training.schedule import learning_rate

#: Schedule "steps": shares of the run at which the rate drops, and to which share of itself (PIFu drops it twice, too).
STEPS, STEP_FACTOR = (0.6, 0.8), 0.1


def rate_at(config: OptimizerConfig, step: int, progress: float, epoch: float) -> float:
    """Learning rate of a network.

    Args:
        step: steps that it has made.
        progress: share of the run that is done, 0..1.
        epoch: epochs done, with a fraction.
    """
    if config.schedule == "published":
        return learning_rate(epoch, config.peak)
    warm = min(1.0, (step + 1) / config.warm_up) if config.warm_up > 0 else 1.0
    if config.schedule == "constant":
        return config.peak * warm
    if config.schedule == "steps":
        return config.peak * warm * STEP_FACTOR ** sum(progress >= at for at in STEPS)
    cosine = (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
    return config.peak * warm * (config.floor + (1 - config.floor) * cosine)
