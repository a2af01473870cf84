"""Renders scans into samples: the seven published views, or views and light drawn at random as for synthetic people."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt import __version__
from h2k_rt.constants import METHOD
from h2k_rt.data.dataset import MAP_NAMES, DatasetWriter, Description
from h2k_rt.data.people.closed import closed_surface
from h2k_rt.data.people.figure import Figure
from h2k_rt.data.people.render import Rendering, frame_figure, render
from h2k_rt.data.people.scene import sample_scene
from h2k_rt.data.people.view import View, ViewCamera, area_centroid, sample_view
from h2k_rt.data.produce import Maker, Product, Progress, SampleWriter, produce
from h2k_rt.data.published import PUBLISHED_MAPS, PublishedWriter, view_name, write_lists
from h2k_rt.data.scans.figure import Corrections, load_figure
from h2k_rt.data.scans.layouts import Scan
from h2k_rt.errors import DataError

#: Degrees that the published renderer turns each scan (SPEC 10).
PUBLISHED_YAWS = (-30, -20, -10, 0, 10, 20, 30)
#: The published unit is this many times the largest coordinate (SPEC 10).
_UNIT = 2.8
#: What the published program multiplies 3D joints with before it projects them (SPEC 10, quirk Q5).
_JOINT_FACTOR = 1.037


@dataclass(frozen=True)
class ScanJob:
    """What is made of which scans.

    Attributes:
        size: side of the pictures in pixels.
        random_views: views of each scan drawn at random; None: the seven published ones, in the published framing.
        seed: of random views, light and backgrounds; backgrounds: picture files.
        maps, mesh: as in ``Description``.
        published_layout: write the published folder tree.
        parity: joints as the published program makes them: finger bases, and moved outwards by 1.037.
    """

    scans: tuple[Scan, ...]
    size: int = METHOD.size
    random_views: int | None = None
    seed: int = 0
    backgrounds: tuple[Path, ...] = ()
    corrections: Corrections = dataclasses.field(default_factory=Corrections)
    maps: tuple[str, ...] = MAP_NAMES
    mesh: bool = False
    published_layout: bool = False
    parity: bool = False

    @property
    def views(self) -> int:
        """Views of each scan."""
        return self.random_views or len(PUBLISHED_YAWS)

    def name(self, index: int) -> tuple[str, str]:
        """(view, item) of a sample in the published layout."""
        place, view = divmod(index, self.views)
        scan = self.scans[place]
        kind = scan.kind
        return (view_name(kind, PUBLISHED_YAWS[view]) if self.random_views is None else f"{kind}_random_{view}"), scan.name


def render_scans(folder: Path, job: ScanJob, *, workers: int = 1, progress: Progress | None = None) -> int:
    """Render every view of every scan that is not there yet; returns how many were made.

    Raises:
        DataError: a scan cannot be read, or the folder holds something else.
        OutputError: the folder cannot be written.
    """
    writer = _open(folder, job)
    groups = [range(place * job.views, (place + 1) * job.views) for place in range(len(job.scans))]
    made = produce(writer, groups, functools.partial(_start, job), workers=workers, progress=progress)
    if job.published_layout:
        write_lists(folder)
    return made


def _open(folder: Path, job: ScanJob) -> SampleWriter:
    description = Description(
        size=job.size,
        count=len(job.scans) * job.views,
        maps=PUBLISHED_MAPS if job.published_layout else job.maps,
        mesh=job.mesh and not job.published_layout,
        source={
            "kind": "scans",
            "scans": _digest(job.scans),
            "views": job.random_views or "published",
            "seed": job.seed,
            "backgrounds": len(job.backgrounds),
            "corrections": {"turn": dict(job.corrections.turn), "shrink": dict(job.corrections.shrink)},
            "parity": job.parity,
            "layout": "2k2k" if job.published_layout else "h2k",
        },
        made_with=f"h2k-rt {__version__}, data scans",
        licence="that of the scans: " + ", ".join(sorted({scan.kind for scan in job.scans})),
    )
    if job.published_layout:
        return PublishedWriter(folder, description, [job.name(index) for index in range(description.count)])
    return DatasetWriter(folder, description)


def _digest(scans: Sequence[Scan]) -> str:
    names = "\n".join(f"{scan.kind}/{scan.name}" for scan in scans)
    return f"{len(scans)} named {hashlib.sha256(names.encode()).hexdigest()[:12]}"


def _start(job: ScanJob) -> Maker:
    """In a worker."""
    cv2.setNumThreads(1)  # there is a process for each core

    def make(indices: Sequence[int]) -> Iterator[Product]:
        place = indices[0] // job.views
        figure = load_figure(job.scans[place], job.corrections, published_joints=job.parity)
        mesh = closed_surface(figure) if job.mesh and not job.published_layout else None
        for index in indices:
            rendering, about = render_scan(job, figure, index)
            yield Product(index, rendering, about, mesh)

    return make


def render_scan(job: ScanJob, figure: Figure, index: int) -> tuple[Rendering, dict[str, Any]]:
    """One view of a scan that is loaded; returns also what to write about it."""
    place, number = divmod(index, job.views)
    rng = np.random.default_rng(np.random.SeedSequence([job.seed, place], spawn_key=(number,)))
    if job.random_views is None:
        view = View(yaw=PUBLISHED_YAWS[number])
        camera = published_scan_camera(figure, view, job.size, job.corrections.shrink.get(job.scans[place].name, 1.0))
    else:
        view = sample_view(rng)
        camera = frame_figure(figure, view, job.size)
    if job.parity:
        figure = dataclasses.replace(figure, joints=camera.centre + (figure.joints - camera.centre) * _JOINT_FACTOR)
    rendering = render(figure, view, sample_scene(rng, job.backgrounds), job.size, camera=camera, smooth=False)
    seen = dataclasses.replace(rendering, joints=_present(rendering.joints))
    return seen, {**figure.about, "yaw": view.yaw}


def _present(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joints that the scan does not have are 0 in all columns."""
    return np.where(np.isfinite(joints).all(1, keepdims=True), joints, 0.0)


def published_scan_camera(figure: Figure, view: View, size: int, shrink: float = 1.0) -> ViewCamera:
    """The published framing: the surface's centroid in the middle, the largest coordinate before the turn 1 / 2.8 (SPEC 10).

    Args:
        shrink: factor of the size in the picture.
    """
    surface = figure.surfaces[0]
    centre = area_centroid([(surface.vertices, surface.faces)])
    unit = _UNIT * float(np.abs(surface.vertices - centre).max()) / shrink
    return ViewCamera(view.rotation(), centre, unit, 1.0, METHOD.fov_degrees, size, view)


def check_joints(scans: Sequence[Scan]) -> None:
    """Refuse scans without joints, which the part networks cannot learn from.

    Raises:
        DataError: names the first.
    """
    lacking = [scan for scan in scans if scan.joints is None]
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(scans)} scans have no Joint3D file, the first is {lacking[0].kind}/{lacking[0].name}; put "
            "Joint3D/<kind>/<name>.json beside the scans, or give the folder with --joints, or take them without: --without-joints"
        )
