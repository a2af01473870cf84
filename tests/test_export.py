"""ONNX graphs: do they compute what the networks compute, and are they what TensorRT's parser takes?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import oracle_rules
import pytest
from conftest import shared_dir
from tiny_bundle import WIDTH, tiny_bundle, tiny_state

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxslim")

from h2k_engines import OnnxRuntimeEngine  # noqa: E402
from h2k_export.errors import ExportError  # noqa: E402
from h2k_export.export import export_bundle, export_network  # noqa: E402
from h2k_export.fold import fold_batch_norms, round_weights  # noqa: E402
from h2k_export.graph import ALLOWED_OPERATORS, check_graph, operators, to_onnx  # noqa: E402
from h2k_export.half import to_half  # noqa: E402
from h2k_export.parity import check_against, compare, random_input, structured_input  # noqa: E402
from h2k_export.specs import GRAPHS, GraphSpec  # noqa: E402
from h2k_export.weights import load_human_net  # noqa: E402
from h2k_export.wrappers import exported_modules  # noqa: E402
from h2k_export.write_bundle import new_bundle, read_card, write_file  # noqa: E402

from h2k_rt.bundle import NETWORKS, Bundle  # noqa: E402
from h2k_rt.errors import BundleError, CheckpointError, OutputError  # noqa: E402
from h2k_rt.networks import HumanNet, NormalNet  # noqa: E402


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.set_num_threads(1)
    return load_human_net(tiny_state())


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(tiny_bundle())


@pytest.mark.parity
def test_rule_weights_are_those_of_the_vectors(vectors_dir: Path, load_vectors: Callable, vector_set: dict) -> None:
    state = oracle_rules.weights_from_tsv(vectors_dir / "state_dict_keys.tsv", vector_set["weight_suffix"])
    probe = load_vectors("weights_probe")
    for key in state.keys() & probe.keys():
        assert np.array_equal(state[key].ravel()[:64], probe[key].ravel()), key
    assert len(state.keys() & probe.keys()) == 11
    values = [v.astype(np.float64) for v in state.values() if v.dtype == np.float32]
    assert sum(v.sum() for v in values) == pytest.approx(float(probe["sum_of_all_float_entries"]), rel=1e-6)
    squares = float(probe["sum_of_squares_of_all_float_entries"])
    assert sum((v * v).sum() for v in values) == pytest.approx(squares, rel=1e-6)
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in HumanNet(1.0).state_dict().items()}
    assert list(shapes.items()) == [(k, v.shape) for k, v in state.items()]


@pytest.mark.parity
def test_graphs_give_the_published_numbers(load_vectors: Callable, vector_set: dict) -> None:
    """A part network of the published size, as an ONNX graph, against the published implementation's output."""
    net = NormalNet(6, 64).eval()
    rule = {
        k: oracle_rules.rule_tensor(f"img2normal_shoe.{k}", tuple(v.shape), vector_set["weight_suffix"])
        for k, v in net.state_dict().items()
    }
    net.load_state_dict({k: torch.as_tensor(v) for k, v in rule.items()})
    spec = GraphSpec("shoe", {"crops": (1, 6, 176, 128)}, {"normals": (1, 6, 176, 128)}, {"crops": (-1.0, 1.0)})
    model = to_onnx(fold_batch_norms(net), spec)
    v, part = vector_set["wave_offset"], 4
    crops = np.concatenate([oracle_rules.wave(3, 176, 128, part, v), oracle_rules.unit(3, 176, 128, part + 0.5, v)])[None]
    want = load_vectors("nets_full")["part_shoe_stride4"]
    for graph, tolerance in ((model, 2e-4), (to_half(model, spec), 1e-2)):
        normals = OnnxRuntimeEngine(graph.SerializeToString(), name="shoe", threads=2).run({"crops": crops})["normals"]
        assert np.abs(normals[0, :, ::4, ::4] - want).max() < tolerance


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_graphs_compute_what_the_networks_compute(bundle: Bundle, net: torch.nn.Module, name: str, precision: str) -> None:
    """Against the bare networks with their batch norms, and SPEC 4.2 and 4.3 written out in NumPy."""
    feeds = random_input(GRAPHS[name])
    tensors = [torch.from_numpy(v) for v in feeds.values()]
    with torch.no_grad():
        if name == "low_depth":
            raw = net.ImgNorm_to_Dep(*tensors).numpy()
        elif name == "high_depth":
            raw = net.refine(*tensors).numpy()
        else:
            raw = (net.img2normal_down if name == "low_normal" else net.part_net(name))(*tensors).numpy()
    engine = OnnxRuntimeEngine(bundle.network(name, precision), threads=2)
    outputs = engine.run(feeds)
    tolerance = 2e-5 if precision == "fp32" else 0.04
    if raw.shape[1] == 6:
        assert np.abs(outputs["normals"] - raw).max() < tolerance * np.ptp(raw)
        return
    mask = 1 / (1 + np.exp(-raw[:, 2:].astype(np.float64)))
    depth = np.clip(raw[:, :2], 0, 6)
    if name == "low_depth":
        assert 0.02 < (mask > 0.5).mean() < 0.98  # both cases are there
        depth = np.where(mask > 0.5, depth, np.array([6.0, 0.0]).reshape(1, 2, 1, 1))
    decided = np.broadcast_to(np.abs(mask - 0.5) > 0.02, depth.shape)
    assert np.abs(outputs["mask"] - mask).max() < tolerance
    assert np.abs(outputs["depth"] - depth)[decided].max() < tolerance * 6


