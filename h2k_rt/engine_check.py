"""Is a built engine right? Its answer to a network's stored input against ONNX Runtime in FP32 on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from h2k_engines import DeviceEngine, OnnxRuntimeEngine, check_feeds_of
from numpy.typing import NDArray

from h2k_rt.bundle import Bundle

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

#: Largest error that a network may have: 99.9 % of an output's values must be nearer to FP32's. By output, or network and output.
#: Normals are encoded (n + 1) / 2: 0.01 is about one degree. Depth is in nu of 55 cm: the low-resolution map has pixels of 7 mm,
#: the trunk's, which is the surface, pixels of 0.9 mm; half a millimetre is 0.001 nu. A mask is a probability.
#: Occupancy is 0 outside to 1 inside, the surface at 0.5; its bound is a choice of ours.
BOUNDS = {"normals": 0.01, "low_depth depth": 0.002, "high_depth depth": 0.001, "mask": 0.05, "occupancy": 0.02}
#: Networks whose outputs have no unit: errors are shares of the output's range, with a bound of 0.01.
UNITLESS = ("encoder",)
QUANTILE = 0.999
#: Depth is compared where both masks say the same; they may differ on so many pixels.
MAX_UNDECIDED = 0.01


@dataclass(frozen=True)
class Check:
    """What came of comparing an engine.

    Attributes:
        errors: for each output the error that 99.9 % of its values keep.
        problem: why the engine must not be used; None: it may.
    """

    errors: Mapping[str, float] = field(default_factory=dict)
    problem: str | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """For the cache."""
        return {"errors": dict(self.errors), "problem": self.problem}


class Checker:
    """Compares engines of a model with ONNX Runtime in FP32.

    Args:
        runtime: of the GPU that the engines run on.
        threads: of the CPU for the reference.
    """

    def __init__(self, bundle: Bundle, runtime: Runtime, threads: int | None = None) -> None:
        self._bundle, self._runtime, self._threads = bundle, runtime, threads

    def check(self, engine: DeviceEngine, stream: Stream) -> Check:
        """Run an engine on its network's stored input and compare.

        Args:
            stream: the one it was opened on.

        Raises:
            EngineFailure: it does not run, or ONNX Runtime is not there for the reference.
        """
        name = engine.name
        stored = self._bundle.networks[name].check_input
        feeds = check_feeds_of(engine.inputs, stored.ranges, stored.free)
        precision = self._bundle.precisions(name)[0]  # FP32 where the model has it
        reference = OnnxRuntimeEngine(self._bundle.network(name, precision), name=name, threads=self._threads).run(feeds)
        return compare(name, reference, run_once(engine, feeds, {k: v.shape for k, v in reference.items()}, self._runtime, stream))


def run_once(
    engine: DeviceEngine, feeds: Mapping[str, NDArray], shapes: Mapping[str, tuple[int, ...]], runtime: Runtime, stream: Stream
) -> dict[str, NDArray]:
    """An engine's answer: inputs up, one run, outputs down. Outputs hold NaN before, so that none passes that was not written."""
    with runtime.active():
        inputs = {name: runtime.empty(value.shape, value.dtype) for name, value in feeds.items()}
        outputs = {name: runtime.empty(shape, engine.outputs[name].dtype) for name, shape in shapes.items()}
        down = {name: np.full(array.shape, np.nan, array.dtype) for name, array in outputs.items()}
        for name, array in inputs.items():
            runtime.upload(array, feeds[name], stream)
        for name, array in outputs.items():
            runtime.upload(array, down[name], stream)
        engine.bind(inputs, outputs, stream).enqueue(stream)
        for name, array in outputs.items():
            runtime.download(down[name], array, stream)
        runtime.synchronize(stream)
    return down


def compare(network: str, reference: Mapping[str, NDArray], values: Mapping[str, NDArray]) -> Check:
    """Errors by output, and the first bound that one breaks."""
    broken = [name for name, value in values.items() if not np.isfinite(value).all()]
    if broken:
        return Check({}, f"{broken[0]} holds values that are no numbers")
    decided: NDArray[np.bool_] = np.ones(1, np.bool_)
    if "mask" in reference:
        decided = (reference["mask"] > 0.5) == (values["mask"] > 0.5)
        undecided = 1 - float(decided.mean())
        if undecided > MAX_UNDECIDED:
            return Check({}, f"its mask differs on {100 * undecided:.1f} % of the pixels")
    errors = {}
    for name, want in reference.items():
        difference = np.abs(values[name].astype(np.float64) - want)
        kept = difference[np.broadcast_to(decided, difference.shape)] if name == "depth" else difference
        scale = float(np.ptp(want)) if network in UNITLESS else 1.0
        errors[name] = float(np.quantile(kept, QUANTILE)) / max(scale, 1e-12)
    for name, error in errors.items():
        bound = BOUNDS.get(f"{network} {name}", BOUNDS.get(name, 0.01))
        if error > bound:
            return Check(errors, f"its {name} differs from FP32 by {error:.2g}, more than {bound:g}")
    return Check(errors)
