"""The folder of view sets that generators write and the second method's training and evaluation read.

``DIR/viewsets.json`` says what the set is. Each person is a folder ``DIR/people/000000`` with

- ``00.png``, ``00_mask.png``, ``01.png``, ...: photos, and masks of 8 bits, 255 = person;
- ``cameras.json``: their cameras, a file as ``h2k-rt infer-views --cameras`` takes it, in metres;
- ``00_front.png``, ``00_back.png``, ...: depth, 16 bits, tenths of a millimetre along the camera's axis to the nearest and the
  farthest surface, 0 outside the person; sets of real photos have none;
- ``mesh.ply``: the closed surface in the same world;
- ``occupancy.npz``: points in the world and whether each is inside;
- ``about.json``: what was drawn.

A person's folder appears whole or not at all, so a set can be read while it grows. Needs numpy and OpenCV only.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.dataset import DESCRIPTION as SINGLE_PICTURES
from h2k_rt.data.dataset import PNG_SETTINGS, VIEW_SETS, read_png
from h2k_rt.errors import CameraError, DataError
from h2k_rt.output.atomic import make_folder, new_folder, replace_file
from h2k_rt.output.ply import write_shape
from h2k_rt.views.camera_files import load_cameras, save_cameras
from h2k_rt.views.cameras import CalibratedCamera

FORMAT = 1
DESCRIPTION, PEOPLE = VIEW_SETS, "people"
MESH, OCCUPANCY, CAMERAS = "mesh.ply", "occupancy.npz", "cameras.json"
#: Steps of a depth PNG in a metre, and what tells the files of the two sides.
DEPTH_STEPS, DEPTH_SIDES = 10_000, ("front", "back")


@dataclass(frozen=True)
class OccupancySamples:
    """Points and whether they are inside.

    Attributes:
        points: (P, 3) float32, world metres; inside: (P,) bool.
    """

    points: NDArray[np.float32]
    inside: NDArray[np.bool_]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """``count`` of the points, half of them inside; some more than once where there are too few."""
        chosen = []
        for value, number in ((True, count // 2), (False, count - count // 2)):
            there = np.flatnonzero(self.inside == value)
            chosen.append(rng.choice(there, number, replace=len(there) < number))
        index = np.concatenate(chosen)
        return self.points[index], self.inside[index]


@dataclass(frozen=True)
class Drawing:
    """A person as a writer takes them.

    Attributes:
        photos: (H, W, 3) uint8 sRGB each; masks: (H, W) uint8, 255 = person; cameras: world metres -> photo.
        occupancy: points inside and outside of the mesh.
        depths: of each photo, if known, (2, H, W) float32 metres along the camera's axis, nearest and farthest surface; 0 outside
            the person.
    """

    photos: Sequence[NDArray[np.uint8]]
    masks: Sequence[NDArray[np.uint8]]
    cameras: Sequence[CalibratedCamera]
    occupancy: OccupancySamples
    depths: Sequence[NDArray[np.float32]] = ()


@dataclass(frozen=True)
class ViewSet:
    """A person of a set; pictures are read when they are asked for.

    Attributes:
        cameras: of the photos, in order; folder: of the person.
    """

    id: str
    folder: Path
    cameras: tuple[CalibratedCamera, ...]

    @property
    def mesh_path(self) -> Path:
        return self.folder / MESH

    def photo_path(self, view: int) -> Path:
        return self.folder / f"{view:02d}.png"

    def rgb(self, view: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 sRGB."""
        return np.asarray(cv2.cvtColor(self._picture(self.photo_path(view), view, 3), cv2.COLOR_BGR2RGB), np.uint8)

    def mask(self, view: int) -> NDArray[np.uint8]:
        """(H, W) uint8, 255 = person."""
        return self._picture(self.folder / f"{view:02d}_mask.png", view, 1)

    def depth(self, view: int) -> NDArray[np.float32]:
        """(2, H, W) float32 metres along the camera's axis, nearest and farthest surface; 0 outside the person.

        Raises:
            DataError: the set has no depth, or a file is damaged.
        """
        paths = [self.folder / f"{view:02d}_{side}.png" for side in DEPTH_SIDES]
        if not paths[0].exists():
            raise DataError(
                f"{self.folder}: has no depth ({paths[0].name}); make the set again with h2k-rt data people --rig, or train with "
                "depth_weight = 0"
            )
        layers = [self._picture(path, view, 1, np.uint16) for path in paths]
        return np.stack(layers).astype(np.float32) * np.float32(1 / DEPTH_STEPS)

    def occupancy(self) -> OccupancySamples:
        """All points of the person.

        Raises:
            DataError: the file is missing or damaged.
        """
        path = self.folder / OCCUPANCY
        try:
            with np.load(path, allow_pickle=False) as data:
                points, inside = np.asarray(data["points"], np.float32), np.asarray(data["inside"], np.bool_)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: missing or damaged ({error}); delete the person's folder and make it again") from error
        if points.shape != (len(inside), 3) or not inside.any() or inside.all():
            raise DataError(f"{path}: must hold points inside and outside of the person; make it again")
        return OccupancySamples(points, inside)

    def draw_points(self, rng: np.random.Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """``count`` points (N, 3) and whether they are inside, half of them."""
        return self.occupancy().draw(rng, count)

    def _picture(self, path: Path, view: int, channels: int, kind: type = np.uint8) -> NDArray[Any]:
        picture, camera = read_png(path), self.cameras[view]
        shape = (camera.height, camera.width) + ((3,) if channels == 3 else ())
        if picture.shape != shape or picture.dtype != kind:
            raise DataError(f"{path}: is {picture.shape} {picture.dtype}, expected {shape} {np.dtype(kind)}; make it again")
        return picture


@dataclass(frozen=True)
class SetDescription:
    """What ``viewsets.json`` says.

    Attributes:
        count: people of the finished set; views: of each.
        source: what the set follows from. A run continues a set only with the same values.
        made_with, licence: for the reader.
    """

    count: int
    views: int
    source: Mapping[str, Any] = field(default_factory=dict)
    made_with: str = ""
    licence: str = ""

    @staticmethod
    def load(folder: Path) -> SetDescription:
        """Read ``folder/viewsets.json``.

        Raises:
            DataError: missing, malformed, or of a newer format.
        """
        path = folder / DESCRIPTION
        try:
            raw = json.loads(path.read_bytes())
        except FileNotFoundError:
            if (folder / SINGLE_PICTURES).is_file() or (folder / "PERS").is_dir():
                raise DataError(
                    f"{folder}: holds single pictures of people, for the first method; the second one needs view sets, "
                    "which h2k-rt data people --rig K makes"
                ) from None
            raise DataError(
                f"{folder}: no set of several views, it has no {DESCRIPTION}; h2k-rt data people --rig K makes one"
            ) from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise DataError(f"{path}: not of format {FORMAT}, which this version reads; update h2k-rt, or make the set again")
        try:
            return SetDescription(
                int(raw["count"]), int(raw["views"]), dict(raw["source"]), str(raw["made_with"]), str(raw["licence"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: malformed ({type(error).__name__}: {error}); make the set again") from error


class ViewSets:
    """Reads one folder of view sets, also while another process is adding to it.

    Raises:
        DataError: the folder is none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.description = SetDescription.load(self.folder)
        people = self.folder / PEOPLE
        names = (path.name for path in people.iterdir()) if people.is_dir() else ()
        self.ids = tuple(sorted(name for name in names if name.isdecimal()))

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, id: str) -> Path:
        """Folder of a person."""
        return self.folder / PEOPLE / id

    def read(self, id: str) -> ViewSet:
        """A person.

        Raises:
            DataError: the cameras are missing or damaged.
        """
        folder = self.path(id)
        try:
            return ViewSet(id, folder, tuple(load_cameras(folder / CAMERAS)))
        except CameraError as error:
            raise DataError(f"{error}; make the person again") from error


def spread_views(available: int, count: int, first: int = 0) -> list[int]:
    """``count`` of the views of a ring, as far apart as they can be, beginning with ``first``."""
    return [(first + round(k * available / count)) % available for k in range(count)]


def is_view_sets(folder: Path) -> bool:
    """Whether a folder holds view sets, and not single pictures."""
    return (folder / DESCRIPTION).is_file()


class ViewSetWriter:
    """Adds people to a folder; what is there is kept, so that an interrupted run can go on. A writer for ``data.produce``.

    Raises:
        DataError: the folder holds something else, or a set made with other settings.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, description: SetDescription) -> None:
        self.folder, self.description = Path(folder), description
        path = self.folder / DESCRIPTION
        if path.is_file():
            before = SetDescription.load(self.folder)
            if (before.views, dict(before.source)) != (description.views, json.loads(json.dumps(dict(description.source)))):
                raise DataError(f"{folder}: holds a set made with other options; choose another folder, or give the same ones")
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise DataError(f"{folder}: holds something else than a set of several views; choose another folder")
        make_folder(self.folder / PEOPLE)
        with replace_file(path) as temporary:
            temporary.write_text(json.dumps({"format": FORMAT, **asdict(description)}, indent=1) + "\n")

    def has(self, index: int) -> bool:
        """Whether the person is there already."""
        return (self.folder / PEOPLE / f"{index:06d}").is_dir()

    def write(
        self,
        index: int,
        rendering: Any,
        about: Mapping[str, Any] | None = None,
        mesh: tuple[NDArray[np.float32], NDArray[np.int32]] | None = None,
    ) -> None:
        """Add a person; nothing happens if they are there.

        Args:
            rendering: a :class:`Drawing`.
            about: plain values; mesh: (V, 3) float32 and (F, 3) int32 of the closed surface.

        Raises:
            OutputError: disk full or the like; no part of the person stays.
        """
        if self.has(index):
            return
        drawing: Drawing = rendering
        assert mesh is not None, "a view set has a mesh"
        with new_folder(self.folder / PEOPLE / f"{index:06d}") as folder:
            for view, (photo, mask) in enumerate(zip(drawing.photos, drawing.masks, strict=True)):
                for name, picture in ((f"{view:02d}.png", cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)), (f"{view:02d}_mask.png", mask)):
                    (folder / name).write_bytes(cv2.imencode(".png", picture, PNG_SETTINGS)[1].data)
            for view, depth in enumerate(drawing.depths):
                for side, layer in zip(DEPTH_SIDES, depth, strict=True):
                    steps = np.clip(np.rint(layer * np.float32(DEPTH_STEPS)), 0, 65535).astype(np.uint16)
                    (folder / f"{view:02d}_{side}.png").write_bytes(cv2.imencode(".png", steps, PNG_SETTINGS)[1].data)
            save_cameras(drawing.cameras, folder / CAMERAS)
            write_shape(*mesh, folder / MESH)
            np.savez(folder / OCCUPANCY, points=drawing.occupancy.points, inside=drawing.occupancy.inside)
            (folder / "about.json").write_text(json.dumps(about or {}, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON's."""
    return value.tolist()
