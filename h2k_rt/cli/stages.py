"""One photo of a batch, stage by stage: read, reconstruct, write. The stages may run on different threads."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from h2k_rt.cli.results import Result
from h2k_rt.errors import OutputError
from h2k_rt.stopwatch import Stopwatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from h2k_rt.engines import EngineName
    from h2k_rt.person import PersonFinder
    from h2k_rt.photo import Photo
    from h2k_rt.reconstruct import Reconstruction, Reconstructor, Subject


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
    engine: EngineName = "auto"
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


@dataclass
class Loaded:
    """A photo that was read.

    Attributes:
        meshes, preview: the files to be written.
        subject: the person, where the finder has run already.
        seconds: of the stages so far.
    """

    job: Job
    photo: Photo
    joints: NDArray[np.float64] | None
    mask: NDArray[np.uint8] | None
    meshes: list[Path]
    preview: Path | None
    subject: Subject | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class Made:
    """A photo that was reconstructed."""

    loaded: Loaded
    reconstruction: Reconstruction


class PhotoStages:
    """The stages of every photo of a batch.

    Args:
        reconstructor: makes it at the first call; called by ``reconstruct`` alone.
        inputs: all files that are read: no output may replace one.
        made: gets the folders that are made, deepest first.
        progress: called with each stage's name when it starts.
        overlapped: photos are read and written by other threads: progress is told of ``reconstruct`` alone.
    """

    def __init__(
        self,
        settings: Settings,
        reconstructor: Callable[[], Reconstructor],
        inputs: set[Path],
        made: list[Path],
        progress: Callable[[str], None],
        overlapped: bool = False,
    ) -> None:
        self._settings, self._reconstructor, self._inputs, self._made = settings, reconstructor, inputs, made
        self._progress = progress
        self._beside = None if overlapped else progress
        self._folders, self._finding = threading.Lock(), threading.Lock()
        self._own_finder: PersonFinder | None = None

    def read(self, job: Job) -> Loaded:
        """Read a photo's files, and find out whether its outputs can be written.

        Raises:
            PhotoError, KeypointsError, MaskError, OutputError: a file cannot be read, or an output not be written.
        """
        from h2k_rt.joints import check_joints_fit, load_openpose
        from h2k_rt.photo import load_mask, load_photo

        watch = Stopwatch(self._beside)
        with watch("read files"):
            photo = load_photo(job.photo)
            height, width = photo.rgb.shape[:2]
            joints = mask = None
            if job.keypoints is not None:
                joints = load_openpose(job.keypoints, (self._settings.person or 1) - 1)
                check_joints_fit(joints, height, width, str(job.keypoints))
            if job.mask is not None:
                mask = load_mask(job.mask, (height, width))
        meshes, preview = planned_files(job, self._settings, self._inputs)
        with self._folders:
            prepare_folder(self._settings.output, self._made)
        return Loaded(job, photo, joints, mask, meshes, preview, seconds=watch.seconds)

    def read_and_find(self, job: Job) -> Loaded:
        """The same, and find the person: what can be done ahead while the GPU works on another photo.

        Raises:
            PersonError: nobody there; and as :meth:`read`.
        """
        from h2k_rt.person import PersonFinder
        from h2k_rt.reconstruct import find_subject

        loaded = self.read(job)
        watch = Stopwatch(self._beside)
        with self._finding, watch("find person"):
            self._own_finder = self._own_finder or PersonFinder(self._settings.threads)
            number = self._settings.person if loaded.joints is None else None
            loaded.subject = find_subject(self._own_finder, loaded.photo, loaded.joints, loaded.mask, number)
        loaded.seconds |= watch.seconds
        return loaded

    def reconstruct(self, loaded: Loaded) -> Made:
        """Make the mesh.

        Raises:
            H2KError: as ``Reconstructor`` and its ``reconstruct``.
        """
        watch, settings = Stopwatch(self._progress), self._settings
        with watch("load model"):
            engines = self._reconstructor()
        loaded.seconds |= watch.seconds
        reconstruction = engines.reconstruct(
            loaded.photo,
            joints=loaded.joints,
            mask=loaded.mask,
            person=settings.person if loaded.joints is None else None,
            mesh=settings.mesh,
            height=settings.height,
            faces=settings.faces,
            poisson_depth=settings.poisson_depth,
            seams=settings.seams,
            subject=loaded.subject,
            progress=self._progress,
        )
        return Made(loaded, reconstruction)

    def write(self, made: Made) -> Result:
        """Write the files.

        Raises:
            OutputError: one cannot be written; nothing half-written stays.
        """
        loaded, reconstruction = made.loaded, made.reconstruction
        watch = Stopwatch(self._beside)
        with watch("write files"):
            files = _write_files(reconstruction, loaded.meshes, loaded.preview, loaded.job, self._settings)
        mesh = reconstruction.mesh
        return Result(
            photo=str(loaded.job.photo),
            files=tuple(map(str, files)),
            timings={**loaded.seconds, **reconstruction.timings, **watch.seconds},
            people_found=reconstruction.people_found,
            person=reconstruction.person_number,
            vertices=len(mesh.vertices),
            faces=len(mesh.faces),
            notes=reconstruction.notes,
            providers=reconstruction.providers,
            engine=reconstruction.engine,
        )


def planned_files(job: Job, settings: Settings, inputs: set[Path]) -> tuple[list[Path], Path | None]:
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


def _write_files(
    reconstruction: Reconstruction, meshes: list[Path], preview: Path | None, job: Job, settings: Settings
) -> list[Path]:
    """Every file is written under another name and then renamed, so none is ever half there."""
    files = list(meshes)
    for path in meshes:
        reconstruction.save(path)
    if preview is not None:
        from h2k_rt.output.preview import write_preview

        write_preview(preview, reconstruction.preview())
        files.append(preview)
    return files + (reconstruction.save_maps(settings.output, job.stem) if settings.save_maps else [])


def prepare_folder(folder: Path, made: list[Path]) -> None:
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
