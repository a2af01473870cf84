"""Sets of several views: of synthetic people, of meshes (CAPE and the like), and of the Articulated set's own photos."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from h2k_rt import __version__
from h2k_rt.data.people.closed import ClosedMesh, closed_mesh, closed_surface
from h2k_rt.data.people.figure import Figure
from h2k_rt.data.people.generate import LICENCE, make_figure, open_factory, single_thread
from h2k_rt.data.people.render import plain_surface
from h2k_rt.data.produce import Maker, Product, Progress, produce
from h2k_rt.data.recipe import Split
from h2k_rt.data.views.articulated import Frame
from h2k_rt.data.views.occupancy import sample_occupancy
from h2k_rt.data.views.posed import SUFFIX, load_posed, load_template
from h2k_rt.data.views.rig import draw_rig
from h2k_rt.data.views.viewset import Drawing, SetDescription, ViewSetWriter
from h2k_rt.errors import DataError
from h2k_rt.metrics.shape import SHAPE_SUFFIXES, load_shape
from h2k_rt.photo import load_mask, load_photo

#: Cells along a mesh's largest extent when it is closed: 5 mm for a person of 1.75 m.
_CELLS = 350
#: Spawn key of what is random about the cameras and photos, apart from the person.
_RIG_KEY = 1_000_003


@dataclass(frozen=True)
class RigJob:
    """Synthetic people seen by a ring of cameras.

    Attributes:
        count: people; views: cameras around each; size: side of the photos in pixels.
        assets, backgrounds: as for ``PeopleJob``.
    """

    count: int
    views: int
    seed: int = 0
    size: int = 512
    split: Split = "train"
    assets: Path | None = None
    backgrounds: tuple[Path, ...] = ()


@dataclass(frozen=True)
class MeshJob:
    """Meshes (metres, y up, facing +z) seen by a ring of cameras, in grey.

    Attributes:
        template: a mesh that has the faces, where ``meshes`` are frames of posed vertices (see ``posed``).
    """

    meshes: tuple[Path, ...]
    views: int
    seed: int = 0
    size: int = 512
    template: Path | None = None


@dataclass(frozen=True)
class FrameJob:
    """Photos of the Articulated set with their meshes; metres_per_unit: of the meshes' and cameras' coordinates."""

    frames: tuple[Frame, ...]
    metres_per_unit: float = 1.0


Job = RigJob | MeshJob | FrameJob


def make_view_sets(folder: Path, job: Job, *, workers: int = 1, progress: Progress | None = None) -> int:
    """Make every person of the job that is not there yet; returns how many were made.

    Raises:
        DataError: assets, meshes or photos are missing or damaged, or the folder holds something else.
        OutputError: the folder cannot be written.
    """
    writer = ViewSetWriter(folder, _description(job))
    groups = [(index,) for index in range(writer.description.count)]
    return produce(writer, groups, functools.partial(_start, job), workers=workers, progress=progress)  # type: ignore[arg-type]


def _description(job: Job) -> SetDescription:
    made = f"h2k-rt {__version__}, data"
    if isinstance(job, RigJob):
        source: dict[str, Any] = {"kind": "people", "seed": job.seed, "split": job.split, "size": job.size}
        source["backgrounds"] = len(job.backgrounds)
        extra = "; backgrounds: that of the pictures given" if job.backgrounds else ""
        return SetDescription(job.count, job.views, source, made, LICENCE + extra)
    if isinstance(job, MeshJob):
        source = {"kind": "meshes", "seed": job.seed, "size": job.size, "meshes": [path.name for path in job.meshes]}
        if job.template is not None:
            source["template"] = job.template.name
        return SetDescription(len(job.meshes), job.views, source, made, "that of the meshes")
    names = [frame.name for frame in job.frames]
    source = {"kind": "articulated", "frames": names, "metres_per_unit": job.metres_per_unit}
    views = max((len(frame.photos) for frame in job.frames), default=0)
    return SetDescription(len(job.frames), views, source, made, "that of the Articulated set (Vlasic et al. 2008)")


def _start(job: Job) -> Maker:
    """In a worker."""
    single_thread()
    if isinstance(job, RigJob):
        return _people_maker(job)
    if isinstance(job, MeshJob):
        return functools.partial(_from_meshes, job)
    return functools.partial(_from_frames, job)


def _people_maker(job: RigJob) -> Maker:
    factory = open_factory(job.assets, job.split, job.size)

    def make(indices: Sequence[int]) -> Iterator[Product]:
        for index in indices:
            figure = make_figure(factory, job.seed, index)
            mesh = closed_surface(figure)
            drawing: Any = draw_rig(figure, mesh, _rng(job.seed, index), job.views, job.size, job.backgrounds)
            yield Product(index, drawing, {**figure.about, "person": index}, mesh)

    return make


def _from_meshes(job: MeshJob, indices: Sequence[int]) -> Iterator[Product]:
    template = None if job.template is None else load_template(job.template)
    for index in indices:
        path = job.meshes[index]
        loaded = load_shape(path) if template is None else load_posed(path, template)
        surface = plain_surface(loaded.vertices, loaded.faces)
        mesh = _closed(path, loaded.vertices, loaded.faces)
        figure = Figure((surface,), np.zeros((31, 3)), {"mesh": path.name})
        drawing: Any = draw_rig(figure, mesh, _rng(job.seed, index), job.views, job.size)
        yield Product(index, drawing, figure.about, mesh)


def _from_frames(job: FrameJob, indices: Sequence[int]) -> Iterator[Product]:
    for index in indices:
        frame, scale = job.frames[index], job.metres_per_unit
        loaded = load_shape(frame.mesh)
        mesh = _closed(frame.mesh, loaded.vertices * np.float32(scale), loaded.faces)
        photos = [load_photo(path).rgb for path in frame.photos]
        masks = []
        for photo, path in zip(photos, frame.silhouettes, strict=True):
            mask = load_mask(path, photo.shape[:2])
            masks.append(np.where(mask >= 128, 255, 0).astype(np.uint8))
        cameras = frame.cameras((photos[0].shape[1], photos[0].shape[0]), scale)
        samples = sample_occupancy(mesh.vertices, mesh.faces, _rng(0, index))
        drawing: Any = Drawing(photos, masks, cameras, samples)
        yield Product(index, drawing, {"frame": frame.name}, mesh)


def _closed(path: Path, vertices: np.ndarray, faces: np.ndarray) -> ClosedMesh:
    extent = float((vertices.max(axis=0) - vertices.min(axis=0)).max())
    try:
        return closed_mesh(vertices, faces, max(extent, 1e-9) / _CELLS)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _rng(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, index], spawn_key=(_RIG_KEY,)))


def find_meshes(folder: Path) -> tuple[Path, ...]:
    """The meshes in a folder and its subfolders, by name.

    Raises:
        DataError: there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SHAPE_SUFFIXES)
    if not found:
        if next(folder.rglob(f"*{SUFFIX}"), None) is not None:
            raise DataError(
                f"{folder}: holds {SUFFIX} files (CAPE's?) and no meshes; vertices alone are no surface: "
                "give the faces with --template, a mesh of the same vertices (CAPE: SMPL's, 6890)"
            )
        raise DataError(f"{folder}: there are no meshes ({', '.join(SHAPE_SUFFIXES)}) in it")
    return tuple(found)


def part_of(items: Sequence[Any], part: str) -> tuple[Any, ...]:
    """All items, or the 80 % for training or the 20 % for testing (every fifth), as the paper divides by numbers of its own."""
    if part == "all":
        return tuple(items)
    return tuple(item for number, item in enumerate(items) if (number % 5 == 4) == (part == "test"))
