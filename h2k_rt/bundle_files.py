"""Reading the files of a bundle, from a folder or out of a .zip, without leaving it and within size limits."""

from __future__ import annotations

import mmap
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from h2k_rt.errors import BundleError

DESCRIPTION = "model.toml"
#: What a bundle says of itself for people to read: data, recipe, figures, failures. Not needed to run it.
CARD = "card.md"
MAX_DESCRIPTION = 1 << 20
#: Largest network file; the full-size low_depth graph is 102 MB.
MAX_FILE = 1 << 30
_MAX_ENTRIES = 1000


class BundleFiles(Protocol):
    """Access to the files of one bundle."""

    def description(self) -> bytes:
        """Content of ``model.toml``."""
        ...

    def read(self, name: str, size: int) -> Any:
        """Context manager giving (content, what to hand to an engine); raises BundleError."""
        ...


def open_files(location: Path) -> BundleFiles:
    """Files of the folder or .zip ``location``.

    Raises:
        BundleError: it is neither, or holds no ``model.toml``.
    """
    if location.is_dir():
        return _Folder(location)
    if location.is_file():
        return _Zip(location)
    raise BundleError(f"{location} is neither a folder nor a .zip file")


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def description(self) -> bytes:
        path = self._root / DESCRIPTION
        if not path.exists():
            raise BundleError(f"{self._root} is not a model bundle: it has no {DESCRIPTION}")
        self._stays_inside(path, DESCRIPTION)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_DESCRIPTION + 1)
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
        if len(data) > MAX_DESCRIPTION:
            raise BundleError(f"{path} is larger than a bundle's description can be")
        return data

    @contextmanager
    def read(self, name: str, size: int) -> Iterator[tuple[Any, Path]]:
        path = self._root / name
        if not path.exists():
            raise BundleError(f"file {name} of bundle {self._root} is missing; download or export it again")
        self._stays_inside(path, name)
        try:
            with path.open("rb") as file:
                actual = path.stat().st_size
                if actual != size or size == 0:
                    raise BundleError(
                        f"file {name} of bundle {self._root} has {actual} bytes instead of {size}; download or export it again"
                    )
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    yield data, path
        except OSError as error:
            raise BundleError(f"cannot read {path}: {error.strerror or error}") from error

    def _stays_inside(self, path: Path, name: str) -> None:
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise BundleError(f"file {name} of bundle {self._root} is a link out of the bundle")
        if not path.is_file():
            raise BundleError(f"file {name} of bundle {self._root} is not a plain file")


class _Zip:
    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as archive:
            self._entries, self._prefix = self._index(archive)

    def description(self) -> bytes:
        return self._content(DESCRIPTION, MAX_DESCRIPTION, exact=False)

    @contextmanager
    def read(self, name: str, size: int) -> Iterator[tuple[Any, bytes]]:
        data = self._content(name, size, exact=True)
        yield data, data

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self._path) as archive:
                yield archive
        except OSError as error:
            raise BundleError(f"cannot read {self._path}: {error.strerror or error}") from error
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
            raise BundleError(f"{self._path} is not a sound .zip file: {error}") from error

    def _index(self, archive: zipfile.ZipFile) -> tuple[dict[str, zipfile.ZipInfo], str]:
        """Entries by name, and the folder inside the .zip that holds the bundle ("" or "name/")."""
        infos = archive.infolist()
        if len(infos) > _MAX_ENTRIES:
            raise BundleError(f"{self._path} has {len(infos)} entries; that is no model bundle")
        entries: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.filename
            if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
                raise BundleError(f"{self._path} holds {name!r}, a path out of the bundle")
            if info.flag_bits & 1:
                raise BundleError(f"{self._path} is encrypted")
            if stat.S_ISLNK(info.external_attr >> 16):
                raise BundleError(f"{self._path} holds {name!r}, a symbolic link")
            if name in entries:
                raise BundleError(f"{self._path} holds {name!r} twice")
            entries[name] = info
        found = [n for n in entries if PurePosixPath(n).name == DESCRIPTION and len(PurePosixPath(n).parts) <= 2]
        if len(found) != 1:
            raise BundleError(f"{self._path} is not a model bundle: it has {'no' if not found else 'more than one'} {DESCRIPTION}")
        return entries, found[0][: -len(DESCRIPTION)]

    def _content(self, name: str, limit: int, *, exact: bool) -> bytes:
        info = self._entries.get(self._prefix + name)
        if info is None:
            raise BundleError(f"file {name} of bundle {self._path} is missing; download or export it again")
        try:
            with self._open() as archive, archive.open(info) as file:
                # The size in the archive's directory may lie: never unpack more than was announced.
                data = file.read(limit + 1)
        except OverflowError as error:
            raise BundleError(f"{self._path} is not a sound .zip file: {error}") from error
        except Exception as error:
            if type(error).__module__ in ("zlib", "lzma"):  # a damaged stream
                raise BundleError(f"{self._path} is not a sound .zip file: {error}") from error
            raise
        if len(data) > limit or (exact and len(data) != limit):
            have = f"more than {limit}" if len(data) > limit else str(len(data))
            expected = f" instead of {limit}" if exact else "; that is too large"
            raise BundleError(f"file {name} of bundle {self._path} has {have} bytes{expected}; download or export it again")
        return data
