"""Page-locked host memory that photos go up from and results come down to; it grows to the largest one seen and then stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from h2k_kernels.launch import DeviceArray
from h2k_kernels.launch.runtime import Runtime, Stream
from numpy.typing import DTypeLike, NDArray

#: Memory grows in steps of so many bytes, so that photos of nearly equal size do not make it grow again and again.
_STEP = 8 << 20


def _rounded(nbytes: int) -> int:
    return max(-(-nbytes // _STEP), 1) * _STEP


class PhotoBuffers:
    """Memory for a photo's bytes on the device, and beside it on the host.

    Attributes:
        photos, masks: (n,) uint8 on the device.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pixels = 0
        self.photos = self.masks = runtime.empty((0,), np.uint8)
        self._host = np.zeros(0, np.uint8)

    @property
    def nbytes(self) -> int:
        """Of the device."""
        return self.photos.nbytes + self.masks.nbytes

    def upload(self, rgb: NDArray[np.uint8], mask: NDArray[np.uint8], stream: Stream) -> None:
        """Put a photo's upload into the stream; the arrays may change as soon as this returns.

        The host memory is written at once: the previous upload must have ended.

        Raises:
            DeviceFailure: not enough memory.
        """
        if mask.size > self._pixels:
            self._runtime.synchronize(stream)  # what still reads the old memory
            self._pixels = _rounded(mask.size)
            self.photos = self._runtime.empty((3 * self._pixels,), np.uint8)
            self.masks = self._runtime.empty((self._pixels,), np.uint8)
            self._host = self._runtime.pinned((4 * self._pixels,), np.uint8)
        pixels = mask.size
        bytes_of_photo, bytes_of_mask = self._host[: 3 * pixels], self._host[3 * pixels : 4 * pixels]
        np.copyto(bytes_of_photo.reshape(rgb.shape), rgb)
        np.copyto(bytes_of_mask.reshape(mask.shape), mask)
        self._runtime.upload(self.photos.first(3 * pixels), bytes_of_photo, stream)
        self._runtime.upload(self.masks.first(pixels), bytes_of_mask, stream)


class HostBlock:
    """One block of page-locked memory out of which arrays are taken one after the other, anew for each photo."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._block = np.zeros(0, np.uint8)
        self._used = 0

    def reset(self, nbytes: int) -> None:
        """Forget all arrays taken so far, and make room for ``nbytes`` in all."""
        if nbytes > self._block.size:
            self._block = self._runtime.pinned((_rounded(nbytes),), np.uint8)
        self._used = 0

    def take(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """An array, valid until :meth:`reset`; its content is undefined.

        Raises:
            ValueError: more is taken than there was room made for.
        """
        kind = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        start = -(-self._used // 16) * 16
        if start + nbytes > self._block.size:
            raise ValueError(f"{nbytes} bytes more than there is room for")
        self._used = start + nbytes
        return self._block[start : self._used].view(kind).reshape(tuple(shape))

    def download(self, source: DeviceArray, stream: Stream) -> NDArray[Any]:
        """Put a download into the stream; the array is filled once the stream has got there."""
        target = self.take(source.shape, source.dtype)
        self._runtime.download(target, source, stream)
        return target
