"""What a training tells of itself: a bar on a terminal, plain lines elsewhere, TensorBoard scalars and pictures."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from h2k_rt.training.config import RunConfig
from h2k_rt.training.job import Interval, Limit

#: Share of the newest step in the averages that are shown.
_SMOOTHING = 0.02
#: Figures of every evaluation, one JSON object a line.
FIGURES = "figures.jsonl"


class Monitor:
    """Progress of a run. A context manager.

    Args:
        folder: the run's folder; TensorBoard's files go to ``folder/log``.
        active: False for all processes but the leading one, which then say nothing.
    """

    def __init__(self, folder: Path, config: RunConfig, limit: Limit, active: bool = True) -> None:
        self._folder, self._limit, self._active = folder, limit, active
        self._averages: dict[str, tuple[float, float]] = {}
        self._samples, self._since = 0, time.monotonic()
        self._writer: Any = None
        self._told, self._drawn = Interval(config.log_seconds), Interval(60 * config.picture_minutes)
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Monitor:
        if not self._active:
            return self
        self._folder.mkdir(parents=True, exist_ok=True)
        self._since = time.monotonic()
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder / "log"), flush_secs=30)
        except ImportError:
            print("tensorboard is not installed: no scalars or pictures are written", file=sys.stderr)
        if sys.stderr.isatty():
            self._start_bar()
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._bar is not None:
            self._bar.stop()

    def wants_pictures(self) -> bool:
        """Whether it is time to draw again."""
        return self._writer is not None and self._drawn.due()

    def count(self, samples: int) -> None:
        """Samples that a step has used."""
        self._samples += samples

    def losses(self, networks: Sequence[str], terms: Mapping[str, float]) -> None:
        """Loss terms of some networks, to be averaged for display."""
        if not self._active:
            return
        label = networks[0] if len(networks) == 1 else "all"
        values = {f"{label}/{name}": value for name, value in terms.items()} | {f"{label}/loss": sum(terms.values())}
        for name, value in values.items():
            total, weight = self._averages.get(name, (0.0, 0.0))
            self._averages[name] = (total + _SMOOTHING * (value - total), weight + _SMOOTHING * (1 - weight))

    def step(self, step: int, seconds: float, rates: Mapping[str, float]) -> None:
        """A step is done."""
        if not self._active:
            return
        progress = self._limit.progress(step, seconds)
        if self._bar is not None:
            self._bar.update(self._task, completed=progress)
        if not self._told.due():
            return
        now = time.monotonic()
        speed = self._samples / max(now - self._since, 1e-9)
        self._samples, self._since = 0, now
        averages = {name: total / weight for name, (total, weight) in self._averages.items()}
        losses = " ".join(f"{name.split('/')[0]} {value:.4f}" for name, value in averages.items() if name.endswith("/loss"))
        left = clock(seconds * (1 - progress) / progress if progress > 0 else 0.0)
        rate = next(iter(rates.values()), 0.0)
        line = f"step {step}  {losses}  rate {rate:.1e}  {speed:.1f} samples/s"
        if self._bar is not None:
            self._bar.update(self._task, description=line, left=left)
        else:
            print(f"{line}  {100 * progress:.1f} %  {left} left", flush=True)
        if self._writer is not None:
            scalars = averages | {f"rate/{name}": value for name, value in rates.items()} | {"samples_per_second": speed}
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)

    def figures(self, figures: Mapping[str, float], step: int) -> None:
        """Figures on held-out samples."""
        text = "  ".join(f"{name} {value:.2f}" for name, value in figures.items() if not name.endswith(("_flat", "_constant")))
        self._print(f"holdout at step {step}: {text}")
        with (self._folder / FIGURES).open("a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(f"holdout/{name}", value, step)

    def picture(self, name: str, picture: Tensor, step: int) -> None:
        """A picture (3, H, W) in 0..1."""
        if self._writer is not None:
            self._writer.add_image(name, picture, step)

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)

    def _start_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]} left", markup=False),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task("starting", total=1.0, left="?")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
