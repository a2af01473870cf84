"""The folder of samples that generators write and training reads.

``DIR/dataset.json`` says what the samples are and how they were made. Each sample is a folder ``DIR/samples/000000`` with

- ``color.png``, ``albedo.png``: 8 bits RGB; ``mask.png``: 8 bits, 255 inside the person;
- ``depth_front.png``, ``depth_back.png``: 16 bits, nu * 16384 rounded, 0 outside (SPEC 7);
- ``normal_front.png``, ``normal_back.png``: 8 bits, (n + 1) / 2, x right, y up, z toward the camera, black outside;
- ``sample.json``: joints, camera, and what was drawn; ``mesh.ply``: the closed surface, metres.

A sample's folder appears whole or not at all, so a set can be read while it grows. Needs numpy and OpenCV only.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import JOINT_NAMES, METHOD
from h2k_rt.errors import DataError
from h2k_rt.output.atomic import make_folder, new_folder, replace_file
from h2k_rt.output.ply import write_shape

FORMAT = 1
DESCRIPTION = "dataset.json"
#: What a folder of sets of several views has instead (``data.views.viewset``).
VIEW_SETS = "viewsets.json"
SAMPLES = "samples"
MESH = "mesh.ply"

#: The maps a sample may have, and their files.
MAP_FILES: Mapping[str, tuple[str, ...]] = {
    "color": ("color.png",),
    "albedo": ("albedo.png",),
    "mask": ("mask.png",),
    "depth": ("depth_front.png", "depth_back.png"),
    "normals": ("normal_front.png", "normal_back.png"),
}
MAP_NAMES = tuple(MAP_FILES)

#: Steps of a depth PNG in one nu (SPEC 7).
DEPTH_STEPS = METHOD.depth_unit_px * METHOD.png_per_px


def _png_settings(row_filter: str) -> tuple[int, ...]:
    """Run lengths only, and one filter for all rows: as small as a search in each row on rendered pictures, and faster.

    OpenCV knows the choice of the filter since 4.11; before, it takes SUB.
    """
    settings = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
    if not hasattr(cv2, "IMWRITE_PNG_FILTER"):
        return settings
    return (*settings, cv2.IMWRITE_PNG_FILTER, getattr(cv2, f"IMWRITE_PNG_FILTER_{row_filter}"))


PNG_PHOTO, PNG_SETTINGS = _png_settings("PAETH"), _png_settings("UP")
_NO_NORMAL = (0.0, 0.0, 0.0)
_PNG_END = b"IEND\xaeB`\x82"


class RenderedMaps(Protocol):
    """What a renderer gives and a writer takes (``people.render.Rendering``); maps that are not written may be None."""

    @property
    def rgb(self) -> NDArray[np.uint8] | None: ...
    @property
    def albedo(self) -> NDArray[np.uint8] | None: ...
    @property
    def mask(self) -> NDArray[np.uint8]: ...
    @property
    def depth(self) -> NDArray[np.float32]: ...
    @property
    def normals(self) -> NDArray[np.float32] | None: ...
    @property
    def joints(self) -> NDArray[np.float64]: ...
    @property
    def camera(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Sample:
    """One picture of a person with what is known of it. Maps that were not asked for, or that the set lacks, are None.

    Attributes:
        size: side S of the square picture in pixels.
        rgb: (S, S, 3) uint8, shaded, with background; the map "color".
        albedo: (S, S, 3) uint8, unlit, black outside.
        mask: (S, S) uint8, 255 inside the person, else 0.
        depth: (2, S, S) float32 nu, front and back; 0 outside.
        normals: (2, S, S, 3) float32, x right, y up, z toward the camera, to 1/127; 0 outside.
        joints: (31, 3) float64, edge coordinates in pixels of this picture; third column 1 where present, else the row is 0.
        camera: the renderer's camera; about: what was drawn.
        mesh_path: the closed mesh, metres, where the set has one.
    """

    id: str
    size: int
    joints: NDArray[np.float64]
    rgb: NDArray[np.uint8] | None = None
    albedo: NDArray[np.uint8] | None = None
    mask: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None
    camera: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    mesh_path: Path | None = None


class SampleSource(Protocol):
    """A folder that samples can be read from, of either layout (``published.open_dataset``)."""

    @property
    def folder(self) -> Path: ...
    @property
    def size(self) -> int: ...
    @property
    def maps(self) -> tuple[str, ...]: ...
    @property
    def ids(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def refresh(self) -> None: ...
    def path(self, id: str) -> Path: ...
    def read(self, id: str, only: Collection[str] | None = None) -> Sample: ...


@dataclass(frozen=True)
class Description:
    """What ``dataset.json`` says.

    Attributes:
        size: side of the pictures in pixels.
        count: how many samples the finished set has.
        maps: which of ``MAP_NAMES`` each sample has.
        mesh: whether each sample has a closed mesh.
        source: what the samples follow from (kind, seed, split, ...). A run continues a set only with the same values.
        made_with, licence: for the reader.
    """

    size: int
    count: int
    maps: tuple[str, ...] = MAP_NAMES
    mesh: bool = False
    source: Mapping[str, Any] = field(default_factory=dict)
    made_with: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        check_maps(self.maps)
        if self.size < 16 or self.count < 0:
            raise DataError(f"a dataset of {self.count} samples of {self.size} pixels cannot be; the least size is 16")

    def to_json(self) -> dict[str, Any]:
        """Plain values, as in the file."""
        fields = ("size", "count", "maps", "mesh", "source", "made_with", "licence")
        return {"format": FORMAT, **{name: getattr(self, name) for name in fields}}

    @staticmethod
    def load(folder: Path) -> Description:
        """Read ``folder/dataset.json``.

        Raises:
            DataError: missing, malformed, or of a newer format.
        """
        path = folder / DESCRIPTION
        what = f"not a dataset, it has no {DESCRIPTION}; h2k-rt data people makes one"
        if (folder / VIEW_SETS).is_file():
            what = "holds view sets, for the second method (h2k-rt train --method implicit); h2k-rt data people without --rig"
            what += " makes single pictures"
        raw = _read_json(path, missing=f"{folder}: {what}")
        if raw.get("format") != FORMAT:
            raise DataError(f"{path}: format {raw.get('format')!r}, this version reads {FORMAT}; update h2k-rt")
        try:
            size, count, maps, mesh = int(raw["size"]), int(raw["count"]), tuple(raw["maps"]), bool(raw["mesh"])
            return Description(size, count, maps, mesh, dict(raw["source"]), str(raw["made_with"]), str(raw["licence"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: malformed ({type(error).__name__}: {error}); make the dataset again") from error


def check_maps(maps: Collection[str]) -> None:
    """Raise DataError if a name is of no map."""
    for name in maps:
        if name not in MAP_FILES:
            raise DataError(f"there is no map {name!r}; the maps are {', '.join(MAP_NAMES)}")


def sample_id(index: int) -> str:
    """Name of a sample's folder."""
    return f"{index:06d}"


