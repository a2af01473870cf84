"""One photo at a time through the GPU: bytes up, the chain, results down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from h2k_engines import EngineFailure
from h2k_kernels.launch import DeviceArray, DeviceFailure, MissingDevicePackage
from h2k_kernels.launch.runtime import Runtime
from numpy.typing import NDArray

from h2k_rt.bundle import Bundle
from h2k_rt.constants import PART_GROUPS, Method
from h2k_rt.device.chain import NetworkChain, OpenEngine, parameter_layout
from h2k_rt.device.graph import GraphRunner
from h2k_rt.device.job import Job
from h2k_rt.device.launcher import DirectLauncher, Launcher
from h2k_rt.device.staging import HostBlock, PhotoBuffers
from h2k_rt.engines import EngineName, Precision, device_engines
from h2k_rt.errors import EngineError, MissingPackageError
from h2k_rt.inference import CanvasMaps


@dataclass(frozen=True)
class DeviceResult:
    """What came down from the GPU; the arrays are the caller's own.

    Attributes:
        rgb, mask: the canvas, (N, N, 3) and (N, N) uint8.
        maps: what the networks say of it; outside the window of the trunk background.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    maps: CanvasMaps


class DevicePipeline:
    """The method on one GPU with one model. For one thread at a time.

    Args:
        method: constants of the model.
        open_engine: opens each network on the stream that it will run on.
        runtime: the device; None: GPU 0.
        graphs: replay the chain as a CUDA graph where that is possible.

    Raises:
        MissingPackageError: PyCUDA is not installed.
        EngineError: no driver, no GPU, not enough memory, or an engine cannot be opened.
    """

    def __init__(self, method: Method, open_engine: OpenEngine, runtime: Runtime | None = None, *, graphs: bool = True) -> None:
        self.method = method
        self.runtime = runtime or Runtime()
        with telling(), self.runtime.active():
            self.chain = NetworkChain(self.runtime, open_engine, method)
            self._photos = PhotoBuffers(self.runtime)
            self._parameters = self.runtime.pinned((parameter_layout().nbytes,), np.uint8)
            self._results = HostBlock(self.runtime)
            self._graphs = GraphRunner(self.runtime, self.chain.main, graphs)
        self._told = not graphs  # what was asked for needs no telling

    def take_notes(self) -> list[str]:
        """Sentences for the user, each given once: that the chain is launched step by step, and why."""
        if self._graphs.problem is None or self._told:
            return []
        self._told = True
        return [self._graphs.problem]

    @property
    def providers(self) -> dict[str, str]:
        """What runs each network."""
        return {name: engine.provider for name, engine in self.chain.engines.items()}

    @property
    def replays(self) -> int:
        """How many photos were replays of a recorded graph."""
        return self._graphs.replays

    def run(self, job: Job) -> DeviceResult:
        """One person of a photo, from bytes to depth.

        Raises:
            EngineError: the GPU or an engine failed.
        """
        with telling(), self.runtime.active():
            self.upload(job)
            self._graphs.run(job.window.size, lambda launch: self.enqueue(launch, job))
            return self._download(job)

    def profile(self, job: Job) -> dict[str, float]:
        """Milliseconds of each stage on the device, launched step by step; the stages follow each other on the main stream.

        Raises:
            EngineError: the GPU or an engine failed.
        """
        with telling(), self.runtime.active():
            runtime, main = self.runtime, self.chain.main
            marks = [("upload", runtime.event(timing=True))]
            runtime.record(marks[0][1], main)

            def mark(stage: str) -> None:
                marks.append((stage, runtime.event(timing=True)))
                runtime.record(marks[-1][1], main)

            self.upload(job)
            self.enqueue(DirectLauncher(runtime, mark), job)
            mark("download")
            self._download(job)
            mark("end")
            runtime.synchronize(main)
            return {stage: runtime.milliseconds(start, end) for (stage, start), (_, end) in pairwise(marks)}

    def upload(self, job: Job) -> None:
        """Put a photo and its parameters into the main stream."""
        job.write_parameters(parameter_layout(), self._parameters)
        self.runtime.upload(self.chain.arena.array("parameters"), self._parameters, self.chain.main)
        self._photos.upload(job.rgb, job.mask, self.chain.main)

    def enqueue(self, launch: Launcher, job: Job) -> None:
        """Put the chain into its streams."""
        self.chain.enqueue(launch, self._photos.photos, self._photos.masks, job.window.size)

    def _download(self, job: Job) -> DeviceResult:
        chain, window = self.chain, job.window
        array, size = chain.arena.array, self.method.size
        wanted: dict[str, DeviceArray] = {name: array(name) for name in ("canvas", "low normals", "low depth", "low mask")}
        wanted |= {f"{group.name} normals": array(f"{group.name} normals") for group in PART_GROUPS}
        wanted |= {name: chain.trunk(name, window.size) for name in ("normals", "depth", "mask")}
        self._results.reset(sum(tensor.nbytes + 16 for tensor in wanted.values()))
        down = {name: self._results.download(tensor, chain.main) for name, tensor in wanted.items()}
        self.runtime.synchronize(chain.main)

        rows, columns = slice(window.y, window.y + window.height), slice(window.x, window.x + window.width)

        def placed(name: str, *background: float) -> NDArray[np.float32]:
            whole = np.empty((len(background), size, size), np.float32)
            for plane, value in zip(whole, background, strict=True):
                plane.fill(value)
            whole[:, rows, columns] = down[name][0]
            return whole

        maps = CanvasMaps(
            low_normals=_own(down["low normals"][0]),
            part_normals=tuple(_own(down[f"{group.name} normals"]) for group in PART_GROUPS),
            normals=placed("normals", 0, 0, 0, 0, 0, 0),
            low_depth=_own(down["low depth"][0]),
            low_mask=_own(down["low mask"][0, 0]),
            depth=placed("depth", self.method.front_background, self.method.back_background),
            mask=placed("mask", 0)[0],
        )
        canvas = down["canvas"][0]
        return DeviceResult(np.ascontiguousarray(canvas[..., :3]), np.ascontiguousarray(canvas[..., 3]), maps)

    def close(self) -> None:
        """Free recordings; memory goes with the object."""
        with telling(), self.runtime.active():
            self._graphs.close()


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
    runtime = Runtime(number)
    with telling():
        runtime.open()  # says best what is missing
    return DevicePipeline(bundle.settings(), device_engines(bundle, engine, precision, number), runtime, graphs=graphs)


def _own(array: NDArray) -> NDArray[np.float32]:
    return array.astype(np.float32)  # also a copy out of the page-locked block


@contextmanager
def telling() -> Iterator[None]:
    """Failures of kernels and engines as this package's errors."""
    try:
        yield
    except MissingDevicePackage as error:
        raise MissingPackageError(str(error)) from error
    except (DeviceFailure, EngineFailure) as error:
        raise EngineError(str(error)) from error
