"""One photo at a time through the GPU: bytes up, the chain, results down."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from h2k_engines import EngineFailure
from h2k_kernels.launch import DeviceArray, DeviceFailure, MissingDevicePackage
from h2k_kernels.launch.runtime import Event, Runtime
from numpy.typing import NDArray

from h2k_rt.bundle import Bundle
from h2k_rt.constants import PART_GROUPS, Method
from h2k_rt.device.chain import NetworkChain, OpenEngine, parameter_layout
from h2k_rt.device.graph import GraphRunner
from h2k_rt.device.job import Job
from h2k_rt.device.launcher import DirectLauncher, Launcher
from h2k_rt.device.staging import HostBlock, PhotoBuffers
from h2k_rt.device.surface import MeshCounts, SurfaceChain, mesh_counts, plan_back
from h2k_rt.device.windows import Window
from h2k_rt.engines import EngineName, Precision, device_engines
from h2k_rt.errors import EngineError, MissingPackageError
from h2k_rt.inference import CanvasMaps
from h2k_rt.surface.build import Surface
from h2k_rt.surface.clean import CleanDepth
from h2k_rt.surface.mesh import Mesh


@dataclass(frozen=True)
class DeviceResult:
    """What came down from the GPU; the arrays are the caller's own.

    Attributes:
        rgb, mask: the canvas, (N, N, 3) and (N, N) uint8.
        maps: what the networks say of it; outside the window of the trunk background.
        surface: mesh in scan units and cleaned depth, where they were asked for.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    maps: CanvasMaps
    surface: Surface | None = None