def test_high_depth_takes_every_size(bundle: Bundle, net: torch.nn.Module) -> None:
    rng = np.random.default_rng(1)
    feeds = {
        "low_depth": rng.uniform(1, 3, (1, 2, 5, 11)).astype(np.float32),
        "normals": rng.uniform(0, 1, (1, 6, 40, 88)).astype(np.float32),
    }
    with torch.no_grad():
        raw = net.refine(*(torch.from_numpy(v) for v in feeds.values())).numpy()
    depth = OnnxRuntimeEngine(bundle.network("high_depth")).run(feeds)["depth"]
    assert depth.shape == (1, 2, 40, 88)
    assert np.abs(depth - np.clip(raw[:, :2], 0, 6)).max() < 1e-4


def test_upsampling_is_exact_doubling() -> None:
    spec = GraphSpec("up", {"x": (1, 2, 5, 7)}, {"y": (1, 2, 10, 14)}, {"x": (0, 1)})
    model = to_onnx(torch.nn.Upsample(scale_factor=2), spec)
    (resize,) = [n for n in model.graph.node if n.op_type == "Resize"]
    attributes = {a.name: a.s.decode() for a in resize.attribute if a.type == onnx.AttributeProto.STRING}
    assert attributes == {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
    x = np.random.default_rng(0).random((1, 2, 5, 7), np.float32)
    y = OnnxRuntimeEngine(model.SerializeToString(), name="up").run({"x": x})["y"]
    assert np.array_equal(y, x.repeat(2, 2).repeat(2, 3))


def test_folding_keeps_the_function_and_leaves_no_batch_norm(net: torch.nn.Module) -> None:
    module = net.part_net("face")
    folded = fold_batch_norms(module)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in module.modules())  # the original is untouched
    x = torch.rand(1, 6, 32, 48)
    with torch.no_grad():
        assert (folded(x) - module(x)).abs().max() < 1e-5
    with pytest.raises(ValueError, match="cannot be folded"):
        fold_batch_norms(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.BatchNorm2d(3)))


def test_operators_are_in_the_tensorrt_table(bundle: Bundle) -> None:
    file = shared_dir() / "reference" / "tensorrt" / "onnx_ops.json"
    if not file.is_file():
        pytest.skip(f"no operator table at {file}; set H2K_SHARED")
    table = json.loads(file.read_text())["ops"]
    names = {"FLOAT": "FP32", "FLOAT16": "FP16", "BOOL": "BOOL", "INT64": "INT64"}
    for operator in ALLOWED_OPERATORS:
        assert table[operator]["supported"], operator
    for name in NETWORKS:
        for precision in ("fp32", "fp16"):
            for operator, kinds in operators(onnx.load(bundle.network(name, precision))).items():
                # The table names the types that are computed; conditions and indices are BOOL and INT64 beside them.
                extra = {"Greater": {"BOOL"}, "Where": {"BOOL"}, "Slice": {"INT64"}}.get(operator, set())
                assert {names[k] for k in kinds - extra} <= set(table[operator]["dtypes"]), (name, operator)


