"""Which engine runs a model's networks, and opening them on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from h2k_engines import DeviceEngine, Engine, EngineFailure, OnnxRuntimeDeviceEngine, OnnxRuntimeEngine
from h2k_engines.device import DeviceStream

from h2k_rt.bundle import Bundle
from h2k_rt.errors import EngineError

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime

    from h2k_rt.built_engines import BuiltEngines

Device = Literal["auto", "cpu", "cuda"]
EngineName = Literal["auto", "tensorrt", "tensorrt-rtx", "cuda", "cpu", "torch", "onnxruntime"]
Precision = Literal["auto", "fp16", "fp32"]

#: Engines that are built ahead for one GPU, best first.
BUILT = ("tensorrt", "tensorrt-rtx")
#: How they are called.
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}


def resolve(engine: str, device: str) -> tuple[EngineName, Device]:
    """What ``--engine`` and ``--device`` mean together: an engine without the place in its name, and the place.

    "cpu" is ONNX Runtime on the CPU and "cuda" the same on a GPU; "onnxruntime" runs where ``device`` says.

    Raises:
        EngineError: there is no such engine or device, or the two contradict each other.
    """
    if engine not in get_args(EngineName):
        raise EngineError(f"there is no engine {engine!r}; choose {', '.join(get_args(EngineName))}")
    if device not in get_args(Device):
        raise EngineError(f"there is no device {device!r}; choose auto, cpu or cuda")
    if engine == "cpu":
        if device == "cuda":
            raise EngineError("--engine cpu does not run on --device cuda")
        return "onnxruntime", "cpu"
    if engine in (*BUILT, "cuda"):
        if device == "cpu":
            raise EngineError(f"--engine {engine} does not run on --device cpu")
        return ("onnxruntime" if engine == "cuda" else engine), "cuda"  # type: ignore[return-value]
    return engine, device  # type: ignore[return-value]


def open_engines(bundle: Bundle, engine: EngineName = "auto", threads: int | None = None) -> dict[str, Engine]:
    """Every network of a bundle on the CPU by name.

    Args:
        engine: "auto" and "onnxruntime" are ONNX Runtime; "torch" is PyTorch, which needs the bundle's ``weights.safetensors`` for
            the first method and runs the graphs themselves for the second.
        threads: cores of one network; None: all.

    Raises:
        EngineError: a network cannot be loaded, or is not what the bundle says.
        BundleError: a file is missing or has changed.
    """
    engine, _ = resolve(engine, "cpu")
    if engine == "torch" and bundle.method == "2k2k":
        return _torch_engines(bundle)
    engines: dict[str, Engine] = {}
    for name in bundle.networks:
        try:
            if engine == "torch":
                engines[name] = _torch_engine(bundle.network(name), name)
            else:
                engines[name] = OnnxRuntimeEngine(bundle.network(name), name=name, threads=threads)
        except EngineFailure as error:
            raise EngineError(f"bundle {bundle.name}: {error}") from error
    return engines


def place(
    bundle: Bundle, engine: str, device: str, of_the_cpu: str | None = None
) -> tuple[EngineName, Literal["cpu", "cuda"], str | None]:
    """Where a model's networks run: an engine without the place in its name, the place, and why "auto" did not take the GPU.

    Args:
        of_the_cpu: why "auto" must not take it, if it must not.

    Raises:
        EngineError: as :func:`resolve`.
    """
    name, where = resolve(engine, device)
    if where != "auto":
        return name, where, None
    if name != "auto":
        return name, "cpu", None
    reason = of_the_cpu or why_not_gpu(bundle)
    return name, "cuda" if reason is None else "cpu", reason


def in_words(providers: Mapping[str, str], why_not: str | None) -> str:
    """What runs the networks, and why not a GPU."""
    chosen = ", ".join(dict.fromkeys(providers.values()))
    return f"{chosen}; the GPU is not used: {why_not}" if why_not else chosen


def why_not_gpu(bundle: Bundle) -> str | None:
    """Why ``--device auto`` does not take the GPU, as half a sentence; None where engines of this model were built for one.

    The kernels have never run on a GPU (docs/gpu.md): one is used only by whoever asked for it, by --device or by build-engines.
    """
    from h2k_engines.cache import EngineCache
    from h2k_kernels.launch import DeviceFailure
    from h2k_kernels.launch.driver import library

    from h2k_rt.built_engines import any_built

    try:
        library()
    except DeviceFailure:
        return "there is no NVIDIA driver here"
    if not any_built(bundle, EngineCache()):
        return "no engines of this model are built for it (run h2k-rt build-engines, or give --device cuda)"
    return None


class DeviceEngines:
    """Opens the networks of a model on a GPU, each on the stream that it will run on.

    Args:
        engine: "auto" is the first of TensorRT and TensorRT for RTX whose engines are built, else ONNX Runtime's CUDA provider;
            "tensorrt" and "tensorrt-rtx" build what is missing; "cuda" and "onnxruntime" are the CUDA provider; "torch" is PyTorch,
            running the same graphs.
        precision: "fp16" and "fp32" choose the graph; for "auto" see :func:`h2k_rt.built_engines.precisions`.
        runtime: the GPU; None: the first.

    Attributes:
        notes: sentences for the user: why a better engine is not used, which network fell back to FP32.

    Raises:
        EngineError: there is no such engine, or what it needs is missing.
    """

    def __init__(
        self, bundle: Bundle, engine: EngineName = "auto", precision: Precision = "auto", runtime: Runtime | None = None
    ) -> None:
        self._bundle, self._precision, self._runtime = bundle, precision, runtime
        self.notes: list[str] = []
        self._engine, _ = resolve(engine, "cuda")
        self._built: BuiltEngines | None = None
        if self._engine in BUILT:
            try:
                self._built = self._open_built(self._engine)
            except EngineFailure as error:
                raise EngineError(f"{TITLES[self._engine]} cannot be used: {error}") from error
        elif self._engine == "auto":
            self._built = self._best()

    def __call__(self, name: str, stream: DeviceStream) -> DeviceEngine:
        """Open a network.

        Raises:
            EngineFailure: it cannot be opened, or a part of it would run on the CPU.
            BundleError: a file is missing or has changed.
        """
        from h2k_rt.built_engines import precisions

        if self._built is not None:
            return self._built.open(name, stream, self._precision)  # type: ignore[arg-type]
        chosen = precisions(self._bundle, name, self._precision)[0]
        if self._precision not in ("auto", chosen):
            self._bundle.network(name, self._precision)  # says what the bundle has instead
        graph = self._bundle.network(name, chosen)
        number = 0 if self._runtime is None else self._runtime.number
        if self._engine == "torch":
            return _torch_device_engine(graph, name, f"cuda:{number}")
        return OnnxRuntimeDeviceEngine(graph, name=name, stream=stream, device=number)

    def _best(self) -> BuiltEngines | None:
        """Built engines that are ready; None: the CUDA provider it is, and notes say why."""
        for kind in BUILT:
            try:
                built = self._open_built(kind)
            except EngineFailure as error:
                self.notes.append(f"{TITLES[kind]} is not used: {error}")
                continue
            if built.ready(self._precision):
                return built
            self.notes.append(f"{TITLES[kind]} is not used: its engines are not built; run: h2k-rt build-engines --engine {kind}")
        return None

    def _open_built(self, kind: str) -> BuiltEngines:
        from h2k_engines.cache import EngineCache
        from h2k_kernels.launch import DeviceFailure, Runtime

        from h2k_rt.built_engines import BuiltEngines, open_builder

        _check_package(kind)  # before the GPU is asked: says what to install
        self._runtime = self._runtime or Runtime()
        cache = EngineCache(tell=self.notes.append)
        try:
            builder = open_builder(kind, self._runtime, cache.folder)
        except DeviceFailure as error:
            raise EngineFailure(str(error)) from error
        return BuiltEngines(self._bundle, builder, cache, self._runtime, tell=self.notes.append)


def device_engines(
    bundle: Bundle, engine: EngineName = "auto", precision: Precision = "auto", runtime: Runtime | None = None
) -> Callable[[str, DeviceStream], DeviceEngine]:
    """How the device pipeline opens a network on a stream of a GPU: see :class:`DeviceEngines`."""
    return DeviceEngines(bundle, engine, precision, runtime)


def _check_package(kind: str) -> None:
    if kind == "tensorrt":
        from h2k_engines.tensorrt_engine import import_tensorrt

        import_tensorrt()
    else:
        from h2k_engines.tensorrt_rtx import import_plugin

        import_plugin()


def _torch_engines(bundle: Bundle) -> dict[str, Engine]:
    from h2k_export import torch_engines

    return dict(torch_engines(_weights(bundle)))


def _torch_engine(graph: Path | bytes, name: str) -> Engine:
    from h2k_engines import TorchEngine
    from h2k_engines.onnx_in_torch import open_graph

    module, inputs, outputs = open_graph(graph, name)
    return TorchEngine(module, name, inputs, outputs)


def _torch_device_engine(graph: Path | bytes, name: str, device: str) -> DeviceEngine:
    from h2k_engines import TorchDeviceEngine
    from h2k_engines.onnx_in_torch import open_graph

    module, inputs, outputs = open_graph(graph, name)
    return TorchDeviceEngine(module, name, inputs, outputs, device=device)


def _weights(bundle: Bundle) -> Path | bytes:
    weights = bundle.weights()
    if weights is None:
        raise EngineError(f"bundle {bundle.name} holds no weights.safetensors, which PyTorch needs; use --engine onnxruntime")
    return weights
