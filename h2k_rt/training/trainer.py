"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from h2k_rt.errors import TrainingError
from h2k_rt.training.checkpoint import (
    RESULT,
    Position,
    checkpoints,
    load_checkpoint,
    save_checkpoint,
    save_result,
)
from h2k_rt.training.config import TrainingConfig
from h2k_rt.training.data import DrawSampler, Examples, Source, example_loader, sample_names
from h2k_rt.training.initial import calibrate, fresh_networks, load_initial, needs_calibration
from h2k_rt.training.monitor import Monitor
from h2k_rt.training.nets import network
from h2k_rt.training.rates import rate_at
from h2k_rt.training.stages import Stage, make_stages
from h2k_rt.training.state import Networks
from h2k_rt.training.update import Update

#: Batches from which the batch norms of a bundle's networks get their statistics.
CALIBRATION_BATCHES = 4


@dataclass(frozen=True)
class Limit:
    """When a training ends: after so many steps, or so many seconds of work, whichever is given."""

    steps: int | None = None
    seconds: float | None = None

    def progress(self, step: int, seconds: float) -> float:
        """Share that is done, 1 at the end."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(step / self.steps if self.steps else 1.0)
        if self.seconds is not None:
            shares.append(seconds / self.seconds if self.seconds else 1.0)
        return min(1.0, max(shares))


@dataclass(frozen=True)
class Job:
    """What ``h2k-rt train`` was asked for.

    Attributes:
        phase: 1 or 2; networks: names as in a bundle.
        data, holdout: dataset folders.
        run: folder for checkpoints, logs and the result.
        initial: files to start from, see ``initial.load_initial``.
        resume: go on from the last checkpoint in ``run`` if there is one.
        cache: folder for prepared samples of phase 2; None: in ``run``.
    """

    config: TrainingConfig
    phase: int
    networks: tuple[str, ...]
    data: tuple[Path, ...]
    run: Path
    limit: Limit
    initial: tuple[Path, ...] = ()
    holdout: tuple[Path, ...] = ()
    resume: bool = False
    device: str = "cpu"
    threads: int = 1
    cache: Path | None = None


class Trainer:
    """One training, from its first or last checkpoint to its result.

    Raises:
        TrainingError: the job cannot be done as asked.
        DataError: a dataset is missing or malformed.
        CheckpointError: a file to start from does not fit.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        config = job.config
        torch.set_num_threads(job.threads)
        present = checkpoints(job.run)
        if present and not job.resume:
            raise TrainingError(f"{job.run} holds a training already; --resume goes on with it, another -o starts a new one")
        net = _initial_networks(job, bool(present))
        self.networks = Networks(net, job.networks, config, _device(job.device))
        self.stages = make_stages(config, job.networks, job.data, self.networks, job.cache or job.run / "prepared")
        self.step, self.seconds = 0, 0.0
        if present:
            position = load_checkpoint(present[-1], self.networks, job.phase)
            self.step, self.seconds = position.step, position.seconds
        elif job.networks:
            self._calibrate()
        self.monitor = Monitor(job.run, config.run, job.limit)

    def run(self) -> Path:
        """Train to the limit; returns the result's file."""
        config, job = self.job.config, self.job
        loaders = [self._loader(stage, self.step * config.optimizer.accumulate) for stage in self.stages]
        saved = started = time.monotonic()
        before = self.seconds
        with self.monitor:
            while job.limit.progress(self.step, self.seconds) < 1 and self.stages:
                rates: dict[str, float] = {}
                for stage, loader in zip(self.stages, loaders, strict=True):
                    rates |= self._step(stage, loader)
                self.step += 1
                now = time.monotonic()
                self.seconds = before + now - started
                self.monitor.step(self.step, self.seconds, rates)
                if now - saved > 60 * config.run.checkpoint_minutes:
                    self._save()
                    saved = time.monotonic()
        return self._save()

    def _step(self, stage: Stage, loader: Iterator[Any]) -> dict[str, float]:
        """One step of a stage's networks; returns their learning rates."""
        config = self.job.config.optimizer
        touched: dict[str, None] = {}
        for _ in range(config.accumulate):
            batch = to_device(next(loader), self.networks.device)
            for update in stage.updates(batch, self.networks):
                self._backward(update, stage.source, 1 / config.accumulate)
                touched |= dict.fromkeys(update.networks)
        epoch = self.step * config.accumulate * stage.batch / len(stage.source)
        progress = self.job.limit.progress(self.step, self.seconds)
        rates = {}
        for name in touched:
            rates[name] = rate_at(config, self.networks.counts[name], progress, epoch)
            self.networks.step(name, rates[name])
        self.monitor.count(stage.batch * config.accumulate)
        return rates

    def _backward(self, update: Update, source: Source, share: float) -> None:
        loss = update.loss
        value = float(loss.detach())
        if not math.isfinite(value):
            wrong = [name for name, term in update.terms.items() if not math.isfinite(float(term.detach()))]
            raise TrainingError(
                f"step {self.step + 1}: the loss of {', '.join(update.networks)} is {value} ({', '.join(wrong)}) "
                f"with samples {sample_names(source, update.samples)}; the last checkpoint is sound: look at these samples, "
                "or lower optimizer.peak"
            )
        (loss * share).backward()
        self.monitor.losses(update)

    def _loader(self, stage: Stage, first: int) -> Iterator[Any]:
        run = self.job.config.run
        sampler = DrawSampler(len(stage.source), stage.batch, run.seed, first)
        return example_loader(Examples(stage.source, stage.maker, run.seed, stage.number), sampler, stage.collate, run.workers)

    def _calibrate(self) -> None:
        """Give batch norms that came folded their statistics back."""
        for stage in self.stages:
            nets = [network(self.networks.live, name) for name in stage.networks]
            nets = [net for net in nets if needs_calibration(net)]
            if not nets:
                continue
            examples = Examples(stage.source, stage.maker, self.job.config.run.seed + 1, stage.number)
            sampler = DrawSampler(len(stage.source), stage.batch, self.job.config.run.seed)
            loader = example_loader(examples, sampler, stage.collate, 0)

            def feed(stage: Stage = stage, loader: Iterator[Any] = loader) -> None:
                for _ in range(CALIBRATION_BATCHES):
                    for _update in stage.updates(to_device(next(loader), self.networks.device), self.networks):
                        pass

            calibrate(nets, feed)
            self.networks.averaged.load_state_dict(self.networks.live.state_dict())

    def _save(self) -> Path:
        job = self.job
        samples = sum(len(stage.source) for stage in self.stages)
        position = Position(
            self.step, self.seconds, dict(self.networks.counts), job.phase, job.networks, samples, job.config.to_dict()
        )
        save_checkpoint(job.run, self.networks, position)
        about = {"steps": self.step, "hours": round(self.seconds / 3600, 3), "samples": samples, "data": [str(p) for p in job.data]}
        path = job.run / RESULT
        save_result(path, self.networks, job.networks, about)
        return path


def to_device(batch: Any, device: torch.device) -> Any:
    """A nested batch with its tensors on the device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    return batch


def _initial_networks(job: Job, resuming: bool) -> Any:
    config = job.config
    if job.initial and not resuming:
        return load_initial(job.initial, config.model.width)
    if job.phase == 2 and not resuming:
        raise TrainingError("phase 2 needs the networks of phase 1: give --init with a bundle or the result of phase 1")
    return fresh_networks(config.model.width, config.run.seed, config.model.start)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"there is no device {name!r} here: {str(error).splitlines()[0]}") from error
    return device
