"""From a photo to a mesh: the whole pipeline on one screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from h2k_engines import Engine, EngineFailure
from numpy.typing import NDArray

from h2k_rt.bundle import Bundle
from h2k_rt.camera import PhotoCamera, photo_camera
from h2k_rt.constants import PUBLISHED_WORLD_SCALE, Method
from h2k_rt.engines import Device, EngineName, Precision, in_words, open_engines, place
from h2k_rt.errors import BundleError, EngineError, MaskError
from h2k_rt.framing import Framing, frame_person, pad_framing, pad_square
from h2k_rt.inference import CanvasMaps, run_networks
from h2k_rt.joints import normalise_published, pad_joints
from h2k_rt.parts import PartTransforms, fit_parts, fit_parts_published
from h2k_rt.person import Person, PersonFinder
from h2k_rt.photo import Photo
from h2k_rt.picture import hard_mask, prepare_picture
from h2k_rt.stopwatch import Stopwatch
from h2k_rt.surface.build import MeshKind, Surface, make_surface
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.placement import Placement

if TYPE_CHECKING:
    from h2k_rt.device.pipeline import DevicePipeline

#: Share of the outline that may be filled in without a word.
NOTABLE_FILL = 0.02


@dataclass(frozen=True)
class Canvas:
    """The framed photo: what the networks see. N = 2048.

    Attributes:
        rgb: (N, N, 3) uint8 sRGB, with background.
        mask: (N, N) uint8, 255 = person.
        joints: (31, 3) canvas pixels, confidence.
        transforms: of the twelve parts.
        framing: photo -> canvas.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    joints: NDArray[np.float64]
    transforms: PartTransforms
    framing: Framing


@dataclass(frozen=True)
class Reconstruction:
    """One reconstructed person.

    Attributes:
        mesh: metres, y up, facing +z, feet at y = 0.
        canvas, maps, surface: what it was made from.
        placement: scan units (camera at (0, 0, 1), looking to -z) -> metres.
        camera: the photo's pinhole camera in the mesh's coordinates.
        timings: seconds of each stage, in order.
        notes: sentences for the user: parts that fell back, a cut-off person.
        people_found, person_number: how many the finder saw and which one this is, counted from 1.
        providers: what ran each network.
        engine: the same in words, with the reason why no better one did.
    """

    photo: Photo
    mesh: Mesh
    canvas: Canvas
    maps: CanvasMaps
    surface: Surface
    placement: Placement
    camera: PhotoCamera
    timings: dict[str, float]
    notes: list[str]
    people_found: int
    person_number: int
    providers: dict[str, str] = field(default_factory=dict)
    engine: str = ""

    def save(self, path: str | Path) -> None:
        """Write the mesh; the suffix chooses the format: .glb, .obj or .ply.

        Raises:
            OutputError: the file cannot be written; nothing half-written stays.
        """
        from h2k_rt.output import write_mesh

        write_mesh(self.mesh, Path(path), camera=self.camera.gltf_camera(), extras=self.camera.as_dict())

    def preview(self) -> NDArray[np.uint8]:
        """One picture of photo, mask, joints, normals, depth and the mesh from four sides: (H, W, 3) uint8."""
        from h2k_rt.output.preview import preview

        depth = self.surface.depth
        return preview(self.canvas.rgb, self.canvas.mask, self.canvas.joints, self.maps.normals, depth.front, depth.back, self.mesh)

    def save_maps(self, folder: str | Path, stem: str) -> list[Path]:
        """Write normals and depth as PNG and NPZ; returns the files."""
        from h2k_rt.output.maps import write_maps

        depth = self.surface.depth
        return write_maps(Path(folder), stem, self.maps.normals, depth.front, depth.back, depth.mask)


