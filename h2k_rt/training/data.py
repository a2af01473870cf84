"""Where samples come from, in which order, and how worker processes make examples of them.

Everything random about an example follows from (seed, stage, draw), where a draw is the running number of an example in the whole
training: neither the number of worker processes nor an interruption changes anything.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from h2k_rt.data.dataset import Sample
from h2k_rt.data.published import open_dataset
from h2k_rt.errors import DataError, TrainingError

#: The maps of a sample that training reads.
MAPS = ("color", "mask", "depth")


class Source(Protocol):
    """Samples by number."""

    def __len__(self) -> int: ...
    def read(self, index: int) -> Sample: ...
    def name(self, index: int) -> str: ...


class FolderSource:
    """The samples of one or more dataset folders that are there now, one after the other.

    Args:
        folders: dataset folders; their picture sizes may differ.
        size: take only datasets of this size; None: all, and sizes must be multiples of 256.

    Raises:
        DataError: a folder is no dataset, has no samples, or none has the size.
    """

    def __init__(self, folders: Sequence[Path], size: int | None = None) -> None:
        datasets = [open_dataset(folder) for folder in folders]
        for dataset in datasets:
            if not len(dataset):
                raise DataError(f"{dataset.folder}: the dataset has no samples yet")
            if size is None and dataset.size % 256:
                raise DataError(f"{dataset.folder}: pictures of {dataset.size} pixels; training needs a multiple of 256")
            lacking = [name for name in MAPS if name not in dataset.maps]
            if lacking:
                raise DataError(f"{dataset.folder}: the dataset has no {' and no '.join(lacking)}, which training needs")
        found = sorted({dataset.size for dataset in datasets})
        self._datasets = [dataset for dataset in datasets if size in (None, dataset.size)]
        if not self._datasets:
            raise DataError(f"the part networks and the trunk need samples of {size} pixels; --data has {found} only")
        self._samples = [(place, id) for place, dataset in enumerate(self._datasets) for id in dataset.ids]

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int) -> Sample:
        place, id = self._samples[index]
        return self._datasets[place].read(id, MAPS)

    def name(self, index: int) -> str:
        place, id = self._samples[index]
        return str(self._datasets[place].path(id))


class ExampleMaker(Protocol):
    """Makes one example; pickled into the worker processes."""

    def __call__(self, source: Source, index: int, rng: np.random.Generator) -> dict[str, Any]: ...


#: Makes a batch of examples.
Collate = Callable[[list[dict[str, Any]]], Any]


@dataclass(frozen=True)
class Draw:
    """The example that is to be made: which sample, and its running number in the training."""

    index: int
    number: int


class Examples(TorchDataset):
    """Examples by draw; what a :class:`DataLoader` reads."""

    def __init__(self, source: Source, maker: ExampleMaker, seed: int, stage: int) -> None:
        self._source, self._maker, self._key = source, maker, (seed, stage)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        return self.example(draw.index, draw.number)

    def example(self, index: int, number: int) -> dict[str, Any]:
        """The example of a sample that is the ``number``-th of the training."""
        rng = np.random.default_rng(np.random.SeedSequence([*self._key, number]))
        example = self._maker(self._source, index, rng)
        example["sample"] = index
        return example


class DrawSampler(Sampler[list[Draw]]):
    """Batches of draws without end: each epoch a new permutation of the samples.

    Args:
        count: samples; batch: examples of one batch of one process.
        first: number of the batch to begin with.
        rank, world: this process takes every ``world``-th example, so that W processes with batches of B read what one
            process with batches of W B does.
    """

    def __init__(self, count: int, batch: int, seed: int, first: int = 0, rank: int = 0, world: int = 1) -> None:
        self._count, self._batch, self._seed, self._first, self._rank, self._world = count, batch, seed, first, rank, world

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, order = -1, np.empty(0, np.int64)
        batch = self._first
        while True:
            start = batch * self._batch * self._world + self._rank
            draws = []
            for number in range(start, start + self._batch * self._world, self._world):
                if number // self._count != epoch:
                    epoch = number // self._count
                    order = np.random.default_rng(np.random.SeedSequence([self._seed, epoch])).permutation(self._count)
                draws.append(Draw(int(order[number % self._count]), number))
            yield draws
            batch += 1


def example_loader(examples: Examples, sampler: DrawSampler, collate: Collate, workers: int) -> Iterator[Any]:
    """Batches, made by ``workers`` processes ahead of time (0: when they are asked for).

    Raises:
        DataError, TrainingError: as the examples raise them, whichever process did.
    """
    loader: DataLoader[Any] = DataLoader(
        examples,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_quiet_worker,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def _quiet_worker(worker: int) -> None:
    """One thread for each worker: the processes are the parallelism. Ctrl-C is for the main process, whose end is theirs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this worker when the training was killed: its parent by the operating system is the fork server, which lives on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def sample_names(source: Source, indices: Sequence[int]) -> str:
    """Names of samples for a message."""
    return ", ".join(source.name(index) for index in indices)


def check_sample(sample: Sample, name: str) -> None:
    """Raise TrainingError where a sample lacks what training needs."""
    for map_name, value in (("color", sample.rgb), ("mask", sample.mask), ("depth", sample.depth)):
        if value is None:
            raise TrainingError(f"{name}: the sample has no {map_name}")
