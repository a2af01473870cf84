"""Open the networks of a model bundle on the engine that was asked for."""

from __future__ import annotations

from typing import Literal

from h2k_engines import Engine, EngineFailure, OnnxRuntimeEngine

from h2k_rt.bundle import NETWORKS, Bundle
from h2k_rt.errors import EngineError

Device = Literal["auto", "cpu"]
EngineName = Literal["auto", "onnxruntime", "torch"]


def open_engines(
    bundle: Bundle, engine: EngineName = "auto", threads: int | None = None, device: Device = "auto"
) -> dict[str, Engine]:
    """Every network of the method by name, loaded and checked against the bundle's description.

    Args:
        engine: "auto" and "onnxruntime" are ONNX Runtime; "torch" is PyTorch and needs the bundle's ``weights.safetensors``.
        device: "auto" and "cpu" are the CPU; there is no other yet.
        threads: cores of one network; None: all.

    Raises:
        EngineError: a network cannot be loaded, or is not what the bundle says.
        BundleError: a file is missing or has changed.
    """
    if device not in ("auto", "cpu"):
        raise EngineError(f"there is no device {device!r}; choose auto or cpu")
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


def _torch_engines(bundle: Bundle) -> dict[str, Engine]:
    weights = bundle.weights()
    if weights is None:
        raise EngineError(f"bundle {bundle.name} holds no weights.safetensors, which PyTorch needs; use --engine onnxruntime")
    from h2k_export import torch_engines

    return dict(torch_engines(weights))
