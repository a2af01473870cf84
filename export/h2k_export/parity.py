"""Does an exported graph compute what the reference computes? The differences, as shares of the output's range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from h2k_engines.check_input import check_feeds_of
from h2k_engines.engine import Engine, TensorSpec
from numpy.typing import NDArray

from h2k_export.errors import ExportError
from h2k_export.specs import GraphSpec, Shape
from h2k_rt.constants import METHOD

#: Largest difference that an FP32 graph may have from PyTorch.
FP32_TOLERANCE = 1e-4
#: Largest difference that an FP16 graph may have from the FP32 one.
FP16_TOLERANCE = 3e-2


@dataclass(frozen=True)
class Difference:
    """How far an output is from the reference.

    Attributes:
        error: largest difference as a share of the reference's range.
        mean: mean difference, likewise.
        undecided: share of the pixels left out, because the reference's mask lies at the threshold there.
    """

    error: float
    mean: float
    undecided: float = 0.0


def tensor_specs(shapes: Mapping[str, Shape]) -> list[TensorSpec]:
    """Specs of float32 tensors."""
    return [TensorSpec(name, np.dtype(np.float32), shape) for name, shape in shapes.items()]


def structured_input(spec: GraphSpec) -> dict[str, NDArray]:
    """The plane waves that the bundle names as its check input."""
    return check_feeds_of({s.name: s for s in tensor_specs(spec.inputs)}, spec.ranges, spec.free)


def random_input(spec: GraphSpec) -> dict[str, NDArray]:
    """Uniform noise over each input's range, always the same."""
    rng = np.random.default_rng(2023)
    feeds = {}
    for name, shape in spec.inputs.items():
        low, high = spec.ranges[name]
        size = [spec.free[n] if isinstance(n, str) else n for n in shape]
        feeds[name] = rng.uniform(low, high, size).astype(np.float32)
    return feeds


def compare(reference: Mapping[str, NDArray], values: Mapping[str, NDArray], *, unsure: float = 0.0) -> dict[str, Difference]:
    """Compare outputs by name.

    Args:
        unsure: where the reference has a ``mask`` of the same size as ``depth`` and it is this near to the threshold, the
            depth may be background in one and not in the other; those pixels are left out and counted.

    Raises:
        ExportError: a value is not finite, or a name or shape differs.
    """
    if reference.keys() != values.keys():
        raise ExportError(f"outputs {sorted(values)} instead of {sorted(reference)}")
    result = {}
    for name, want in reference.items():
        have = values[name]
        if have.shape != want.shape:
            raise ExportError(f"{name} has shape {have.shape} instead of {want.shape}")
        if not np.isfinite(have).all():
            raise ExportError(f"{name} is not finite")
        difference = np.abs(have.astype(np.float64) - want)
        undecided = 0.0
        if name == "depth" and unsure > 0:
            near = np.broadcast_to(np.abs(reference["mask"] - METHOD.mask_threshold) <= unsure, want.shape)
            undecided = float(near.mean())
            difference = np.where(near, 0.0, difference)
        span = max(float(want.max() - want.min()), 1e-6)
        result[name] = Difference(float(difference.max()) / span, float(difference.mean()) / span, undecided)
    return result


def check_against(
    reference: Engine, engine: Engine, feeds: Mapping[str, NDArray], tolerance: float, *, unsure: float
) -> dict[str, Difference]:
    """Run both on ``feeds`` and compare.

    Raises:
        ExportError: an output is farther off than ``tolerance``.
    """
    try:
        differences = compare(reference.run(feeds), engine.run(feeds), unsure=unsure)
    except ExportError as error:
        raise ExportError(f"{engine.name}: {error}") from error
    for output, difference in differences.items():
        if difference.error > tolerance:
            raise ExportError(
                f"{engine.name}: output {output} is off by {difference.error:.2e} of its range, allowed are {tolerance:.0e}; "
                f"{engine.provider} against {reference.provider}"
            )
    return differences
