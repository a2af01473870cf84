"""TensorRT behind the builders' interface: plans with their timing cache."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from h2k_kernels.user_cache import read_digested, why_not_private, write_digested

from h2k_engines.building import Allocate, Gpu, Progress, Recipe
from h2k_engines.cache import Built
from h2k_engines.device import DeviceStream
from h2k_engines.tensorrt_device import TensorRtDeviceEngine
from h2k_engines.tensorrt_engine import build_plan, import_tensorrt


class TensorRtBuilder:
    """Builds and opens TensorRT plans on one GPU; its context must be current when they are called.

    Args:
        gpu: the one.
        allocate: gives device memory on it.
        folder: of the engine cache; the timing cache lies there, one for each version and GPU.

    Raises:
        EngineFailure: TensorRT is not there.
    """

    name = "tensorrt"

    def __init__(self, gpu: Gpu, allocate: Allocate, folder: Path) -> None:
        version = import_tensorrt().__version__
        self.title = f"TensorRT {version}"
        self.parts: Mapping[str, str] = {"version": version, **gpu.parts}
        self._allocate, self._folder = allocate, folder
        of = hashlib.sha256("\0".join(self.parts.values()).encode()).hexdigest()
        self._timings = folder / f"tensorrt-{of[:24]}.timings"

    def build(
        self, graph: bytes, network: str, recipe: Recipe, progress: Progress, cancelled: Callable[[], bool] = lambda: False
    ) -> Built:
        private = why_not_private(self._folder) is None
        start = time.perf_counter()
        known = (read_digested(self._timings) or b"") if private else b""
        plan = build_plan(graph, network, recipe, timings=known, progress=progress, cancelled=cancelled)
        if private and plan.timings:
            with contextlib.suppress(OSError):  # only costs the next build's time
                write_digested(self._timings, plan.timings)
        return Built(plan.data, {"seconds": time.perf_counter() - start, "layers": plan.layers})

    def open(self, data: bytes, network: str, recipe: Recipe, stream: DeviceStream) -> TensorRtDeviceEngine:
        shapes = {**recipe.inputs, **recipe.outputs}
        return TensorRtDeviceEngine(data, name=network, shapes=shapes, stream=stream, allocate=self._allocate)
