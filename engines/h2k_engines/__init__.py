"""Running a network: one interface, several runtimes behind it. Every runtime is imported only when it is used."""

from h2k_engines.check_input import check_feeds_of
from h2k_engines.engine import Engine, EngineFailure, TensorSpec
from h2k_engines.onnxruntime_engine import OnnxRuntimeEngine
from h2k_engines.torch_engine import TorchEngine

__all__ = ["Engine", "EngineFailure", "OnnxRuntimeEngine", "TensorSpec", "TorchEngine", "check_feeds_of"]
