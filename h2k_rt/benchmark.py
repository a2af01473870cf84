"""How fast a model is on this machine: networks alone, photo to file, a folder of photos; with memory and the machine described."""

from __future__ import annotations

import platform
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from h2k_engines import check_feeds_of
from numpy.typing import NDArray

from h2k_rt import __version__
from h2k_rt.bundle import NETWORKS, Bundle, Network
from h2k_rt.device.batch import pipelined
from h2k_rt.doctor import machine as doctor_machine
from h2k_rt.doctor.packages import version
from h2k_rt.engines import Device, EngineName, Precision
from h2k_rt.errors import H2KError
from h2k_rt.photo import Photo, load_photo
from h2k_rt.reconstruct import Reconstruction, Reconstructor, Subject, find_subject
from h2k_rt.stopwatch import Stopwatch

if TYPE_CHECKING:
    from h2k_engines import Binding, DeviceEngine
    from h2k_kernels.launch.runtime import Runtime, Stream

    from h2k_rt.device.pipeline import DevicePipeline

PERCENTILES = (50, 90, 99)


@dataclass
class Measured:
    """What was measured of one engine; times are milliseconds of single runs.

    Attributes:
        engine: what ran the networks, in words.
        load_s, first_photo_s: the cold start: opening the model, and the first photo with all that is set up then.
        networks: of each network alone, at its usual size, without anything around it.
        photo_to_file: from reading the photo to the written GLB.
        stages: of ``photo_to_file``, the median of each.
        photos_per_s: of a folder of photos; on a GPU reading, working and writing overlap.
        peak_mib: of the process in host memory; None where the system does not tell.
        gpu_mib: device memory taken; None on the CPU.
    """

    engine: str = ""
    load_s: float = 0.0
    first_photo_s: float = 0.0
    networks: dict[str, list[float]] = field(default_factory=dict)
    photo_to_file: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    photos_per_s: float = 0.0
    peak_mib: float | None = None
    gpu_mib: float | None = None


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and the smallest."""
    return {**{f"p{q}": float(np.percentile(times, q)) for q in PERCENTILES}, "min": float(min(times)), "runs": len(times)}


def timed(run: Callable[[], Any], runs: int, warmup: int, seconds: float) -> list[float]:
    """Milliseconds of single runs after a warm-up; fewer, but at least three, where ``seconds`` are over."""
    for _ in range(warmup):
        run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < runs and (len(times) < 3 or time.perf_counter() < end):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return times


def measure(
    model: str | Path,
    photo: Path,
    *,
    engine: EngineName = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    runs: int = 20,
    warmup: int = 3,
    seconds: float = 60.0,
    photos: int = 8,
) -> Measured:
    """Measure one engine in this process.

    Args:
        model, engine, device, precision, threads: as for :class:`Reconstructor`.
        photo: the one that is reconstructed again and again.
        runs: of each figure, at most.
        warmup: runs before that are not counted.
        seconds: about how long each figure may take.
        photos: in the folder whose rate is measured.

    Raises:
        H2KError: the model, the engine or the photo cannot be used.
    """
    measured = Measured()
    start = time.perf_counter()
    reconstructor = Reconstructor(model, engine, device=device, precision=precision, threads=threads)
    measured.load_s = time.perf_counter() - start
    with TemporaryDirectory() as folder:
        stages: list[dict[str, float]] = []

        def whole() -> None:
            watch = Stopwatch()
            with watch("read files"):
                loaded = load_photo(photo)
            made = reconstructor.reconstruct(loaded)
            with watch("write files"):
                made.save(Path(folder) / "photo.glb")
            stages.append({**made.timings, **watch.seconds})

        start = time.perf_counter()
        whole()
        measured.first_photo_s = time.perf_counter() - start
        measured.photo_to_file = timed(whole, runs, warmup - 1, seconds)
        counted = stages[-len(measured.photo_to_file) :]
        measured.stages = {stage: 1000 * float(np.median([each[stage] for each in counted])) for stage in counted[0]}
        measured.photos_per_s = folder_rate(reconstructor, [photo] * photos, Path(folder))
    measured.engine = reconstructor.engine
    measured.peak_mib = peak_mib()
    if reconstructor.pipeline is not None:
        measured.gpu_mib = gpu_mib(reconstructor.pipeline)
        measured.networks = networks_on_gpu(reconstructor.pipeline, reconstructor.bundle, runs, warmup, seconds)
    else:
        for name, each in reconstructor.engines.items():
            feeds = usual_feeds(reconstructor.bundle.networks[name], each.inputs)
            run = partial(each.run, feeds)
            measured.networks[name] = timed(run, runs, warmup, seconds / len(NETWORKS))
    return measured


def folder_rate(reconstructor: Reconstructor, photos: Sequence[Path], folder: Path) -> float:
    """Photos per second from file to GLB; on a GPU other threads read, find the person and write meanwhile, as infer does.

    Raises:
        H2KError: a photo cannot be used.
    """
    start = time.perf_counter()
    if reconstructor.pipeline is None:
        for number, path in enumerate(photos):
            reconstructor.reconstruct(load_photo(path)).save(folder / f"{number}.glb")
        return len(photos) / (time.perf_counter() - start)
    finding = threading.Lock()

    def read(job: tuple[int, Path]) -> tuple[int, Photo, Subject]:
        loaded = load_photo(job[1])
        with finding:
            return job[0], loaded, find_subject(reconstructor.finder, loaded)

    def work(loaded: tuple[int, Photo, Subject]) -> tuple[int, Reconstruction]:
        number, photo, subject = loaded
        return number, reconstructor.reconstruct(photo, subject=subject)

    for outcome in pipelined(list(enumerate(photos)), read, work, lambda made: made[1].save(folder / f"{made[0]}.glb")):
        if outcome.error is not None:
            raise outcome.error
    return len(photos) / (time.perf_counter() - start)


def usual_feeds(network: Network, inputs: Mapping[str, Any]) -> dict[str, NDArray]:
    """A network's check input at the usual size of its free dimensions: for the trunk the window around a standing person."""
    return check_feeds_of(inputs, network.check_input.ranges, {name: sizes[1] for name, sizes in network.profile.items()})


