"""Open the networks of a model bundle on the engine that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from h2k_engines import DeviceEngine, Engine, EngineFailure, OnnxRuntimeDeviceEngine, OnnxRuntimeEngine
from h2k_engines.device import DeviceStream

from h2k_rt.bundle import NETWORKS, Bundle
from h2k_rt.errors import EngineError

Device = Literal["auto", "cpu", "cuda"]
EngineName = Literal["auto", "onnxruntime", "torch"]
Precision = Literal["auto", "fp16", "fp32"]


def open_engines(
    bundle: Bundle, engine: EngineName = "auto", threads: int | None = None, device: Literal["auto", "cpu"] = "auto"
) -> dict[str, Engine]:
    """Every network of the method on the CPU by name, loaded and checked against the bundle's description.

    Args:
        engine: "auto" and "onnxruntime" are ONNX Runtime; "torch" is PyTorch and needs the bundle's ``weights.safetensors``.
        device: "auto" and "cpu" are the CPU; for a GPU see :func:`device_engines`.
        threads: cores of one network; None: all.

    Raises:
        EngineError: a network cannot be loaded, or is not what the bundle says.
        BundleError: a file is missing or has changed.
    """
    if device not in ("auto", "cpu"):
        raise EngineError(f"there is no device {device!r}; choose auto, cpu or cuda")
    if engine == "torch":
        return _torch_engines(bundle)
    if engine not in ("auto", "onnxruntime"):
        raise EngineError(f"there is no engine {engine!r}; choose auto, onnxruntime or torch")
    engines: dict[str, Engine] = {}
    for name in NETWORKS:
        try:
            engines[name] = OnnxRuntimeEngine(bundle.network(name), name=name, threads=threads)
        except EngineFailure as error:
            raise EngineError(f"bundle {bundle.name}: {error}") from error
    return engines


def device_engines(
    bundle: Bundle, engine: EngineName = "auto", precision: Precision = "auto", number: int = 0
) -> Callable[[str, DeviceStream], DeviceEngine]:
    """How the device pipeline opens a network on a stream of a GPU.

    Args:
        engine: "auto" and "onnxruntime" are ONNX Runtime's CUDA provider; "torch" is PyTorch, running the same graphs.
        precision: "fp16" and "fp32" choose the graph; "auto" is FP16 where the bundle has it.
        number: of the GPU.

    Raises:
        EngineError: there is no such engine.
        BundleError: a file is missing or has changed.
    """
    if engine not in ("auto", "onnxruntime", "torch"):
        raise EngineError(f"there is no engine {engine!r}; choose auto, onnxruntime or torch")

    def open_engine(name: str, stream: DeviceStream) -> DeviceEngine:
        chosen = precision if precision != "auto" else "fp16" if "fp16" in bundle.precisions(name) else "fp32"
        graph = bundle.network(name, chosen)
        if engine == "torch":
            return _torch_device_engine(graph, name, f"cuda:{number}")
        return OnnxRuntimeDeviceEngine(graph, name=name, stream=stream, device=number)

    return open_engine


def _torch_engines(bundle: Bundle) -> dict[str, Engine]:
    from h2k_export import torch_engines

    return dict(torch_engines(_weights(bundle)))


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
