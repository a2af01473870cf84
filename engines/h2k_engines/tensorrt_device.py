"""Networks on TensorRT, bound to tensors in device memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from h2k_engines.building import Allocate, Shape
from h2k_engines.device import DeviceStream, DeviceTensor, check_binding
from h2k_engines.engine import EngineFailure, TensorSpec
from h2k_engines.tensorrt_engine import load_plan


class TensorRtDeviceEngine:
    """A plan on one stream. Its scratch memory is allocated once and shared by all its bindings, which run one after the other.

    Args:
        plan: serialized engine, of this version and for this GPU.
        name: the network's name for messages.
        shapes: of all inputs and outputs by name, as the bundle states them; a text is a free dimension.
        stream: where it will run.
        allocate: gives device memory.

    Raises:
        EngineFailure: TensorRT is not there, refuses the plan, or the plan is of another network.
    """

    def __init__(self, plan: bytes, *, name: str, shapes: Mapping[str, Shape], stream: DeviceStream, allocate: Allocate) -> None:
        self.name = name
        self._stream = stream.handle
        self._trt, self._log, self._runtime, self._engine = load_plan(plan, name)
        self.inputs: Mapping[str, TensorSpec] = self._specs(self._trt.TensorIOMode.INPUT, shapes)
        self.outputs: Mapping[str, TensorSpec] = self._specs(self._trt.TensorIOMode.OUTPUT, shapes)
        missing = shapes.keys() - self.inputs.keys() - self.outputs.keys()
        if missing:
            raise EngineFailure(f"{name}: the plan is of another network: it has no {', '.join(sorted(missing))}")
        self._scratch_bytes = int(self._engine.device_memory_size_v2)
        self._scratch = allocate(self._scratch_bytes) if self._scratch_bytes else None
        self.provider = f"TensorRT {self._trt.__version__}"

    def _specs(self, mode: Any, shapes: Mapping[str, Shape]) -> dict[str, TensorSpec]:
        engine = self._engine
        specs: dict[str, TensorSpec] = {}
        for i in range(engine.num_io_tensors):
            key = engine.get_tensor_name(i)
            if engine.get_tensor_mode(key) != mode:
                continue
            have = tuple(int(n) for n in engine.get_tensor_shape(key))
            want = shapes.get(key, ())
            if have != tuple(n if isinstance(n, int) else -1 for n in want):
                raise EngineFailure(f"{self.name}: the plan is of another network: its {key} is {have}, not {want}")
            specs[key] = TensorSpec(key, np.dtype(self._trt.nptype(engine.get_tensor_dtype(key))), want)
        return specs

    def bind(
        self, inputs: Mapping[str, DeviceTensor], outputs: Mapping[str, DeviceTensor], stream: DeviceStream
    ) -> TensorRtBinding:
        self._check_stream(stream)
        check_binding(self, inputs, outputs)
        context = self._engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise self._failed("it gives no execution context")
        if self._scratch is not None:
            context.set_device_memory(self._scratch.pointer, self._scratch_bytes)
        for key, tensor in inputs.items():
            if not context.set_input_shape(key, tuple(tensor.shape)):
                raise self._failed(f"it does not take {key} of shape {tuple(tensor.shape)}")
        try:
            unknown = context.infer_shapes()
        except RuntimeError as error:
            raise self._failed("it cannot tell the shapes") from error
        if unknown:
            raise self._failed(f"the shapes of {', '.join(unknown)} are not known")
        for key, tensor in outputs.items():
            shape = tuple(int(n) for n in context.get_tensor_shape(key))
            if shape != tuple(tensor.shape):
                raise EngineFailure(f"{self.name}: {key} must have shape {shape}, not {tuple(tensor.shape)}")
        for key, tensor in (*inputs.items(), *outputs.items()):
            if not context.set_tensor_address(key, tensor.pointer):
                raise self._failed(f"it does not take the memory of {key}")
        return TensorRtBinding(self, context, (*inputs.values(), *outputs.values()))

    def _run(self, context: Any, stream: DeviceStream) -> None:
        self._check_stream(stream)
        if not context.execute_async_v3(stream.handle):
            raise self._failed("it does not run")

    def _check_stream(self, stream: DeviceStream) -> None:
        if stream.handle != self._stream:
            raise EngineFailure(f"{self.name}: it runs on the stream it was opened with, not on another one")

    def _failed(self, what: str) -> EngineFailure:
        return EngineFailure(f"{self.name}: TensorRT failed, {what}: {self._log.reason()}")


class TensorRtBinding:
    """An execution context with its tensors, which it holds alive."""

    def __init__(self, engine: TensorRtDeviceEngine, context: Any, tensors: tuple[DeviceTensor, ...]) -> None:
        self._engine, self._context, self._tensors = engine, context, tensors

    def enqueue(self, stream: DeviceStream) -> None:
        self._engine._run(self._context, stream)