def networks_on_gpu(pipeline: DevicePipeline, bundle: Bundle, runs: int, warmup: int, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each network by the GPU's own clock; the tensors stay on the device."""
    runtime = pipeline.runtime
    times: dict[str, list[float]] = {}
    with runtime.active():
        for name, engine in pipeline.chain.engines.items():
            stream = pipeline.chain.stream_of(name)
            binding = usual_binding(runtime, bundle.networks[name], engine, stream)
            start, end = runtime.event(timing=True), runtime.event(timing=True)
            clock: list[float] = []

            def run() -> None:
                runtime.record(start, stream)  # noqa: B023
                binding.enqueue(stream)  # noqa: B023
                runtime.record(end, stream)  # noqa: B023
                clock.append(runtime.milliseconds(start, end))  # noqa: B023

            counted = len(timed(run, runs, warmup, seconds / len(NETWORKS)))
            times[name] = clock[-counted:]
    return times


def usual_binding(runtime: Runtime, entry: Network, engine: DeviceEngine, stream: Stream) -> Binding:
    """A network bound to memory of its own that holds :func:`usual_feeds`."""
    feeds, free = usual_feeds(entry, engine.inputs), {name: sizes[1] for name, sizes in entry.profile.items()}
    inputs = {key: runtime.empty(value.shape, value.dtype) for key, value in feeds.items()}
    for key, array in inputs.items():
        runtime.upload(array, feeds[key], stream)
    outputs = {
        key: runtime.empty([n if isinstance(n, int) else free[n] for n in spec.shape], spec.dtype)
        for key, spec in engine.outputs.items()
    }
    return engine.bind(inputs, outputs, stream)


def peak_mib() -> float | None:
    """Most host memory that this process has had."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def gpu_mib(pipeline: DevicePipeline) -> float:
    """Device memory that is taken, by whatever program."""
    free, total = pipeline.runtime.memory()
    return (total - free) / 2**20


def machine() -> dict[str, Any]:
    """What was measured on."""
    memory = doctor_machine.memory_bytes()
    gpus: list[str] = []
    for finding in doctor_machine.gpus():
        if finding.state == "ok":
            gpus.append(finding.says)
    packages = ("onnxruntime", "onnxruntime-gpu", "tensorrt", "onnxruntime-ep-nv-tensorrt-rtx-cu13", "torch")
    return {
        "processor": doctor_machine.processor(),
        "cores": doctor_machine.cores(),
        "memory_gib": None if memory is None else round(memory / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "nvidia": gpus,
        "packages": {name: found for name in packages if (found := version(name))},
        "h2k-rt": __version__,
    }


def machine_text(about: Mapping[str, Any]) -> str:
    """The machine in one line."""
    packages = ", ".join(f"{name} {found}" for name, found in about["packages"].items())
    memory = f", {about['memory_gib']} GiB" if about["memory_gib"] else ""
    nvidia = f"; {'; '.join(about['nvidia'])}" if about["nvidia"] else ", no NVIDIA GPU"
    return f"{about['processor']}, {about['cores']} cores{memory}{nvidia}; {about['system']}, Python {about['python']}; {packages}"


def table(measured: Mapping[str, Measured]) -> str:
    """A Markdown table of one engine or several; with two also how many times faster the second is."""
    names = list(measured)
    head = ["milliseconds, p50 / p90 / p99", *names, *([f"{names[0]} / {names[1]}"] if len(names) == 2 else [])]
    rows: list[list[str]] = []

    def add(title: str, times: Callable[[Measured], Sequence[float]]) -> None:
        found = [times(each) for each in measured.values()]
        cells = [" / ".join(f"{percentiles(t)[f'p{q}']:.1f}" for q in PERCENTILES) if t else "" for t in found]
        if len(names) == 2:
            cells.append(f"{np.median(found[0]) / np.median(found[1]):.2f}" if all(found) else "")
        rows.append([title, *cells])

    def of_network(name: str) -> Callable[[Measured], Sequence[float]]:
        return lambda m: m.networks.get(name, [])

    def of_stage(name: str) -> Callable[[Measured], float | None]:
        return lambda m: m.stages.get(name)

    def add_number(title: str, number: Callable[[Measured], float | None], digits: int) -> None:
        found = [number(each) for each in measured.values()]
        cells = ["" if value is None else f"{value:.{digits}f}" for value in found]
        rows.append([title, *cells, *([""] if len(names) == 2 else [])])

    add("**photo to file**", lambda m: m.photo_to_file)
    add("**networks alone, all**", all_networks)
    for network in NETWORKS:
        add(f"network {network}", of_network(network))
    for stage in dict.fromkeys(stage for each in measured.values() for stage in each.stages):
        add_number(f"stage {stage} (median)", of_stage(stage), 1)
    add_number("photos per second, folder", lambda m: m.photos_per_s, 2)
    add_number("load the model (s)", lambda m: m.load_s, 2)
    add_number("first photo (s)", lambda m: m.first_photo_s, 2)
    add_number("peak host memory (MiB)", lambda m: m.peak_mib, 0)
    add_number("device memory (MiB)", lambda m: m.gpu_mib, 0)
    rows = [row for row in rows if any(row[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---", *["---:"] * (len(head) - 1)], *rows]) + "\n"


def all_networks(measured: Measured) -> list[float]:
    """One run of every network after the other: sums of the single times."""
    counts = [len(times) for times in measured.networks.values()]
    return [sum(times[i] for times in measured.networks.values()) for i in range(min(counts, default=0))]


def merged(parts: Sequence[Measured]) -> Measured:
    """Several measurements of one engine as one: all times together, medians of the rest."""
    if not parts:
        raise H2KError("nothing was measured")

    def middle(numbers: list[float | None]) -> float | None:
        known = [n for n in numbers if n is not None]
        return float(np.median(known)) if known else None

    return Measured(
        engine=parts[0].engine,
        load_s=middle([p.load_s for p in parts]) or 0.0,
        first_photo_s=middle([p.first_photo_s for p in parts]) or 0.0,
        networks={name: [t for p in parts for t in p.networks[name]] for name in parts[0].networks},
        photo_to_file=[t for p in parts for t in p.photo_to_file],
        stages={stage: middle([p.stages.get(stage) for p in parts]) or 0.0 for stage in parts[0].stages},
        photos_per_s=middle([p.photos_per_s for p in parts]) or 0.0,
        peak_mib=middle([p.peak_mib for p in parts]),
        gpu_mib=middle([p.gpu_mib for p in parts]),
    )
