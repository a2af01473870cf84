"""``h2k-rt data``: samples to train on, from synthetic people or scans, and their check."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from h2k_rt.cli.common import Debug, reporting, tell
from h2k_rt.cli.progress import counting
from h2k_rt.errors import DataError, MissingPackageError

if TYPE_CHECKING:
    from h2k_rt.data.check import Report
    from h2k_rt.data.recipe import PeopleRecipe

data = typer.Typer(help="Make and check samples to train on.", no_args_is_help=True)


class Split(str, Enum):
    """Which people are drawn."""

    train = "train"
    holdout = "holdout"


class Layout(str, Enum):
    """How samples lie on the disk."""

    h2k = "h2k"
    published = "2k2k"


class Kind(str, Enum):
    """Whose scans they are."""

    renderpeople = "RP"
    thuman2 = "THuman2"
    published = "2K2K"


class Part(str, Enum):
    """Which share of a set."""

    all = "all"
    train = "train"
    test = "test"


Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the dataset; a part of it is continued.")]
Workers = Annotated[int | None, typer.Option("--workers", metavar="N", min=1, help="Processes; all cores if not given.")]
Maps = Annotated[str | None, typer.Option("--maps", help="all, or some of color,albedo,mask,depth,normals.")]
Backgrounds = Annotated[
    list[Path] | None, typer.Option("--backgrounds", metavar="DIR", help="Pictures to stand in front of; may be repeated.")
]
LayoutOption = Annotated[Layout, typer.Option("--layout", help="h2k, or the published program's folder tree.")]
_EVERY_MAP = "all"


@data.command()
def people(
    output: Output,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="Samples of the whole set.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Everything random follows from it; 0 if not given.")] = None,
    size: Annotated[int | None, typer.Option("--size", min=64, max=4096, help="Pixels of a side; 512 if not given.")] = None,
    views: Annotated[
        int | None, typer.Option("--views", metavar="K", min=1, help="Pictures of each person; 1 if not given.")
    ] = None,
    rig: Annotated[
        int | None,
        typer.Option(
            "--rig",
            metavar="K",
            min=1,
            max=64,
            help="View sets for the second method: each person seen by K calibrated cameras.",
        ),
    ] = None,
    split: Annotated[
        Split | None, typer.Option("--split", help="holdout: outfits, hair, skins and poses that train never draws.")
    ] = None,
    maps: Maps = None,
    mesh: Annotated[bool | None, typer.Option("--mesh/--no-mesh", help="Also write each person's closed mesh.")] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="TOML with the options above; configs/holdout.toml is one.")
    ] = None,
    assets: Annotated[
        Path | None, typer.Option("--assets", metavar="DIR", help="MakeHuman's CC0 assets; docs/data.md says where to get them.")
    ] = None,
    backgrounds: Backgrounds = None,
    layout: LayoutOption = Layout.h2k,
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Make pictures of synthetic people, with depth, normals, joints and more. Needs: pip install "h2k-rt\\[people]"."""
    with reporting(debug):
        if rig is not None:
            if count is None:
                raise typer.BadParameter("--rig needs --count, the number of people")
            refused = {"recipe": recipe, "views": views, "maps": maps, "mesh": mesh, "layout": layout is not Layout.h2k or None}
            for name, value in refused.items():
                if value is not None:
                    raise typer.BadParameter(f"--rig makes view sets, whose files are fixed: leave out --{name}")
            _people_rig(output, count, rig, seed or 0, size or 512, split, assets, backgrounds, workers)
            return
        given = {"count": count, "seed": seed, "size": size, "views": views, "split": split and split.value, "mesh": mesh}
        wanted = _recipe(recipe, given, maps)
        _check_layout(layout, maps, mesh)
        with _needing_people():
            from h2k_rt.data.people.assets import find_assets
            from h2k_rt.data.people.background import list_pictures
            from h2k_rt.data.people.generate import PeopleJob, generate

            job = PeopleJob(wanted, find_assets(assets), list_pictures(backgrounds or ()), layout is Layout.published)
            with counting("drawing people") as progress:
                made = generate(output, job, workers=workers or _cores(), progress=progress)
        _tell_made(output, made, wanted.count)


