"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from h2k_rt.constants import METHOD
from h2k_rt.errors import TrainingError
from h2k_rt.training.checkpoint import RESULT, Position, checkpoints, load_checkpoint, save_checkpoint, save_result
from h2k_rt.training.data import DrawSampler, Examples, FolderSource, Source, example_loader, sample_names
from h2k_rt.training.distributed import World, join
from h2k_rt.training.figures import averaged
from h2k_rt.training.initial import calibrate, fresh_networks, load_initial, needs_calibration, trained_networks
from h2k_rt.training.job import Interval, Job
from h2k_rt.training.monitor import Monitor
from h2k_rt.training.nets import network
from h2k_rt.training.rates import rate_at
from h2k_rt.training.stages import Stage, make_stages
from h2k_rt.training.state import Networks
from h2k_rt.training.update import Update

#: Batches from which the batch norms of a bundle's networks get their statistics.
CALIBRATION_BATCHES = 4
#: Size of pictures that are made on the fly for low-resolution networks.
LOW_PEOPLE_SIZE = 512


class Trainer:
    """One training, from its first or last checkpoint to its result.

    Raises:
        TrainingError: the job cannot be done as asked.
        DataError: a dataset is missing or malformed.
        CheckpointError: a file to start from does not fit.
    """

    def __init__(self, job: Job, world: World | None = None) -> None:
        self.job = job
        self.world = world or join(job.device)
        torch.set_num_threads(job.threads)
        present = checkpoints(job.run)
        if present and not job.resume:
            raise TrainingError(f"{job.run} holds a training already; --resume goes on with it, another -o starts a new one")
        self.networks = self._make_networks(bool(present))
        self.stages = self._make_stages()
        if job.holdout:
            for stage in self.stages:
                self._holdout(stage)  # a wrong folder is told now, not at the first measurement
        self.step, self.seconds = 0, 0.0
        self.figures: dict[str, float] = {}
        if present:
            position = load_checkpoint(present[-1], self.networks, job.phase)
            self.step, self.seconds = position.step, position.seconds
        else:
            self._calibrate()
        self.monitor = Monitor(job.run, job.config.run, job.limit, self.world.leads)

    def run(self) -> Path:
        """Train to the limit; returns the result's file."""
        run, job = self.job.config.run, self.job
        first = self.step * job.config.optimizer.accumulate
        loaders = [self._loader(stage, stage.maker, stage.source, first, run.workers) for stage in self.stages]
        saved, evaluated = Interval(60 * run.checkpoint_minutes), Interval(60 * run.evaluate_minutes)
        started, before = time.monotonic(), self.seconds
        with self.monitor:
            while self.stages and job.limit.progress(self.step, self.seconds) < 1:
                draw = self.monitor.wants_pictures()
                rates: dict[str, float] = {}
                for stage, loader in zip(self.stages, loaders, strict=True):
                    rates |= self._step(stage, loader, draw)
                self.step += 1
                self.seconds = self.world.agree(before + time.monotonic() - started)
                self.monitor.step(self.step, self.seconds, rates)
                if evaluated.due():
                    self._evaluate()
                if saved.due():
                    self._save()
            if self.stages:
                self._evaluate()
        return self._save()

    def _make_networks(self, resuming: bool) -> Networks:
        job = self.job
        return Networks(_initial_networks(job, resuming), job.networks, job.config, self.world.device)

    def _make_stages(self) -> list[Stage]:
        job = self.job
        return make_stages(job.config, job.networks, self._open_source, self.networks, job.cache or job.run / "prepared")

    def _holdout(self, stage: Stage) -> Source:
        return FolderSource(self.job.holdout, None if stage.name == "low" else METHOD.size)

    def _step(self, stage: Stage, loader: Iterator[Any], draw: bool) -> dict[str, float]:
        """One step of a stage's networks, and a picture of its last batch; returns the learning rates."""
        config = self.job.config.optimizer
        touched: set[str] = set()
        for _ in range(config.accumulate):
            batch = to_device(next(loader), self.world.device)
            for update in stage.updates(batch, self.networks):
                self._backward(update, stage.source, 1 / config.accumulate)
                touched.update(update.networks)
        names = stage.networks
        anywhere = self.world.average([network(self.networks.live, name) for name in names], [name in touched for name in names])
        progress = self.job.limit.progress(self.step, self.seconds)
        epoch = self.step * config.accumulate * stage.batch * self.world.size / len(stage.source)
        rates = {}
        for name, wanted in zip(names, anywhere, strict=True):
            if wanted:
                rates[name] = rate_at(config, self.networks.counts[name], progress, epoch)
                norm = self.networks.step(name, rates[name])
                if not math.isfinite(norm):
                    raise TrainingError(f"step {self.step + 1}: {_not_finite(name, norm)}")
        self.monitor.count(stage.batch * config.accumulate * self.world.size)
        if draw:
            self.monitor.picture(stage.name, stage.pictures(batch, self.networks), self.step)
        return rates

    def _backward(self, update: Update, source: Source, share: float) -> None:
        # All terms in one message from the device.
        values = dict(zip(update.terms, torch.stack([t.detach() for t in update.terms.values()]).tolist(), strict=True))
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise TrainingError(
                f"step {self.step + 1}: the loss of {', '.join(update.networks)} is not a number ({', '.join(wrong)}) "
                f"with samples {sample_names(source, update.samples)}; the last checkpoint is sound: look at these samples, "
                "or lower optimizer.peak"
            )
        (update.loss * share).backward()
        self.monitor.losses(update.networks, values)

    def _loader(self, stage: Stage, maker: Any, source: Source, first: int, workers: int, batch: int = 0) -> Iterator[Any]:
        run = self.job.config.run
        sampler = DrawSampler(len(source), batch or stage.batch, run.seed, first, self.world.rank, self.world.size)
        return example_loader(Examples(source, maker, run.seed, stage.number), sampler, stage.collate, workers)

    def _calibrate(self) -> None:
        """Give batch norms that came folded their statistics back; every process does the same."""
        run = self.job.config.run
        for stage in self.stages:
            nets = [network(self.networks.live, name) for name in stage.networks]
            nets = [net for net in nets if needs_calibration(net)]
            if not nets:
                continue
            examples = Examples(stage.source, stage.maker, run.seed + 1, stage.number)
            loader = example_loader(examples, DrawSampler(len(stage.source), stage.batch, run.seed), stage.collate, 0)

            def feed(stage: Stage = stage, loader: Iterator[Any] = loader) -> None:
                for _ in range(CALIBRATION_BATCHES):
                    for _update in stage.updates(to_device(next(loader), self.world.device), self.networks):
                        pass

            # The hooks that measure must see every batch norm.
            with torch.compiler.set_stance("force_eager"):
                calibrate(nets, feed)
            self.networks.averaged.load_state_dict(self.networks.live.state_dict())

    def _evaluate(self) -> None:
        """Measure the averaged networks on the held-out samples; the leading process does."""
        if not self.job.holdout or not self.world.leads:
            return
        limit = self.job.config.run.evaluate_samples
        for stage in self.stages:
            source = self._holdout(stage)
            found = []
            for index in range(min(limit, len(source))):
                examples = Examples(source, stage.holdout_maker, self.job.config.run.seed, stage.number)
                batch = stage.collate([examples.example(index, index)])
                found.append(stage.measure(to_device(batch, self.world.device), self.networks))
            self.figures |= averaged(found)
        self.monitor.figures(self.figures, self.step)

    def _save(self) -> Path:
        job = self.job
        path = job.run / RESULT
        if not self.world.leads:
            return path
        samples = sum(len(stage.source) for stage in self.stages)
        counts = dict(self.networks.counts)
        position = Position(self.step, self.seconds, counts, job.phase, job.networks, samples, job.config.to_dict())
        if self.stages:
            save_checkpoint(job.run, self.networks, position)
        about = {
            "steps": self.step,
            "hours": round(self.seconds / 3600, 3),
            "samples": samples,
            "data": [str(folder) for folder in job.data],
            "figures": {name: round(value, 4) for name, value in self.figures.items()},
        }
        if job.config.parity and job.phase == 2:
            # The frozen networks' statistics have moved.
            self.networks.averaged.load_state_dict(self.networks.live.state_dict())
        merged = {name for source in job.initial[1:] for name in trained_networks(source)} if not self.stages else set()
        save_result(path, self.networks, (*job.networks, *sorted(merged)), about)
        return path

    def _open_source(self, size: int | None) -> Source:
        job = self.job
        if job.people is None:
            return FolderSource(job.data, size)
        from h2k_rt.training.people_source import PeopleSource

        options = job.people
        return PeopleSource(size or LOW_PEOPLE_SIZE, options.count, job.config.run.seed, options.assets, options.backgrounds)


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
        net = load_initial(job.initial, config.model.width)
        if job.restart:
            fresh = fresh_networks(config.model.width, config.run.seed, config.model.start)
            for name in job.restart:
                network(net, name).load_state_dict(network(fresh, name).state_dict())
        return net
    if job.phase == 2 and not resuming:
        raise TrainingError("phase 2 needs the networks of phase 1: give --init with a bundle or the result of phase 1")
    return fresh_networks(config.model.width, config.run.seed, config.model.start)


def _not_finite(name: str, norm: float) -> str:
    return f'the gradient of {name} is {norm}; the last checkpoint is sound: lower optimizer.peak, or set precision = "float32"'
