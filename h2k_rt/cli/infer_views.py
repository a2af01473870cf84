"""``h2k-rt infer-views``: several photos of one person to one mesh."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from h2k_rt.cli.common import Debug, reporting, stdout_for_results, tell
from h2k_rt.cli.infer import Device, Engine, EngineKind, Faces, MeshFormat, OnDevice, Precision, Threads

if TYPE_CHECKING:
    from h2k_rt.cli.results import Batch
    from h2k_rt.photo import Photo
    from h2k_rt.views.cameras import CalibratedCamera
    from h2k_rt.views.reconstruct import ViewReconstruction


class Resolution(str, Enum):
    """Cells along a side of the cube around the person."""

    r128 = "128"
    r256 = "256"
    r512 = "512"


def _height(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and 0.1 <= value <= 10):
        raise typer.BadParameter("a person's height is between 0.1 and 10 metres")
    return value


def infer_views(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="1 to 16 photos of one person, or their folder.")],
    cameras: Annotated[
        Path | None,
        typer.Option("--cameras", metavar="FILE", help="JSON, a folder with COLMAP's text model, or one of *.cal matrices."),
    ] = None,
    turntable: Annotated[
        int | None,
        typer.Option(
            "--turntable",
            metavar="K",
            help="Instead of --cameras: K photos at equal angles, the second from the person's left; -K: from the right.",
        ),
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option("--fov", metavar="DEGREES", min=1, max=150, help="Of --turntable: along a photo's longer side; else EXIF's."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")] = Path("out"),
    name: Annotated[str, typer.Option("--name", help="Stem of the results' files.")] = "person",
    model: Annotated[
        str, typer.Option("--model", "-m", help="A bundle's name or path; hull: the visual hull of the masks, without networks.")
    ] = "views-small",
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="DIR", help="Folder of <photo>.png or <photo>_mask.png; else they are found.")
    ] = None,
    formats: Annotated[
        list[MeshFormat] | None, typer.Option("--format", "-f", help="File format, glb if not given; may be given more than once.")
    ] = None,
    height: Annotated[
        float | None,
        typer.Option("--height", metavar="METRES", callback=_height, help="The person's height; else the cameras' unit is metres."),
    ] = None,
    resolution: Annotated[Resolution, typer.Option("--resolution", help="Cells of the cube's side.")] = Resolution.r256,
    dense: Annotated[bool, typer.Option("--dense", help="Evaluate the whole grid, not coarse to fine.")] = False,
    faces: Faces = None,
    preview: Annotated[bool, typer.Option("--preview/--no-preview", help="Write <name>_preview.png.")] = True,
    engine: Engine = EngineKind.auto,
    device: OnDevice = Device.auto,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Of the networks on a GPU; auto is fp16 where the model has it.")
    ] = Precision.auto,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results and timings per stage as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Make one 3D mesh of the person that all photos show. Needs: pip install "h2k-rt\\[cpu,views]"."""
    with reporting(debug):
        if (cameras is None) == (turntable is None):
            raise typer.BadParameter("say where the cameras stand: either --cameras or --turntable")
        if Path(name).name != name or name in ("", ".", ".."):
            raise typer.BadParameter("--name is the stem of a file, without folders")
        from h2k_rt.cli.batch import removing_empty
        from h2k_rt.cli.progress import BatchProgress
        from h2k_rt.cli.results import Batch, tell_json, tell_results
        from h2k_rt.cli.stages import Job, Settings, planned_files, prepare_folder

        wanted = tuple(dict.fromkeys(f.value for f in formats or [MeshFormat.glb]))
        settings = Settings(output=output, formats=wanted, preview=preview)
        batch = Batch()
        with stdout_for_results(), BatchProgress(1) as progress, removing_empty(batch.made):
            from h2k_rt.photo import find_photos
            from h2k_rt.stopwatch import Stopwatch

            paths = _without_masks(find_photos(photos), photos)
            files = planned_files(Job(paths[0], name), settings, {path.resolve() for path in paths})
            prepare_folder(output, batch.made)
            progress.photo(name)
            watch = Stopwatch(progress.stage)
            with watch("read files"):
                shots, calibrated, outlines = _read(paths, cameras, masks)
            with watch("load model"):
                from h2k_rt.views.reconstruct import ViewReconstructor

                reconstructor = ViewReconstructor(
                    model, engine.value, device=device.value, precision=precision.value, threads=threads
                )
            made = reconstructor.reconstruct(
                shots,
                calibrated,
                turntable=turntable,
                fov=fov,
                masks=outlines,
                height=height,
                resolution=int(resolution.value),
                dense=dense,
                faces=faces,
                progress=progress.stage,
            )
            with watch("write files"):
                for path in files[0]:
                    made.save(path)
                if files[1] is not None:
                    from h2k_rt.output.preview import write_preview

                    write_preview(files[1], made.preview())
            progress.photo_done(complete=True)
        _keep_result(batch, paths, [*files[0], *([files[1]] if files[1] else [])], watch.seconds, made)
        for note in made.notes:
            tell(f"{name}: note: {note}", error=True)
        if as_json:
            tell_json(batch, model)
        else:
            tell_results(batch)


def _without_masks(paths: list[Path], given: list[Path]) -> list[Path]:
    """Photos of folders, without the masks that lie beside them; files that were named are all taken."""
    named = {path.resolve() for path in given}
    stems = {path.stem for path in paths}
    return [p for p in paths if p.resolve() in named or not (p.stem.endswith("_mask") and p.stem.removesuffix("_mask") in stems)]


def _read(
    paths: list[Path], cameras: Path | None, masks: Path | None
) -> tuple[list[Photo], list[CalibratedCamera] | None, list | None]:
    """Photos, their cameras and their masks, each where given."""
    from h2k_rt.errors import MaskError
    from h2k_rt.photo import load_mask, load_photo
    from h2k_rt.views.camera_files import load_cameras, match_cameras

    shots = [load_photo(path) for path in paths]
    sizes = [(shot.rgb.shape[1], shot.rgb.shape[0]) for shot in shots]
    calibrated = None if cameras is None else match_cameras(load_cameras(cameras, sizes[0]), paths)
    if masks is None:
        return shots, calibrated, None
    outlines = []
    for path, (width, height) in zip(paths, sizes, strict=True):
        found = [file for file in (masks / f"{path.stem}_mask.png", masks / f"{path.stem}.png") if file.is_file()]
        if not found or found[0].resolve() == path.resolve():
            raise MaskError(f"{path}: there is no mask {masks / path.stem}_mask.png or {masks / path.stem}.png")
        outlines.append(load_mask(found[0], (height, width)))
    return shots, calibrated, outlines


def _keep_result(batch: Batch, paths: list[Path], files: list[Path], seconds: dict[str, float], made: ViewReconstruction) -> None:
    from h2k_rt.cli.results import Result

    first = {stage: seconds[stage] for stage in ("read files", "load model")}
    batch.results.append(
        Result(
            photo=", ".join(map(str, paths)),
            files=tuple(map(str, files)),
            timings={**first, **made.timings, "write files": seconds["write files"]},
            people_found=1,
            person=1,
            vertices=len(made.mesh.vertices),
            faces=len(made.mesh.faces),
            notes=made.notes,
            providers=made.providers,
            engine=made.engine,
        )
    )
