"""A batch of photos: one after the other, a bad one does not stop the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from h2k_rt.cli.common import exit_code, sentence, show, stdout_for_results, tell
from h2k_rt.cli.progress import BatchProgress
from h2k_rt.cli.results import Batch, Failure, Result, tell_json, tell_results
from h2k_rt.cli.stages import Job, Loaded, Made, PhotoStages, Settings
from h2k_rt.errors import BundleError, EngineError, OutputError

if TYPE_CHECKING:
    from h2k_rt.device.batch import Outcome
    from h2k_rt.reconstruct import Reconstructor

#: After these the next photo would fail as well.
_STOPS = (BundleError, EngineError, OutputError)


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

    with stdout_for_results(), BatchProgress(len(jobs)) as progress, removing_empty(batch.made):
        overlapped = on_gpu(settings) and len(jobs) > 1
        stages = PhotoStages(settings, reconstructor, inputs, batch.made, progress.stage, overlapped)
        with contextlib.closing(_outcomes(jobs, stages, progress, overlapped)) as outcomes:
            for outcome in outcomes:
                job, error = outcome.source, outcome.error
                if error is not None:  # told at once and again at the end; the next photo may be fine
                    named = job.photo.name in str(error) or (len(jobs) == 1 and isinstance(error, _STOPS))
                    message = sentence(error) if named else f"{job.photo}: {sentence(error)}"
                    batch.failures.append(Failure(str(job.photo), type(error).__name__, message, exit_code(error)))
                    show(error, debug, message)
                    if isinstance(error, _STOPS):
                        break
                elif outcome.result is not None:
                    batch.results.append(outcome.result)
                    for note in outcome.result.notes:
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


def on_gpu(settings: Settings) -> bool:
    """Whether a GPU was asked for.

    Raises:
        EngineError: engine and device contradict each other.
    """
    from h2k_rt.engines import resolve

    return resolve(settings.engine, settings.device)[1] == "cuda"


def _outcomes(
    jobs: Sequence[Job], stages: PhotoStages, progress: BatchProgress, overlapped: bool
) -> Generator[Outcome[Job, Result], None, None]:
    """Each photo with what became of it. ``overlapped``: other threads read the next photos and write the last ones meanwhile."""
    from h2k_rt.device.batch import Outcome, pipelined

    if overlapped:

        def work(loaded: Loaded) -> Made:
            progress.photo(loaded.job.photo.name)
            return stages.reconstruct(loaded)

        yield from pipelined(jobs, stages.read_and_find, work, stages.write)
        return
    for job in jobs:
        progress.photo(job.photo.name)
        try:
            result = stages.write(stages.reconstruct(stages.read(job)))
        except Exception as error:  # told by the caller
            yield Outcome(job, None, error)
        else:
            yield Outcome(job, result, None)


@contextlib.contextmanager
def removing_empty(made: list[Path]) -> Any:
    """Whatever happens, folders that were made and stayed empty go again; ``made`` is deepest first."""
    try:
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # not empty, or never made
                folder.rmdir()