@data.command()
def scans(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Unpacked scans: the published data folder, or one kind's own.")],
    output: Output,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Whose scans they are, where the folders do not tell.")] = None,
    views: Annotated[
        str, typer.Option("--views", help="published: the seven turns of -30 to 30 degrees; or how many random ones.")
    ] = ("published"),
    size: Annotated[int, typer.Option("--size", min=64, max=4096, help="Pixels of a side.")] = 2048,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Light, backgrounds and random views follow from it.")] = 0,
    joints: Annotated[Path | None, typer.Option("--joints", metavar="DIR", help="Folder of Joint3D files.")] = None,
    without_joints: Annotated[bool, typer.Option("--without-joints", help="Also take scans that have no Joint3D file.")] = False,
    corrections: Annotated[
        Path | None, typer.Option("--corrections", metavar="FILE", help="TOML: scans to be turned or shrunk, by name.")
    ] = None,
    maps: Maps = None,
    mesh: Annotated[bool | None, typer.Option("--mesh/--no-mesh", help="Also write each scan's closed mesh.")] = None,
    backgrounds: Backgrounds = None,
    layout: LayoutOption = Layout.h2k,
    parity: Annotated[
        bool, typer.Option("--parity", help="Joints as the published training has them: finger bases, moved outwards by 1.037.")
    ] = False,
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Render scans that you have a licence for: RenderPeople, THuman2.0, 2K2K. Needs: pip install "h2k-rt\\[people]"."""
    with reporting(debug):
        _check_layout(layout, maps, mesh)
        random_views = _random_views(views)
        from h2k_rt.data.scans.layouts import find_scans

        found = find_scans(folder, kind and kind.value, joints)
        with _needing_people():
            from h2k_rt.data.people.background import list_pictures
            from h2k_rt.data.scans.figure import Corrections
            from h2k_rt.data.scans.make import ScanJob, check_joints, render_scans

            if not without_joints:
                check_joints(found)
            job = ScanJob(
                scans=tuple(found),
                size=size,
                random_views=random_views,
                seed=seed,
                backgrounds=list_pictures(backgrounds or ()),
                corrections=Corrections.load(corrections) if corrections else Corrections(),
                maps=_maps(maps),
                mesh=bool(mesh),
                published_layout=layout is Layout.published,
                parity=parity,
            )
            with counting("rendering scans") as progress:
                made = render_scans(output, job, workers=workers or _cores(), progress=progress)
        _tell_made(output, made, len(found) * job.views)


@data.command()
def views(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder of meshes, of CAPE's frames, or sequences of the Articulated set.")
    ],
    output: Output,
    rig: Annotated[int, typer.Option("--rig", metavar="K", min=1, max=64, help="Meshes: cameras around each.")] = 8,
    size: Annotated[int, typer.Option("--size", min=64, max=4096, help="Meshes: pixels of a side of the photos.")] = 512,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Meshes: cameras and light follow from it.")] = 0,
    part: Annotated[Part, typer.Option("--part", help="Every fifth item is test, the others train.")] = Part.all,
    metres_per_unit: Annotated[
        float, typer.Option("--metres-per-unit", help="Articulated: scale of its meshes and cameras.", min=1e-6)
    ] = 1.0,
    template: Annotated[
        Path | None,
        typer.Option("--template", metavar="FILE", help="CAPE's .npz frames: a mesh of the same vertices (SMPL's), for its faces."),
    ] = None,
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Make view sets for the second method of meshes or of the Articulated set. Needs: pip install "h2k-rt\\[people]"."""
    with reporting(debug):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        with _needing_people():
            from h2k_rt.data.views.articulated import find_frames, is_articulated
            from h2k_rt.data.views.make import FrameJob, Job, MeshJob, find_meshes, make_view_sets, part_of
            from h2k_rt.data.views.posed import find_posed

            if is_articulated(folder):
                if template is not None:
                    raise DataError(f"{folder}: sequences of the Articulated set have meshes; leave out --template")
                frames = part_of(find_frames(folder), part.value)
                job: Job = FrameJob(frames, metres_per_unit)
                count = len(frames)
            else:
                every = find_meshes(folder) if template is None else find_posed(folder, template)
                meshes = part_of(every, part.value)
                job = MeshJob(meshes, rig, seed, size, template)
                count = len(meshes)
            with counting("making view sets") as progress:
                made = make_view_sets(output, job, workers=workers or _cores(), progress=progress)
        _tell_made(output, made, count)


@data.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset, in our own layout or the published one.")],
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE", help="The contact sheet; DIR/contact_sheet.png if not given.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", metavar="N", min=0, max=200, help="Samples on the sheet; 0: no sheet.")] = 12,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Check every sample of a dataset and draw some on a contact sheet. Exit code 10 if something is wrong."""
    with reporting(debug):
        from h2k_rt.data.check import check_dataset
        from h2k_rt.data.contact_sheet import contact_sheet
        from h2k_rt.data.published import open_dataset
        from h2k_rt.output.maps import write_png

        source = open_dataset(folder)
        with counting("checking") as progress:
            report = check_dataset(source, workers=workers or _cores(), progress=progress)
        path = None
        if samples and len(source):
            path = sheet or folder / "contact_sheet.png"
            write_png(path, contact_sheet(source, samples=samples))
        if as_json:
            typer.echo(json.dumps({**report.to_json(), "sheet": path and str(path)}, indent=2))
        else:
            _tell_report(report, path)
        if not report.good:
            raise typer.Exit(DataError.exit_code)


def _people_rig(
    output: Path,
    count: int,
    rig: int,
    seed: int,
    size: int,
    split: Split | None,
    assets: Path | None,
    backgrounds: list[Path] | None,
    workers: int | None,
) -> None:
    """Sets of several views for the second method."""
    with _needing_people():
        from h2k_rt.data.people.assets import find_assets
        from h2k_rt.data.people.background import list_pictures
        from h2k_rt.data.views.make import RigJob, make_view_sets

        chosen: Literal["train", "holdout"] = "holdout" if split is Split.holdout else "train"
        job = RigJob(count, rig, seed, size, chosen, find_assets(assets), list_pictures(backgrounds or ()))
        with counting("drawing people") as progress:
            made = make_view_sets(output, job, workers=workers or _cores(), progress=progress)
    _tell_made(output, made, count)


def _recipe(path: Path | None, given: dict[str, Any], maps: str | None) -> PeopleRecipe:
    """The options given, or the recipe's; never a mixture, which would be a set that the recipe does not name."""
    from h2k_rt.data.recipe import PeopleRecipe

    given = {name: value for name, value in given.items() if value is not None}
    if path is None:
        if "count" not in given:
            raise typer.BadParameter("say how many samples to make: --count, or a --recipe")
        return PeopleRecipe(**given, maps=_maps(maps))
    if given or maps is not None:
        named = ", ".join(f"--{name}" for name in (*given, *(["maps"] if maps is not None else [])))
        raise typer.BadParameter(f"{named} cannot be given together with --recipe, which says it")
    return PeopleRecipe.load(path)


def _maps(text: str | None) -> tuple[str, ...]:
    from h2k_rt.data.dataset import MAP_NAMES, check_maps

    if text is None or text == _EVERY_MAP:
        return MAP_NAMES
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    check_maps(names)
    return tuple(name for name in MAP_NAMES if name in names)


def _check_layout(layout: Layout, maps: str | None, mesh: bool | None) -> None:
    if layout is Layout.published and (maps is not None or mesh):
        raise typer.BadParameter("--layout 2k2k has its own files: leave out --maps and --mesh")


def _random_views(text: str) -> int | None:
    if text == "published":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise typer.BadParameter("--views is published, or a number from 1 to 1000")
    return int(text)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _needing_people() -> Iterator[None]:
    """A package that is not there is told with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "h2k_rt":
            raise
        raise MissingPackageError(f'{error.name} is not installed; run: pip install "h2k-rt[people]"') from error


def _tell_made(output: Path, made: int, count: int) -> None:
    before = f", {count - made} were there" if made < count else ""
    tell(f"{output}: {made} samples made{before}")


def _tell_report(report: Report, sheet: Path | None) -> None:
    """The report for people: what is wrong first, then what is worth knowing."""
    for fault in report.faults:
        tell(f"{fault.id + ': ' if fault.id else ''}{fault.what}", error=True)
    of = "" if report.expected is None else f" of {report.expected}"
    bad = len({fault.id for fault in report.faults if fault.id})
    tell(f"samples     {report.present}{of}, {bad} with faults")
    for name, (low, high) in report.ranges.items():
        tell(f"{name:<12}{low:g} to {high:g}")
    if report.incomplete:
        tell("not there   " + ", ".join(f"{name} in {number}" for name, number in sorted(report.incomplete.items())))
    for id, reason in report.parts:
        tell(f"{id}: no transform of the {reason}")
    if sheet is not None:
        tell(f"sheet       {sheet}")