class DevicePipeline:
    """The method on one GPU with one model. For one thread at a time.

    Args:
        method: constants of the model.
        open_engine: opens each network on the stream that it will run on.
        runtime: the device; None: GPU 0.
        graphs: replay the chains as CUDA graphs where that is possible.

    Raises:
        MissingPackageError: PyCUDA is not installed.
        EngineError: no driver, no GPU, not enough memory, or an engine cannot be opened.
    """

    def __init__(self, method: Method, open_engine: OpenEngine, runtime: Runtime | None = None, *, graphs: bool = True) -> None:
        self.method = method
        self._open_engine = open_engine
        self.runtime = runtime or Runtime()
        with telling(), self.runtime.active():
            self.chain = NetworkChain(self.runtime, open_engine, method)
            self.surface = SurfaceChain(self.runtime, method, self.chain.sizes[-1])
            self._photos = PhotoBuffers(self.runtime)
            self._parameters = self.runtime.pinned((parameter_layout().nbytes,), np.uint8)
            self._fills = HostBlock(self.runtime)
            self._results = HostBlock(self.runtime)
            self._graphs = GraphRunner(self.runtime, self.chain.main, graphs)
        self._helper = ThreadPoolExecutor(1, "h2k-back")
        self._told = not graphs  # what was asked for needs no telling

    def take_notes(self) -> list[str]:
        """Sentences for the user, each given once: of the engines, and that the chain is launched step by step, and why."""
        given: list[str] = getattr(self._open_engine, "notes", [])
        notes, given[:] = list(given), []
        if self._graphs.problem is not None and not self._told:
            self._told = True
            notes.append(self._graphs.problem)
        return notes

    @property
    def providers(self) -> dict[str, str]:
        """What runs each network."""
        return {name: engine.provider for name, engine in self.chain.engines.items()}

    @property
    def replays(self) -> int:
        """How many chains were replays of a recorded graph."""
        return self._graphs.replays

    @property
    def nbytes(self) -> int:
        """Device memory of the pipeline without that of the engines."""
        return self.chain.arena.nbytes + self.surface.nbytes + self._photos.nbytes

    def run(self, job: Job) -> DeviceResult:
        """One person of a photo, from bytes to depth.

        Raises:
            EngineError: the GPU or an engine failed.
        """
        with telling(), self.runtime.active():
            self.upload(job)
            self._graphs.run(("networks", job.window.size), lambda launch: self.enqueue_networks(launch, job))
            return self._download_maps(job, None)

    def mesh(self, job: Job, joints: NDArray[np.float64]) -> Mesh:
        """One person of a photo, from bytes to mesh arrays; nothing else comes down.

        Args:
            joints: (31, 3) canvas pixels.

        Returns:
            the mesh in scan units, as :func:`h2k_rt.surface.grid_mesh.grid_mesh` makes it.

        Raises:
            PersonError: the networks found no body.
            EngineError: the GPU or an engine failed.
        """
        with telling(), self.runtime.active():
            return self._download_mesh(self._run_all(job, joints))

    def reconstruct(self, job: Job, joints: NDArray[np.float64]) -> DeviceResult:
        """One person of a photo, from bytes to mesh arrays, with all that was made on the way; arguments as :meth:`mesh`.

        Raises:
            PersonError: the networks found no body.
            EngineError: the GPU or an engine failed.
        """
        with telling(), self.runtime.active():
            counts = self._run_all(job, joints)
            return self._download_maps(job, self._surface(job, counts))

    # Steps

    def upload(self, job: Job) -> None:
        """Put a photo and its parameters into the main stream."""
        # A photo that failed half-way may still be on its way up from the same page-locked memory.
        self.runtime.synchronize(self.chain.main)
        job.write_parameters(parameter_layout(), self._parameters)
        self.runtime.upload(self.chain.arena.array("parameters"), self._parameters, self.chain.main)
        self._photos.upload(job.rgb, job.mask, self.chain.main)

    def enqueue_networks(self, launch: Launcher, job: Job) -> None:
        """Put the chain from the photo to cleaned depth into its streams."""
        chain, size = self.chain, job.window.size
        chain.enqueue(launch, self._photos.photos, self._photos.masks, size)
        depth, canvas, origin = chain.trunk("depth", size), chain.arena.array("canvas"), chain.parameters["origin"]
        self.surface.enqueue_relief(launch, depth, chain.trunk("normals", size), chain.main)
        self.surface.enqueue_clean(launch, depth, canvas, origin, chain.main)

    def enqueue_mesh(self, launch: Launcher, job: Job, fills: int) -> None:
        """Put the chain from cleaned depth to the mesh into the main stream."""
        chain = self.chain
        canvas, origin = chain.arena.array("canvas"), chain.parameters["origin"]
        self.surface.enqueue_mesh(launch, job.window.size, canvas, origin, fills, chain.main)

    def _run_all(self, job: Job, joints: NDArray[np.float64]) -> MeshCounts:
        """Both chains; the mesh's arrays are complete when this returns."""
        window = job.window.size
        self.upload(job)
        # On another core while the GPU works: it takes the photo alone.
        backs = self._helper.submit(plan_back, job, joints, self.surface.factor)
        self._graphs.run(("networks", window), lambda launch: self.enqueue_networks(launch, job))
        fills = self._upload_fills(backs.result(), window)
        while True:
            self._graphs.run(("mesh", window, fills), lambda launch: self.enqueue_mesh(launch, job, fills))
            counts = self._download_counts()
            counts.check()
            if self.surface.fits(counts):
                return counts
            self.surface.make_room(counts.vertices, counts.faces)  # once, for a larger person than any before

    def _upload_fills(self, planes: list[NDArray[np.float32]], window: tuple[int, int]) -> int:
        self._fills.reset(sum(plane.nbytes + 16 for plane in planes))
        for number, plane in enumerate(planes):
            target = self.surface.fill(number, window)
            staged = self._fills.take(target.shape, target.dtype)
            staged[0] = plane
            self.runtime.upload(target, staged, self.chain.main)
        return len(planes)

    # Results

    def _download_counts(self) -> MeshCounts:
        clean, mesh = self.surface.counts()
        self._results.reset(clean.nbytes + mesh.nbytes + 32)
        down = self._results.download(clean, self.chain.main), self._results.download(mesh, self.chain.main)
        self.runtime.synchronize(self.chain.main)
        return mesh_counts(*down)

    def _download_mesh(self, counts: MeshCounts) -> Mesh:
        surface = self.surface
        sizes = (counts.vertices, counts.faces, counts.vertices, counts.vertices)
        arrays = [
            whole[0].first(count)
            for whole, count in zip((surface.vertices, surface.faces, surface.normals, surface.colors), sizes, strict=True)
        ]
        self._results.reset(sum(array.nbytes + 16 for array in arrays))
        down = [self._results.download(array, self.chain.main) for array in arrays]
        self.runtime.synchronize(self.chain.main)
        return Mesh(*(array.copy() for array in down))

    def _surface(self, job: Job, counts: MeshCounts) -> Surface:
        mesh = self._download_mesh(counts)
        window = job.window
        maps = [self.surface.array(name, window.size) for name in ("depth", "mask")]
        self._results.reset(sum(array.nbytes + 16 for array in maps))
        depth, mask = (self._results.download(array, self.chain.main) for array in maps)
        self.runtime.synchronize(self.chain.main)
        front, back = self._on_canvas(depth[0], window, 0, 0)
        whole = self._on_canvas(mask, window, 0)[0].astype(bool)
        return Surface(mesh, CleanDepth(front, back, whole, counts.filled))

    def _on_canvas(self, maps: NDArray, window: Window, *background: float) -> NDArray:
        """(C, h, w) maps of a window on a canvas of background."""
        whole = np.empty((len(background), self.method.size, self.method.size), maps.dtype)
        for plane, value in zip(whole, background, strict=True):
            plane.fill(value)
        whole[:, window.y : window.y + window.height, window.x : window.x + window.width] = maps
        return whole

    def _download_maps(self, job: Job, surface: Surface | None) -> DeviceResult:
        chain, window = self.chain, job.window
        array = chain.arena.array
        wanted: dict[str, DeviceArray] = {name: array(name) for name in ("canvas", "low normals", "low depth", "low mask")}
        wanted |= {f"{group.name} normals": array(f"{group.name} normals") for group in PART_GROUPS}
        wanted |= {name: chain.trunk(name, window.size) for name in ("normals", "depth", "mask")}
        self._results.reset(sum(tensor.nbytes + 16 for tensor in wanted.values()))
        down = {name: self._results.download(tensor, chain.main) for name, tensor in wanted.items()}
        self.runtime.synchronize(chain.main)
        maps = CanvasMaps(
            low_normals=_own(down["low normals"][0]),
            part_normals=tuple(_own(down[f"{group.name} normals"]) for group in PART_GROUPS),
            normals=_own(self._on_canvas(down["normals"][0], window, 0, 0, 0, 0, 0, 0)),
            low_depth=_own(down["low depth"][0]),
            low_mask=_own(down["low mask"][0, 0]),
            depth=_own(self._on_canvas(down["depth"][0], window, self.method.front_background, self.method.back_background)),
            mask=_own(self._on_canvas(down["mask"][0], window, 0)[0]),
        )
        canvas = down["canvas"][0]
        return DeviceResult(np.ascontiguousarray(canvas[..., :3]), np.ascontiguousarray(canvas[..., 3]), maps, surface)

    # Measuring

    def profile(self, job: Job, joints: NDArray[np.float64]) -> dict[str, float]:
        """Milliseconds of each stage on the device, launched step by step; the stages follow each other on the main stream.

        Raises:
            EngineError: the GPU or an engine failed.
        """
        with telling(), self.runtime.active():
            runtime, main = self.runtime, self.chain.main
            marks: list[tuple[str, Event]] = []

            def mark(stage: str) -> None:
                marks.append((stage, runtime.event(timing=True)))
                runtime.record(marks[-1][1], main)

            launch = DirectLauncher(runtime, mark)
            planes = plan_back(job, joints, self.surface.factor)
            mark("upload")
            self.upload(job)
            fills = self._upload_fills(planes, job.window.size)
            self.enqueue_networks(launch, job)
            self.enqueue_mesh(launch, job, fills)
            mark("download")
            self._download_mesh(self._download_counts())
            mark("end")
            runtime.synchronize(main)
            return {stage: runtime.milliseconds(start, end) for (stage, start), (_, end) in pairwise(marks)}

    def close(self) -> None:
        """Free recordings and stop the helper; memory goes with the object."""
        self._helper.shutdown()
        with telling(), self.runtime.active():
            self._graphs.close()


