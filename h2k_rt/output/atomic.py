"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from h2k_rt.errors import OutputError

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "the folder may not be written to; choose another folder or change its rights",
    errno.EPERM: "the folder may not be written to; choose another folder or change its rights",
    errno.ENOENT: "the folder does not exist; create it first",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "a folder of this name is in the way",
    errno.ENAMETOOLONG: "the file name is too long",
    errno.EFBIG: "the file system cannot hold a file of this size",
}


def _refused(target: Path, error: OSError) -> OutputError:
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return OutputError(f"{target}: cannot be written: {reason}")


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder; when the block ends well it takes the place of ``path`` in one step.

    When the block fails, or the replacing does, the temporary file is removed and ``path`` is as it was before.

    Raises:
        OutputError: the operating system refused (folder missing or read-only, disk full, ...).
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem[:40]}.{secrets.token_hex(6)}.part{target.suffix}")
    try:
        # Created here, with the user's usual rights, so that a folder that refuses is known before the work is done.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty temporary folder beside ``path``; when the block ends well it becomes ``path`` in one step.

    Its name follows from ``path``, so that what a killed run left behind is cleared when the same folder is made again.
    Nothing is synced to the disk: after a power cut files may be empty, after a killed process they are not.

    Raises:
        OutputError: the operating system refused (rights, disk full, ``path`` exists and is not empty, ...).
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(target)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder and those above it, if they are not there.

    Raises:
        OutputError: the operating system refused.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(Path(path), error) from error
