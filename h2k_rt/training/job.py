"""What a training was asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from h2k_rt.training.config import TrainingConfig


@dataclass(frozen=True)
class Limit:
    """When a training ends: after so many steps, or so many seconds of work, whichever comes first."""

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


class Interval:
    """Something that is done every so many seconds, counted from when it is made."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def due(self) -> bool:
        """Whether it is time again; the next time is counted from now."""
        now = time.monotonic()
        if now - self._last <= self._seconds:
            return False
        self._last = now
        return True


@dataclass(frozen=True)
class PeopleOptions:
    """Samples made on the fly instead of read.

    Attributes:
        count: people of an epoch.
        assets: folder of MakeHuman's assets; None: as the generator finds it.
        backgrounds: picture files.
    """

    count: int
    assets: Path | None = None
    backgrounds: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Job:
    """What ``h2k-rt train`` was asked for.

    Attributes:
        phase: 1 or 2; networks: names as in a bundle.
        data, holdout: dataset folders; people: samples made on the fly, instead of ``data``.
        run: folder for checkpoints, logs and the result.
        initial: files to start from, see ``initial.load_initial``.
        restart: networks that begin with first weights all the same.
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
    restart: tuple[str, ...] = ()
    holdout: tuple[Path, ...] = ()
    people: PeopleOptions | None = None
    resume: bool = False
    device: str = "cpu"
    threads: int = 1
    cache: Path | None = None