def open_device(bundle: Bundle, engine: EngineName, precision: Precision, number: int) -> tuple[OpenEngine, Runtime]:
    """A GPU, and what opens a bundle's networks on it.

    Args:
        engine, precision: see :func:`h2k_rt.engines.device_engines`.
        number: of the GPU.

    Raises:
        MissingPackageError: PyCUDA is not installed.
        EngineError: no driver, no GPU, or no engine for it.
        BundleError: a file of the bundle is missing or has changed.
    """
    runtime = Runtime(number)
    with telling():
        runtime.open()  # says best what is missing
        return device_engines(bundle, engine, precision, runtime), runtime


def open_pipeline(
    bundle: Bundle, engine: EngineName = "auto", precision: Precision = "auto", number: int = 0, *, graphs: bool = True
) -> DevicePipeline:
    """The device pipeline of a model bundle.

    Args:
        engine, precision: see :func:`h2k_rt.engines.device_engines`.
        number: of the GPU.

    Raises:
        MissingPackageError: PyCUDA is not installed.
        EngineError: no driver, no GPU, not enough memory, or a network cannot be opened.
        BundleError: a file of the bundle is missing or has changed.
    """
    open_engine, runtime = open_device(bundle, engine, precision, number)
    return DevicePipeline(bundle.settings(), open_engine, runtime, graphs=graphs)


def _own(array: NDArray) -> NDArray[np.float32]:
    """As float32, in memory of its own: not in the page-locked block."""
    return array.astype(np.float32)


@contextmanager
def telling() -> Iterator[None]:
    """Failures of kernels and engines as this package's errors."""
    try:
        yield
    except MissingDevicePackage as error:
        raise MissingPackageError(str(error)) from error
    except (DeviceFailure, EngineFailure) as error:
        raise EngineError(str(error)) from error
