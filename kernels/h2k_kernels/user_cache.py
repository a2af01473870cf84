"""The user's cache of native code: compiled kernels and engines. Needs only the standard library.

What lies there will run in this process. So it is taken only from a folder of the user's own that nobody else can write to, and
only where a digest that was kept beside it agrees.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

_DIGEST_BYTES = 32
#: How files begin that are being written; a killed process may leave one.
TEMPORARY = ".writing-"


def cache_dir(what: str) -> Path:
    """Folder ``what`` of H2K_CACHE, or of the user's cache folder. It need not exist."""
    if os.environ.get("H2K_CACHE"):
        return Path(os.environ["H2K_CACHE"]) / what
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "h2k-rt" / what


def why_not_private(folder: Path) -> str | None:
    """Make the folder if need be; why it is not the user's own or others can write to it; None: all is well."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform == "win32":
            return None  # lies in the user's profile
        state = folder.stat()
    except OSError as error:  # read-only home, a file in the way
        return f"{folder} cannot be made: {error.strerror or error}"
    if state.st_uid != os.getuid():
        return f"{folder} belongs to another user"
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users may write to {folder}; run: chmod 700 {folder}"
    return None


def write_whole(path: Path, *parts: bytes) -> None:
    """Put a file into a folder whole or not at all, readable by the user alone.

    Raises:
        OSError: the folder cannot be written, or is full; nothing is left behind.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)  # 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_digested(path: Path, data: bytes) -> None:
    """A file that begins with its own digest.

    Raises:
        OSError: as :func:`write_whole`.
    """
    write_whole(path, hashlib.sha256(data).digest(), data)


def read_digested(path: Path) -> bytes | None:
    """What :func:`write_digested` wrote; None where there is nothing or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return data if data and hashlib.sha256(data).digest() == digest else None
