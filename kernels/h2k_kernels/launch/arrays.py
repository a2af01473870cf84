"""Arrays in device memory: a pointer with shape, element type and strides, exchanged with other libraries without a copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from h2k_kernels.launch import dlpack
from h2k_kernels.launch.errors import DeviceFailure


def contiguous_strides(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of a C-contiguous array."""
    strides, step = [], itemsize
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """A view of device memory.

    Attributes:
        pointer: address of the first element.
        shape: extents; may hold zeros.
        dtype: of the elements.
        strides: in bytes, C order if not given.
        owner: whatever keeps the memory alive; None: the caller does.
        device: (type, number) as DLPack counts: (2, 0) is the first CUDA device, (1, 0) host memory.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...] = ()
    owner: Any = field(default=None, repr=False)
    device: tuple[int, int] = (dlpack.CUDA, 0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if any(n < 0 for n in self.shape):
            raise ValueError(f"an array cannot have shape {self.shape}")
        strides = tuple(self.strides) or contiguous_strides(self.shape, self.dtype.itemsize)
        if len(strides) != len(self.shape):
            raise ValueError(f"{len(strides)} strides for an array of shape {self.shape}")
        object.__setattr__(self, "strides", strides)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements (not of the gaps between them)."""
        return self.size * self.dtype.itemsize

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie in C order without gaps."""
        expected = contiguous_strides(self.shape, self.dtype.itemsize)
        moved = (have == want or n <= 1 for have, want, n in zip(self.strides, expected, self.shape, strict=True))
        return self.size == 0 or all(moved)

    def reshape(self, *shape: int) -> DeviceArray:
        """The same memory in another shape.

        Raises:
            ValueError: the array is not contiguous, or the shape holds another number of elements.
        """
        if not self.contiguous or math.prod(shape) != self.size:
            raise ValueError(f"an array of shape {self.shape} and strides {self.strides} cannot be taken as {shape}")
        return DeviceArray(self.pointer, shape, self.dtype, (), self.owner, self.device)

    def first(self, count: int) -> DeviceArray:
        """The first ``count`` entries along the first axis.

        Raises:
            ValueError: there are fewer.
        """
        if not self.shape or not 0 <= count <= self.shape[0]:
            raise ValueError(f"an array of shape {self.shape} has no first {count} entries")
        return DeviceArray(self.pointer, (count, *self.shape[1:]), self.dtype, self.strides, self.owner, self.device)

    def __getitem__(self, index: int) -> DeviceArray:
        """The entry ``index`` of the first axis."""
        if not self.shape or not 0 <= index < self.shape[0]:
            raise IndexError(f"index {index} of an array of shape {self.shape}")
        at = self.pointer + index * self.strides[0]
        return DeviceArray(at, self.shape[1:], self.dtype, self.strides[1:], self.owner, self.device)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a single number has no length")
        return self.shape[0]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of the protocol. No stream is named: the consumer orders its work after the array's."""
        if self.device[0] != dlpack.CUDA:
            raise AttributeError("__cuda_array_interface__")  # as if it were not there
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer if self.size else 0, False),
            "strides": None if self.contiguous else self.strides,
            "version": 3,
            "stream": None,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> Any:
        """A capsule for ``from_dlpack`` of another library. The memory must be ready: synchronise the stream that wrote it."""
        return dlpack.export(self)


def from_cuda_array(source: Any) -> DeviceArray:
    """Any object with ``__cuda_array_interface__`` (PyTorch, CuPy, Numba, PyCUDA), without a copy.

    Raises:
        DeviceFailure: the object has no such interface, or its memory may not be written.
    """
    if isinstance(source, DeviceArray):
        return source
    interface = getattr(source, "__cuda_array_interface__", None)
    if interface is None:
        raise DeviceFailure(f"a {type(source).__name__} is no CUDA array: it has no __cuda_array_interface__")
    pointer, read_only = interface["data"]
    if read_only:
        raise DeviceFailure(f"the CUDA array of this {type(source).__name__} is read-only")
    dtype = np.dtype(interface["typestr"])
    return DeviceArray(int(pointer or 0), tuple(interface["shape"]), dtype, tuple(interface.get("strides") or ()), source)


def from_dlpack(source: Any, stream: int | None = None) -> DeviceArray:
    """Any object with ``__dlpack__`` (PyTorch, CuPy, JAX, NumPy), without a copy; the array keeps its memory alive.

    Args:
        stream: handle of the CUDA stream on which the array will be used first; None: the legacy default stream.

    Raises:
        DeviceFailure: the object speaks no DLPack, or holds elements that have no NumPy type.
    """
    if not hasattr(source, "__dlpack__"):
        raise DeviceFailure(f"a {type(source).__name__} cannot be taken over: it has no __dlpack__")
    on_host = source.__dlpack_device__()[0] == dlpack.HOST
    tensor = dlpack.take(source.__dlpack__() if on_host else source.__dlpack__(stream=stream))
    return DeviceArray(tensor.pointer, tensor.shape, tensor.dtype, tensor.strides, tensor, tensor.device)


def require(array: DeviceArray, name: str, dtype: Any, *shape: int | None) -> None:
    """Check an argument of a kernel.

    Args:
        dtype: the type it must have, or a tuple of several of which one.
        shape: its extents; None: any.

    Raises:
        ValueError: naming the argument, what it must be and what it is.
    """
    allowed = [np.dtype(one) for one in (dtype if isinstance(dtype, tuple) else (dtype,))]
    if array.dtype not in allowed:
        raise ValueError(f"{name} must be {' or '.join(map(str, allowed))}, not {array.dtype}")
    fits = array.ndim == len(shape) and all(want is None or want == have for want, have in zip(shape, array.shape, strict=True))
    if not fits:
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({expected}), not {array.shape}")
    if not array.contiguous:
        raise ValueError(f"{name} must be contiguous, not with strides {array.strides} for shape {array.shape}")
