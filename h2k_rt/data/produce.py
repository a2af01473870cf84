"""Makes the samples of a dataset in worker processes, in any order, leaving out those that are there."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.dataset import Description, RenderedMaps
from h2k_rt.errors import DataError

#: A closed surface: (V, 3) float32 world metres, (F, 3) int32.
Shape = tuple[NDArray[np.float32], NDArray[np.int32]]

#: Told of (done, total, what).
Progress = Callable[[int, int, str], None]

_QUEUED_PER_WORKER = 3
#: Options of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


@dataclass(frozen=True)
class Product:
    """A sample as it is handed to the writer; see :meth:`DatasetWriter.write`."""

    index: int
    rendering: RenderedMaps
    about: Mapping[str, Any] = field(default_factory=dict)
    mesh: Shape | None = None


#: Makes the samples of the indices it is given, which belong to one person.
Maker = Callable[[Sequence[int]], Iterator[Product]]


class SampleWriter(Protocol):
    """What puts samples on the disk; it is copied into every worker."""

    @property
    def description(self) -> Description: ...
    def has(self, index: int) -> bool: ...
    def write(
        self, index: int, rendering: RenderedMaps, about: Mapping[str, Any] | None = None, mesh: Shape | None = None
    ) -> None: ...


def produce(
    writer: SampleWriter,
    groups: Sequence[Sequence[int]],
    start: Callable[[], Maker],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> int:
    """Make every sample of ``groups`` that is not there yet; returns how many were made.

    A group is made by one worker in one go (the views of one person). The samples depend on their index only, so the result is the
    same whatever the number of workers. When one group fails, those under way are finished and the error is raised; what is made
    stays, and a later call goes on from there.

    Args:
        start: called once in each worker, so it must be importable; loads what is needed and returns the maker.
        workers: processes; also 1 is a process of its own, so that what it loads and sets does not stay in the caller's.
        progress: called in the caller's process after each group.

    Raises:
        DataError: a worker was ended from outside.
        H2KError: as the maker or the writer raised it.
    """
    missing = [[index for index in group if not writer.has(index)] for group in groups]
    missing = [group for group in missing if group]
    total = sum(map(len, groups))
    to_do = sum(map(len, missing))
    done = total - to_do
    report = progress or (lambda *_: None)
    report(done, total, "")
    if not missing:
        return 0
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(missing)), context, _begin, (writer, start))
    queue = iter(missing)
    waiting: dict[Future[int], None] = {}
    try:
        while True:
            for group in queue:
                with _ctrl_c_ignored():  # workers inherit it from their start on: Ctrl-C is the caller's, which ends the pool
                    waiting[pool.submit(_make, group)] = None
                if len(waiting) >= _QUEUED_PER_WORKER * workers:
                    break
            if not waiting:
                return to_do
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                del waiting[future]
                done += future.result()
                report(done, total, "")
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process was ended from outside, most likely for want of memory; "
            "run the same command again with fewer --workers: it goes on with what is missing"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signals, and gets Ctrl-C
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_worker: dict[str, Any] = {}


def _begin(writer: SampleWriter, start: Callable[[], Maker]) -> None:
    """Set up a worker. Nothing that can fail: the pool would not tell why."""
    threading.Thread(target=_end_with_caller, daemon=True).start()
    keep_memory()
    _worker.update(writer=writer, start=start, maker=None)


def keep_memory() -> None:
    """Let glibc keep what is freed: pictures of 2048 pixels need the same 300 MB each time, and the system clears every page of it.

    Other C libraries go on as they are.
    """
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _end_with_caller() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(indices: Sequence[int]) -> int:
    """In a worker: make and write the samples."""
    if _worker["maker"] is None:
        _worker["maker"] = _worker["start"]()
    for product in _worker["maker"](indices):
        _worker["writer"].write(product.index, product.rendering, product.about, product.mesh)
    return len(indices)
