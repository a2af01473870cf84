"""The input on which an engine is compared with a reference: made from a rule, so that no file has to be kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from h2k_engines.engine import TensorSpec


def check_feeds_of(
    inputs: Mapping[str, TensorSpec], ranges: Mapping[str, tuple[float, float]], free: Mapping[str, int] | None = None
) -> dict[str, NDArray]:
    """Plane waves for every input, the same on every machine: rule "waves" of a model bundle.

    Channel ``k`` of picture ``b`` of input ``i`` is ``sin(2 pi ((3 + k + b / 4) x + (2 + 2 k - b / 4) y) + 0.7 k + 0.3 b + i)``,
    x and y in (0, 1), scaled from [-1, 1] to the input's range.

    Args:
        inputs: specs of shape (batch, channels, height, width).
        ranges: lowest and highest value for each input.
        free: sizes of the free dimensions.
    """
    feeds: dict[str, NDArray] = {}
    for i, (name, spec) in enumerate(sorted(inputs.items())):
        batch, channels, height, width = (n if isinstance(n, int) else (free or {})[n] for n in spec.shape)
        b = np.arange(batch, dtype=np.float64)[:, None, None, None]
        k = np.arange(channels, dtype=np.float64)[None, :, None, None]
        y = ((np.arange(height) + 0.5) / height)[None, None, :, None]
        x = ((np.arange(width) + 0.5) / width)[None, None, None, :]
        value = np.sin(2 * np.pi * ((3 + k + b / 4) * x + (2 + 2 * k - b / 4) * y) + 0.7 * k + 0.3 * b + i)
        low, high = ranges[name]
        feeds[name] = (low + (high - low) * 0.5 * (1 + value)).astype(spec.dtype)
    return feeds
