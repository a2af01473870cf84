"""A batch of photos: one after the other, a bad one does not stop the rest."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from h2k_rt.cli.common import exit_code, sentence, show, stdout_for_results, tell
from h2k_rt.cli.progress import BatchProgress
from h2k_rt.cli.results import Batch, Failure, Result, tell_json, tell_results
from h2k_rt.errors import BundleError, EngineError, OutputError
from h2k_rt.stopwatch import Stopwatch

if TYPE_CHECKING:
    from h2k_rt.reconstruct import Reconstruction, Reconstructor

#: After these the next photo would fail as well.
_STOPS = (BundleError, EngineError, OutputError)


@dataclass(frozen=True)
class Settings:
    """What ``h2k-rt infer`` was asked for, apart from the photos."""

    output: Path
    model: str = "small"
    person: int | None = None
    mesh: Literal["grid", "poisson", "points"] = "grid"
    formats: tuple[str, ...] = ("glb",)
    height: float = 1.70
    faces: int | None = None
    poisson_depth: int = 10
    seams: bool = False
    preview: bool = True
    save_maps: bool = False
    engine: Literal["auto", "onnxruntime", "torch"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp16", "fp32"] = "auto"
    threads: int | None = None
    parity: bool = False


@dataclass(frozen=True)
class Job:
    """One photo with the files that go with it, and the stem of its outputs."""

    photo: Path
    stem: str
    keypoints: Path | None = None
    mask: Path | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.photo, self.keypoints, self.mask) if path is not None)


def make_jobs(paths: Sequence[Path], keypoints: Path | None, mask: Path | None) -> list[Job]:
    """Find the photos and what belongs to each.

    Raises:
        PhotoError: a folder holds no photos.
        typer.BadParameter: several photos but a single keypoint or mask file.
    """
    from h2k_rt.photo import find_photos

    photos = find_photos(paths)
    for option, file in (("--keypoints", keypoints), ("--mask", mask)):
        if file is not None and len(photos) > 1 and not file.is_dir():
            raise typer.BadParameter("one file cannot serve several photos; give the folder of their files", param_hint=option)

    def beside(folder: Path | None, name: str) -> Path | None:
        return folder / name if folder is not None and folder.is_dir() else folder

    return [
        Job(photo, stem, beside(keypoints, f"{photo.stem}_keypoints.json"), beside(mask, f"{photo.stem}.png"))
        for photo, stem in zip(photos, output_stems(photos), strict=True)
    ]


def output_stems(photos: Sequence[Path]) -> list[str]:
    """A stem for each photo's outputs: the photo's own, numbered where two photos share one (in any spelling of case)."""
    taken = {photo.stem.casefold() for photo in photos}
    first_uses: set[str] = set()
    stems = []
    for photo in photos:
        stem, number = photo.stem, 2
        if stem.casefold() in first_uses:
            while f"{stem}_{number}".casefold() in taken:
                number += 1
            stem = f"{stem}_{number}"
            taken.add(stem.casefold())
        first_uses.add(stem.casefold())
        stems.append(stem)
    return stems


def run_batch(jobs: Sequence[Job], settings: Settings, *, as_json: bool = False, debug: bool = False) -> int:
    """Reconstruct every photo, tell the results, return the exit code: that of the first failure, or 0."""
    batch, inputs = Batch(), {path.resolve() for job in jobs for path in job.inputs}

    @cache
    def reconstructor() -> Reconstructor:  # made when the first photo was found to be good
        from h2k_rt.reconstruct import Reconstructor

        return Reconstructor(
            settings.model,
            settings.engine,
            device=settings.device,
            precision=settings.precision,
            threads=settings.threads,
            parity=settings.parity,
        )

    with stdout_for_results(), BatchProgress(len(jobs)) as progress, _removing_empty(batch.made):
        for job in jobs:
            progress.photo(job.photo.name)
            try:
                result = _run(job, settings, reconstructor, inputs, batch.made, progress.stage)
            except Exception as error:  # told at once and again at the end; the next photo may be fine
                named = job.photo.name in str(error) or (len(jobs) == 1 and isinstance(error, _STOPS))
                message = sentence(error) if named else f"{job.photo}: {sentence(error)}"
                batch.failures.append(Failure(str(job.photo), type(error).__name__, message, exit_code(error)))
                show(error, debug, message)
                if isinstance(error, _STOPS):
                    break
            else:
                batch.results.append(result)
                for note in result.notes:
                    tell(f"{job.photo.name}: note: {note}", error=True)
            progress.photo_done(complete=len(batch.results) > 0)
    if as_json:
        tell_json(batch, settings.model)
    else:
        tell_results(batch)
    if batch.failures and len(jobs) > 1:
        done, names = len(batch.results), ", ".join(failure.photo for failure in batch.failures)
        left = len(jobs) - done - len(batch.failures)
        tell(f"{done} of {len(jobs)} photos done{f', {left} not tried' if left else ''}; failed: {names}", error=True)
    return batch.failures[0].exit_code if batch.failures else 0


def _run(
    job: Job,
    settings: Settings,
    reconstructor: Callable[[], Reconstructor],
    inputs: set[Path],
    made: list[Path],
    progress: Callable[[str], None],
) -> Result:
    """One photo from file to files."""
    from h2k_rt.joints import check_joints_fit, load_openpose
    from h2k_rt.photo import load_mask, load_photo

    before, after = Stopwatch(progress), Stopwatch(progress)
    with before("read files"):
        photo = load_photo(job.photo)
        height, width = photo.rgb.shape[:2]
        joints = mask = None
        if job.keypoints is not None:
            joints = load_openpose(job.keypoints, (settings.person or 1) - 1)
            check_joints_fit(joints, height, width, str(job.keypoints))
        if job.mask is not None:
            mask = load_mask(job.mask, (height, width))
    meshes, preview = _planned_files(job, settings, inputs)
    _prepare_folder(settings.output, made)
    with before("load model"):
        engines = reconstructor()
    reconstruction = engines.reconstruct(
        photo,
        joints=joints,
        mask=mask,
        person=settings.person if joints is None else None,
        mesh=settings.mesh,
        height=settings.height,
        faces=settings.faces,
        poisson_depth=settings.poisson_depth,
        seams=settings.seams,
        progress=progress,
    )
    with after("write files"):
        files = _write(reconstruction, meshes, preview, job, settings)
    mesh = reconstruction.mesh
    return Result(
        photo=str(job.photo),
        files=tuple(map(str, files)),
        timings={**before.seconds, **reconstruction.timings, **after.seconds},
        people_found=reconstruction.people_found,
        person=reconstruction.person_number,
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        notes=reconstruction.notes,
        providers=reconstruction.providers,
    )


def _planned_files(job: Job, settings: Settings, inputs: set[Path]) -> tuple[list[Path], Path | None]:
    """The meshes, and the preview if one is wanted.

    Raises:
        OutputError: one of them is a photo, keypoint file or mask of this batch.
    """
    meshes = [settings.output / f"{job.stem}.{suffix}" for suffix in settings.formats]
    preview = settings.output / f"{job.stem}_preview.png" if settings.preview else None
    for path in (*meshes, preview):
        if path is not None and path.resolve() in inputs:
            raise OutputError(f"{path}: this output would replace an input file; choose another folder with --output")
    return meshes, preview


def _write(reconstruction: Reconstruction, meshes: list[Path], preview: Path | None, job: Job, settings: Settings) -> list[Path]:
    """Every file is written under another name and then renamed, so none is ever half there."""
    files = list(meshes)
    for path in meshes:
        reconstruction.save(path)
    if preview is not None:
        from h2k_rt.output.preview import write_preview

        write_preview(preview, reconstruction.preview())
        files.append(preview)
    return files + (reconstruction.save_maps(settings.output, job.stem) if settings.save_maps else [])


def _prepare_folder(folder: Path, made: list[Path]) -> None:
    """Make the output folder and find out now, not after a minute of work, whether files can be made in it."""
    try:
        made += [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: the output folder cannot be written ({error.strerror}); choose another with --output"
        ) from error


@contextlib.contextmanager
def _removing_empty(made: list[Path]) -> Any:
    """Whatever happens, folders that were made and stayed empty go again; ``made`` is deepest first."""
    try:
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # not empty, or never made
                folder.rmdir()
