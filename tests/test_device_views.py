"""The second method on a device: networks, kernel and memory on the emulated one, against the CPU. No GPU is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import Cli, in_process
from h2k_engines import EngineFailure, TorchDeviceEngine
from h2k_engines.cache import EngineCache
from h2k_kernels.launch import DeviceArray, DeviceFailure, driver
from host_builder import HostBuilder
from host_runtime import HostEngine, HostRuntime, HostStream, _Deferred
from numpy.typing import DTypeLike, NDArray
from scipy.spatial import cKDTree
from view_bundle import PICTURE, view_bundle
from view_people import ball_people
from view_rules import feature_case

from h2k_rt import built_engines, engine_check, engines
from h2k_rt.bundle import Bundle
from h2k_rt.cli import engines as engines_command
from h2k_rt.data.views.viewset import ViewSet, ViewSets
from h2k_rt.device import pipeline as pipeline_of_device
from h2k_rt.device.view_networks import DeviceViewNetworks
from h2k_rt.engines import open_engines
from h2k_rt.errors import EngineError
from h2k_rt.photo import Photo
from h2k_rt.views import reconstruct as pipeline
from h2k_rt.views.network_picture import CHANNELS
from h2k_rt.views.networks import HostNetworks
from h2k_rt.views.octree import make_grid
from h2k_rt.views.reconstruct import ViewReconstruction, ViewReconstructor

SIZES = (512, 2048)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(view_bundle())


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> ViewSet:
    return ViewSets(ball_people(tmp_path_factory.mktemp("views") / "set", 1, 3)).read("000000")


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return in_process(capfd)


class Torch(TorchDeviceEngine):
    """PyTorch on the CPU as an engine of a :class:`HostRuntime`."""

    runtime: HostRuntime

    def bind(self, inputs: Any, outputs: Any, stream: Any) -> Any:
        return _Deferred(self.runtime, super().bind(inputs, outputs, stream))  # type: ignore[arg-type]


def on_device(bundle: Bundle, runtime: HostRuntime, precision: str = "fp32", kind: str = "onnxruntime") -> DeviceViewNetworks:
    def open_engine(name: str, stream: HostStream) -> Any:
        if kind == "onnxruntime":
            return HostEngine(runtime, bundle.network(name, precision), name=name, stream=stream)
        from h2k_engines.onnx_in_torch import open_graph

        module, inputs, outputs = open_graph(bundle.network(name, precision), name)
        engine = Torch(module, name, inputs, outputs, device="cpu")
        engine.runtime = runtime
        return engine

    return DeviceViewNetworks(open_engine, SIZES, runtime)  # type: ignore[arg-type]


def on_cpu(bundle: Bundle) -> HostNetworks:
    return HostNetworks(open_engines(bundle, "cpu", 1), bundle.name, 1)


def scene(views: int, count: int = 1500) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Pictures, projections and points."""
    _, projections, points = feature_case(views, (1,), count)
    return np.random.default_rng(views).uniform(-1, 1, (views, CHANNELS, PICTURE, PICTURE)).astype(np.float32), projections, points


@pytest.mark.parametrize(
    ("kind", "precision", "tolerance"), [("onnxruntime", "fp32", 1e-4), ("onnxruntime", "fp16", 3e-2), ("torch", "fp32", 1e-4)]
)
def test_occupancy_is_that_of_the_cpu(bundle: Bundle, kind: str, precision: str, tolerance: float) -> None:
    runtime = HostRuntime()
    networks, twin = on_device(bundle, runtime, precision, kind), on_cpu(bundle)
    assert networks.picture_size == twin.picture_size == PICTURE
    for views in (2, 3, 1):  # each person's memory takes the last one's place
        pictures, projections, points = scene(views)
        want = twin.encode(pictures, projections)(points)
        have = networks.encode(pictures, projections)
        np.testing.assert_allclose(have(points), want, atol=tolerance, rtol=0)
        np.testing.assert_allclose(have(points[7:8]), want[7:8], atol=tolerance, rtol=0)
        assert np.ptp(want) > 0.5, "something depends on the points"
    assert set(runtime.launched) == {"sample_features_f32_f32"}