def test_fp16_graphs_compute_in_fp16_between_fp32_ends(bundle: Bundle) -> None:
    for name in NETWORKS:
        model = onnx.load(bundle.network(name, "fp16"))
        ends = [*model.graph.input, *model.graph.output]
        assert {v.type.tensor_type.elem_type for v in ends} == {onnx.TensorProto.FLOAT}
        weights = {t.name: t.data_type for t in model.graph.initializer}
        kinds = [weights[n.input[1]] for n in model.graph.node if n.op_type == "Conv"]
        full = kinds.count(onnx.TensorProto.FLOAT)
        assert full == (1 if name in ("low_depth", "high_depth") else 0) and len(kinds) >= 15
        casts = [n for n in model.graph.node if n.op_type == "Cast"]
        assert len(casts) <= len(ends) + 1, "casts stand at the ends and before the head only"


def test_bundle_states_what_was_measured(bundle: Bundle) -> None:
    for name in NETWORKS:
        network = bundle.networks[name]
        assert network.inputs == GRAPHS[name].inputs and network.outputs == GRAPHS[name].outputs
        assert 0 < network.files["fp32"].error < 1e-4
        assert network.files["fp32"].error < network.files["fp16"].error < 0.02
        assert network.files["fp16"].size < 0.95 * network.files["fp32"].size
    assert bundle.width == WIDTH


