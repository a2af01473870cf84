"""The published program's folder tree (SPEC 10), written and read like a dataset.

``PERS/COLOR/SHADED|NOSHADING/<view>/<item>_front.png``, ``PERS/DEPTH/<view>/<item>_front|back.png`` (16 bits, ``floor(32 D)``),
``PERS/keypoint/<view>/<item>_front.npy`` and ``list/<kind>_all.txt``. Shaded pictures are black outside the person. Of the
back only the depth is written, for the published training reads nothing else. It takes pictures of 2048 pixels only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import JOINT_NAMES, METHOD
from h2k_rt.data.dataset import (
    PNG_SETTINGS,
    Dataset,
    Description,
    RenderedMaps,
    Sample,
    SampleSource,
    open_folder,
    read_png,
    sample_id,
    wanted_maps,
)
from h2k_rt.data.produce import Shape
from h2k_rt.errors import DataError
from h2k_rt.output.atomic import make_folder, replace_file
from h2k_rt.surface.points import depth_to_png, png_to_depth

#: Maps that the tree holds.
PUBLISHED_MAPS = ("color", "albedo", "mask", "depth")

_SHADED, _PLAIN, _DEPTH, _JOINTS = (
    Path("PERS", *p) for p in (("COLOR", "SHADED"), ("COLOR", "NOSHADING"), ("DEPTH",), ("keypoint",))
)
_YAW = re.compile(r"_0_y_(-?\d+)_x$")


def view_name(kind: str, yaw: int) -> str:
    """Folder of a view: ``<kind>_0_y_<degrees>_x``."""
    return f"{kind}_0_y_{yaw}_x"


class PublishedWriter:
    """Adds samples to a tree; as :class:`DatasetWriter`, but file by file: a sample is there when its keypoints are.

    Args:
        folder: made if it is not there; must be empty or hold the same tree.
        names: (view, item) of each sample by index; None: all in one view called ``people``, items by number.

    Raises:
        DataError: the folder holds something else or was made with other settings, or a name would not work in a list.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, description: Description, names: Sequence[tuple[str, str]] | None = None) -> None:
        self.folder = Path(folder)
        self.names = names
        for view, item in names or ():
            # The published program finds the back by replacing the word in the whole path (quirk Q18).
            if "front" in view + item:
                raise DataError(f"{view}/{item}: the published layout cannot have names with the word front; rename the scan")
        self.description = open_folder(self.folder, description)

    def _name(self, index: int) -> tuple[str, str]:
        return self.names[index] if self.names is not None else (view_name("people", 0), sample_id(index))

    def has(self, index: int) -> bool:
        """Whether the sample is there already."""
        view, item = self._name(index)
        return (self.folder / _JOINTS / view / f"{item}_front.npy").is_file()

    def write(self, index: int, rendering: RenderedMaps, about: Mapping[str, Any] | None = None, mesh: Shape | None = None) -> None:
        """Add one sample; nothing happens if it is there. The tree has no place for ``about``, normals and the mesh.

        Raises:
            OutputError: a file cannot be written.
            ValueError: the colour or the albedo is missing.
        """
        if self.has(index):
            return
        view, item = self._name(index)
        if rendering.rgb is None or rendering.albedo is None:
            raise ValueError("the published layout needs colour and albedo")
        front, back = (depth_to_png(layer) for layer in rendering.depth)
        files = {
            _SHADED / view / f"{item}_front.png": np.where(front[..., None] > 0, rendering.rgb, 0).astype(np.uint8)[..., ::-1],
            _PLAIN / view / f"{item}_front.png": rendering.albedo[..., ::-1],
            _DEPTH / view / f"{item}_front.png": front,
            _DEPTH / view / f"{item}_back.png": back,
        }
        for path, picture in files.items():
            make_folder((self.folder / path).parent)
            with replace_file(self.folder / path) as temporary:
                temporary.write_bytes(cv2.imencode(".png", np.ascontiguousarray(picture), PNG_SETTINGS)[1].data)
        joints = self.folder / _JOINTS / view / f"{item}_front.npy"
        make_folder(joints.parent)
        with replace_file(joints) as temporary, temporary.open("wb") as file:
            np.save(file, _written_joints(rendering.joints))


