"""Runs the kernels' tests on a GPU instead of the CPU: the same launch plans, the same comparisons.

With H2K_KERNELS_ON_GPU=1 in the environment conftest.py puts these in the place of tests/cuda_host: ``device_view`` gives the copy
of an array in device memory, and ``run`` copies all of them up, launches, and copies them back.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from h2k_kernels.launch import DeviceArray, LaunchPlan, Runtime
from numpy.typing import NDArray

_runtime = Runtime()
#: Of each NumPy buffer that a test has shown: the buffer, and its place in device memory.
_shown: dict[int, tuple[NDArray[np.uint8], DeviceArray]] = {}


def device_view(array: NDArray) -> DeviceArray:
    """A NumPy array as the launchers take it: a view of the device's copy of its whole buffer."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    start = owner.ctypes.data
    if start not in _shown:
        whole = np.frombuffer((np.ctypeslib.ctypes.c_uint8 * max(owner.nbytes, 1)).from_address(start), np.uint8)
        _shown[start] = (whole, _runtime.empty((whole.size,), np.uint8))
        _kept.append(owner)
    place = _shown[start][1]
    pointer = place.pointer + array.ctypes.data - start
    return DeviceArray(pointer, array.shape, array.dtype, array.strides, place.owner, place.device)


_kept: list[Any] = []


def forget() -> None:
    """Free what one test has shown."""
    _shown.clear()
    _kept.clear()


class GpuModule:
    """The kernels of one source file on the GPU."""

    def __init__(self, stem: str) -> None:
        self._stem = stem

    def run(self, plans: LaunchPlan | Iterable[LaunchPlan]) -> None:
        """Execute one launch after the other, and wait."""
        for host, device in _shown.values():
            _runtime.upload(device, host)
        for plan in [plans] if isinstance(plans, LaunchPlan) else plans:
            _runtime.run(self._stem, plan)
        for host, device in _shown.values():
            _runtime.download(host, device)
        _runtime.synchronize()


def load(stem: str | Path, **_: Any) -> GpuModule:
    return GpuModule(stem if isinstance(stem, str) else stem.stem)


def install() -> None:
    """Take the place of tests/cuda_host, before any test has imported it."""
    import cuda_host

    cuda_host.load, cuda_host.device_view = load, device_view  # type: ignore[assignment]
    cuda_host.module.load, cuda_host.module.device_view = load, device_view  # type: ignore[assignment]
