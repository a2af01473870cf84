"""Networks on PyTorch, bound to tensors in device memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

from h2k_engines.device import DeviceStream, DeviceTensor, check_binding
from h2k_engines.engine import EngineFailure, TensorSpec
from h2k_engines.torch_engine import TorchEngine

if TYPE_CHECKING:
    from torch import Tensor, nn


class TorchDeviceEngine(TorchEngine):
    """A PyTorch module that reads and writes given device memory.

    Its intermediate tensors come from a memory pool of its own, so that a recorded graph's memory is never given to others.

    Args:
        module, name, inputs, outputs: as for :class:`TorchEngine`.
        device: "cuda", "cuda:1"; "cpu" for tests of everything but the GPU.

    Raises:
        EngineFailure: PyTorch is not installed, or has no such device.
    """

    def __init__(
        self, module: nn.Module, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, device: str = "cuda"
    ) -> None:
        super().__init__(module, name, inputs, outputs, device=device)
        import torch

        self._on_gpu = self._device.type == "cuda"
        # torch.cuda.MemPool came with 2.5; without it, what a recorded graph uses could be handed out again.
        pools = getattr(torch.cuda, "MemPool", None)
        self._pool: Any = pools() if self._on_gpu and pools is not None else None

    def bind(self, inputs: Mapping[str, DeviceTensor], outputs: Mapping[str, DeviceTensor], stream: DeviceStream) -> TorchBinding:
        import torch

        check_binding(self, inputs, outputs)
        taken = [
            [torch.from_dlpack(tensors[name]) for name in specs]
            for specs, tensors in ((self.inputs, inputs), (self.outputs, outputs))
        ]
        return TorchBinding(self, taken[0], taken[1])

    def _surroundings(self, stream: DeviceStream) -> AbstractContextManager[Any]:
        import torch

        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        if self._on_gpu:
            stack.enter_context(torch.cuda.stream(torch.cuda.ExternalStream(stream.handle, device=self._device)))
            # TF32 off: an FP32 graph is there to be exact. The first run of each size, never recorded, tries cuDNN's algorithms.
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False))
            if self._pool is not None:
                stack.enter_context(torch.cuda.use_mem_pool(self._pool, device=self._device))
        return stack


class TorchBinding:
    """A module with its tensors."""

    def __init__(self, engine: TorchDeviceEngine, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        self._engine, self._inputs, self._outputs = engine, inputs, outputs

    def enqueue(self, stream: DeviceStream) -> None:
        engine = self._engine
        try:
            with engine._surroundings(stream):
                result = engine._module(*self._inputs)
                values = result if isinstance(result, tuple) else (result,)
                for target, value in zip(self._outputs, values, strict=True):
                    target.copy_(value)
        except (RuntimeError, ValueError) as error:
            raise EngineFailure(f"{engine.name}: PyTorch failed: {str(error).splitlines()[0]}") from error
