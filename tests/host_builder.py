"""A builder of engines for the emulated device: ONNX Runtime's optimised models on the CPU, in place of TensorRT's plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import engine_builder
from h2k_engines import DeviceEngine, EngineFailure
from h2k_engines.building import Progress, Recipe
from h2k_engines.cache import Built
from h2k_engines.onnxruntime_device import SessionEngine
from host_runtime import HostRuntime, _Deferred


class HostSession(SessionEngine):
    """An optimised model as an engine of a :class:`HostRuntime`: its run is a step of the stream."""

    runtime: HostRuntime

    def bind(self, inputs: Any, outputs: Any, stream: Any) -> Any:
        return _Deferred(self.runtime, super().bind(inputs, outputs, stream))


class HostBuilder:
    """Builds for the CPU what TensorRT would build for a GPU.

    Attributes:
        builds: (network, bytes of the graph) of every build.
        spoil: called with a network's name before it is built; may raise, or return False for an engine that writes nothing.
    """

    name = "tensorrt"
    title = "a stand-in for TensorRT"

    def __init__(self, runtime: HostRuntime, folder: Path, version: str = "1") -> None:
        self._runtime, self._folder = runtime, folder
        self.parts: Mapping[str, str] = {"version": version, "gpu": "none"}
        self.builds: list[tuple[str, int]] = []
        self.spoil: Callable[[str], bool] = lambda network: True

    def build(
        self, graph: bytes, network: str, recipe: Recipe, progress: Progress, cancelled: Callable[[], bool] = lambda: False
    ) -> Built:
        if cancelled():
            raise EngineFailure(f"{network}: the build was stopped")
        self.builds.append((network, len(graph)))
        good = self.spoil(network)
        progress(1, 1, "optimising")
        self._folder.mkdir(parents=True, exist_ok=True)
        source = self._folder / f"{network}-{len(graph)}.onnx"
        source.write_bytes(graph)
        return Built(engine_builder.build(source).data + (b"" if good else b"dumb"), {"seconds": 0.1, "layers": 3})

    def open(self, data: bytes, network: str, recipe: Recipe, stream: Any) -> DeviceEngine:
        dumb = data.endswith(b"dumb")
        session = engine_builder.load(data.removesuffix(b"dumb"))
        engine = HostSession(session, name=network, stream=stream, memory="cpu", device=0, provider=self.title)
        engine.runtime = self._runtime
        if dumb:
            engine._run = lambda binding, stream: None  # type: ignore[method-assign]
        return engine
