"""How a kernel is to be launched, worked out without a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray

#: What a kernel takes: arrays by address, NumPy numbers and structures (np.void) by value. Never a Python number, whose width
#: nobody knows.
Argument: TypeAlias = DeviceArray | np.generic

Triple: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class LaunchPlan:
    """One launch.

    Attributes:
        kernel: name of the ``extern "C" __global__`` function.
        grid, block: blocks, and threads of a block.
        args: in the order of the kernel's parameters.
        shared: bytes of dynamic shared memory.
    """

    kernel: str
    grid: Triple
    block: Triple
    args: tuple[Argument, ...]
    shared: int = 0