def _written_joints(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Missing joints are 0 in all columns (SPEC 10)."""
    there = joints[:, 2] > 0
    return np.where(there[:, None], np.column_stack((joints[:, :2], np.ones(len(joints)))), 0.0)


def write_lists(folder: Path) -> list[Path]:
    """Write ``list/<kind>_all.txt`` for each kind in the tree: shaded, plain and depth picture of each sample, from ``folder`` on.

    Raises:
        OutputError: a list cannot be written.
    """
    lines: dict[str, list[str]] = {}
    for view, item in _items(folder):
        name = f"{item}_front.png"
        kind = view.split("_")[0]
        lines.setdefault(kind, []).append(" ".join((base / view / name).as_posix() for base in (_SHADED, _PLAIN, _DEPTH)))
    make_folder(folder / "list")
    paths = []
    for kind, entries in lines.items():
        paths.append(folder / "list" / f"{kind}_all.txt")
        with replace_file(paths[-1]) as temporary:
            temporary.write_text("\n".join(entries) + "\n")
    return paths


def _items(folder: Path) -> list[tuple[str, str]]:
    """(view, item) of all samples whose keypoints are there."""
    found = (folder / _JOINTS).glob("*/*_front.npy")
    return sorted((path.parent.name, path.name.removesuffix("_front.npy")) for path in found)


class PublishedDataset:
    """Reads a tree; ids are ``<view>/<item>``.

    Raises:
        DataError: the folder is no such tree.
    """

    maps = PUBLISHED_MAPS

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / _DEPTH).is_dir():
            raise DataError(f"{self.folder}: not in the published layout, it has no {_DEPTH.as_posix()}")
        self.refresh()
        if not self._ids:
            raise DataError(f"{self.folder}: no samples: there is no {_JOINTS.as_posix()}/<view>/<item>_front.npy")
        self.size = len(read_png(self._file(_DEPTH, self._ids[0], "_front.png")))

    def refresh(self) -> None:
        """List the samples again."""
        self._ids = tuple(f"{view}/{item}" for view, item in _items(self.folder))

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples that were there at the last :meth:`refresh`, sorted."""
        return self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def path(self, id: str) -> Path:
        """The picture of a sample: it has no folder of its own."""
        return self._file(_SHADED, id, "_front.png")

    def _file(self, base: Path, id: str, ending: str) -> Path:
        view, _, item = id.partition("/")
        return self.folder / base / view / f"{item}{ending}"

    def read(self, id: str, only: Collection[str] | None = None) -> Sample:
        """Read a sample: the maps named in ``only``, all if None. The mask is where the front depth is not 0.

        Raises:
            DataError: a file is missing, damaged or of the wrong kind.
        """
        wanted = wanted_maps(only, self.maps, self.folder)
        maps: dict[str, Any] = {}
        for name, base in (("color", _SHADED), ("albedo", _PLAIN)):
            if name in wanted:
                picture = self._picture(self._file(base, id, "_front.png"), np.uint8)
                maps["rgb" if name == "color" else name] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        if "mask" in wanted or "depth" in wanted:
            front = self._picture(self._file(_DEPTH, id, "_front.png"), np.uint16)
            maps["mask"] = np.where(front > 0, 255, 0).astype(np.uint8)
        if "depth" in wanted:
            back = self._picture(self._file(_DEPTH, id, "_back.png"), np.uint16)
            maps["depth"] = np.stack((png_to_depth(front), png_to_depth(back)))
        if "mask" not in wanted:
            maps.pop("mask", None)
        return Sample(id, self.size, self._joints(id), **maps, camera=_camera(id, self.size), about={"published": True})

    def _picture(self, path: Path, kind: type) -> NDArray[Any]:
        picture = read_png(path)
        shape = (self.size, self.size) if kind is np.uint16 else (self.size, self.size, 3)
        if picture.dtype != kind or picture.shape != shape:
            raise DataError(f"{path}: is {picture.shape} {picture.dtype}, expected {shape} {np.dtype(kind)}")
        return picture

    def _joints(self, id: str) -> NDArray[np.float64]:
        path = self._file(_JOINTS, id, "_front.npy")
        try:
            joints = np.load(path, allow_pickle=False).astype(np.float64)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as an array ({error})") from error
        if joints.shape != (len(JOINT_NAMES), 3):
            raise DataError(f"{path}: is {joints.shape}, expected {(len(JOINT_NAMES), 3)}")
        return _written_joints(np.column_stack((joints[:, :2], joints[:, :2].any(1))))


def open_dataset(folder: str | Path) -> SampleSource:
    """The samples of a folder, in our own layout or the published one.

    Raises:
        DataError: the folder is neither.
    """
    return PublishedDataset(folder) if (Path(folder) / "PERS").is_dir() else Dataset(folder)


def _camera(id: str, size: int) -> dict[str, Any]:
    yaw = _YAW.search(id.partition("/")[0])
    return {"fov": METHOD.fov_degrees, "distance": 1.0, "size": size, **({"yaw": int(yaw[1])} if yaw else {})}
