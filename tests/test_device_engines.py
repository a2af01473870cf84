"""Engines bound to given memory. On the CPU "device memory" is the host's; the binding, its checks and its numbers are the same."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from h2k_engines import (
    DeviceEngine,
    EngineFailure,
    OnnxRuntimeDeviceEngine,
    OnnxRuntimeEngine,
    TorchDeviceEngine,
    check_feeds_of,
    onnxruntime_device,
)
from h2k_engines.onnx_in_torch import open_graph
from h2k_engines.onnxruntime_device import CUDA, cuda_options
from h2k_kernels.launch import DeviceArray
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from tiny_bundle import tiny_bundle

from h2k_rt.bundle import NETWORKS, Bundle

ON_CPU = ("CPUExecutionProvider", "cpu")


@dataclass(frozen=True)
class Stream:
    handle: int = 7


def view(array: NDArray) -> DeviceArray:
    return DeviceArray(array.ctypes.data, array.shape, array.dtype, array.strides, array, (1, 0))


def views(arrays: Mapping[str, NDArray]) -> dict[str, DeviceArray]:
    return {name: view(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    pytest.importorskip("onnxruntime")
    return Bundle.open(tiny_bundle())


def blank_outputs(feeds: Mapping[str, NDArray], reference: Mapping[str, NDArray]) -> dict[str, NDArray]:
    return {name: np.full_like(value, np.nan) for name, value in reference.items()}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnxruntime_writes_into_given_memory(bundle: Bundle, name: str, precision: str) -> None:
    graph = bundle.network(name, precision)
    engine = OnnxRuntimeDeviceEngine(graph, name=name, stream=Stream(), provider=ON_CPU)
    reference = OnnxRuntimeEngine(graph, name=name, threads=1)
    assert isinstance(engine, DeviceEngine) and dict(engine.inputs) == dict(reference.inputs)
    feeds = check_feeds_of(engine.inputs, bundle.networks[name].check_input.ranges, bundle.networks[name].check_input.free)
    want = reference.run(feeds)
    have = blank_outputs(feeds, want)
    binding = engine.bind(views(feeds), views(have), Stream())
    binding.enqueue(Stream())
    for output in want:
        assert_array_equal(have[output], want[output])
    # New numbers in the same memory: the binding reads them.
    for array in feeds.values():
        array *= 0.5
    binding.enqueue(Stream())
    again = reference.run(feeds)
    assert all(np.array_equal(have[output], again[output]) for output in again)
    assert any((again[output] != want[output]).any() for output in again)


def test_one_network_bound_at_two_sizes(bundle: Bundle) -> None:
    engine = OnnxRuntimeDeviceEngine(bundle.network("high_depth"), name="high_depth", stream=Stream(), provider=ON_CPU)
    reference = OnnxRuntimeEngine(bundle.network("high_depth"), threads=1)
    check = bundle.networks["high_depth"].check_input
    bound = []
    for height, width in ((24, 32), (8, 16)):
        free = {"height": height, "width": width, "height8": 8 * height, "width8": 8 * width}
        feeds = check_feeds_of(engine.inputs, check.ranges, free)
        want = reference.run(feeds)
        have = blank_outputs(feeds, want)
        bound.append((engine.bind(views(feeds), views(have), Stream()), have, want, feeds))
    for binding, have, want, _ in (*bound, *reversed(bound)):
        for array in have.values():
            array[:] = np.nan
        binding.enqueue(Stream())
        assert all(np.array_equal(have[output], want[output]) for output in want)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_torch_runs_the_bundles_graphs(bundle: Bundle, name: str, precision: str) -> None:
    pytest.importorskip("torch")
    graph = bundle.network(name, precision)
    module, inputs, outputs = open_graph(graph, name)
    engine = TorchDeviceEngine(module, name, inputs, outputs, device="cpu")
    reference = OnnxRuntimeEngine(graph, name=name, threads=1)
    assert isinstance(engine, DeviceEngine)
    assert dict(engine.inputs) == dict(reference.inputs) and dict(engine.outputs) == dict(reference.outputs)
    check = bundle.networks[name].check_input
    feeds = check_feeds_of(engine.inputs, check.ranges, check.free)
    want = reference.run(feeds)
    have = blank_outputs(feeds, want)
    engine.bind(views(feeds), views(have), Stream()).enqueue(Stream())
    decided = np.abs(want["mask"] - 0.5) > 1e-2 if name == "low_depth" else np.True_
    for output, value in want.items():
        # Both runtimes round FP16 in other places; the graphs' own tolerance is a hundredth.
        tolerance = (2e-5 if precision == "fp32" else 1e-2) * np.ptp(value)
        assert (np.abs(have[output] - value) * decided).max() <= tolerance, output
        assert np.ptp(value) > 0.05, "the input must stir the network"


def test_graphs_that_torch_does_not_know(bundle: Bundle) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("torch")
    with pytest.raises(EngineFailure, match="net: the file is no ONNX graph"):
        open_graph(b"nothing at all", "net")

    def graph(*nodes: object, initializer: tuple = ()) -> bytes:
        value = onnx.helper.make_tensor_value_info
        x, y = value("x", 1, [1, 1, 4, 4]), value("y", 1, [1, 1, 4, 4])
        made = onnx.helper.make_graph(list(nodes), "g", [x], [y], list(initializer))
        return onnx.helper.make_model(made).SerializeToString()

    node = onnx.helper.make_node
    starts = onnx.numpy_helper.from_array(np.array([0]), "s")
    for model, message in (
        (graph(node("Tanh", ["x"], ["y"])), "operator Tanh is not supported"),
        (
            graph(node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 1, 1])),
            "MaxPool .* not supported in this form: pads",
        ),
        (graph(node("Slice", ["x", "s", "x"], ["y"]), initializer=(starts,)), "Slice .* depends on what is computed"),
    ):
        with pytest.raises(EngineFailure, match=message):
            open_graph(model, "net")


def test_what_does_not_fit_is_said(bundle: Bundle) -> None:
    engine = OnnxRuntimeDeviceEngine(bundle.network("shoe"), name="shoe", stream=Stream(), provider=ON_CPU)
    good = np.zeros((2, 6, 176, 128), np.float32)
    for inputs, outputs, message in (
        ({}, {"normals": good}, "shoe: misses crops; its inputs are crops float32"),
        ({"crops": good}, {"normal": good}, "shoe: misses normals and does not know normal; its outputs are normals float32"),
        ({"crops": good.astype(np.float16)}, {"normals": good}, "shoe: crops must be float32, not float16"),
        ({"crops": good}, {"normals": good[:1]}, r"shoe: normals must have shape \(2, 6, 176, 128\), not \(1, 6"),
        ({"crops": np.zeros((4, 6, 176, 128), np.float32)[::2]}, {"normals": good}, "shoe: crops must be contiguous"),
    ):
        with pytest.raises(EngineFailure, match=message):
            engine.bind(views(inputs), views(outputs), Stream())
    binding = engine.bind(views({"crops": good}), views({"normals": good.copy()}), Stream())
    with pytest.raises(EngineFailure, match="shoe: ONNX Runtime runs it on the stream it was opened with"):
        binding.enqueue(Stream(8))
    high = OnnxRuntimeDeviceEngine(bundle.network("high_depth"), name="high_depth", stream=Stream(), provider=ON_CPU)
    low, normals = np.zeros((1, 2, 8, 8), np.float32), np.zeros((1, 6, 64, 64), np.float32)
    depth, mask = np.zeros((1, 2, 64, 72), np.float32), np.zeros((1, 1, 64, 64), np.float32)
    with pytest.raises(EngineFailure, match=r"depth must have shape .*not \(1, 2, 64, 72\)"):
        high.bind(views({"low_depth": low, "normals": normals}), views({"depth": depth, "mask": mask}), Stream())


def test_without_the_cuda_provider(bundle: Bundle) -> None:
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has it")
    with pytest.raises(EngineFailure, match=r'shoe: this ONNX Runtime has no CUDAExecutionProvider: .*pip install "h2k-rt.gpu."'):
        OnnxRuntimeDeviceEngine(bundle.network("shoe"), name="shoe", stream=Stream())
    with pytest.raises(EngineFailure, match="shoe: ONNX Runtime cannot load the network with CPUExecutionProvider"):
        OnnxRuntimeDeviceEngine(b"nothing", name="shoe", stream=Stream(), provider=ON_CPU)


@pytest.mark.parametrize(("starts", "words"), [(False, "cannot start CUDA"), (True, "cannot load the network with CUDA")])
def test_cuda_provider_that_does_not_start(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, starts: bool, words: str) -> None:
    """onnxruntime-gpu 1.31 without CUDA's libraries: the provider is listed, left out, and then every node is one too many."""
    import onnxruntime

    class Session:
        def __init__(self, source: object, sess_options: onnxruntime.SessionOptions, providers: object) -> None:
            with suppress(RuntimeError):  # what ONNX Runtime raises where the entry was not made
                sess_options.get_session_config_entry("session.disable_cpu_ep_fallback")
                raise ValueError("This session contains graph nodes that are assigned to the default CPU EP")

        def get_providers(self) -> list[str]:
            return [CUDA, "CPUExecutionProvider"] if starts else ["CPUExecutionProvider"]

    listed = SimpleNamespace(
        get_available_providers=lambda: [CUDA], SessionOptions=onnxruntime.SessionOptions, InferenceSession=Session
    )
    monkeypatch.setattr(onnxruntime_device, "import_onnxruntime", lambda: listed)
    with pytest.raises(EngineFailure, match=f"shoe: ONNX Runtime {words}"):
        OnnxRuntimeDeviceEngine(bundle.network("shoe"), name="shoe", stream=Stream())


def test_torch_without_a_gpu() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(EngineFailure, match="net: PyTorch has no device 'cuda' here"):
        TorchDeviceEngine(torch.nn.Conv2d(1, 1, 1), "net", [], [])


def test_cuda_options_are_text() -> None:
    options = cuda_options(1, 2**47 + 5)
    assert options["device_id"] == "1" and options["user_compute_stream"] == str(2**47 + 5)
    assert all(isinstance(value, str) for value in options.values())
