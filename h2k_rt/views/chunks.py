"""Points through a function in chunks that fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from h2k_engines import EngineFailure
from numpy.typing import NDArray

from h2k_rt.errors import EngineError

#: Points of a chunk, at least and at most: below, even a small machine has no memory left; above, nothing is gained.
LEAST, MOST = 512, 65536
#: Share of the free memory that one chunk may take.
_SHARE = 0.25
_SAYS_MEMORY = ("memory", "alloc")


class Chunks:
    """Calls a function for chunks of points; halves the chunk whenever memory runs out, and stays with the smaller one.

    Args:
        function: (N, 3) float32 -> (N,) float32.
        size: points of the first chunk; least: of the smallest that is tried.

    Attributes:
        size: points of a chunk.
    """

    def __init__(
        self, function: Callable[[NDArray[np.float32]], NDArray[np.float32]], size: int = MOST, least: int = LEAST
    ) -> None:
        self._function, self.size, self._least = function, size, least

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """All points.

        Raises:
            EngineError: memory runs out even for the smallest chunk.
        """
        out = np.empty(len(points), np.float32)
        start = 0
        while start < len(points):
            part = slice(start, min(start + self.size, len(points)))
            try:
                out[part] = self._function(points[part])
            except (MemoryError, EngineFailure, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if self.size // 2 < self._least:
                    raise EngineError(
                        f"there is not enough memory for {self.size} points at once; close other programs or use a smaller model"
                    ) from error
                self.size //= 2
                continue
            start = part.stop
        return out


def chunk_size(free: int | None, bytes_per_point: int, least: int = LEAST, most: int = MOST) -> int:
    """Points of a chunk that takes a quarter of the memory that is free, a power of two times ``least``.

    Args:
        free: bytes; None: not known.
        bytes_per_point: that the function takes at its peak.
    """
    fitting = most if free is None else min(most, int(_SHARE * free / bytes_per_point))
    size = least
    while 2 * size <= fitting:
        size *= 2
    return size


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out; runtimes have no class of their own for it."""
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in _SAYS_MEMORY)


def free_memory() -> int | None:
    """Bytes that a process may take without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
