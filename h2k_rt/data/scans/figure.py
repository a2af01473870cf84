"""A scan as a figure: upright, facing the camera, in metres, with its joints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import JOINT_NAMES
from h2k_rt.data.people.figure import Figure
from h2k_rt.data.recipe import read_toml
from h2k_rt.data.scans.joints3d import PHOTO_ROWS, PUBLISHED_ROWS, read_joints
from h2k_rt.data.scans.layouts import Scan
from h2k_rt.data.scans.mesh_file import read_surface
from h2k_rt.data.scans.smplx_fit import read_body_fit
from h2k_rt.errors import DataError

#: Heights of a mesh that can be metres or centimetres of a person; anything else is in units of its own.
_METRES, _CENTIMETRES = (0.5, 2.6), (50.0, 260.0)
#: The height given to a scan in units of its own.
_USUAL_HEIGHT = 1.7


@dataclass(frozen=True)
class Corrections:
    """What is to be changed of single scans, by name; the published program has such lists for RenderPeople (SPEC 10).

    Attributes:
        turn: degrees about the vertical axis. shrink: factor of the size in the picture, for the published framing.
    """

    turn: Mapping[str, float] = field(default_factory=dict)
    shrink: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def load(path: Path) -> Corrections:
        """From TOML: tables ``[turn]`` and ``[shrink]`` of ``name = number``.

        Raises:
            DataError: the file is not that.
        """
        raw = read_toml(path)
        unknown = set(raw) - {"turn", "shrink"}
        tables = {name: raw.get(name, {}) for name in ("turn", "shrink")}
        numbers = [value for table in tables.values() if isinstance(table, dict) for value in table.values()]
        if unknown or not all(isinstance(t, dict) for t in tables.values()) or not all(map(_is_number, numbers)):
            raise DataError(f"{path}: only tables [turn] and [shrink] with lines such as rp_name_posed_001 = -90 can be in it")
        if any(not value > 0 for value in tables["shrink"].values()):
            raise DataError(f"{path}: the factors of [shrink] must be above 0")
        return Corrections(**tables)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def load_figure(scan: Scan, corrections: Corrections | None = None, *, published_joints: bool = False) -> Figure:
    """Read a scan. Joints that it does not have are NaN.

    THuman2.0 scans face anywhere: they are turned back by the y component of the body fit's rotation vector (SPEC 10).

    Args:
        published_joints: fingers at their bases, as the published training data has them, not at the next joint (quirk Q6).

    Raises:
        DataError: a file cannot be read, or a THuman2.0 scan has no body fit.
    """
    surface = read_surface(scan.mesh, scan.texture)
    joints = np.full((len(JOINT_NAMES), 3), np.nan)
    if scan.joints is not None:
        joints = read_joints(scan.joints, PUBLISHED_ROWS if published_joints else PHOTO_ROWS)
    turn, scale = (corrections or Corrections()).turn.get(scan.name, 0.0), None
    if scan.kind == "THuman2":
        if scan.smplx is None:
            raise DataError(
                f"{scan.mesh}: THuman2.0 scans face anywhere, and there is no smplx/{scan.name}/smplx_param.pkl that tells where; "
                "unpack the body fits beside the scans"
            )
        fit = read_body_fit(scan.smplx)
        turn, scale = turn - math.degrees(fit.turn), fit.scale
    rotation = _about_y(turn)
    vertices = surface.vertices.astype(np.float64) @ rotation.T
    metres, rule = _metres(float(np.ptp(vertices[:, 1])), scale)
    moved = (vertices * metres).astype(np.float32)
    about = {"scan": scan.name, "kind": scan.kind, "turned": turn, "metres_per_unit": metres, "size_known_by": rule}
    return Figure((dataclasses.replace(surface, vertices=moved, rest=moved),), joints @ rotation.T * metres, about)


def _about_y(degrees: float) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _metres(height: float, scale: float | None) -> tuple[float, str]:
    """Metres to the scan's unit, and how that is known.

    Args:
        height: of the mesh in its own units; scale: scan units to the metre, of a body fit.
    """
    if scale is not None:
        return 1 / scale, "body fit"
    if _METRES[0] <= height <= _METRES[1]:
        return 1.0, "metres"
    if _CENTIMETRES[0] <= height <= _CENTIMETRES[1]:
        return 0.01, "centimetres"
    return _USUAL_HEIGHT / height, f"assumed height of {_USUAL_HEIGHT} m"
