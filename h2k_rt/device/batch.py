"""A batch of photos through one GPU: while it works on one, host threads read the next and write the last."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Source = TypeVar("Source")
Loaded = TypeVar("Loaded")
Made = TypeVar("Made")
Written = TypeVar("Written")


class Outcome(Generic[Source, Written]):
    """What became of one photo: a result, or the error of the stage that failed."""

    def __init__(self, source: Source, result: Written | None, error: Exception | None) -> None:
        self.source, self.result, self.error = source, result, error


def pipelined(
    sources: Iterable[Source],
    load: Callable[[Source], Loaded],
    work: Callable[[Loaded], Made],
    write: Callable[[Made], Written],
    *,
    ahead: int = 2,
    writers: int = 2,
) -> Iterator[Outcome[Source, Written]]:
    """Load, work, write: three stages, the second in the calling thread, each photo's in this order, results in the photos' order.

    A photo that fails in one stage leaves the later ones out; the others go on. If the caller stops early (or is interrupted), no
    further photo is begun and what is being written is finished.

    Args:
        load: run ahead, by as many threads as photos are loaded ahead.
        work: run in this thread, one photo at a time: the GPU's.
        write: run by other threads.
        ahead: photos loaded ahead, and at most so many waiting to be written: memory is bounded.
        writers: threads that write.

    Raises:
        ValueError: ``ahead`` or ``writers`` is less than 1.
    """
    if ahead < 1 or writers < 1:
        raise ValueError("a pipeline needs at least one photo ahead and one writer")
    with ThreadPoolExecutor(ahead, "h2k-load") as loaders, ThreadPoolExecutor(writers, "h2k-write") as finishers:
        remaining = iter(sources)
        loading: deque[tuple[Source, Future[Loaded]]] = deque()
        writing: deque[tuple[Source, Future[Written]]] = deque()

        def load_more() -> None:
            while len(loading) < ahead:
                try:
                    source = next(remaining)
                except StopIteration:
                    return
                loading.append((source, loaders.submit(load, source)))

        try:
            load_more()
            while loading:
                source, loaded = loading.popleft()
                writing.append((source, _worked(loaded, work, write, finishers)))
                load_more()
                while len(writing) > ahead or (writing and writing[0][1].done()):
                    yield _outcome(*writing.popleft())
            while writing:
                yield _outcome(*writing.popleft())
        finally:
            for _, future in loading:
                future.cancel()


def _worked(
    loaded: Future[Loaded], work: Callable[[Loaded], Made], write: Callable[[Made], Written], finishers: ThreadPoolExecutor
) -> Future[Written]:
    try:
        return finishers.submit(write, work(loaded.result()))
    except Exception as error:  # told with the photo's outcome
        failed: Future[Written] = Future()
        failed.set_exception(error)
        return failed


def _outcome(source: Source, future: Future[Written]) -> Outcome[Source, Written]:
    try:
        return Outcome(source, future.result(), None)
    except Exception as error:
        return Outcome(source, None, error)
