"""What a training tells of itself: a bar on a terminal, plain lines elsewhere, TensorBoard scalars and pictures."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2k_rt.training.config import RunConfig
from h2k_rt.training.update import Update

if TYPE_CHECKING:
    from h2k_rt.training.trainer import Limit

#: Share of the newest step in the averages that are shown.
_SMOOTHING = 0.02


class Monitor:
    """Progress of a run. A context manager.

    Args:
        folder: the run's folder; TensorBoard's files go to ``folder/log``.
    """

    def __init__(self, folder: Path, config: RunConfig, limit: Limit) -> None:
        self._folder, self._config, self._limit = folder, config, limit
        self._averages: dict[str, float] = {}
        self._samples, self._since = 0, time.monotonic()
        self._writer: Any = None

    def __enter__(self) -> Monitor:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._since = time.monotonic()
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder / "log"), flush_secs=30)
        except ImportError:
            print("tensorboard is not installed: no scalars or pictures are written", file=sys.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def count(self, samples: int) -> None:
        """Samples that a step has used."""
        self._samples += samples

    def losses(self, update: Update) -> None:
        """Loss terms of an update, before they are averaged for display."""
        label = update.networks[0] if len(update.networks) == 1 else "all"
        values = {f"{label}/{name}": float(term.detach()) for name, term in update.terms.items()}
        values[f"{label}/loss"] = sum(values.values())
        for name, value in values.items():
            old = self._averages.get(name, value)
            self._averages[name] = old + _SMOOTHING * (value - old)

    def step(self, step: int, seconds: float, rates: dict[str, float]) -> None:
        """A step is done."""
        if step % self._config.log_steps:
            return
        now = time.monotonic()
        speed = self._samples / max(now - self._since, 1e-9)
        self._samples, self._since = 0, now
        progress = self._limit.progress(step, seconds)
        left = seconds * (1 - progress) / progress if progress > 0 else 0.0
        losses = " ".join(f"{name.split('/')[0]} {value:.4f}" for name, value in self._averages.items() if name.endswith("/loss"))
        rate = next(iter(rates.values()), 0.0)
        print(
            f"step {step}  {100 * progress:.1f} %  {losses}  rate {rate:.1e}  {speed:.1f} samples/s  {_clock(left)} left",
            flush=True,
        )
        if self._writer is not None:
            for name, value in self._averages.items():
                self._writer.add_scalar(name, value, step)
            for name, value in rates.items():
                self._writer.add_scalar(f"rate/{name}", value, step)
            self._writer.add_scalar("samples_per_second", speed, step)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
