"""Engines: the same answers behind one interface, and clear words for wrong tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from h2k_engines import Engine, EngineFailure, OnnxRuntimeEngine, TensorSpec, TorchEngine, check_feeds_of
from h2k_engines.engine import check_feeds
from tiny_bundle import tiny_bundle

from h2k_rt.bundle import NETWORKS, Bundle

FLOAT = np.dtype(np.float32)
FREE = {"x": TensorSpec("x", FLOAT, (1, 2, "h", "w")), "y": TensorSpec("y", FLOAT, (1, 1, "h", 4))}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    pytest.importorskip("onnxruntime")
    return Bundle.open(tiny_bundle())


def test_both_engines_declare_and_answer_the_same(bundle: Bundle) -> None:
    from h2k_export import torch_engines

    reference = torch_engines(bundle.weights(), fold=True)
    assert tuple(reference) == NETWORKS
    for name, torch_engine in reference.items():
        network = bundle.networks[name]
        engine = OnnxRuntimeEngine(bundle.network(name), name=name, threads=2)
        for each in (engine, torch_engine):
            assert isinstance(each, Engine) and each.name == name
            assert {n: s.shape for n, s in each.inputs.items()} == dict(network.inputs)
            assert {n: s.shape for n, s in each.outputs.items()} == dict(network.outputs)
            assert all(s.dtype == FLOAT for s in (*each.inputs.values(), *each.outputs.values()))
        assert engine.provider.startswith("onnxruntime ") and engine.provider.endswith(" CPUExecutionProvider")
        assert torch_engine.provider.startswith("torch ") and torch_engine.provider.endswith(" cpu")
        feeds = check_feeds_of(engine.inputs, network.check_input.ranges, network.check_input.free)
        want, have = torch_engine.run(feeds), engine.run(feeds)
        assert want.keys() == have.keys() == network.outputs.keys()
        decided = np.abs(want["mask"] - 0.5) > 1e-3 if name == "low_depth" else np.True_
        for output in want:
            difference = np.abs(want[output] - have[output]) * decided
            assert difference.max() < 2e-5 * np.ptp(want[output]), (name, output)
            assert np.ptp(want[output]) > 0.05, "the input must stir the network"


def test_check_input_is_the_rule() -> None:
    spec = {"b": TensorSpec("b", FLOAT, (2, 3, "h", 5)), "a": TensorSpec("a", FLOAT, (1, 1, 2, 2))}
    feeds = check_feeds_of(spec, {"a": (-1, 1), "b": (0, 4)}, {"h": 7})
    assert feeds["b"].shape == (2, 3, 7, 5) and feeds["b"].dtype == FLOAT
    x, y, k, picture = (1 + 0.5) / 5, (4 + 0.5) / 7, 2, 1
    wave = np.sin(2 * np.pi * ((3 + k + picture / 4) * x + (2 + 2 * k - picture / 4) * y) + 0.7 * k + 0.3 * picture + 1)
    assert feeds["b"][picture, k, 4, 1] == pytest.approx(2 + 2 * wave, abs=1e-5)
    assert feeds["b"].min() >= 0 and feeds["b"].max() <= 4 and np.abs(feeds["a"]).max() <= 1


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"x": (1, 2, 3, 4)}, "net: misses y; its inputs are x float32"),
        ({"x": (1, 2, 3, 4), "y": (1, 1, 3, 4), "z": (1,)}, "does not know z"),
        ({"x": (1, 2, 3, 4), "y": (1, 1, 5, 4)}, "y must have shape"),
        ({"x": (1, 3, 3, 4), "y": (1, 1, 3, 4)}, "x must have shape"),
        ({"x": (2, 3, 4), "y": (1, 1, 3, 4)}, "x must have shape"),
    ],
)
def test_wrong_feeds(feeds: dict[str, tuple[int, ...]], message: str) -> None:
    check_feeds(FREE, {"x": np.zeros((1, 2, 3, 9), FLOAT), "y": np.zeros((1, 1, 3, 4), FLOAT)}, "net")
    with pytest.raises(EngineFailure, match=message):
        check_feeds(FREE, {name: np.zeros(shape, FLOAT) for name, shape in feeds.items()}, "net")
    with pytest.raises(EngineFailure, match="x must be float32, not float64"):
        check_feeds(FREE, {"x": np.zeros((1, 2, 3, 9)), "y": np.zeros((1, 1, 3, 4), FLOAT)}, "net")


def test_onnxruntime_failures(bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    for model in (tmp_path / "x.onnx", tmp_path / "absent.onnx", b"nothing"):
        with pytest.raises(EngineFailure, match="net: ONNX Runtime cannot load the network") as caught:
            OnnxRuntimeEngine(model, name="net")
        assert "\n" not in str(caught.value)
    path = bundle.network("high_depth")
    with pytest.raises(EngineFailure, match=r"has no NoSuchExecutionProvider|cannot load"):
        OnnxRuntimeEngine(path, providers=("NoSuchExecutionProvider",))
    engine = OnnxRuntimeEngine(path)
    assert engine.name == "high_depth"
    with pytest.raises(EngineFailure, match="high_depth: ONNX Runtime failed"):
        engine.run({"low_depth": np.zeros((1, 2, 8, 8), FLOAT), "normals": np.zeros((1, 6, 8, 8), FLOAT)})
    assert "onnxruntime" not in capfd.readouterr().err, "errors come as exceptions and are not printed"


def test_torch_engine_failures() -> None:
    torch = pytest.importorskip("torch")
    spec = [TensorSpec("x", FLOAT, (1, 1, "h", "w"))]
    two = TorchEngine(torch.nn.Identity(), "net", spec, [*spec, TensorSpec("y", FLOAT, (1,))])
    x = {"x": np.zeros((1, 1, 2, 2), FLOAT)}
    with pytest.raises(EngineFailure, match="gives 1 tensors, not 2"):
        two.run(x)
    wrong = TorchEngine(torch.nn.Conv2d(2, 1, 1), "net", spec, spec)
    with pytest.raises(EngineFailure, match="net: PyTorch failed"):
        wrong.run(x)
    with pytest.raises(EngineFailure, match="net: PyTorch has no device 'nowhere'"):
        TorchEngine(torch.nn.Identity(), "net", spec, spec, device="nowhere")
    norm = TorchEngine(torch.nn.BatchNorm2d(1).train(), "net", spec, spec)
    ones = {"x": np.ones((1, 1, 2, 2), FLOAT)}
    assert np.allclose(norm.run(ones)["x"], 1, atol=1e-4) and np.allclose(norm.run(ones)["x"], 1, atol=1e-4), "evaluation mode"


def test_bundle_with_weights_runs_on_torch(tmp_path: Path) -> None:
    """The engine "torch" of a bundle gives what ONNX Runtime gives; without weights it says so."""
    from h2k_export import export_bundle
    from oracle_rules import weights

    from h2k_rt.bundle import Bundle
    from h2k_rt.engines import open_engines
    from h2k_rt.errors import EngineError

    options = {"name": "tiny", "licence": "none", "trained_on": "nothing", "precision": "fp32"}
    export_bundle(weights(width=0.125), tmp_path / "tiny", keep_weights=True, **options)
    bundle = Bundle.open(tmp_path / "tiny")
    feeds = {"picture": np.random.default_rng(0).uniform(-1, 1, (1, 3, 256, 256)).astype(np.float32)}
    torch_out = open_engines(bundle, "torch")["low_normal"].run(feeds)["normals"]
    onnx_out = open_engines(bundle, "onnxruntime")["low_normal"].run(feeds)["normals"]
    np.testing.assert_allclose(torch_out, onnx_out, atol=1e-5)
    with pytest.raises(EngineError, match=r"weights\.safetensors"):
        open_engines(Bundle.open("small"), "torch")