class Dataset:
    """Reads one folder of samples, also while another process is adding to it.

    Raises:
        DataError: the folder is no dataset.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.description = Description.load(self.folder)
        self.size = self.description.size
        self.refresh()

    def refresh(self) -> None:
        """List the samples again: a growing set has more now."""
        samples = self.folder / SAMPLES
        names = (path.name for path in samples.iterdir()) if samples.is_dir() else ()
        self._ids = tuple(sorted(name for name in names if name.isdecimal()))

    @property
    def maps(self) -> tuple[str, ...]:
        """Which of ``MAP_NAMES`` the samples have."""
        return self.description.maps

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples that were there at the last :meth:`refresh`, sorted."""
        return self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def path(self, id: str) -> Path:
        """Folder of a sample."""
        return self.folder / SAMPLES / id

    def read(self, id: str, only: Collection[str] | None = None) -> Sample:
        """Read a sample: the maps named in ``only``, all that the set has if None; joints, camera and about always.

        Raises:
            DataError: a file is missing or damaged, or the set lacks a map that ``only`` names.
        """
        wanted = wanted_maps(only, self.maps, self.folder)
        folder = self.path(id)
        raw = _read_json(folder / "sample.json")
        try:
            joints = np.array(raw["joints"], np.float64).reshape(len(JOINT_NAMES), 3)
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{folder / 'sample.json'}: joints are missing or not 31 rows of three; make the sample again"
            ) from error
        maps = {("rgb" if name == "color" else name): _read_map(folder, name, self.size) for name in wanted}
        mesh = folder / MESH if self.description.mesh else None
        return Sample(id, self.size, joints, **maps, camera=raw.get("camera", {}), about=raw.get("about", {}), mesh_path=mesh)