def test_a_wrong_graph_is_found(bundle: Bundle) -> None:
    """The parity check must fail when one bias is off."""
    path = bundle.network("shoe")
    model = onnx.load(path)
    bias = next(t for t in model.graph.initializer if t.name.endswith("Conv_1x1.conv.0.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(1e-3), bias.name))
    wrong = OnnxRuntimeEngine(model.SerializeToString(), name="shoe")
    feeds = structured_input(GRAPHS["shoe"])
    with pytest.raises(ExportError, match="shoe: output normals is off by"):
        check_against(OnnxRuntimeEngine(path), wrong, feeds, 1e-4, unsure=0.0)


def test_only_a_mask_at_the_threshold_excuses_a_pixel() -> None:
    mask = np.full((1, 1, 2, 2), 0.9)
    reference = {"depth": np.ones((1, 2, 2, 2)), "mask": mask}
    reference["depth"][0, 0, 0, 0] = 0.0
    flipped = {"depth": reference["depth"].copy(), "mask": mask}
    flipped["depth"][0, 0, 1, 1] = 6.0
    assert compare(reference, flipped, unsure=0.01)["depth"].error == pytest.approx(5)
    mask[0, 0, 1, 1] = 0.505
    found = compare(reference, flipped, unsure=0.01)["depth"]
    assert found.error == 0 and found.undecided == 0.25
    with pytest.raises(ExportError, match="not finite"):
        compare(reference, {"depth": reference["depth"] * np.nan, "mask": mask}, unsure=0.01)


def test_operators_beyond_the_list_are_refused(bundle: Bundle) -> None:
    model = onnx.load(bundle.network("shoe"))
    last = model.graph.node[-1]
    name, last.output[0] = last.output[0], "before"
    model.graph.node.append(onnx.helper.make_node("Sin", ["before"], [name]))
    model = onnx.shape_inference.infer_shapes(model)
    with pytest.raises(ExportError, match="operator Sin"):
        check_graph(model, GRAPHS["shoe"])
    with pytest.raises(ExportError, match="instead of"):
        check_graph(onnx.load(bundle.network("face")), GRAPHS["shoe"])


def test_weights_stored_in_16_bits(net: torch.nn.Module) -> None:
    """Half the file, and exactly the network with rounded weights; the same bytes every time."""
    module, spec = exported_modules(net)["shoe"], GRAPHS["shoe"]
    (row, data), (_, half) = export_network(module, spec, ("fp32", "fp16"), True)
    (plain, _), (_, plain_half) = export_network(module, spec, ("fp32", "fp16"), False)
    assert row.size < 0.62 * plain.size and 0 < row.rounding < 5e-3 and plain.rounding == 0
    assert half == plain_half, "rounding twice must be rounding once"
    feeds = structured_input(spec)
    with torch.no_grad():
        want = round_weights(fold_batch_norms(module))(torch.from_numpy(feeds["crops"])).numpy()
    have = OnnxRuntimeEngine(data, name="shoe").run(feeds)["normals"]
    assert np.abs(have - want).max() < 2e-5 * np.ptp(want)
    assert export_network(module, spec, ("fp32",), True)[0][1] == data


def test_a_bundle_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for out in (tmp_path / "bundle", tmp_path / "bundle.zip"):
        for licence in ("first", "second"):
            with new_bundle(out, replace=True) as folder:
                shutil.copytree(tiny_bundle(), folder, dirs_exist_ok=True)
                text = (folder / "model.toml").read_text()
                (folder / "model.toml").write_text(text.replace("CC BY-NC", licence))
            assert Bundle.open(out).licence.startswith(licence)
        before = Bundle.open(out).network("face")
        with pytest.raises(BundleError, match="it was not kept"), new_bundle(out, replace=True) as folder:
            (folder / "model.toml").write_text("format = 1")
        assert Bundle.open(out).network("face") == before
    packed = (tmp_path / "bundle.zip").read_bytes()
    with new_bundle(tmp_path / "again.zip", replace=False) as folder:
        shutil.copytree(tmp_path / "bundle", folder, dirs_exist_ok=True)
    assert (tmp_path / "again.zip").read_bytes() == packed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.zip", "bundle", "bundle.zip"]


def test_a_model_card_travels_with_the_bundle(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("# Tiny\nüber")
    assert read_card(card) == card.read_bytes() and read_card(None) is None
    with new_bundle(tmp_path / "bundle", replace=False) as folder:
        shutil.copytree(tiny_bundle(), folder, dirs_exist_ok=True)
        write_file(folder / "card.md", card.read_bytes())
    with new_bundle(tmp_path / "bundle", replace=True) as folder:  # a card is part of a bundle, not somebody's own file
        shutil.copytree(tiny_bundle(), folder, dirs_exist_ok=True)
    assert not (tmp_path / "bundle" / "card.md").exists()
    for data, fault in ((b"\xff\xfe\x00", "UTF-8"), (b"x" * ((1 << 20) + 1), "1048577 bytes")):
        card.write_bytes(data)
        with pytest.raises(BundleError, match=f"card.md: .*{fault}"):
            read_card(card)
    with pytest.raises(BundleError, match=r"absent\.md: the model card cannot be read"):
        read_card(tmp_path / "absent.md")


def test_weights_too_large_for_16_bits_are_refused(net: torch.nn.Module) -> None:
    module = fold_batch_norms(net.part_net("shoe"))
    with torch.no_grad():
        module.Conv1.conv[0].weight[0, 0, 0, 0] = 1e5
    spec = GRAPHS["shoe"]
    with pytest.raises(ExportError, match="too large for FP16"):
        to_half(to_onnx(module, spec), spec)
    with pytest.raises(ExportError, match="without store_fp16"):
        export_network(module, spec, ("fp32",), True)


def test_export_leaves_everything_or_nothing(tmp_path: Path, net: torch.nn.Module) -> None:
    words = {"name": "x", "licence": "none", "trained_on": "nothing"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep me")
    with pytest.raises(OutputError, match="exists already"):
        export_bundle(net, tmp_path / "mine", **words)
    with pytest.raises(OutputError, match=r"is not replaced: it holds note\.txt"):
        export_bundle(net, tmp_path / "mine", replace=True, **words)
    (tmp_path / "mine.zip").write_text("keep me too")
    with pytest.raises(OutputError, match="is not replaced"):
        export_bundle(net, tmp_path / "mine.zip", replace=True, **words)

    def stop(done: int, total: int, what: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(net, tmp_path / "new" / "bundle", progress=stop, **words)
    with pytest.raises(CheckpointError, match=r"width 0\.0625, not 1"):
        export_bundle(tiny_state(), tmp_path / "other", width=1.0, **words)
    assert list((tmp_path / "new").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "mine.zip", "new"]
    assert (tmp_path / "mine" / "note.txt").read_text() == "keep me"
