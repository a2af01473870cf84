"""Built engines, kept between runs: built once, checked, and never wrong for the GPU.

An entry is two files: ``NAME.engine``, and ``NAME.json`` with all that the engine follows from, its digest and what is known of
it. The second is written last and makes the entry count. NAME holds a digest of the key: another GPU, version, graph or option is
another entry. A file lock lets one process build while others wait; the operating system frees it when a process dies. Whatever is
damaged, foreign or refused by its runtime is built anew, and one sentence says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from h2k_kernels.user_cache import TEMPORARY, cache_dir, why_not_private, write_whole

from h2k_engines.engine import EngineFailure

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

T = TypeVar("T")
FORMAT = 1
#: Sidecars are small; a larger file is none.
_MAX_SIDECAR = 1 << 20


@dataclass(frozen=True)
class EngineKey:
    """All that a built engine follows from.

    Attributes:
        engine: what builds it: "tensorrt", "tensorrt-rtx".
        network, precision: for people and file names.
        parts: everything else, as text: digest of the graph, versions, GPU, compute capability, profile, options.
    """

    engine: str
    network: str
    precision: str
    parts: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        return {"engine": self.engine, "network": self.network, "precision": self.precision, "parts": dict(self.parts)}

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def stem(self) -> str:
        """File name of the entry without suffix."""
        return f"{self.engine}-{self.network}-{self.precision}-{self.digest[:24]}"


@dataclass(frozen=True)
class Built:
    """A new engine and what is known of it (numbers and texts, kept in the sidecar)."""

    data: bytes
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Obtained(Generic[T]):
    """An engine that was loaded.

    Attributes:
        engine: what ``load`` made of it.
        facts: what is known of it.
        size: bytes.
        cached: it was there already.
        not_kept: why it will not be there next time; None: it will.
    """

    engine: T
    facts: Mapping[str, Any]
    size: int
    cached: bool
    not_kept: str | None = None


@dataclass(frozen=True)
class CacheEntry:
    """An entry as :meth:`EngineCache.entries` finds it.

    Attributes:
        problem: what is wrong with it; None: nothing that was looked at.
    """

    path: Path
    engine: str
    network: str
    precision: str
    parts: Mapping[str, str]
    facts: Mapping[str, Any]
    size: int
    problem: str | None = None


class EngineCache:
    """The built engines of one folder.

    Args:
        folder: by default ``engines`` in the user's cache, or in H2K_CACHE.
        tell: gets one sentence whenever an entry has to be built anew, or another process is waited for.
    """

    def __init__(self, folder: Path | None = None, tell: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder or cache_dir("engines")
        self._tell = tell

    def facts(self, key: EngineKey) -> Mapping[str, Any] | None:
        """What is known of an engine that is there; None where there is none. Its digest is not checked."""
        if why_not_private(self.folder) is not None:
            return None
        record = _read_sidecar(self._path(key, "json"))
        good = record is not None and record["key"] == key.as_dict() and self._path(key, "engine").is_file()
        return record["facts"] if good and record is not None else None

    def obtain(self, key: EngineKey, build: Callable[[], Built], load: Callable[[bytes], T], *, force: bool = False) -> Obtained[T]:
        """The engine of a key: out of the cache, or built now and kept.

        Args:
            build: makes it; runs while the key's lock is held.
            load: makes it ready to run; an EngineFailure of a cached engine has it built anew.
            force: build it even if it is there.

        Raises:
            EngineFailure: it cannot be built, or what was built cannot be loaded; nothing is kept then.
        """
        problem = why_not_private(self.folder)
        if problem is not None:  # neither trusted nor written to
            return _fresh(build(), load, problem)
        if not force and (found := self._load(key, load)[0]) is not None:
            return found
        try:
            lock = self._locked(key)
            lock.__enter__()
        except OSError as error:
            return _fresh(build(), load, f"{self.folder} cannot be written: {error.strerror or error}")
        with contextlib.ExitStack() as stack:
            stack.push(lock)
            if not force:  # another process may have built it meanwhile
                found, problem = self._load(key, load)
                if found is not None:
                    return found
                if problem is not None:
                    self._tell(f"the cached {_named(key)} is built anew: {problem}")
            built = build()
            engine = load(built.data)
            return Obtained(engine, built.facts, len(built.data), False, self._keep(key, built))

    def forget(self, key: EngineKey) -> None:
        """Remove an entry."""
        _remove(self._path(key, "json"), self._path(key, "engine"))

    def entries(self, *, verify: bool = False) -> list[CacheEntry]:
        """Everything that is there, by name; also what is left of interrupted writing.

        Args:
            verify: read every engine and compare its digest.
        """
        if not self.folder.is_dir():
            return []
        found = []
        for path in sorted(self.folder.glob("*.json")):
            record = _read_sidecar(path)
            engine = path.with_suffix(".engine")
            if record is None:
                found.append(CacheEntry(engine, "", path.stem, "", {}, {}, _size(engine), "its description is damaged"))
                continue
            problem = _problem(engine, record) if verify else None if engine.is_file() else "its file is missing"
            key = record["key"]
            found.append(
                CacheEntry(
                    engine, key["engine"], key["network"], key["precision"], key["parts"], record["facts"], _size(engine), problem
                )
            )
        for path in sorted([*self.folder.glob("*.engine"), *self.folder.glob(f"{TEMPORARY}*")]):
            if not path.with_suffix(".json").is_file() or path.name.startswith(TEMPORARY):
                found.append(CacheEntry(path, "", path.stem, "", {}, {}, _size(path), "left behind by an interrupted run"))
        return found

    def clear(self, wanted: Callable[[CacheEntry], bool] = lambda _: True) -> list[CacheEntry]:
        """Remove entries; returns those that are gone. A process that has loaded one goes on undisturbed.

        Raises:
            OSError: a file cannot be removed.
        """
        gone = [entry for entry in self.entries() if wanted(entry)]
        for entry in gone:
            entry.path.with_suffix(".json").unlink(missing_ok=True)
            entry.path.unlink(missing_ok=True)
        return gone

    # Files

    def _path(self, key: EngineKey, suffix: str) -> Path:
        return self.folder / f"{key.stem}.{suffix}"

    def _load(self, key: EngineKey, load: Callable[[bytes], T]) -> tuple[Obtained[T] | None, str | None]:
        """The entry if it is there, whole and accepted, or what is wrong with it."""
        sidecar, path = self._path(key, "json"), self._path(key, "engine")
        if not sidecar.is_file():
            return None, None
        record = _read_sidecar(sidecar)
        if record is None or record["key"] != key.as_dict():
            return None, "its description is damaged"
        try:
            data = path.read_bytes()
        except OSError as error:
            return None, f"its file cannot be read: {error.strerror or error}"
        if hashlib.sha256(data).hexdigest() != record["sha256"]:
            return None, "its file has changed since it was built"
        try:
            return Obtained(load(data), record["facts"], len(data), True), None
        except EngineFailure as error:
            return None, f"its runtime refuses it: {error}"

    def _keep(self, key: EngineKey, built: Built) -> str | None:
        """Write an entry; why that failed, or None."""
        record = {
            "format": FORMAT,
            "key": key.as_dict(),
            "sha256": hashlib.sha256(built.data).hexdigest(),
            "facts": dict(built.facts),
        }
        sidecar, path = self._path(key, "json"), self._path(key, "engine")
        try:
            _remove(sidecar)  # an old description does not fit the new file
            write_whole(path, built.data)
            write_whole(sidecar, json.dumps(record, indent=1).encode())
        except OSError as error:
            _remove(sidecar, path)
            return f"{self.folder} cannot be written: {error.strerror or error}"
        return None

    @contextlib.contextmanager
    def _locked(self, key: EngineKey) -> Iterator[None]:
        """Hold the key's lock; waits for a process that has it."""
        with self._path(key, "lock").open("ab") as file:
            if not _lock(file.fileno()):
                self._tell(
                    f"another process is building the {key.engine} engine of {key.network} ({key.precision}); waiting for it"
                )
                while not _lock(file.fileno()):
                    time.sleep(0.05)
            yield  # closing the file frees it


def _named(key: EngineKey) -> str:
    return f"{key.engine} engine of {key.network} ({key.precision})"


def _fresh(built: Built, load: Callable[[bytes], T], not_kept: str) -> Obtained[T]:
    return Obtained(load(built.data), built.facts, len(built.data), False, not_kept)


def _lock(handle: int) -> bool:
    """Take the lock of an open file; False: another process has it."""
    if sys.platform == "win32":
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_sidecar(path: Path) -> dict[str, Any] | None:
    """A sidecar's content; None where there is none, or it is not one of this format."""
    try:
        with path.open("rb") as file:
            record = json.loads(file.read(_MAX_SIDECAR))
        key = record["key"]
        texts = (key["engine"], key["network"], key["precision"], record["sha256"])
        good = record["format"] == FORMAT and all(isinstance(text, str) for text in texts)
        good = good and isinstance(record["facts"], dict) and isinstance(key["parts"], dict)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if good else None


def _problem(path: Path, record: Mapping[str, Any]) -> str | None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256") if sys.version_info >= (3, 11) else hashlib.sha256(file.read())
    except OSError as error:
        return f"its file cannot be read: {error.strerror or error}"
    return None if digest.hexdigest() == record["sha256"] else "its file has changed since it was built"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
