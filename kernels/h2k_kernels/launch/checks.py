"""What the launch plans share: arguments that may be absent, and scratch memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.plan import Argument

#: Element types of tensors of networks that the kernels read and write.
FLOATS = (np.float32, np.float16)

#: ``Colours`` of lift.cuh.
_COLOURS = np.dtype(
    [("front", "u8"), ("back", "u8"), ("height", "i4"), ("width", "i4"), ("channels", "i4"), ("of_canvas", "i4")], align=True
)

#: What a kernel gets for an array that is not there.
NULL = np.uint64(0)

#: Largest number of blocks of a grid's second and third dimension.
_MAX_BLOCKS = 65535


def optional(array: DeviceArray | None, name: str, dtype: DTypeLike, *shape: int | None) -> Argument:
    """A checked array, or the null pointer for None.

    Raises:
        ValueError: as :func:`h2k_kernels.launch.arrays.require`.
    """
    if array is None:
        return NULL
    require(array, name, dtype, *shape)
    return array


def address(array: DeviceArray | None) -> int:
    """Address of an array for a field of a structure; 0 for None."""
    return 0 if array is None else array.pointer


def structure(array: NDArray[np.void]) -> np.void:
    """An array of one structure as a kernel's argument."""
    value: Any = array[()]
    return value


def check_scratch(scratch: DeviceArray, needed: int) -> None:
    """Whether ``scratch`` is uint8 memory of at least ``needed`` bytes on a multiple of 16.

    Raises:
        ValueError: it is not.
    """
    require(scratch, "scratch", np.uint8, None)
    if scratch.size < needed or scratch.pointer % 16:
        raise ValueError(f"scratch must have {needed} bytes at a multiple of 16, not {scratch.size} at {scratch.pointer:#x}")


def check_persons(persons: int) -> None:
    """Whether a batch fits a grid.

    Raises:
        ValueError: it has none, or more than 65535.
    """
    if not 0 < persons <= _MAX_BLOCKS:
        raise ValueError(f"a batch has 1 to {_MAX_BLOCKS} persons, not {persons}")


def part_of(scratch: DeviceArray, start: int, size: int) -> DeviceArray:
    """Bytes ``start`` to ``start + size`` of scratch memory."""
    return DeviceArray(scratch.pointer + start, (size,), scratch.dtype, (), scratch.owner, scratch.device)


def colours_of(front: DeviceArray, back: DeviceArray, shape: tuple[int, int, int], size: int) -> np.void:
    """The colours of maps of ``shape`` (persons, height, width), as a ``Colours``.

    Args:
        front, back: uint8, (B, H, W, C) like the maps, or (B, N, N, C) like the canvas of ``size``; C 3 or 4.

    Raises:
        ValueError: they have another type or shape.
    """
    require(front, "front_colors", np.uint8, shape[0], None, None, None)
    channels = front.shape[3]
    if front.shape[:3] not in (shape, (shape[0], size, size)) or channels not in (3, 4):
        raise ValueError(f"front_colors must have the maps' shape {shape} or the canvas's, and 3 or 4 channels, not {front.shape}")
    require(back, "back_colors", np.uint8, *front.shape)
    follows = front.shape[:3] != shape
    return structure(np.array((front.pointer, back.pointer, *front.shape[1:], follows), _COLOURS))
