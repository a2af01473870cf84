"""Kernel arguments as the driver wants them: one block of bytes, each value at its natural alignment."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray
from h2k_kernels.launch.plan import Argument


def argument_bytes(argument: Argument) -> tuple[bytes, int]:
    """The bytes of one argument and its alignment.

    Raises:
        TypeError: it is neither an array in device memory nor a NumPy number or structure of known layout.
    """
    if isinstance(argument, DeviceArray):
        return struct.pack("=Q", argument.pointer if argument.size else 0), 8
    if isinstance(argument, np.void) and argument.dtype.names:
        if not argument.dtype.isalignedstruct:
            raise TypeError("a structure passed to a kernel needs a dtype made with align=True")
        return argument.tobytes(), argument.dtype.alignment
    if isinstance(argument, (np.number, np.bool_)):
        return argument.tobytes(), argument.dtype.itemsize
    raise TypeError(f"a kernel takes device arrays and NumPy numbers, not {type(argument).__name__} {argument!r}")


def pack(arguments: Sequence[Argument]) -> bytes:
    """All arguments in one block, laid out as CUDA lays out a kernel's parameters.

    Raises:
        TypeError: as :func:`argument_bytes`, naming the argument's place.
    """
    block = bytearray()
    for number, argument in enumerate(arguments):
        try:
            data, alignment = argument_bytes(argument)
        except TypeError as error:
            raise TypeError(f"argument {number}: {error}") from None
        block += bytes(-len(block) % alignment) + data
    return bytes(block)
