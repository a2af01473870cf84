"""Running a network: one interface, several runtimes behind it. Every runtime is imported only when it is used."""

from h2k_engines.engine import Engine, EngineFailure, TensorSpec
from h2k_engines.onnxruntime_engine import OnnxRuntimeEngine

__all__ = ["Engine", "EngineFailure", "OnnxRuntimeEngine", "TensorSpec"]
