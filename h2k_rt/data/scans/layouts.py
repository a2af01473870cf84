"""Finds the scans in a folder: RenderPeople, THuman2.0 and 2K2K (SPEC 10).

The published tree is ``obj/<kind>/...`` with ``Joint3D/<kind>/<name>.json`` beside it:

- ``RP``: ``rp_<name>_OBJ/*.obj``, texture in the folder or in ``tex``;
- ``THuman2``: ``data/0000/0000.obj`` with ``material0.jpeg``, and ``smplx/0000/smplx_param.pkl``;
- ``2K2K``: ``00000/00000.obj`` or ``.ply``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from h2k_rt.errors import DataError

#: Names of the kinds, as in the published folders.
KINDS = ("RP", "THuman2", "2K2K")

_MESHES = (".obj", ".ply")
_PICTURES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Scan:
    """Where one scan's files are.

    Attributes:
        kind: one of ``KINDS``; name: unique within it.
        mesh: the OBJ or PLY file.
        texture: the colour picture to take if the mesh's material names none that can be found.
        joints: the Joint3D file; smplx: the body fit of THuman2.0. None where there is none.
    """

    kind: str
    name: str
    mesh: Path
    texture: Path | None = None
    joints: Path | None = None
    smplx: Path | None = None


def find_scans(folder: Path, kind: str | None = None, joints: Path | None = None) -> list[Scan]:
    """All scans below ``folder``, by kind and name.

    Args:
        folder: the published program's data folder, its ``obj`` folder, or one kind's own folder.
        kind: which of ``KINDS``; None: all, told by the folders' names and contents.
        joints: folder of Joint3D files, ``<name>.json`` or ``<kind>/<name>.json``; None: ``Joint3D`` beside ``obj``.

    Raises:
        DataError: there is no folder, no scan, or it cannot be told of which kind they are.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; give the one with the unpacked scans")
    scans = []
    for found, base in _bases(folder, kind):
        for home in _homes(found, base):
            mesh = _mesh_of(home)
            if mesh is not None:
                scans.append(_scan(found, base, home, mesh, joints))
    if not scans:
        raise DataError(
            f"{folder}: no scans found; expected a folder for each, as rp_<name>_OBJ/*.obj (RenderPeople), 0000/0000.obj "
            "(THuman2.0) or 00000/00000.ply (2K2K)"
        )
    return sorted(scans, key=lambda scan: (scan.kind, scan.name))


def _bases(folder: Path, kind: str | None) -> Iterator[tuple[str, Path]]:
    """(kind, folder of its scans)."""
    wanted = (kind,) if kind else KINDS
    named = [(k, base / k) for base in (folder / "obj", folder) for k in wanted if (base / k).is_dir()]
    if named:
        yield from named
    elif kind:
        yield kind, folder
    elif folder.name in KINDS:
        yield folder.name, folder
    else:
        yield _kind_by_contents(folder), folder


def _kind_by_contents(folder: Path) -> str:
    homes = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    if any(home.name.startswith("rp_") for home in homes):
        return "RP"
    if (folder / "smplx").is_dir() or any((home / "material0.mtl").is_file() for home in homes):
        return "THuman2"
    if any(next(home.glob("*.ply"), None) for home in homes):
        return "2K2K"
    raise DataError(f"{folder}: it cannot be told whose scans these are; say so with --kind {'|'.join(KINDS)}")


def _homes(kind: str, base: Path) -> list[Path]:
    """The folders of single scans."""
    inner = base / "data"
    start = inner if kind == "THuman2" and inner.is_dir() else base
    return [path for path in sorted(start.iterdir()) if path.is_dir() and path.name != "smplx"]


def _mesh_of(home: Path) -> Path | None:
    """The scan's mesh; of several, such as reduced copies, the largest."""
    meshes = [path for path in sorted(home.iterdir()) if path.suffix.lower() in _MESHES]
    return max(meshes, key=lambda path: path.stat().st_size, default=None)


def _scan(kind: str, base: Path, home: Path, mesh: Path, joints: Path | None) -> Scan:
    name = home.name.removesuffix("_OBJ")
    smplx = base / "smplx" / home.name / "smplx_param.pkl"
    return Scan(
        kind,
        name,
        mesh,
        texture=_texture_of(home),
        joints=_joints_of(kind, base, {name, home.name}, joints),
        smplx=smplx if smplx.is_file() else None,
    )


def _texture_of(home: Path) -> Path | None:
    """RenderPeople calls the colour ``*_dif*``; otherwise the largest picture."""
    pictures = [path for place in (home, home / "tex") if place.is_dir() for path in sorted(place.iterdir())]
    pictures = [path for path in pictures if path.suffix.lower() in _PICTURES]
    diffuse = [path for path in pictures if "_dif" in path.stem.lower()]
    return max(diffuse or pictures, key=lambda path: path.stat().st_size, default=None)


def _joints_of(kind: str, base: Path, names: set[str], joints: Path | None) -> Path | None:
    places = [joints / kind, joints] if joints else [above / "Joint3D" / kind for above in (base, *base.parents[:3])]
    candidates = (place / f"{name}.json" for place in places for name in sorted(names))
    return next((path for path in candidates if path.is_file()), None)
