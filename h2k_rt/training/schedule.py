"""The published learning-rate schedule: cosine with warm restarts, the peak halved at each (SPEC 9)."""

from __future__ import annotations

import math

#: Epochs of one cosine, epochs of the warm-up from 0, factor of the peak at each restart.
PERIOD, WARM_UP, DECAY = 5.0, 0.01, 0.5


def learning_rate(epoch: float, peak: float = 1e-4) -> float:
    """Learning rate at a fractional epoch, counted from 0."""
    restarts, phase = divmod(epoch, PERIOD)
    cosine = (1 + math.cos(math.pi * (phase - WARM_UP) / (PERIOD - WARM_UP))) / 2
    share = phase / WARM_UP if phase < WARM_UP else cosine
    return peak * DECAY**restarts * share
