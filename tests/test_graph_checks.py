"""Every network of the bundle against what TensorRT takes: operator table, NVIDIA's graph tools, real TensorRT-RTX engines."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, shared_dir
from view_bundle import view_bundle

import h2k_rt
from h2k_rt.bundle import Bundle

onnx = pytest.importorskip("onnx")

SMALL = Path(h2k_rt.__file__).parent / "models" / "small"
#: Their output is BOOL whatever they compare, and the table states what they compare.
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
TYPES = {1: "FP32", 10: "FP16", 6: "INT32", 7: "INT64", 9: "BOOL", 2: "UINT8"}


def graphs() -> list[Path]:
    """All graphs of the bundle that ships."""
    bundle = Bundle.open(SMALL)
    found = [bundle.network(name, precision) for name in bundle.networks for precision in bundle.precisions(name)]
    return [path for path in found if isinstance(path, Path)]


@pytest.fixture(scope="module")
def operators() -> dict[str, Any]:
    path = shared_dir() / "reference" / "tensorrt" / "onnx_ops.json"
    if not path.is_file():
        pytest.skip(f"there is no {path}; set H2K_SHARED")
    return json.loads(path.read_text())


def types_of(model: Any) -> dict[str, int]:
    """Element type of every tensor."""
    known = {t.name: t.data_type for t in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        known[value.name] = value.type.tensor_type.elem_type
    return known


def refused(model: Any, operators: dict[str, Any]) -> list[str]:
    """Nodes that the operator table does not take, with the reason."""
    found, types = [], types_of(model)
    for node in model.graph.node:
        entry = operators["ops"].get(node.op_type, {"supported": False})
        if node.domain not in ("", "ai.onnx") or not entry["supported"]:
            found.append(f"{node.op_type} is not supported")
            continue
        looked_at = [node.input[0]] if node.op_type in COMPARISONS else [node.input[0], node.output[0]]
        kinds = {TYPES[types[name]] for name in looked_at if name in types}
        assert kinds, f"{node.name}: its types are not known"
        if not kinds <= set(entry["dtypes"]):
            found.append(f"{node.op_type} does not take {', '.join(sorted(kinds - set(entry['dtypes'])))}")
    return found


@pytest.mark.parametrize("path", graphs(), ids=lambda path: path.name.removesuffix(".onnx"))
def test_operator_table(path: Path, operators: dict[str, Any]) -> None:
    model = onnx.load(path)
    assert len(model.graph.node) > 5 and not refused(model, operators)
    (opset,) = (entry.version for entry in model.opset_import if entry.domain == "")
    low, high = operators["opset"]["10.0"]
    assert low <= opset <= high, "the narrowest range of the versions supported"
    types = types_of(model)  # weights may be stored in 16 bits, what is computed may not
    computed = {types[node.output[0]] for node in model.graph.node if node.op_type in ("Conv", "Relu")}
    assert (onnx.TensorProto.FLOAT16 in computed) == path.name.endswith(".fp16.onnx")


@pytest.mark.parametrize("merge", ["mean", "attention"])
def test_operator_table_takes_the_networks_for_several_photos(merge: str, operators: dict[str, Any]) -> None:
    bundle = Bundle.open(view_bundle(merge))
    found = [bundle.network(name, precision) for name in bundle.networks for precision in bundle.precisions(name)]
    models = [onnx.load(path) for path in found]
    assert len(models) == 4 and all(len(model.graph.node) > 5 for model in models)
    assert [refused(model, operators) for model in models] == [[]] * 4


def test_operator_table_refuses(operators: dict[str, Any]) -> None:
    """The check can fail."""
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    x, y = value("x", onnx.TensorProto.FLOAT16, [1]), value("y", onnx.TensorProto.FLOAT16, [1])
    det, both = node("Det", ["x"], ["y"]), node("And", ["x", "x"], ["y"])
    for made, words in ((det, "Det is not supported"), (both, "And does not take FP16")):
        assert refused(onnx.helper.make_model(onnx.helper.make_graph([made], "g", [x], [y])), operators) == [words]


#: Runs NVIDIA's command line tool on many files in one process.
POLYGRAPHY = """
import json, sys
from polygraphy.tools import main
files, target = sys.argv[1:-1], sys.argv[-1]
codes = {}
for file in files:
    clean = target + "/" + file.split("/")[-1]
    for words in (["inspect", "model", file], ["surgeon", "sanitize", file, "--fold-constants", "-o", clean]):
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code
        codes[file + " " + words[0]] = code or 0
print(json.dumps(codes))
"""


@pytest.mark.slow
def test_nvidias_graph_tools(tmp_path: Path) -> None:
    """polygraphy inspects every graph, and its sanitizer finds nothing to take away but folded constants."""
    for package in ("polygraphy", "onnx_graphsurgeon"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    paths = graphs()
    command = [sys.executable, "-c", POLYGRAPHY, *map(str, paths), str(tmp_path)]
    environment = {**os.environ, "POLYGRAPHY_AUTOINSTALL_DEPS": "0"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert run.returncode == 0, run.stderr
    codes = json.loads(run.stdout.splitlines()[-1])
    assert len(codes) == 2 * len(paths) and not any(codes.values()), codes
    for path in paths:
        before, after = onnx.load(path).graph, onnx.load(tmp_path / path.name).graph
        onnx.checker.check_model(tmp_path / path.name, full_check=True)
        assert [v.name for v in (*before.input, *before.output)] == [v.name for v in (*after.input, *after.output)]
        computing = [node.op_type for node in before.node if node.op_type == "Conv"]
        assert computing == [node.op_type for node in after.node if node.op_type == "Conv"]


@pytest.mark.slow
def test_tensorrt_rtx_engines() -> None:
    """Every network in FP32 and FP16 becomes one real TensorRT-RTX engine for RTX 30, 40 and 50: small, published size, views.

    About two and a half minutes of one core and 2.5 GiB, most of them for the export at the published size.
    """
    for missing, words in (
        (importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None, "the provider's package is not installed"),
        (not (shared_dir() / "tools" / "trt_rtx" / "rtx_build.py").is_file(), "the tool trt_rtx is not here; set H2K_SHARED"),
        (shutil.which("cc") is None or shutil.which("nm") is None, "there is no C compiler"),
        (not sys.platform.startswith("linux"), "the stand-ins for the driver are for Linux"),
    ):
        if missing:
            pytest.skip(words)
    # The networks of the second method are narrow ones; its bundles differ in how views are merged.
    command = [sys.executable, REPOSITORY / "bench" / "rtx_engines.py", "--full-size", "--views"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert run.returncode == 0, run.stderr
    graphs_of_views = 2 * 2 * 2  # two bundles of two networks in two precisions
    count = 3 * (2 * len(graphs()) + graphs_of_views)
    assert run.stdout == f"{count} engines, 0 problems\n"
