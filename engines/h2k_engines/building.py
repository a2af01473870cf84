"""What is built for one GPU ahead of running, behind one interface: TensorRT, and TensorRT for RTX."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from h2k_engines.cache import Built
from h2k_engines.device import DeviceEngine, DeviceStream, DeviceTensor

Shape = tuple[int | str, ...]
#: Takes (steps done, steps in all, what is being done).
Progress = Callable[[int, int, str], None]
#: Gives so many bytes of device memory that live as long as what is returned.
Allocate = Callable[[int], DeviceTensor]

#: Most scratch memory that a layer may ask for while the builder tries its implementations.
MAX_WORKSPACE = 4 << 30


@dataclass(frozen=True)
class Gpu:
    """The GPU that an engine is built for.

    Attributes:
        number: of the GPU.
        capability: compute capability, for example (8, 9).
        cuda: newest CUDA version that its driver supports, for example (13, 0).
        free_bytes: device memory that is free now.
    """

    number: int
    name: str
    capability: tuple[int, int]
    cuda: tuple[int, int]
    free_bytes: int

    @property
    def parts(self) -> dict[str, str]:
        """What an engine follows from, for the cache's key: a plan fits one GPU model, one CUDA and one system."""
        return {
            "gpu": self.name,
            "capability": "{}.{}".format(*self.capability),
            "cuda": str(self.cuda[0]),
            "system": f"{platform.system()} {platform.machine()}",
        }


@dataclass(frozen=True)
class Recipe:
    """How a network is built.

    Attributes:
        inputs, outputs: shapes by name; a text is a free dimension.
        profile: free dimension -> smallest, usual and largest size.
        level: of the builder's search, 0 to 5; higher takes longer.
        workspace: bytes of scratch memory that a layer may use.
    """

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    profile: Mapping[str, tuple[int, int, int]]
    level: int = 3
    workspace: int = MAX_WORKSPACE

    @property
    def free(self) -> list[str]:
        """Inputs that have a free dimension."""
        return [key for key, shape in self.inputs.items() if not all(isinstance(n, int) for n in shape)]

    def sizes(self, name: str) -> tuple[tuple[int, ...], ...]:
        """Smallest, usual and largest shape of an input."""
        return tuple(tuple(n if isinstance(n, int) else self.profile[n][i] for n in self.inputs[name]) for i in range(3))


class EngineBuilder(Protocol):
    """Builds engines for one GPU, and opens what was built."""

    name: str
    """As in ``--engine``."""

    title: str
    """With its version, for people."""

    parts: Mapping[str, str]
    """All that an engine follows from beside the network: versions, GPU."""

    def build(
        self, graph: bytes, network: str, recipe: Recipe, progress: Progress, cancelled: Callable[[], bool] = lambda: False
    ) -> Built:
        """Build a network from its ONNX graph.

        Raises:
            EngineFailure: it cannot be built, or was stopped.
        """
        ...

    def open(self, data: bytes, network: str, recipe: Recipe, stream: DeviceStream) -> DeviceEngine:
        """Make a built engine ready to be bound.

        Raises:
            EngineFailure: the runtime refuses it.
        """
        ...


def workspace_for(free_bytes: int) -> int:
    """Scratch memory for a layer where so much device memory is free: the weights and the networks' tensors need room as well."""
    return max(min(MAX_WORKSPACE, free_bytes // 2), 1 << 20)
