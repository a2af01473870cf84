"""All device memory of the pipeline, allocated once: one block, with every tensor at a fixed place in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from h2k_kernels.launch import DeviceArray, Runtime
from numpy.typing import DTypeLike

#: Tensors start on multiples of so many bytes: what cuDNN and vectorised kernels like best, and a whole number of cache lines.
ALIGNMENT = 256


@dataclass(frozen=True)
class Tensor:
    """A tensor to be placed.

    Attributes:
        shape: the largest that it takes.
        dtype: of its elements.
    """

    shape: tuple[int, ...]
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.float32))

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """Where each tensor lies.

    Attributes:
        offsets: bytes from the start of the block.
        nbytes: of the whole block.
    """

    tensors: Mapping[str, Tensor]
    offsets: Mapping[str, int]
    nbytes: int


def plan_layout(tensors: Mapping[str, Tensor], shared: Iterable[tuple[str, ...]] = ()) -> Layout:
    """Place tensors one after the other.

    Args:
        shared: groups of tensors that are never in use at the same time and take the same place.

    Raises:
        ValueError: a group names a tensor that is not there, or one of another group.
    """
    leader: dict[str, str] = {}
    for group in shared:
        for name in group:
            if name not in tensors or name in leader:
                raise ValueError(f"tensor {name} cannot share its place: it is unknown, or shares another one")
            leader[name] = group[0]
    leader = {name: leader.get(name, name) for name in tensors}
    sizes: dict[str, int] = {}
    for name, tensor in tensors.items():
        sizes[leader[name]] = max(sizes.get(leader[name], 0), tensor.nbytes)
    places, end = {}, 0
    for name, size in sizes.items():
        places[name] = end
        end += -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
    return Layout(dict(tensors), {name: places[leader[name]] for name in tensors}, end)


class Arena:
    """The block of a layout.

    Args:
        runtime: where to allocate.

    Raises:
        DeviceFailure: there is not enough device memory.
    """

    def __init__(self, runtime: Runtime, layout: Layout) -> None:
        self.layout = layout
        self._block = runtime.empty((layout.nbytes,), np.uint8)

    @property
    def nbytes(self) -> int:
        return self.layout.nbytes

    def array(self, name: str, shape: tuple[int, ...] | None = None, dtype: DTypeLike | None = None) -> DeviceArray:
        """A tensor's memory.

        Args:
            shape, dtype: another, smaller use of the same memory; None: as planned.

        Raises:
            KeyError: there is no such tensor.
            ValueError: it has not so much memory.
        """
        tensor = self.layout.tensors[name]
        used = Tensor(tensor.shape if shape is None else shape, tensor.dtype if dtype is None else np.dtype(dtype))
        if used.nbytes > tensor.nbytes:
            raise ValueError(f"{name} has {tensor.nbytes} bytes, too few for {used.shape} {used.dtype}")
        pointer = self._block.pointer + self.layout.offsets[name]
        return DeviceArray(pointer, used.shape, used.dtype, (), self._block.owner, self._block.device)