class Reconstructor:
    """Photos to meshes with one model, loaded once.

    Args:
        model: name of a bundle that is installed, or path of one (folder or .zip).
        engine: what runs the networks, see :func:`h2k_rt.engines.resolve`; on the CPU "torch" needs a bundle with weights.
        device: where they run; "cuda" is the first NVIDIA GPU, "auto" is that too if engines of the model are built, else the CPU.
        precision: of the networks on a GPU; "auto" is FP16 where the bundle has it, but for the trunk. The CPU takes FP32.
        threads: cores to use; None: all.
        parity: reproduce the published program, defects included, for comparison; on the CPU only.
        engines: networks to use in place of the bundle's, by name; on the CPU only.

    Raises:
        BundleError, EngineError: the model cannot be loaded, or there is no such device.
        MissingPackageError: a package that the device needs is not installed.
    """

    def __init__(
        self,
        model: str | Path = "small",
        engine: EngineName = "auto",
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
        parity: bool = False,
        engines: Mapping[str, Engine] | None = None,
    ) -> None:
        self.bundle = Bundle.open(model)
        self.method: Method = self.bundle.settings()
        if parity:
            self.method = replace(self.method, world_scale=PUBLISHED_WORLD_SCALE)
        self.parity = parity
        self.threads = threads
        self.engines: dict[str, Engine] = {}
        self.pipeline: DevicePipeline | None = None
        if self.bundle.method != "2k2k":
            raise BundleError(
                f"bundle {self.bundle.name} is for several photos (method {self.bundle.method}); use h2k-rt infer-views"
            )
        of_the_cpu = "given networks run on the CPU" if parity or engines else None
        engine, where, self.why_not_gpu = place(self.bundle, engine, device, of_the_cpu)
        if where == "cuda":
            if parity or engines:
                raise EngineError(f"{'parity mode runs' if parity else 'given engines run'} on the CPU only; use --device cpu")
            from h2k_rt.device.pipeline import open_pipeline

            self.pipeline = open_pipeline(self.bundle, engine, precision)
        else:
            self.engines = dict(engines or open_engines(self.bundle, engine, threads))
        self.finder = PersonFinder(threads)

    def reconstruct(
        self,
        photo: Photo,
        *,
        joints: NDArray[np.float64] | None = None,
        mask: NDArray[np.uint8] | None = None,
        person: int | None = None,
        mesh: MeshKind = "grid",
        height: float = 1.70,
        faces: int | None = None,
        poisson_depth: int = 10,
        seams: bool = False,
        subject: Subject | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Reconstruction:
        """Make the mesh of one person.

        Args:
            joints: (31, 3) photo pixels instead of the finder's; (0, 0, 0) is missing.
            mask: (H, W) uint8 instead of the finder's, 255 = person.
            person: which of several, 1 = largest; None: the largest.
            mesh: "grid" (closed, fast), "poisson" (the paper's way, needs open3d) or "points".
            height: of the whole person in metres.
            faces: decimate the mesh to about so many.
            poisson_depth: of the octree of "poisson".
            seams: add the published grey shells that bridge the silhouette to the cloud of "points".
            subject: of :func:`find_subject`, in place of ``joints``, ``mask`` and ``person``: found already, by another thread.
            progress: called with each stage's name when it starts.

        Raises:
            PersonError: nobody there, or not enough of them.
        """
        watch = Stopwatch(progress)
        if subject is None:
            with watch("find person"):
                subject = find_subject(self.finder, photo, joints, mask, person)
        surface: Surface | None = None
        if self.pipeline is None:
            canvas, maps = self._on_cpu(photo, subject, watch)
        else:
            canvas, maps, surface = self._on_device(photo, subject, watch, with_mesh=mesh == "grid")
        with watch("surface"):
            surface = (
                surface.simplified(faces)
                if surface is not None
                else make_surface(
                    maps.depth,
                    canvas.rgb,
                    canvas.mask,
                    canvas.joints,
                    self.method,
                    kind=mesh,
                    parity=self.parity,
                    faces=faces,
                    poisson_depth=poisson_depth,
                    seams=seams,
                )
            )
            framing = canvas.framing
            placed, placement = surface.place(height * framing.height_share, floor=height * framing.hidden_below)
        notes = list(canvas.framing.notes)
        notes += self.pipeline.take_notes() if self.pipeline is not None else []
        notes += [f"{problem}; its low-resolution normals were used" for problem in canvas.transforms.problems if problem]
        if surface.depth.filled > NOTABLE_FILL:
            notes.append(f"{100 * surface.depth.filled:.0f} % of the person's outline was missed by the networks and filled in")
        return Reconstruction(
            photo=photo,
            mesh=placed,
            canvas=canvas,
            maps=maps,
            surface=surface,
            placement=placement,
            camera=photo_camera(canvas.framing, placement, self.method, photo.rgb.shape[:2]),
            timings=watch.seconds,
            notes=notes,
            people_found=subject.found,
            person_number=subject.number,
            providers=self.providers,
            engine=self.engine,
        )

    @property
    def providers(self) -> dict[str, str]:
        """What runs each network."""
        if self.pipeline is not None:
            return self.pipeline.providers
        return {name: engine.provider for name, engine in self.engines.items()}

    @property
    def engine(self) -> str:
        """What runs the networks, in words; on the CPU also why not a GPU, unless the CPU was asked for."""
        return in_words(self.providers, self.why_not_gpu)

    def _on_cpu(self, photo: Photo, subject: Subject, watch: Stopwatch) -> tuple[Canvas, CanvasMaps]:
        """Canvas and networks on the CPU."""
        with watch("frame"):
            canvas = self._frame(photo, subject.joints, subject.mask)
            shown = hard_mask(canvas.mask) if self.parity else canvas.mask
            picture = prepare_picture(canvas.rgb, shown, self.method.colour_factors, self.method.background_value)
        try:
            maps = run_networks(
                self.engines,
                picture,
                canvas.transforms,
                self.method,
                person=None if self.parity else canvas.mask,
                threads=self.threads,
                watch=watch,
            )
        except EngineFailure as error:
            raise EngineError(f"model {self.bundle.name}: {error}") from error
        return canvas, maps

    def _on_device(
        self, photo: Photo, subject: Subject, watch: Stopwatch, with_mesh: bool
    ) -> tuple[Canvas, CanvasMaps, Surface | None]:
        """Canvas, networks and grid mesh on the GPU; the host only works out where the person is placed."""
        from h2k_rt.device.job import Job

        assert self.pipeline is not None
        with watch("frame"):
            framing = frame_person(subject.mask, subject.joints, self.method)
            on_canvas = framing.joints(subject.joints)
            transforms = fit_parts(on_canvas, self.method.size)
            job = Job.of(photo.rgb, subject.mask, framing, transforms)
        with watch("GPU"):
            result = self.pipeline.reconstruct(job, on_canvas) if with_mesh else self.pipeline.run(job)
        return Canvas(result.rgb, result.mask, on_canvas, transforms, framing), result.maps, result.surface

    def _frame(self, photo: Photo, joints: NDArray[np.float64], mask: NDArray[np.uint8]) -> Canvas:
        """Photo, mask and joints on the canvas, and the parts' transforms there."""
        size = self.method.size
        if self.parity:
            height, width = mask.shape
            framing = pad_framing(height, width, size)
            on_canvas = pad_joints(joints, height, width, size)
            transforms = fit_parts_published(normalise_published(on_canvas, size))
            rgb, flat = pad_square(photo.rgb, size), pad_square(mask, size)
            return Canvas(rgb, flat, on_canvas, transforms, framing)
        framing = frame_person(mask, joints, self.method)
        on_canvas = framing.joints(joints)
        return Canvas(
            framing.image(photo.rgb, border=cv2.BORDER_REPLICATE),
            framing.image(mask, border=cv2.BORDER_CONSTANT),
            on_canvas,
            fit_parts(on_canvas, size),
            framing,
        )


@dataclass(frozen=True)
class Subject:
    """Who is to be reconstructed: joints (31, 3) and mask (H, W) in the photo, how many people, which number."""

    joints: NDArray[np.float64]
    mask: NDArray[np.uint8]
    found: int
    number: int


def find_subject(
    finder: PersonFinder,
    photo: Photo,
    joints: NDArray[np.float64] | None = None,
    mask: NDArray[np.uint8] | None = None,
    person: int | None = None,
) -> Subject:
    """The person to reconstruct: what was given, the rest from the finder; arguments as :meth:`Reconstructor.reconstruct`.

    Raises:
        PersonError: nobody there, or not enough of them.
        MaskError: the mask has another size than the photo.
    """
    shape = photo.rgb.shape[:2]
    if mask is not None and mask.shape != shape:
        raise MaskError(f"{photo.name}: the mask is {mask.shape[1]} x {mask.shape[0]} pixels, the photo {shape[1]} x {shape[0]}")
    if joints is not None and mask is not None:
        return Subject(joints, mask, 1, 1)
    people = finder.find(photo.rgb)
    if joints is None:
        number = person or (1 if mask is None else _overlapping(people, mask))
        chosen = finder.pick(people, number)
        return Subject(chosen.joints, chosen.mask if mask is None else mask, len(people), number)
    # The joints say who is meant.
    number = person or 1 + int(np.argmin([_distance(joints, candidate.joints) for candidate in people]))
    return Subject(joints, finder.pick(people, number).mask, len(people), number)


def _overlapping(people: Sequence[Person], mask: NDArray[np.uint8]) -> int:
    """Number of the person whose mask shares most pixels with the given one."""
    return 1 + int(np.argmax([int(((person.mask > 127) & (mask > 127)).sum()) for person in people]))


def _distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Mean distance in pixels of the body joints that both have."""
    both = (one[:17, 2] > 0) & (other[:17, 2] > 0)
    return float(np.hypot(*(one[:17, :2] - other[:17, :2])[both].T).mean()) if both.any() else np.inf
