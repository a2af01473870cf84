"""Progress bars on stderr. Where stderr is no terminal nothing is drawn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from h2k_rt.cli.common import CtrlC

#: Stages of a photo before the first one has told how many there are.
_EXPECTED_STAGES = 18


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), TimeElapsedColumn())
    console = Console(file=sys.stderr, stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class BatchProgress:
    """A bar over the photos of a batch that moves at every stage."""

    def __init__(self, photos: int) -> None:
        self._bar = _bar()
        self._photos, self._done, self._stages, self._expected = photos, 0, 0, _EXPECTED_STAGES
        self._name = ""
        self._task = self._bar.add_task("starting", total=photos)

    def __enter__(self) -> BatchProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def photo(self, name: str) -> None:
        """A photo begins."""
        self._name, self._stages = name, 0

    def stage(self, stage: str) -> None:
        """A stage of the photo begins."""
        CtrlC.check()
        share = min(self._stages / self._expected, 0.99)
        self._stages += 1
        which = f"{self._done + 1}/{self._photos} " if self._photos > 1 else ""
        self._bar.update(self._task, completed=self._done + share, description=f"{which}{self._name}: {stage}")

    def photo_done(self, complete: bool) -> None:
        """A photo is done; a complete one tells how many stages the next will have."""
        self._done += 1
        if complete:
            self._expected = max(1, self._stages)
        self._bar.update(self._task, completed=self._done)


@contextmanager
def counting(verb: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar for work that reports (done, total, what)."""
    with _bar() as bar:
        task = bar.add_task(verb, total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=f"{verb} {what}")
