"""Writing a model bundle: all of it or nothing, and the same bytes for the same content."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from h2k_rt.bundle import Bundle
from h2k_rt.bundle_files import CARD, MAX_DESCRIPTION, open_files
from h2k_rt.errors import BundleError, OutputError


def toml_text(table: Mapping[str, Any]) -> str:
    """TOML of nested tables of texts, numbers and lists of numbers or texts; tables come after plain keys."""
    return "\n".join(_lines(table, "")).strip() + "\n"


def _lines(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{key} = {_value(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            name = f"{prefix}{key}"
            if not value or any(not isinstance(v, Mapping) for v in value.values()):
                yield ""
                yield f"[{name}]"
            yield from _lines(value, f"{name}.")


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(v) for v in value)}]"
    return repr(value)


@contextmanager
def new_bundle(out: Path, *, replace: bool) -> Iterator[Path]:
    """A temporary folder that becomes the bundle ``out`` (a folder, or a .zip) when the block ends without an error.

    Raises:
        OutputError: ``out`` exists (and ``replace`` is off, or it is no bundle), or cannot be written.
        BundleError: what was written is no sound bundle.
    """
    if out.exists() and not replace:
        raise OutputError(f"{out} exists already; choose another name, or replace it with --replace")
    if out.exists():
        _may_be_replaced(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error
    try:
        content = temporary / "bundle"
        content.mkdir()
        yield content
        Bundle.open(content).verify()
        if out.suffix == ".zip":
            packed = temporary / "bundle.zip"
            _zip(content, packed)
            packed.replace(out)
            return
        old = temporary / "old"
        if out.exists():
            out.rename(old)
        try:
            content.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error
    except BundleError as error:
        raise BundleError(f"the new bundle is not sound, it was not kept: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _may_be_replaced(out: Path) -> None:
    """Raise OutputError where ``out`` holds anything but a bundle: that may be somebody's only copy."""
    if out.is_dir():
        kinds = (".onnx", ".toml", ".safetensors")
        other = sorted(p.name for p in out.iterdir() if p.is_dir() or not (p.suffix in kinds or p.name == CARD))
        if other:
            raise OutputError(f"{out} is not replaced: it holds {other[0]}, which is no part of a model bundle")
        if not any(out.iterdir()):
            return
    try:
        open_files(out).description()
    except BundleError as error:
        raise OutputError(f"{out} is not replaced: {error}") from error


def read_card(path: Path | None) -> bytes | None:
    """The model card to put into a bundle.

    Raises:
        BundleError: it cannot be read, is no text in UTF-8, or is larger than 1 MiB.
    """
    if path is None:
        return None
    try:
        data = path.read_bytes()
        data.decode()
    except OSError as error:
        raise BundleError(f"{path}: the model card cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: the model card is no text in UTF-8; save it as such") from error
    if len(data) > MAX_DESCRIPTION:
        raise BundleError(f"{path}: the model card has {len(data)} bytes, more than the {MAX_DESCRIPTION} a bundle takes")
    return data


def _zip(folder: Path, target: Path) -> None:
    """Stored, not packed (weights hardly shrink), with one fixed date: the bytes depend on the content only."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            with archive.open(info, "w") as entry, path.open("rb") as source:
                shutil.copyfileobj(source, entry, 1 << 20)


def write_file(path: Path, data: bytes) -> None:
    """Write and hand over to the disk."""
    try:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
