"""From several calibrated photos to a mesh: the second method's pipeline on one screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from h2k_engines import Engine
from h2k_engines.onnxruntime_engine import default_threads
from numpy.typing import NDArray

from h2k_rt.bundle import Bundle
from h2k_rt.engines import Device, EngineName, Precision, in_words, open_engines, place, resolve
from h2k_rt.errors import BundleError, CameraError, EngineError
from h2k_rt.person import PersonFinder
from h2k_rt.photo import Photo
from h2k_rt.stopwatch import Stopwatch
from h2k_rt.surface.decimate import decimate
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.placement import DEFAULT_HEIGHT
from h2k_rt.surface.placement import place as place_mesh
from h2k_rt.surface.topology import keep_vertices, pieces, vertex_normals
from h2k_rt.views.cameras import CalibratedCamera
from h2k_rt.views.colours import view_colours
from h2k_rt.views.hull import VisualHull
from h2k_rt.views.network_picture import CARVING_MARGIN, network_view, stacked
from h2k_rt.views.networks import HostNetworks, ViewNetworks, carved
from h2k_rt.views.octree import Occupancy, evaluate_coarse_to_fine, evaluate_dense, make_grid, march
from h2k_rt.views.subject import Cube, check_views, find_cube
from h2k_rt.views.turntable import turntable_cameras

METHOD_NAME = "implicit"
DEFAULT_MODEL = "views-small"
#: With fewer photos the outlines hold space far from the person, in which the networks were hardly trained.
FEW = 3
#: In place of a model: the visual hull of the masks, without any network.
HULL = "hull"
MOST_VIEWS = 16
#: Extents of a person in metres that are believed; of another, the cameras' world has another unit.
_METRIC = (0.5, 2.6)
#: Within so many degrees of an axis of the cameras' world, that axis is up.
_UPRIGHT = 25.0


@dataclass(frozen=True)
class View:
    """A photo as the pipeline takes it: without distortion, with its camera and mask."""

    name: str
    rgb: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    camera: CalibratedCamera


@dataclass(frozen=True)
class ViewReconstruction:
    """One person from several photos.

    Attributes:
        mesh: metres, y up, facing the first photo's camera (+z), feet at y = 0.
        world, world_faces: (V, 3) float64 and (F, 3) int32, the mesh before simplification in the cameras' world.
        views, cube: what it was made from.
        evaluations: points at which the occupancy was evaluated; nodes: of the dense grid.
        timings: seconds of each stage, in order; notes: sentences for the user.
        providers: what ran each network; engine: the same in words, with the reason why no better one did.
    """

    mesh: Mesh
    world: NDArray[np.float64]
    world_faces: NDArray[np.int32]
    views: tuple[View, ...]
    cube: Cube
    evaluations: int
    nodes: int
    timings: dict[str, float]
    notes: list[str]
    providers: dict[str, str] = field(default_factory=dict)
    engine: str = ""

    def save(self, path: str | Path) -> None:
        """Write the mesh; the suffix chooses the format: .glb, .obj or .ply.

        Raises:
            OutputError: the file cannot be written; nothing half-written stays.
        """
        from h2k_rt.output import write_mesh

        write_mesh(self.mesh, Path(path), extras={"photos": [view.name for view in self.views]})

    def preview(self) -> NDArray[np.uint8]:
        """One picture of photos, masks and the mesh from four sides: (H, W, 3) uint8."""
        from h2k_rt.output.preview import views_preview

        return views_preview([(view.name, view.rgb, view.mask) for view in self.views], self.mesh)


class ViewReconstructor:
    """Several photos of a person to a mesh with one model, loaded once.

    Args:
        model: a bundle of the second method, by name or path; "hull": the visual hull of the masks, without a network.
        engine: what runs the networks, see :func:`h2k_rt.engines.resolve`; "torch" runs the bundle's graphs.
        device: where they run; "cuda" is the first NVIDIA GPU, "auto" is that too if engines of the model are built, else the CPU.
        precision: of the networks on a GPU; "auto" is FP16 where the bundle has it. The CPU takes FP32.
        threads: cores to use; None: all.
        engines: networks in place of the bundle's, by name; on the CPU only.
        networks: in place of all of these.

    Raises:
        BundleError, EngineError: the model cannot be loaded, is of the first method, or there is no such device.
        MissingPackageError: a package that the device needs is not installed.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        engine: EngineName = "auto",
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
        engines: Mapping[str, Engine] | None = None,
        networks: ViewNetworks | None = None,
    ) -> None:
        self.model, self.threads = model, threads or default_threads()
        self.why_not_gpu: str | None = None
        self.networks = networks
        if networks is None:
            self._open(engine, device, precision, threads, engines)
        self.finder = PersonFinder(threads)

    def _open(
        self,
        engine: EngineName,
        device: Device,
        precision: Precision,
        threads: int | None,
        engines: Mapping[str, Engine] | None,
    ) -> None:
        if self.model == HULL or engines:
            if resolve(engine, device)[1] == "cuda":
                raise EngineError(
                    f"{'given engines run' if engines else 'the visual hull is made'} on the CPU only; use --device cpu"
                )
            if engines:
                self.networks = HostNetworks(engines, str(self.model), self.threads)
            return
        bundle = _bundle(self.model)
        engine, where, self.why_not_gpu = place(bundle, engine, device)
        if where == "cuda":
            from h2k_rt.device.view_networks import open_view_networks

            self.networks = open_view_networks(bundle, engine, precision)
        else:
            self.networks = HostNetworks(open_engines(bundle, engine, threads), bundle.name, self.threads)

    @property
    def providers(self) -> dict[str, str]:
        """What runs each network."""
        return {} if self.networks is None else self.networks.providers

    @property
    def engine(self) -> str:
        """What runs the networks, in words; on the CPU also why not a GPU, unless the CPU was asked for."""
        return in_words(self.providers, self.why_not_gpu) if self.networks else "none, the visual hull needs no network"

    def reconstruct(
        self,
        photos: Sequence[Photo],
        cameras: Sequence[CalibratedCamera] | None = None,
        *,
        turntable: int | None = None,
        fov: float | None = None,
        masks: Sequence[NDArray[np.uint8]] | None = None,
        height: float | None = None,
        resolution: int = 256,
        dense: bool = False,
        faces: int | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> ViewReconstruction:
        """Make the mesh of the person that all photos show.

        Args:
            cameras: of the photos, in order; without them, ``turntable`` says that the photos go around the person at equal angles
                (see ``turntable.turntable_cameras``), with ``fov`` degrees along the longer side.
            masks: (H, W) uint8 of each photo instead of the finder's, 255 = person.
            height: of the person in metres; None: that of the cameras' world, or 1.70 where its unit cannot be metres.
            resolution: cells along a side of the cube around the person, a power of two.
            dense: evaluate every node of the grid instead of coarse to fine; for comparison.
            faces: simplify the mesh to about so many.
            progress: called with each stage's name when it starts.

        Raises:
            PersonError: nobody in a photo.
            CameraError, MaskError: cameras, masks and photos do not go together.
            EngineError: a network fails.
        """
        watch = Stopwatch(progress)
        if not 1 <= len(photos) <= MOST_VIEWS:
            raise CameraError(f"1 to {MOST_VIEWS} photos make a mesh, {len(photos)} are given")
        if masks is None:
            with watch("find person"):
                masks = [self.finder.pick(self.finder.find(photo.rgb)).mask for photo in photos]
        with watch("cameras"):
            views = _views(photos, masks, cameras, turntable, fov, height)
            cube = find_cube([v.camera for v in views], [v.mask for v in views], height or DEFAULT_HEIGHT)
            if len(views) > 1:
                check_views([v.camera for v in views], [v.mask for v in views], cube)
            notes = _notes(views)
        occupancy, low, high = self._occupancy(views, cube, watch)
        with watch("surface"):
            grid = make_grid(resolution, min(32, resolution), low, high)
            counted = Counted(occupancy)
            field_ = (evaluate_dense if dense else evaluate_coarse_to_fine)(counted, grid)
            points, triangles = _largest_piece(*march(field_, grid))
        with watch("mesh"):
            normals = vertex_normals(points, triangles)
            pictures = [v.rgb for v in views], [v.mask for v in views]
            colours = view_colours(points, normals, [v.camera for v in views], *pictures, cube, self.threads)
            world = points * cube.radius + cube.centre
            upright = upright_axes([v.camera for v in views])
            mesh = Mesh((world @ upright.T).astype(np.float32), triangles, (normals @ upright.T).astype(np.float32), colours)
            mesh = _placed(mesh if faces is None else decimate(mesh, faces), height, notes)
        notes += self.networks.take_notes() if self.networks else []
        made = mesh, world, triangles, tuple(views), cube, counted.points, grid.size, watch.seconds, notes
        return ViewReconstruction(*made, self.providers, self.engine)

    def _occupancy(
        self, views: Sequence[View], cube: Cube, watch: Stopwatch
    ) -> tuple[Occupancy, NDArray[np.float64], NDArray[np.float64]]:
        """The function to be evaluated, and the box in which it can be above 0."""
        cameras, masks = [v.camera for v in views], [v.mask for v in views]
        threads = self.threads
        with watch("hull"):
            hull = VisualHull(cameras, masks, cube, threads=threads, margin=0 if self.networks is None else CARVING_MARGIN)
            low, high = hull.box()
        if self.networks is None:
            return hull, low, high
        with watch("encode"):
            size = self.networks.picture_size
            pictures, projections = stacked([network_view(v.camera, v.rgb, v.mask, cube, size) for v in views])
            function = self.networks.encode(pictures, projections)
        return carved(function, hull), low, high


class Counted:
    """An occupancy function that counts its points."""

    def __init__(self, function: Occupancy) -> None:
        self._function, self.points = function, 0

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        self.points += len(points)
        return self._function(points)


def _bundle(model: str | Path) -> Bundle:
    bundle = Bundle.open(model)
    if bundle.method != METHOD_NAME:
        raise BundleError(
            f"bundle {bundle.name} is for single photos (method {bundle.method}); infer-views needs one of method {METHOD_NAME}, "
            f"or --model {HULL}"
        )
    return bundle


def _views(
    photos: Sequence[Photo],
    masks: Sequence[NDArray[np.uint8]],
    cameras: Sequence[CalibratedCamera] | None,
    turntable: int | None,
    fov: float | None,
    height: float | None,
) -> list[View]:
    """Photos, masks and cameras together, distortion taken out."""
    names = [photo.name for photo in photos]
    if cameras is None:
        if turntable is None:
            raise CameraError("photos need cameras: give their file, or say that they go around the person (turntable)")
        focals = [photo.focal_35mm for photo in photos]
        cameras = turntable_cameras(names, masks, turntable, height=height or DEFAULT_HEIGHT, fov=fov, focals_35mm=focals)
    if not len(cameras) == len(photos) == len(masks):
        raise CameraError(f"{len(photos)} photos, {len(cameras)} cameras and {len(masks)} masks do not go together")
    views = []
    for photo, mask, camera in zip(photos, masks, cameras, strict=True):
        rows, columns = photo.rgb.shape[:2]
        fitting = camera.for_photo(columns, rows)
        plain, rgb = fitting.undistorted(photo.rgb)
        views.append(View(photo.name, rgb, fitting.undistorted(mask)[1], plain))
    return views


def _notes(views: Sequence[View]) -> list[str]:
    cut = [view.name for view in views if max(view.mask[-1].max(), view.mask[0].max()) >= 128]
    notes = [f"the person is cut off by the edge of {', '.join(cut)}"] if cut else []
    if len(views) == 1:
        notes.append("a single photo does not tell the distance: the height was taken as given")
    if len(views) < FEW:
        notes.append(f"fewer than {FEW} photos leave most of the shape open: give 4 or more, or one to h2k-rt infer")
    return notes


def _largest_piece(points: NDArray[np.float32], faces: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    piece = pieces(faces, len(points))
    keep = piece == np.bincount(piece).argmax()
    return points[keep], keep_vertices(faces, keep)


def upright_axes(cameras: Sequence[CalibratedCamera]) -> NDArray[np.float64]:
    """(3, 3): the cameras' world -> x to the first photo's right, y up, z toward its camera.

    Up is what the photos have up on average, or the axis of the world that is nearest to it.
    """
    up = -np.mean([camera.rotation[1] for camera in cameras], axis=0)
    up /= max(float(np.linalg.norm(up)), 1e-12)
    axis = int(np.argmax(np.abs(up)))
    if abs(up[axis]) > np.cos(np.radians(_UPRIGHT)):
        up = np.sign(up[axis]) * np.eye(3)[axis]
    towards = -cameras[0].rotation[2]
    towards = towards - (towards @ up) * up
    towards /= max(float(np.linalg.norm(towards)), 1e-12)
    return np.stack((np.cross(up, towards), up, towards))


def _placed(mesh: Mesh, height: float | None, notes: list[str]) -> Mesh:
    """On the floor, in metres."""
    if height is None:
        low, high = mesh.bounds()
        if _METRIC[0] < high[1] - low[1] < _METRIC[1]:
            return place_mesh(mesh, scale=1.0)[0]
        notes.append(f"the cameras' world is not in metres; the person was made {DEFAULT_HEIGHT:.2f} m tall (see --height)")
        height = DEFAULT_HEIGHT
    return place_mesh(mesh, height)[0]