def wanted_maps(only: Collection[str] | None, present: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """The maps to read: those of ``only``, all that there are if None; DataError if one is not among them."""
    if only is None:
        return present
    check_maps(only)
    lacking = [name for name in only if name not in present]
    if lacking:
        raise DataError(f"{folder}: the dataset has no {' and no '.join(lacking)}, only {', '.join(present)}")
    return tuple(only)


class DatasetWriter:
    """Adds samples to a folder. What is there is kept, so that an interrupted run can go on.

    Args:
        folder: made if it is not there; must be empty or hold the same dataset.
        description: what is to be made; a larger ``count`` extends a set.

    Raises:
        DataError: the folder holds something else, or a dataset made with other settings.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, description: Description) -> None:
        self.folder = Path(folder)
        self.description = open_folder(self.folder, description)
        make_folder(self.folder / SAMPLES)

    def has(self, index: int) -> bool:
        """Whether the sample is there already."""
        return (self.folder / SAMPLES / sample_id(index)).is_dir()

    def write(
        self,
        index: int,
        rendering: RenderedMaps,
        about: Mapping[str, Any] | None = None,
        mesh: tuple[NDArray[np.float32], NDArray[np.int32]] | None = None,
    ) -> None:
        """Add one sample; nothing happens if it is there.

        Args:
            rendering: the maps, joints and camera.
            about: what was drawn, plain values for ``sample.json``.
            mesh: (V, 3) float32 world metres and (F, 3) int32 of the closed surface, if the set has meshes.

        Raises:
            OutputError: disk full or the like; no part of the sample stays.
            ValueError: a map or the mesh is missing, or of the wrong size.
        """
        if self.has(index):
            return
        record = {"joints": rendering.joints, "camera": rendering.camera, "about": about or {}}
        text = json.dumps(record, default=_plain, allow_nan=False)
        if self.description.mesh and mesh is None:
            raise ValueError(f"sample {index} has no mesh, but its dataset is one with meshes")
        pictures = self._pictures(rendering)
        with new_folder(self.folder / SAMPLES / sample_id(index)) as folder:
            for name, picture in pictures.items():
                settings = PNG_PHOTO if name in MAP_FILES["color"] else PNG_SETTINGS
                (folder / name).write_bytes(cv2.imencode(".png", picture, settings)[1].data)
            if self.description.mesh and mesh is not None:
                write_shape(*mesh, folder / MESH)
            (folder / "sample.json").write_text(text + "\n")

    def _pictures(self, rendering: RenderedMaps) -> dict[str, NDArray[Any]]:
        """What goes into each PNG, channels in OpenCV's order."""
        pictures: dict[str, NDArray[Any]] = {}
        for name in self.description.maps:
            value = rendering.rgb if name == "color" else getattr(rendering, name)
            if value is None:
                raise ValueError(f"the rendering has no {name}, but its dataset has")
            layers = (value,) if len(MAP_FILES[name]) == 1 else tuple(value)
            for file, layer in zip(MAP_FILES[name], layers, strict=True):
                if layer.shape[:2] != (self.description.size, self.description.size):
                    raise ValueError(f"{name} is of shape {layer.shape}, but its dataset of size {self.description.size}")
                pictures[file] = _encode(name, layer)
        return pictures


def _encode(name: str, layer: NDArray[Any]) -> NDArray[Any]:
    if name == "depth":
        steps = layer * np.float32(DEPTH_STEPS)
        np.rint(steps, out=steps)
        return np.clip(steps, 0, 65535, out=steps).astype(np.uint16)
    if name == "normals":
        background = cv2.inRange(layer, _NO_NORMAL, _NO_NORMAL)
        layer = cv2.copyTo(cv2.convertScaleAbs(layer, alpha=127.5, beta=127.5), cv2.bitwise_not(background))
    return cv2.cvtColor(layer, cv2.COLOR_RGB2BGR) if layer.ndim == 3 else np.ascontiguousarray(layer)


def _read_map(folder: Path, name: str, size: int) -> NDArray[Any]:
    """A map as it is in ``Sample``."""
    layers = [read_png(folder / file) for file in MAP_FILES[name]]
    shape = (size, size, 3) if name in ("color", "albedo", "normals") else (size, size)
    kind = np.uint16 if name == "depth" else np.uint8
    for file, layer in zip(MAP_FILES[name], layers, strict=True):
        if layer.shape != shape or layer.dtype != kind:
            raise DataError(f"{folder / file}: is {layer.shape} {layer.dtype}, expected {shape} {np.dtype(kind)}; make it again")
    if name == "depth":
        return np.stack(layers).astype(np.float32) * np.float32(1 / DEPTH_STEPS)
    if name == "normals":
        coded = np.stack([cv2.cvtColor(layer, cv2.COLOR_BGR2RGB) for layer in layers])
        normals = coded.astype(np.float32) * np.float32(1 / 127.5) - np.float32(1)
        normals[~coded.any(axis=-1)] = 0
        return normals
    return cv2.cvtColor(layers[0], cv2.COLOR_BGR2RGB) if len(shape) == 3 else layers[0]


def read_png(path: Path) -> NDArray[Any]:
    """A PNG as OpenCV gives it: 8 or 16 bits, grey or B, G, R.

    Raises:
        DataError: missing or damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: missing; make the sample again (h2k-rt data check lists all that is wrong)") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data.endswith(_PNG_END) else None
    if picture is None:
        raise DataError(f"{path}: damaged, no whole PNG; delete the sample's folder and run the same command again")
    return picture


def _read_json(path: Path, missing: str | None = None) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(missing or f"{path}: missing; make the sample again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(raw, dict):
        raise DataError(f"{path}: no JSON object")
    return raw


def _plain(value: Any) -> Any:
    """numpy values as JSON has them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written to JSON")


def open_folder(folder: Path, description: Description) -> Description:
    """Begin a dataset in a folder, or go on with the one in it; returns the description that holds from now on.

    Raises:
        DataError: the folder holds something else, or a dataset made with other settings.
        OutputError: the folder cannot be written.
    """
    path = folder / DESCRIPTION
    if path.exists():
        present = Description.load(folder)
        _check_same(path, present, description)
        if present.count >= description.count:
            return present
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: is not empty and not a dataset; choose another folder")
    make_folder(folder)
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(description.to_json(), indent=1, default=_plain) + "\n")
    return description


def _check_same(path: Path, present: Description, wanted: Description) -> None:
    """Refuse to mix samples made with different settings; names the first difference."""
    here = {"size": present.size, "maps": list(present.maps), "mesh": present.mesh, **present.source}
    asked = {"size": wanted.size, "maps": list(wanted.maps), "mesh": wanted.mesh, **wanted.source}
    asked = json.loads(json.dumps(asked, default=_plain))
    for name in [*here, *(name for name in asked if name not in here)]:
        if here.get(name) != asked.get(name):
            raise DataError(
                f"{path}: made with {name} {here.get(name)}, but {asked.get(name)} is asked for; "
                "choose another folder, or the same settings to continue it"
            )
