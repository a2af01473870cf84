"""Networks on a GPU, tied to tensors in its memory: nothing is copied to the host, nothing is allocated when they run.

A :class:`DeviceEngine` is opened once for a stream, bound to its tensors once, and then put into that stream for each photo.
``bind`` may be called several times, for a network that is run at several sizes; each binding stays valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from h2k_engines.engine import EngineFailure, TensorSpec, check_tensors


class DeviceTensor(Protocol):
    """A tensor in device memory, for example ``h2k_kernels.launch.DeviceArray``."""

    @property
    def pointer(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def ndim(self) -> int: ...
    @property
    def contiguous(self) -> bool: ...


class DeviceStream(Protocol):
    """A stream: ``handle`` is its CUstream as an integer."""

    @property
    def handle(self) -> int: ...


class Binding(Protocol):
    """A network with its input and output tensors."""

    def enqueue(self, stream: DeviceStream) -> None:
        """Put one run into the stream and return at once; the tensors must live until it has finished.

        Raises:
            EngineFailure: the runtime refused, or the stream is not the one it was bound for.
        """
        ...


@runtime_checkable
class DeviceEngine(Protocol):
    """A network ready to be bound. For one thread at a time."""

    @property
    def name(self) -> str:
        """The network's name, for messages."""
        ...

    @property
    def provider(self) -> str:
        """What really executes it, for example "onnxruntime 1.31.1 CUDAExecutionProvider"."""
        ...

    @property
    def inputs(self) -> Mapping[str, TensorSpec]: ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]: ...

    def bind(self, inputs: Mapping[str, DeviceTensor], outputs: Mapping[str, DeviceTensor], stream: DeviceStream) -> Binding:
        """Tie the network to tensors.

        Raises:
            EngineFailure: a tensor is missing, unknown, not contiguous, or has another dtype or shape than the network's.
        """
        ...


def check_binding(engine: DeviceEngine, inputs: Mapping[str, DeviceTensor], outputs: Mapping[str, DeviceTensor]) -> None:
    """Compare tensors with what a network declares; free dimensions of one name must agree between all of them.

    Raises:
        EngineFailure: naming the network, the tensor, what was expected and what came.
    """
    free: dict[str, int] = {}
    check_tensors(engine.inputs, inputs, engine.name, "inputs", free)
    check_tensors(engine.outputs, outputs, engine.name, "outputs", free)
    for name, tensor in (*inputs.items(), *outputs.items()):
        if not tensor.contiguous:
            raise EngineFailure(f"{engine.name}: {name} must be contiguous")
