"""What all commands share: how errors are told, and with which exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from h2k_rt.errors import H2KError

EXIT_UNEXPECTED = 1
EXIT_STOPPED = 130

EXIT_CODES = (
    "Exit codes: 0 all done; 1 unexpected error; 2 wrong usage; 3 photo; 4 keypoints or mask; 5 no person found; "
    "6 model bundle or checkpoint; 7 inference engine; 8 output cannot be written; "
    "9 an optional package is missing; 10 data set; 11 training; 12 cameras; 130 stopped with Ctrl-C. "
    "A batch goes on after a bad photo and ends with the code of the first failure."
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the Python traceback of an error.")]


def tell(message: str, *, error: bool = False) -> None:
    """One line to stdout or stderr, whatever is in it: file names may hold line breaks, or bytes that are no text."""
    stream = sys.stderr if error else sys.stdout
    line = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in message)
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def sentence(error: Exception) -> str:
    """What the user is told of an error."""
    if isinstance(error, H2KError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs, or use a smaller model"
    return f"unexpected error: {type(error).__name__}: {error} (--debug shows where; please report it)"


def exit_code(error: Exception) -> int:
    return error.exit_code if isinstance(error, H2KError) else EXIT_UNEXPECTED


def show(error: Exception, debug: bool, message: str | None = None) -> None:
    """Tell of an error in one line, after its traceback if that was asked for."""
    if debug:
        traceback.print_exception(error)
    tell(f"error: {message or sentence(error)}", error=True)


class CtrlC:
    """Ctrl-C, remembered: a native library that is at work in a callback may swallow the KeyboardInterrupt."""

    _pressed = False

    @classmethod
    def remember(cls) -> None:
        """From now on; where Ctrl-C is ignored or handled otherwise it stays so."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, cls._handle)

    @classmethod
    def check(cls) -> None:
        """Raise a KeyboardInterrupt that was swallowed; called between the stages of the work."""
        if cls._pressed:
            cls._pressed = False
            raise KeyboardInterrupt

    @classmethod
    def _handle(cls, number: int, frame: FrameType | None) -> None:
        cls._pressed = True
        signal.default_int_handler(number, frame)


@contextmanager
def stdout_for_results() -> Iterator[None]:
    """While libraries work, what they print to stdout (Open3D's warnings, from C++) goes to stderr: stdout may be read as JSON."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


@contextmanager
def reporting(debug: bool) -> Iterator[None]:
    """Around a command's work: an error becomes one line and an exit code, Ctrl-C a clean stop."""
    try:
        yield
    except KeyboardInterrupt:
        tell("stopped", error=True)
        raise typer.Exit(EXIT_STOPPED) from None
    except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
        raise
    except Exception as error:
        show(error, debug)
        raise typer.Exit(exit_code(error)) from error
