"""The engines of a model that are built ahead for one GPU: built, checked against FP32, kept, opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from h2k_engines import DeviceEngine, EngineFailure
from h2k_engines.building import EngineBuilder, Gpu, Progress, Recipe, workspace_for
from h2k_engines.cache import Built, EngineCache, EngineKey, Obtained

from h2k_rt.bundle import Bundle
from h2k_rt.engine_check import Checker

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

Precision = Literal["auto", "fp16", "fp32"]

#: Networks that "auto" runs in FP32: the trunk carries depth of about 2 nu through its layers, where one step of FP16 is a
#: millimetre of the surface.
FULL_PRECISION = ("high_depth",)


def precisions(bundle: Bundle, network: str, wanted: Precision) -> tuple[str, ...]:
    """In which precisions a network is tried, best first; the next one stands in for one whose check fails.

    Args:
        wanted: "auto" is FP16 where the model has it, but for :data:`FULL_PRECISION`.
    """
    there = bundle.precisions(network)
    if wanted == "auto":
        wanted = "fp32" if network in FULL_PRECISION else "fp16"
    order = ("fp16", "fp32") if wanted == "fp16" else ("fp32",)
    return tuple(precision for precision in order if precision in there) or there


class BuiltEngines:
    """Built engines of one model on one GPU.

    Args:
        builder: of that GPU.
        runtime: of that GPU.
        level: of the builder's search.
        tell: gets sentences for the user: what is built anew, which network fell back to FP32.
    """

    def __init__(
        self,
        bundle: Bundle,
        builder: EngineBuilder,
        cache: EngineCache,
        runtime: Runtime,
        *,
        level: int = 3,
        threads: int | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.bundle, self.builder, self.cache = bundle, builder, cache
        self._runtime, self._level, self._tell = runtime, level, tell
        self._checker = Checker(bundle, runtime, threads)

    def key(self, network: str, precision: str) -> EngineKey:
        """All that an engine follows from."""
        entry = self.bundle.networks[network]
        parts = {
            **self.builder.parts,
            "graph": self.bundle.sha256(network, precision),
            "profile": json.dumps(entry.profile, sort_keys=True),
            "level": str(self._level),
        }
        return EngineKey(self.builder.name, network, precision, parts)

    def obtain(
        self,
        network: str,
        precision: str,
        stream: Stream,
        *,
        force: bool = False,
        progress: Progress = lambda done, total, what: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Obtained[DeviceEngine]:
        """An engine on a stream: from the cache, or built and checked now. ``facts["problem"]`` tells whether it may be used.

        Raises:
            EngineFailure: it cannot be built.
            BundleError: the graph is missing or has changed.
        """
        graph = self.bundle.network(network, precision)
        recipe = self._recipe(network)

        def load(data: bytes) -> DeviceEngine:
            return self.builder.open(data, network, recipe, stream)

        def build() -> Built:
            content = graph if isinstance(graph, bytes) else Path(graph).read_bytes()
            built = self.builder.build(content, network, recipe, progress, cancelled)
            check = self._checker.check(load(built.data), stream)
            return Built(built.data, {**built.facts, **check.facts, "size": len(built.data), "model": self.bundle.name})

        with self._runtime.active():
            return self.cache.obtain(self.key(network, precision), build, load, force=force)

    def usable(self, network: str, wanted: Precision) -> str | None:
        """The precision in which a network's engine is ready in the cache; None: it has to be built first."""
        for precision in precisions(self.bundle, network, wanted):
            facts = self.cache.facts(self.key(network, precision))
            if facts is None:
                return None
            if facts.get("problem") is None:
                return precision
        return None

    def ready(self, wanted: Precision) -> bool:
        """Whether every network has its engine."""
        return all(self.usable(network, wanted) is not None for network in self.bundle.networks)

    def open(self, network: str, stream: Stream, wanted: Precision = "auto") -> DeviceEngine:
        """The best engine of a network whose check was good; built now if need be.

        Raises:
            EngineFailure: none is good.
        """
        problem = "the model does not hold it"
        for precision in precisions(self.bundle, network, wanted):
            known = self.cache.facts(self.key(network, precision))
            if known is None:
                self._tell(f"{network}: the {self.builder.name} engine is built now; h2k-rt build-engines does that ahead")
            if known is None or not known.get("problem"):
                obtained = self.obtain(network, precision, stream)
                if not obtained.facts.get("problem"):
                    return obtained.engine
                known = obtained.facts
            problem = known["problem"]
            self._tell(f"{network}: the engine in {precision} is not used: {problem}")
        raise EngineFailure(f"{network}: no {self.builder.name} engine can be used: {problem}")

    def _recipe(self, network: str) -> Recipe:
        entry = self.bundle.networks[network]
        free = self._runtime.memory()[0]
        return Recipe(entry.inputs, entry.outputs, entry.profile, self._level, workspace_for(free))


def gpu_of(runtime: Runtime) -> Gpu:
    """The GPU of a runtime.

    Raises:
        DeviceFailure: there is no driver.
    """
    from h2k_kernels.launch.driver import driver_version

    return Gpu(runtime.number, runtime.name, runtime.capability, driver_version(), runtime.memory()[0])


def open_builder(kind: str, runtime: Runtime, folder: Path, gpu: Gpu | None = None) -> EngineBuilder:
    """The builder ``kind``: "tensorrt" or "tensorrt-rtx".

    Raises:
        EngineFailure: its package or libraries are missing, or it does not run on this GPU.
        DeviceFailure: there is no driver.
    """
    with runtime.active():
        gpu = gpu or gpu_of(runtime)
        if kind == "tensorrt":
            from h2k_engines.tensorrt_builder import TensorRtBuilder

            return TensorRtBuilder(gpu, lambda n: runtime.empty((n,), "uint8"), folder)
        from h2k_engines.tensorrt_rtx import TensorRtRtxBuilder

        return TensorRtRtxBuilder(gpu, folder)


def any_built(bundle: Bundle, cache: EngineCache) -> bool:
    """Whether engines of this model are in the cache, for whichever GPU: needs neither driver nor GPU."""
    graphs = {file.sha256 for network in bundle.networks.values() for file in network.files.values()}
    return any(entry.parts.get("graph") in graphs for entry in cache.entries())
