"""Model bundles: a folder, or one .zip of it, with ``model.toml`` and single-file ONNX graphs.

Needs only the standard library. A bundle may come from anywhere, so every file is used only after its sha256 agreed with
``model.toml``, no path leaves the bundle, and a graph may not point at other files.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from h2k_rt.bundle_files import BundleFiles, open_files
from h2k_rt.bundle_toml import (
    CONSTANTS,
    FORMAT,
    METHODS,
    NETWORKS,
    CheckInput,
    Description,
    Network,
    NetworkFile,
    parse_description,
)
from h2k_rt.constants import METHOD, Method
from h2k_rt.errors import BundleError
from h2k_rt.onnx_scan import NotOnnx, external_tensors

__all__ = [
    "CONSTANTS",
    "FORMAT",
    "METHODS",
    "NETWORKS",
    "Bundle",
    "CheckInput",
    "FoundBundle",
    "Network",
    "NetworkFile",
    "bundle_folders",
    "list_bundles",
    "user_models_dir",
]

DEFAULT = "small"


@dataclass(frozen=True)
class Bundle:
    """A model bundle that was opened; its graphs are read when they are asked for.

    Attributes:
        description: everything that ``model.toml`` states.
        location: the folder or .zip.
    """

    description: Description
    location: Path
    _files: BundleFiles = field(repr=False, compare=False)
    _verified: dict[str, bytes | Path] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def method(self) -> str:
        return self.description.method

    @property
    def width(self) -> float:
        return self.description.width

    @property
    def licence(self) -> str:
        return self.description.licence

    @property
    def trained_on(self) -> str:
        return self.description.trained_on

    @property
    def constants(self) -> Mapping[str, float | tuple[float, ...]]:
        return self.description.constants

    @property
    def networks(self) -> Mapping[str, Network]:
        return self.description.networks

    @staticmethod
    def open(name_or_path: str | os.PathLike[str] = DEFAULT) -> Bundle:
        """Open a bundle by name (looked up in ``bundle_folders()``) or by path (folder or .zip).

        Raises:
            BundleError: there is none, or its description is wrong in some way; the message names both.
        """
        location = _locate(name_or_path)
        files = open_files(location)
        return Bundle(parse_description(files.description(), str(location)), location, files)

    def network(self, name: str, precision: str = "fp32") -> Path | bytes:
        """The ONNX graph of a network: a path, or its bytes where the bundle is a .zip. Checked at the first call.

        Raises:
            BundleError: no such network or precision, or the file is missing, changed, no ONNX, or points at other files.
        """
        entry = self._entry(name, precision)
        if entry.file not in self._verified:
            self._verified[entry.file] = self._checked(entry)
        return self._verified[entry.file]

    def weights(self) -> Path | bytes | None:
        """The PyTorch weights (.safetensors), where the bundle holds them: a path, or bytes out of a .zip. Checked like a graph.

        Raises:
            BundleError: the file is missing or has changed.
        """
        entry = self.description.weights
        if entry is None:
            return None
        if entry.file not in self._verified:
            self._verified[entry.file] = self._checked(entry)
        return self._verified[entry.file]

    def sha256(self, name: str, precision: str = "fp32") -> str:
        """Digest of the ONNX file, lower-case hexadecimal."""
        return self._entry(name, precision).sha256

    def precisions(self, name: str) -> tuple[str, ...]:
        """The precisions in which the bundle has a network, FP32 first."""
        return tuple(sorted(self.networks[name].files, reverse=True)) if name in self.networks else ()

    def verify(self) -> None:
        """Check every file of the bundle.

        Raises:
            BundleError: the first one that is wrong.
        """
        for name, network in self.networks.items():
            for precision in network.files:
                self.network(name, precision)
        self.weights()

    def settings(self) -> Method:
        """The method's constants, with those that this bundle states."""
        return replace(METHOD, **self.constants)  # type: ignore[arg-type]

    def _entry(self, name: str, precision: str) -> NetworkFile:
        if name not in self.networks:
            raise BundleError(f"bundle {self.name} has no network {name!r}; it has {', '.join(self.networks)}")
        files = self.networks[name].files
        if precision not in files:
            have = ", ".join(self.precisions(name))
            raise BundleError(f"bundle {self.name} has {name} only as {have}, not as {precision}; export it again with it")
        return files[precision]

    def _checked(self, entry: NetworkFile) -> bytes | Path:
        with self._files.read(entry.file, entry.size) as (data, result):
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                raise BundleError(
                    f"file {entry.file} of bundle {self.location} has changed since it was made; download or export it again"
                )
            if not entry.file.endswith(".onnx"):
                return result
            try:
                outside = external_tensors(data)
            except NotOnnx as error:
                raise BundleError(f"file {entry.file} of bundle {self.location} is not an ONNX graph: {error}") from error
            if outside:
                raise BundleError(
                    f"file {entry.file} of bundle {self.location} keeps {outside[0]} in another file; "
                    "only single-file ONNX graphs are allowed"
                )
            return result


@dataclass(frozen=True)
class FoundBundle:
    """An entry of ``list_bundles``: the bundle, or what is wrong with it."""

    name: str
    location: Path
    bundle: Bundle | None
    problem: str = ""


def user_models_dir() -> Path:
    """Where a user's own bundles lie by default; it need not exist."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Application Support")
    else:
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "h2k-rt" / "models"


def bundle_folders() -> list[Path]:
    """Folders in which bundles are looked up by name, first to last: H2K_MODELS, the user's, the package's own."""
    named = [Path(p).expanduser() for p in os.environ.get("H2K_MODELS", "").split(os.pathsep) if p]
    return [*named, user_models_dir(), Path(__file__).parent / "models"]


def list_bundles() -> list[FoundBundle]:
    """Every bundle that can be opened by name, in the order of lookup; the first of a name counts."""
    found: dict[str, FoundBundle] = {}
    for folder in bundle_folders():
        if not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            name = path.stem if path.suffix == ".zip" else path.name
            is_bundle = path.suffix == ".zip" or (path / "model.toml").is_file()
            if not is_bundle or name.startswith(".") or name in found:
                continue
            try:
                found[name] = FoundBundle(name, path, Bundle.open(path))
            except BundleError as error:
                found[name] = FoundBundle(name, path, None, str(error))
    return list(found.values())


def _locate(name_or_path: str | os.PathLike[str]) -> Path:
    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    is_name = isinstance(name_or_path, str) and text not in ("", ".", "..") and not ({"/", "\\", os.sep} & set(text))
    if is_name and path.suffix != ".zip":
        for folder in bundle_folders():
            for candidate in (folder / text, folder / f"{text}.zip"):
                if (candidate / "model.toml").is_file() or (candidate.suffix == ".zip" and candidate.is_file()):
                    return candidate
        if not path.exists():
            known = ", ".join(b.name for b in list_bundles()) or "none"
            raise BundleError(
                f"there is no model bundle named {text!r}; known: {known}. Give a path, or put it into {bundle_folders()[0]}"
            )
    if not path.exists():
        raise BundleError(f"there is no model bundle at {text or '(empty path)'}")
    return path
