"""The one interface behind which every network runs, whatever executes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class EngineFailure(RuntimeError):
    """An engine cannot be started, or was fed wrong tensors. The message is one sentence for the user."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type and shape of an input or output; a string in the shape is a free dimension of that name."""

    name: str
    dtype: np.dtype
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} ({', '.join(map(str, self.shape))})"


@runtime_checkable
class Engine(Protocol):
    """A network ready to run. Thread-safe for one caller at a time."""

    @property
    def name(self) -> str:
        """The network's name, for messages."""
        ...

    @property
    def provider(self) -> str:
        """What really executes it, for example "onnxruntime 1.31.1 CPUExecutionProvider"."""
        ...

    @property
    def inputs(self) -> Mapping[str, TensorSpec]: ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]: ...

    def run(self, feeds: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run once. ``feeds`` has every input by name, C-contiguous; returns every output by name.

        Raises:
            EngineFailure: an input is missing, unknown, or has another dtype or shape than the network's.
        """
        ...


class TensorLike(Protocol):
    """What every array library's arrays have."""

    @property
    def dtype(self) -> np.dtype: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...


def check_feeds(inputs: Mapping[str, TensorSpec], feeds: Mapping[str, NDArray], network: str) -> None:
    """Compare ``feeds`` with what a network declares; free dimensions of one name must agree between inputs.

    Raises:
        EngineFailure: naming the network, the tensor, what was expected and what came.
    """
    check_tensors(inputs, feeds, network, "inputs", {})


def check_tensors(
    specs: Mapping[str, TensorSpec], tensors: Mapping[str, TensorLike], network: str, role: str, free: dict[str, int]
) -> None:
    """Compare inputs or outputs with what a network declares.

    Args:
        role: "inputs" or "outputs", for messages.
        free: sizes of free dimensions known so far; those seen for the first time are added.

    Raises:
        EngineFailure: naming the network, the tensor, what was expected and what came.
    """
    missing, unknown = specs.keys() - tensors.keys(), tensors.keys() - specs.keys()
    if missing or unknown:
        parts = [f"misses {', '.join(sorted(missing))}"] if missing else []
        parts += [f"does not know {', '.join(sorted(unknown))}"] if unknown else []
        raise EngineFailure(f"{network}: {' and '.join(parts)}; its {role} are {', '.join(map(str, specs.values()))}")
    for name, spec in specs.items():
        array = tensors[name]
        if array.dtype != spec.dtype:
            raise EngineFailure(f"{network}: {name} must be {spec.dtype}, not {array.dtype}")
        fits = array.ndim == len(spec.shape)
        if fits:
            for want, have in zip(spec.shape, array.shape, strict=True):
                fits = fits and (have == want if isinstance(want, int) else free.setdefault(want, have) == have)
        if not fits:
            raise EngineFailure(f"{network}: {name} must have shape {spec.shape}, not {array.shape}")
