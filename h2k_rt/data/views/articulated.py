"""The folder layout of "Articulated Mesh Animation from Multi-view Silhouettes" (Vlasic et al. 2008).

A sequence is a folder with ``meshes`` (one for each frame), ``images``, ``silhouettes`` and ``calibration`` (a 3 x 4 projection
matrix ``*.cal`` for each camera). The last number in a picture's name is its frame, the number before it (in the name or in that of
its folder) its camera; a mesh's last number is its frame. Written without the data set at hand, which its authors do not let others
pass on: tested on a set made up in its layout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from h2k_rt.errors import DataError
from h2k_rt.photo import PHOTO_SUFFIXES
from h2k_rt.views.camera_files import load_matrices
from h2k_rt.views.cameras import CalibratedCamera

_PARTS = ("meshes", "images", "silhouettes", "calibration")
_MESHES = (".obj", ".ply", ".off")


@dataclass(frozen=True)
class Frame:
    """One frame of a sequence.

    Attributes:
        name: sequence and frame.
        photos, silhouettes: of the cameras ``numbers``, in order.
        calibration: folder of all cameras' matrices.
        numbers: place of each photo's camera among those of ``calibration``.
    """

    name: str
    mesh: Path
    photos: tuple[Path, ...]
    silhouettes: tuple[Path, ...]
    calibration: Path
    numbers: tuple[int, ...]

    def cameras(self, picture_size: tuple[int, int], scale: float = 1.0) -> list[CalibratedCamera]:
        """The cameras for photos of a size, with world coordinates times ``scale``.

        Raises:
            CameraError: a matrix is malformed.
        """
        every = load_matrices(self.calibration, picture_size)
        chosen = [every[number] for number in self.numbers]
        return [replace(c, name=f"{i:02d}.png", translation=c.translation * scale) for i, c in enumerate(chosen)]


def is_articulated(folder: Path) -> bool:
    """Whether the folder is a sequence, or holds some."""
    return bool(_sequences(folder))


def find_frames(folder: Path) -> tuple[Frame, ...]:
    """All frames of the sequences in a folder that have a mesh, a photo and a silhouette from at least two cameras.

    Raises:
        DataError: the folder holds no sequence, or pictures and cameras do not go together.
    """
    sequences = _sequences(folder)
    if not sequences:
        raise DataError(f"{folder}: holds no sequence of the Articulated set; one has the folders {', '.join(_PARTS)}")
    frames = [frame for sequence in sequences for frame in _frames(sequence)]
    if not frames:
        raise DataError(f"{folder}: no frame has a mesh and photos with silhouettes of two cameras; look at the files' numbers")
    return tuple(frames)


def _sequences(folder: Path) -> list[Path]:
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())] if folder.is_dir() else []
    return [path for path in candidates if all((path / part).is_dir() for part in _PARTS)]


def _frames(sequence: Path) -> list[Frame]:
    calibration = sequence / "calibration"
    names = sorted(calibration.glob("*.cal"), key=lambda path: _numbers(path.name)[:1])
    place = {_numbers(path.name)[0]: i for i, path in enumerate(names) if _numbers(path.name)}
    photos, silhouettes = _pictures(sequence / "images"), _pictures(sequence / "silhouettes")
    frames = []
    for mesh in sorted(path for path in (sequence / "meshes").iterdir() if path.suffix.lower() in _MESHES):
        number = (_numbers(mesh.stem) or [-1])[-1]
        both = sorted(camera for camera, frame in photos if frame == number and (camera, frame) in silhouettes)
        unknown = [camera for camera in both if camera not in place]
        if unknown:
            raise DataError(f"{photos[unknown[0], number]}: {calibration} has no *.cal of camera {unknown[0]}")
        if len(both) >= 2:
            keys = [(camera, number) for camera in both]
            pictures = tuple(photos[key] for key in keys), tuple(silhouettes[key] for key in keys)
            order = tuple(place[camera] for camera in both)
            frames.append(Frame(f"{sequence.name}/{mesh.stem}", mesh, *pictures, calibration, order))
    return frames


def _pictures(folder: Path) -> Mapping[tuple[int, int], Path]:
    """(camera, frame) -> file."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES):
        numbers = _numbers(str(path.relative_to(folder).with_suffix("")))
        if len(numbers) >= 2:
            found[numbers[-2], numbers[-1]] = path
    return found


def _numbers(text: str) -> list[int]:
    return [int(word) for word in re.findall(r"\d+", text)]
