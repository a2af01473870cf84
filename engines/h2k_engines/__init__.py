"""Running a network: one interface, several runtimes behind it. Every runtime is imported only when it is used."""

from h2k_engines.check_input import check_feeds_of
from h2k_engines.device import Binding, DeviceEngine
from h2k_engines.engine import Engine, EngineFailure, TensorSpec
from h2k_engines.onnxruntime_device import OnnxRuntimeDeviceEngine
from h2k_engines.onnxruntime_engine import OnnxRuntimeEngine
from h2k_engines.torch_device import TorchDeviceEngine
from h2k_engines.torch_engine import TorchEngine

__all__ = [
    "Binding",
    "DeviceEngine",
    "Engine",
    "EngineFailure",
    "OnnxRuntimeDeviceEngine",
    "OnnxRuntimeEngine",
    "TensorSpec",
    "TorchDeviceEngine",
    "TorchEngine",
    "check_feeds_of",
]