def test_only_points_go_up_and_occupancy_comes_down(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = HostRuntime()
    networks = on_device(bundle, runtime)
    pictures, projections, points = scene(2, 3000)
    function = networks.encode(pictures, projections)
    up, down = [], []
    upload, download = runtime.upload, runtime.download
    monkeypatch.setattr(runtime, "upload", lambda to, *rest: (up.append(to.shape), upload(to, *rest)))
    monkeypatch.setattr(runtime, "download", lambda to, *rest: (down.append(to.shape), download(to, *rest)))
    function(points)
    assert up == [(2048, 3), (1024, 3)] and down == [(2048,), (1024,)]
    before = runtime.allocations
    function(points)
    assert runtime.allocations == before, "nothing is allocated for further points"


class Small(HostRuntime):
    """A device on which an array may have so many bytes, and which says that so many are free."""

    def __init__(self, most: int, free: int) -> None:
        super().__init__()
        self.most, self.free = most, free

    def memory(self) -> tuple[int, int]:
        return self.free, 2**34

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> DeviceArray:
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if nbytes > self.most:
            raise DeviceFailure(f"allocating {nbytes / 2**20:.0f} MiB on the GPU failed: cuMemAlloc failed: out of memory")
        return super().empty(shape, dtype)


def test_chunks_fit_the_devices_memory(bundle: Bundle) -> None:
    pictures, projections, points = scene(2, 3000)
    want = on_cpu(bundle).encode(pictures, projections)(points)
    channels = 8 + 2 * 16 + 1

    def sizes(runtime: Small, refuse: int = 1 << 30) -> list[int]:
        """Points of each run of the point network; binding more than ``refuse`` fails as ONNX Runtime fails."""
        networks = on_device(bundle, runtime)
        head, ran = networks.engines["points"], []

        class Refusing:
            inputs, outputs, name, provider = head.inputs, head.outputs, head.name, head.provider

            def bind(self, inputs: Any, outputs: Any, stream: Any) -> Any:
                count = inputs["features"].shape[3]
                if count > refuse:
                    raise EngineFailure("points: ONNX Runtime failed: Failed to allocate memory for requested buffer of size 9")
                ran.append(count)
                return head.bind(inputs, outputs, stream)

        networks.engines["points"] = Refusing()
        np.testing.assert_allclose(networks.encode(pictures, projections)(points), want, atol=1e-4, rtol=0)
        return ran

    assert sizes(Small(2**40, 2**40)) == [2048, 1024]
    estimated = 4 * 2 * channels * 8
    assert sizes(Small(2**40, 4 * 1024 * estimated)) == [1024], "a quarter of what is free"
    assert sizes(Small(2**40, 2**40), refuse=512) == [512]
    with pytest.raises(EngineError, match="not enough memory for 512 points"):
        sizes(Small(2**40, 2**40), refuse=100)


def test_memory_for_a_chunk_that_is_not_there(bundle: Bundle) -> None:
    pictures, projections, points = scene(3, 2000)
    want = on_cpu(bundle).encode(pictures, projections)(points)
    runtime = Small(2**40, 2**40)
    function = on_device(bundle, runtime).encode(pictures, projections)
    runtime.most = 1024 * 4 * (3 + 3 * 33 + 1) + 2048  # points, features and occupancy of 1024 points
    np.testing.assert_allclose(function(points), want, atol=1e-4, rtol=0)
    runtime.most = 1000
    with pytest.raises(EngineError, match=r"allocating .* on the GPU failed|not enough memory for 512 points"):
        on_device(bundle, runtime).encode(pictures, projections)


# The whole pipeline


def reconstruct(reconstructor: ViewReconstructor, person: ViewSet) -> ViewReconstruction:
    views = range(len(person.cameras))
    photos = [Photo(person.rgb(i), f"{i:02d}.png") for i in views]
    return reconstructor.reconstruct(photos, person.cameras, masks=[person.mask(i) for i in views], resolution=32)


def same_surface(a: ViewReconstruction, b: ViewReconstruction, tolerance: float) -> None:
    """99.9 % of the vertices of each mesh are within the tolerance (metres) of one of the other."""
    for one, other in ((a.world, b.world), (b.world, a.world)):
        assert np.quantile(cKDTree(other).query(one)[0], 0.999) < tolerance
    assert abs(len(a.world) - len(b.world)) < 0.002 * len(a.world) and len(a.world) > 300


def test_meshes_of_all_engines(bundle: Bundle, person: ViewSet) -> None:
    where = str(view_bundle())
    cpu = reconstruct(ViewReconstructor(where, "cpu", threads=1), person)
    assert cpu.engine.endswith("CPUExecutionProvider")
    torch = reconstruct(ViewReconstructor(where, "torch", device="cpu", threads=1), person)
    assert torch.engine.startswith("torch ") and torch.engine.endswith(" cpu")
    same_surface(torch, cpu, 1e-4)
    device = reconstruct(ViewReconstructor(where, networks=on_device(bundle, HostRuntime()), threads=1), person)
    same_surface(device, cpu, 1e-4)
    assert list(device.timings) == list(cpu.timings)


@pytest.fixture
def stand_in(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HostBuilder:
    """A driver, a GPU and TensorRT, all emulated; TensorRT for RTX is not installed."""
    runtime = HostRuntime()
    builder = HostBuilder(runtime, tmp_path / "sources")
    cache = EngineCache(tmp_path / "engines")

    def open_builder(kind: str, *_: Any) -> HostBuilder:
        if kind == "tensorrt-rtx":
            raise EngineFailure("its package is not installed")
        return builder

    built = built_engines.BuiltEngines(bundle, builder, cache, runtime, threads=1)  # type: ignore[arg-type]
    monkeypatch.setenv("H2K_CACHE", str(tmp_path))
    monkeypatch.setattr(driver, "library", lambda: None)
    monkeypatch.setattr(engines, "_check_package", lambda kind: None)
    monkeypatch.setattr(built_engines, "open_builder", open_builder)
    monkeypatch.setattr(pipeline_of_device, "Runtime", lambda number: runtime)
    monkeypatch.setattr(engines_command, "open_built", lambda *_: (built, runtime))
    return builder


def test_built_ahead_and_then_used(
    cli: Cli, stand_in: HostBuilder, person: ViewSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pipeline, "make_grid", lambda _, coarse, low, high: make_grid(coarse, coarse, low, high)
    )  # emulation is slow
    where = view_bundle()
    words = ("infer-views", person.folder, "--cameras", person.folder / "cameras.json", "--masks", person.folder)
    words = (*words, "--model", where, "--resolution", 128, "--threads", 1, "--no-preview", "--json")
    assert engines.why_not_gpu(Bundle.open(where)), "nothing is built yet"
    found = cli("build-engines", "--model", where, "--only", "face")
    assert found.code == 2 and "encoder, points" in " ".join(found.err.replace("│", " ").split())
    found = cli("build-engines", "--model", where, "--json")
    assert found.code == 0, found.err
    rows = json.loads(found.out)["networks"]
    assert [(row["network"], row["precision"], row["state"], row["problem"]) for row in rows] == [
        ("encoder", "fp16", "built", None),
        ("points", "fp16", "built", None),
    ]
    assert set(rows[1]["errors"]) == {"occupancy"} and 0 < rows[1]["errors"]["occupancy"] < 0.02
    # Once they are built, --device auto takes them, and says so.
    found = cli(*words, "-o", tmp_path / "auto")
    assert found.code == 0, found.err
    (result,) = json.loads(found.out)["results"]
    assert result["engine"] == stand_in.title and set(result["providers"]) == {"encoder", "points"}
    assert len(stand_in.builds) == 2, "nothing was built again"
    # The CPU was asked for: nothing else runs.
    found = cli(*words, "--engine", "cpu", "-o", tmp_path / "cpu")
    assert json.loads(found.out)["results"][0]["engine"].endswith("CPUExecutionProvider")


def test_a_better_engine_that_is_not_used_is_told(stand_in: HostBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def cuda(graph: Any, *, name: str, stream: HostStream, device: int) -> HostEngine:
        opened.append(name)
        return HostEngine(stand_in._runtime, graph, name=name, stream=stream)

    monkeypatch.setattr(engines, "OnnxRuntimeDeviceEngine", cuda)
    made = ViewReconstructor(str(view_bundle()), device="cuda", threads=1)
    assert opened == ["encoder", "points"] and made.networks is not None
    assert made.networks.take_notes() == [
        "TensorRT is not used: its engines are not built; run: h2k-rt build-engines --engine tensorrt",
        "TensorRT for RTX is not used: its package is not installed",
    ]
    assert made.networks.take_notes() == []
    with pytest.raises(EngineError, match="TensorRT for RTX cannot be used: its package is not installed"):
        ViewReconstructor(str(view_bundle()), "tensorrt-rtx", threads=1)


def test_an_engine_that_is_wrong_is_not_used(stand_in: HostBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engine_check.BOUNDS, "occupancy", 1e-6)  # FP16 cannot keep it
    made = ViewReconstructor(str(view_bundle()), "tensorrt", threads=1)
    assert made.networks is not None
    assert "points: the engine in fp16 is not used: its occupancy differs from FP32 by" in " ".join(made.networks.take_notes())
    stand_in.spoil = lambda network: False
    with pytest.raises(EngineError, match=r"no tensorrt engine can be used: .* holds values that are no numbers"):
        ViewReconstructor(str(view_bundle("attention")), "tensorrt", threads=1)


def test_checks_fit_what_engines_are_built_for(bundle: Bundle) -> None:
    for network in (*bundle.networks.values(), *Bundle.open("small").networks.values()):
        for name, size in network.check_input.free.items():
            low, _, high = network.profile[name]
            assert low <= size <= high, (network.name, name)


# Without a GPU


def test_no_gpu_is_told_and_nothing_falls_back(cli: Cli, person: ViewSet, tmp_path: Path) -> None:
    try:
        driver.library()
    except DeviceFailure as error:
        sentence = str(error)
    else:
        pytest.skip("this machine has a driver")
    words = ("infer-views", person.folder, "--cameras", person.folder / "cameras.json", "--masks", person.folder)
    words = (*words, "-o", tmp_path / "out", "--resolution", 128, "--threads", 1, "--no-preview", "--model", view_bundle())
    for asked in (("--device", "cuda"), ("--engine", "torch", "--device", "cuda")):
        found = cli(*words, *asked)
        assert (found.code, found.sentence) == (7, sentence), asked
    for asked in (("--engine", "cuda"), ("--engine", "tensorrt"), ("--engine", "tensorrt-rtx")):
        assert cli(*words, *asked).code == 7, asked
    found = cli(*words, "--engine", "cpu", "--device", "cuda")
    assert found.code == 7 and found.sentence == "--engine cpu does not run on --device cuda"
    found = cli(*words[:-1], "hull", "--device", "cuda")
    assert found.code == 7 and found.sentence == "the visual hull is made on the CPU only; use --device cpu"
    assert not (tmp_path / "out").exists()
    found = cli(*words, "--json")
    assert found.code == 0, found.err
    engine = json.loads(found.out)["results"][0]["engine"]
    assert engine.endswith("CPUExecutionProvider; the GPU is not used: there is no NVIDIA driver here")
    found = cli("infer", person.photo_path(0), "--model", view_bundle(), "-o", tmp_path / "one")
    assert found.code == 6 and "use h2k-rt infer-views" in found.sentence
