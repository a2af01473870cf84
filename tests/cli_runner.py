"""Running the command line in tests, in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from h2k_rt.cli import app


@dataclass(frozen=True)
class Run:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line of an error: nothing else was printed."""
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ") and self.err.endswith("\n"), self.err
        assert self.out == "" and "Traceback" not in self.err
        return lines[0].removeprefix("error: ")


#: Takes the words of a command line.
Cli = Callable[..., Run]


def in_process(capfd: pytest.CaptureFixture[str]) -> Cli:
    """``infer`` and the rest without the cost of a new interpreter; libraries' own writing to stderr is seen too."""

    def run(*words: object) -> Run:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            app([str(word) for word in words], prog_name="h2k-rt")
        out, err = capfd.readouterr()
        return Run(int(stopped.value.code or 0), out, err)

    return run


def in_subprocess(*words: object, cwd: Path, limit_file_bytes: int | None = None, **options: Any) -> Run:
    """The real program. ``limit_file_bytes``: no file may grow beyond it, as on a disk that is full."""

    def prepare() -> None:
        if limit_file_bytes is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file_bytes, limit_file_bytes))

    command = [sys.executable, "-m", "h2k_rt", *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=cwd, preexec_fn=prepare, timeout=120, **options)
    return Run(run.returncode, run.stdout, run.stderr)
