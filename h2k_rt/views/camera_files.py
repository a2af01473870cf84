"""Camera files: our JSON with OpenCV's numbers, COLMAP's text model, and folders of projection matrices (the Articulated set)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.errors import CameraError
from h2k_rt.output.atomic import replace_file
from h2k_rt.views.cameras import CalibratedCamera, camera_of_matrix

FORMAT = 1
_MAX_BYTES = 1 << 26
#: COLMAP's models that OpenCV's five numbers express: which parameter is fx, fy, cx, cy, and the distortion.
_COLMAP_MODELS = {
    "SIMPLE_PINHOLE": ((0, 0, 1, 2), ()),
    "PINHOLE": ((0, 1, 2, 3), ()),
    "SIMPLE_RADIAL": ((0, 0, 1, 2), (3,)),
    "RADIAL": ((0, 0, 1, 2), (3, 4)),
    "OPENCV": ((0, 1, 2, 3), (4, 5, 6, 7)),
}


def load_cameras(path: Path, picture_size: tuple[int, int] | None = None) -> list[CalibratedCamera]:
    """Cameras from a file or folder of any of the formats.

    Args:
        path: a .json file; a folder with COLMAP's ``cameras.txt`` and ``images.txt``; a folder of ``*.cal`` projection matrices.
        picture_size: width and height, for projection matrices, which do not say it.

    Raises:
        CameraError: the file is missing, of another format, or holds impossible numbers.
    """
    if not path.exists():
        raise CameraError(f"{path}: there is no such camera file")
    if path.is_file():
        return _load_json(path)
    if (path / "images.txt").is_file():
        return _load_colmap(path)
    if any(path.glob("*.cal")):
        return load_matrices(path, picture_size)
    raise CameraError(f"{path}: the folder holds neither COLMAP's images.txt and cameras.txt nor *.cal projection matrices")


def save_cameras(cameras: Sequence[CalibratedCamera], path: Path) -> None:
    """Write cameras as JSON that :func:`load_cameras` reads.

    Raises:
        OutputError: the file cannot be written.
    """
    document = {
        "format": FORMAT,
        "convention": "OpenCV: x right, y down, z forward; world to camera: R p + t; pixels count from the picture's corner",
        "pixel_origin": "corner",
        "cameras": [camera.as_dict() for camera in cameras],
    }
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def match_cameras(cameras: Sequence[CalibratedCamera], photos: Sequence[Path]) -> list[CalibratedCamera]:
    """The camera of each photo: by file name, by name without suffix, or else by order where there are as many.

    Raises:
        CameraError: a photo has no camera, or two.
    """
    by_name: dict[str, list[CalibratedCamera]] = {}
    for camera in cameras:
        for name in {Path(camera.name).name, Path(camera.name).stem}:
            by_name.setdefault(name, []).append(camera)
    known = [photo for photo in photos if photo.name in by_name or photo.stem in by_name]
    if not known:
        if len(cameras) == len(photos):
            return list(cameras)
        raise CameraError(
            f"the camera file has {len(cameras)} cameras, none named as one of the {len(photos)} photos; "
            'name them ("image"), or give as many photos in the same order'
        )
    found = []
    for photo in photos:
        fitting = by_name.get(photo.name) or by_name.get(photo.stem) or []
        if len(fitting) != 1:
            names = ", ".join(camera.name for camera in cameras[:8])
            raise CameraError(f"{photo}: {len(fitting) or 'no'} cameras are named so; the camera file has {names}")
        found.append(fitting[0])
    return found


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CameraError(f"{path}: too large for a camera file")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CameraError(f"{path}: cannot be read as a camera file: {reason}") from error


# --- JSON ---------------------------------------------------------------------------------------------------------------------


def _load_json(path: Path) -> list[CalibratedCamera]:
    try:
        document = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise CameraError(f"{path}: not valid JSON: {error}") from error
    entries = document.get("cameras") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise CameraError(f'{path}: it must be an object with a list "cameras"; docs/views.md shows one')
    if document.get("format", FORMAT) != FORMAT:
        raise CameraError(f"{path}: format {document['format']!r}, this version reads {FORMAT}; update h2k-rt")
    origin = document.get("pixel_origin", "centre")
    if origin not in ("centre", "corner"):
        raise CameraError(f'{path}: pixel_origin must be "centre" (of the first pixel, as OpenCV counts) or "corner"')
    return [_json_camera(entry, i, 0.5 if origin == "centre" else 0.0, path) for i, entry in enumerate(entries)]


def _json_camera(entry: Any, index: int, shift: float, path: Path) -> CalibratedCamera:
    where = f"{path}: camera {index + 1}"
    if not isinstance(entry, dict):
        raise CameraError(f"{where} must be an object")
    name = entry.get("image", entry.get("name", f"camera {index + 1}"))
    if not isinstance(name, str):
        raise CameraError(f'{where}: "image" must be a text')

    def numbers(key: str, *shapes: tuple[int, ...], default: list[float] | None = None) -> NDArray[np.float64]:
        if key not in entry and default is None:
            raise CameraError(f'{where} ({name}): "{key}" is missing')
        try:
            array = np.array(entry.get(key, default), np.float64)
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.shape not in shapes:
            sizes = " or ".join(" x ".join(map(str, shape)) for shape in shapes)
            raise CameraError(f'{where} ({name}): "{key}" must be {sizes} numbers')
        return array

    size = numbers("size", (2,))
    intrinsics = numbers("intrinsics", (3, 3))
    intrinsics[:2, 2] += shift
    rotation = numbers("rotation", (3, 3), (3,))
    if rotation.ndim == 1:  # OpenCV's rotation vector
        rotation = cv2.Rodrigues(rotation)[0].astype(np.float64)
    given = numbers("distortion", (0,), (4,), (5,), default=[])
    distortion = tuple(float(v) for v in np.pad(given, (0, 5 - len(given))))
    translation = numbers("translation", (3,), (3, 1)).ravel()
    return CalibratedCamera(name, int(size[0]), int(size[1]), intrinsics, rotation, translation, distortion)


# --- COLMAP -------------------------------------------------------------------------------------------------------------------


def _load_colmap(folder: Path) -> list[CalibratedCamera]:
    """COLMAP's text model. Its pixels are edge coordinates, its poses world to camera, its scale is arbitrary."""
    lenses = {}
    for number, words in _lines(folder / "cameras.txt"):
        try:
            model, width, height, parameters = words[1], int(words[2]), int(words[3]), [float(w) for w in words[4:]]
            focal, bent = _COLMAP_MODELS[model]
            fx, fy, cx, cy = (parameters[i] for i in focal)
            distortion = tuple([parameters[i] for i in bent] + [0.0] * (5 - len(bent)))
        except KeyError:
            known = ", ".join(_COLMAP_MODELS)
            raise CameraError(f"{folder / 'cameras.txt'}: camera model {words[1]} is not supported; undistort to {known}") from None
        except (ValueError, IndexError) as error:
            raise CameraError(f"{folder / 'cameras.txt'}, line {number}: {error}") from error
        lenses[words[0]] = (width, height, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), distortion)
    cameras = []
    for number, words in _lines(folder / "images.txt")[::2]:  # every second line lists points
        try:
            quaternion, translation = np.array(words[1:5], np.float64), np.array(words[5:8], np.float64)
            width, height, intrinsics, distortion = lenses[words[8]]
            name = " ".join(words[9:])
        except (ValueError, IndexError, KeyError) as error:
            raise CameraError(f"{folder / 'images.txt'}, line {number}: malformed ({error})") from error
        cameras.append(CalibratedCamera(name, width, height, intrinsics, _of_quaternion(quaternion), translation, distortion))
    if not cameras:
        raise CameraError(f"{folder / 'images.txt'}: it lists no pictures")
    return cameras


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that are no comment, with their numbers; empty ones stay, for a picture may have no points."""
    if not path.is_file():
        raise CameraError(f"{path}: missing from COLMAP's text model; export it with: colmap model_converter --output_type TXT")
    lines = [(i + 1, line.split()) for i, line in enumerate(_read(path).splitlines()) if not line.startswith("#")]
    while lines and not lines[-1][1]:
        lines.pop()
    return lines


def _of_quaternion(q: NDArray[np.float64]) -> NDArray[np.float64]:
    w, x, y, z = q / max(float(np.linalg.norm(q)), 1e-12)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


# --- Projection matrices ------------------------------------------------------------------------------------------------------


def load_matrices(folder: Path, picture_size: tuple[int, int] | None) -> list[CalibratedCamera]:
    """Cameras of a folder of 3 x 4 projection matrices ``*.cal``, in order of the number in the name (the Articulated set).

    Raises:
        CameraError: a file is malformed, or the pictures' size is not given.
    """
    if picture_size is None:
        raise CameraError(f"{folder}: projection matrices do not say how large the pictures are; give the photos")
    files = sorted(folder.glob("*.cal"), key=lambda path: (_number(path.name), path.name))
    if not files:
        raise CameraError(f"{folder}: there are no *.cal projection matrices")
    return [camera_of_matrix(path.name.split(".")[0], _matrix(path), *picture_size) for path in files]


def _matrix(path: Path) -> NDArray[np.float64]:
    try:
        values = np.array(_read(path).replace(",", " ").split(), np.float64)
    except ValueError as error:
        raise CameraError(f"{path}: not a projection matrix: {error}") from error
    if values.size != 12:
        raise CameraError(f"{path}: a projection matrix has 3 x 4 numbers, not {values.size}")
    return values.reshape(3, 4)


def _number(name: str) -> int:
    found = re.search(r"\d+", name)
    return int(found[0]) if found else -1
