"""The TensorRT engine without TensorRT: its calls against the interfaces of three versions, and against real bindings."""

from __future__ import annotations

import ast
import inspect
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import shared_dir
from h2k_engines import DeviceEngine, EngineFailure, tensorrt_device, tensorrt_engine
from h2k_engines.building import Recipe, workspace_for
from h2k_engines.tensorrt_device import TensorRtDeviceEngine
from h2k_engines.tensorrt_engine import build_plan, import_tensorrt, logger_of
from tensorrt_api import VERSIONS, StandIn, accepts, members, read_api

#: What the variables of the two sources stand for.
VARIABLES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "refusal": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "timing_cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "context": "IExecutionContext",
    "severity": "ILogger.Severity",
}
TREES = [ast.parse(inspect.getsource(module)) for module in (tensorrt_engine, tensorrt_device)]

SHAPES = {"low_depth": (1, 2, "height", "width"), "depth": (1, 2, "height8", "width8")}
PROFILE = {"height": (16, 208, 256), "width": (16, 112, 256)}
RECIPE = Recipe({"low_depth": SHAPES["low_depth"]}, {"depth": SHAPES["depth"]}, PROFILE, workspace=123)


def used_members() -> set[tuple[str, str]]:
    """(class, member) of every attribute that is read, called or set on TensorRT's objects; class "" is the module."""
    found = set()
    for tree in TREES:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name in ("trt", "_trt"):
                found.add(("", node.attr))
            elif isinstance(owner, ast.Attribute) and _is_module(owner.value):
                found.add((owner.attr, node.attr))
            elif name in VARIABLES and not (name == "_engine" and node.attr.startswith("_")):
                found.add((VARIABLES[name], node.attr))
    return found


def _is_module(node: ast.expr) -> bool:
    return getattr(node, "id", getattr(node, "attr", "")) in ("trt", "_trt")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_member_is_there(version: str) -> None:
    api = read_api(version)
    used = used_members()
    assert len(used) >= 45, "the sources are read"
    assert {("Builder", "build_serialized_network"), ("IExecutionContext", "execute_async_v3"), ("BuilderFlag", "TF32")} <= used
    top = {*api["all_class_names"], *api["functions"], "__version__"}
    for owner, member in sorted(used):
        if owner == "":
            assert member in top, member
        elif owner == "ILogger.Severity":
            assert member in api["classes"]["ILogger"]["nested"]["Severity"]["members"], member
        else:
            assert member in members(api, owner), f"{owner}.{member}"


def test_no_number_of_an_enum_is_written_down() -> None:
    """They moved between 10 and 11: flags are shifted by members, never by literals."""
    shifts = [node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift)]
    by_literal = [ast.unparse(node) for node in shifts if isinstance(node.right, ast.Constant)]
    assert by_literal == []
    assert any("int(flag)" in ast.unparse(node) for node in shifts)


def test_what_the_subclasses_override_is_there() -> None:
    overridden = {"Logger": ("ILogger", {"log"}), "Monitor": ("IProgressMonitor", {"phase_start", "step_complete", "phase_finish"})}
    for tree in TREES:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name in overridden:
                base, names = overridden.pop(node.name)
                methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
                assert names <= methods.keys()
                for version in VERSIONS:
                    stated = read_api(version)["classes"][base]["methods"]
                    assert set(stated) == names
                    assert all(accepts(stated[name], len(methods[name].args.args), set()) for name in names)
    assert not overridden


@pytest.fixture(params=VERSIONS)
def trt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn(read_api(request.param))
    stand_in.says |= {
        "Builder.build_serialized_network": b"plan",
        "ITimingCache.serialize": b"timings",
        "INetworkDefinition.num_layers": 42,
        "ICudaEngine.num_io_tensors": 2,
        "ICudaEngine.get_tensor_name": lambda i: list(SHAPES)[i],
        "ICudaEngine.get_tensor_mode": lambda key: stand_in.TensorIOMode["OUTPUT" if key == "depth" else "INPUT"],
        "ICudaEngine.get_tensor_shape": lambda key: (1, 2, -1, -1),
        "ICudaEngine.get_tensor_dtype": lambda key: stand_in.DataType["FLOAT"],
        "ICudaEngine.device_memory_size_v2": 1000,
        "IExecutionContext.infer_shapes": [],
        "IExecutionContext.get_tensor_shape": lambda key: (1, 2, 128, 128),
    }
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in)
    return stand_in


def test_build(trt: StandIn) -> None:
    plan = build_plan(b"graph", "high_depth", RECIPE, timings=b"old")
    assert (plan.data, plan.layers, plan.timings) == (b"plan", 42, b"timings")
    by_name = {(owner, method): arguments for owner, method, arguments in trt.calls}
    typed = trt.api["classes"]["NetworkDefinitionCreationFlag"]["members"]["STRONGLY_TYPED"]
    assert by_name["Builder", "create_network"] == (1 << typed,)
    assert by_name["OnnxParser", "parse"] == (b"graph",)
    assert by_name["IBuilderConfig", "set_memory_pool_limit"] == (trt.MemoryPoolType["WORKSPACE"], 123)
    assert by_name["IBuilderConfig", "clear_flag"] == (trt.BuilderFlag["TF32"],)
    assert by_name["IBuilderConfig", "create_timing_cache"] == (b"old",)
    shapes = ("low_depth", (1, 2, 16, 16), (1, 2, 208, 112), (1, 2, 256, 256))
    assert by_name["IOptimizationProfile", "set_shape"] == shapes
    assert trt.settings["IBuilderConfig.builder_optimization_level"] == 3 and trt.settings["IBuilderConfig.max_aux_streams"] == 0
    assert [c[1] for c in trt.calls].index("set_timing_cache") < [c[1] for c in trt.calls].index("build_serialized_network")


def test_fixed_shapes_need_no_profile(trt: StandIn) -> None:
    build_plan(b"graph", "face", Recipe({"crops": (1, 6, 368, 320)}, {}, {}))
    assert "create_optimization_profile" not in [method for _, method, _ in trt.calls]


def test_progress_and_stopping(trt: StandIn) -> None:
    told: list[tuple[int, int, str]] = []
    monitor = tensorrt_engine.make_monitor(trt, lambda *words: told.append(words), lambda: len(told) == 3)
    monitor.phase_start("Tactics", None, 40)
    assert monitor.step_complete("Tactics", 0) and monitor.step_complete("Tactics", 1)
    assert not monitor.step_complete("Tactics", 2), "stopped"
    monitor.phase_finish("Tactics")
    assert told == [(1, 40, "Tactics"), (2, 40, "Tactics"), (3, 40, "Tactics")]
    broken = tensorrt_engine.make_monitor(trt, lambda *words: 1 // 0, lambda: False)
    assert broken.step_complete("Tactics", 0) is False, "nothing is raised into C++"
    trt.says["Builder.build_serialized_network"] = None
    with pytest.raises(EngineFailure, match="high_depth: the build was stopped"):
        build_plan(b"graph", "high_depth", RECIPE, cancelled=lambda: True)


def test_progress_of_a_build_names_the_layers(trt: StandIn) -> None:
    told: list[tuple[int, int, str]] = []

    def building(network: Any, config: Any) -> bytes:
        monitor = trt.settings["IBuilderConfig.progress_monitor"]
        monitor.phase_start("Tactics", None, 40)
        assert monitor.step_complete("Tactics", 6) is True
        return b"plan"

    trt.says["Builder.build_serialized_network"] = building
    build_plan(b"graph", "high_depth", RECIPE, progress=lambda *words: told.append(words))
    assert told == [(7, 40, "Tactics (42 layers)")]


def test_point_network_of_several_photos(trt: StandIn) -> None:
    """Two free dimensions in one input, one of them in the output; its chunks have many sizes and one scratch memory."""
    shapes: dict[str, Any] = {"features": ("views", 512, 1, "points"), "occupancy": (1, 1, 1, "points")}
    profile = {"views": (1, 4, 16), "points": (512, 8192, 16384)}
    recipe = Recipe({"features": shapes["features"]}, {"occupancy": shapes["occupancy"]}, profile)
    trt.says |= {
        "ICudaEngine.get_tensor_name": lambda i: list(shapes)[i],
        "ICudaEngine.get_tensor_mode": lambda key: trt.TensorIOMode["OUTPUT" if key == "occupancy" else "INPUT"],
        "ICudaEngine.get_tensor_shape": lambda key: tuple(n if isinstance(n, int) else -1 for n in shapes[key]),
    }
    build_plan(b"graph", "points", recipe)
    sizes = next(arguments for _, method, arguments in trt.calls if method == "set_shape")
    assert sizes == ("features", (1, 512, 1, 512), (4, 512, 1, 8192), (16, 512, 1, 16384))
    engine = opened(name="points", shapes=shapes)
    for count in (512, 16384):
        trt.says["IExecutionContext.get_tensor_shape"] = lambda key, count=count: (1, 1, 1, count)
        inputs, outputs = {"features": Tensor(10, (3, 512, 1, count))}, {"occupancy": Tensor(20, (1, 1, 1, count))}
        engine.bind(inputs, outputs, Stream()).enqueue(Stream())
    set_shapes = [arguments[1] for _, method, arguments in trt.calls if method == "set_input_shape"]
    assert set_shapes == [(3, 512, 1, 512), (3, 512, 1, 16384)]
    assert [arguments for _, method, arguments in trt.calls if method == "set_device_memory"] == [(4096, 1000)] * 2


def test_every_none_has_its_reason(trt: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    def failing(*words: str) -> Any:
        """A call that logs and gives nothing."""

        def call(*_: Any) -> None:
            made = [arguments for name, method, arguments in trt.calls if name in ("Builder", "Runtime") and method == "__init__"]
            (logger,) = made[-1]
            for word in words:
                logger.log(trt.ILogger.Severity["ERROR"], word)
            logger.log(trt.ILogger.Severity["WARNING"], "of no weight")

        return call

    trt.says["Builder.build_serialized_network"] = failing("no implementation", "no implementation", "out of memory")
    with caplog.at_level(logging.INFO, "h2k_engines.tensorrt"), pytest.raises(EngineFailure) as caught:
        build_plan(b"graph", "face", Recipe({}, {}, {}))
    version = trt.__version__
    assert str(caught.value) == f"face: TensorRT {version} cannot build the network: no implementation; out of memory"
    assert ("WARNING", "of no weight") in [(record.levelname, record.message) for record in caplog.records]
    trt.says["Runtime.deserialize_cuda_engine"] = failing("version mismatch")
    with pytest.raises(EngineFailure, match=f"face: TensorRT {version} does not load the plan: version mismatch"):
        opened(name="face")
    trt.says |= {
        "OnnxParser.parse": False,
        "OnnxParser.num_errors": 1,
        "ParserError.node_operator": "Einsum",
        "ParserError.node_name": "node 7",
        "ParserError.desc": "not supported",
    }
    trt.says["OnnxParser.get_error"] = lambda i: trt._make("ParserError")
    with pytest.raises(EngineFailure, match=r"face: TensorRT's ONNX parser refuses the graph: Einsum node 7: not supported"):
        build_plan(b"graph", "face", Recipe({}, {}, {}))
    trt.says["OnnxParser.parse"] = True
    trt.says["IBuilderConfig.add_optimization_profile"] = -1
    with pytest.raises(EngineFailure, match="high_depth: TensorRT refuses the sizes"):
        build_plan(b"graph", "high_depth", RECIPE)


#: Calls whose None or False costs time at the next build, and nothing else.
HARMLESS = {("IBuilderConfig", "create_timing_cache"), ("IBuilderConfig", "set_timing_cache"), ("ITimingCache", "serialize")}


def test_each_call_that_gives_nothing_is_an_error(trt: StandIn) -> None:
    """Every call that returns an object or says whether it worked, one after the other, from building to running."""

    def run() -> None:
        build_plan(b"graph", "high_depth", RECIPE, timings=b"old")
        opened().bind(*GOOD, Stream()).enqueue(Stream())

    run()
    returns = {(c, m): trt.api["classes"][c]["methods"][m][0].rsplit("-> ", 1)[1] for c, m, _ in trt.calls if m != "__init__"}
    refusable = {call: None for call, kind in returns.items() if kind in trt.api["classes"]} | {
        call: False for call, kind in returns.items() if kind == "bool"
    }
    refusable = {call: answer for call, answer in refusable.items() if "get_tensor" not in call[1]}
    assert len(refusable) == 13, refusable
    for (owner, method), answer in refusable.items():
        before = dict(trt.says)
        trt.says[f"{owner}.{method}"] = answer
        if (owner, method) in HARMLESS:
            run()
        else:
            with pytest.raises(EngineFailure, match=r"high_depth: TensorRT.*: it gave no reason"):
                run()
        trt.says = before


def raising(error: Exception) -> Any:
    def call(*_: Any) -> None:
        raise error

    return call


def test_what_the_bindings_raise(trt: StandIn) -> None:
    trt.says["IOptimizationProfile.set_shape"] = raising(ValueError("Shape provided for min is inconsistent with other shapes."))
    with pytest.raises(EngineFailure, match="high_depth: TensorRT refuses the sizes"):
        build_plan(b"graph", "high_depth", RECIPE)
    trt.says["OnnxParser.__init__"] = "no GPU"
    with pytest.raises(EngineFailure, match=r"face: TensorRT .* does not start .*: it refuses the network"):
        build_plan(b"graph", "face", Recipe({}, {}, {}))
    trt.says["IExecutionContext.infer_shapes"] = raising(RuntimeError("infer_shapes error code: -1"))
    with pytest.raises(EngineFailure, match="high_depth: TensorRT failed, it cannot tell the shapes: it gave no reason"):
        opened().bind(*GOOD, Stream())


def test_reasons_of_builds_side_by_side(trt: StandIn) -> None:
    """One logger for all, as TensorRT has it; a build's reason is what its own thread was told."""
    words, error = logger_of(trt), trt.ILogger.Severity["ERROR"]
    assert logger_of(trt) is words

    def elsewhere(do: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(do).result()

    words.log(error, "mine")
    with ThreadPoolExecutor(1) as other:
        other.submit(words.log, error, "theirs").result()
        assert words.reason() == "mine"
        assert other.submit(words.reason).result() == "theirs"
    elsewhere(lambda: words.log(error, "of a thread of TensorRT's own"))
    assert words.reason() == "of a thread of TensorRT's own" and words.reason() == "it gave no reason"
    words.log(error, "of an earlier network")
    trt.says["Builder.build_serialized_network"] = None
    with pytest.raises(EngineFailure, match="cannot build the network: it gave no reason"):
        build_plan(b"graph", "face", Recipe({}, {}, {}))


@pytest.mark.parametrize("what", ["Builder", "Runtime"])
def test_no_gpu(trt: StandIn, what: str) -> None:
    trt.says[f"{what}.__init__"] = "no GPU"
    with pytest.raises(EngineFailure, match=r"face: TensorRT .* does not start \(.*nullptr\): no GPU, or a driver that"):
        build_plan(b"graph", "face", Recipe({}, {}, {})) if what == "Builder" else opened(name="face")


def test_a_useless_timing_cache_is_no_obstacle(trt: StandIn) -> None:
    trt.says["IBuilderConfig.create_timing_cache"] = lambda data: None if data else trt._make("ITimingCache")
    assert build_plan(b"graph", "face", Recipe({}, {}, {}), timings=b"foreign").timings == b"timings"
    trt.says["IBuilderConfig.create_timing_cache"] = None
    assert build_plan(b"graph", "face", Recipe({}, {}, {})).timings == b""


# Running

FLOAT = np.dtype(np.float32)


@dataclass(frozen=True)
class Tensor:
    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype = FLOAT
    contiguous: bool = True

    @property
    def ndim(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class Stream:
    handle: int = 7


def opened(**more: Any) -> TensorRtDeviceEngine:
    words = {"name": "high_depth", "shapes": SHAPES, "stream": Stream(), "allocate": lambda n: Tensor(4096, (n,)), **more}
    return TensorRtDeviceEngine(b"plan", **words)


GOOD = ({"low_depth": Tensor(10, (1, 2, 16, 16))}, {"depth": Tensor(20, (1, 2, 128, 128))})


def test_bind_and_run(trt: StandIn) -> None:
    engine = opened()
    assert isinstance(engine, DeviceEngine) and engine.provider == f"TensorRT {trt.__version__}"
    assert {k: s.shape for k, s in engine.inputs.items()} == {"low_depth": SHAPES["low_depth"]}
    assert {k: (s.shape, s.dtype) for k, s in engine.outputs.items()} == {"depth": (SHAPES["depth"], np.float32)}
    binding = engine.bind(*GOOD, Stream())
    binding.enqueue(Stream())
    calls = [(method, arguments) for owner, method, arguments in trt.calls if owner == "IExecutionContext"]
    assert calls == [
        ("set_device_memory", (4096, 1000)),
        ("set_input_shape", ("low_depth", (1, 2, 16, 16))),
        ("infer_shapes", ()),
        ("get_tensor_shape", ("depth",)),
        ("set_tensor_address", ("low_depth", 10)),
        ("set_tensor_address", ("depth", 20)),
        ("execute_async_v3", (7,)),
    ]
    strategy = trt.ExecutionContextAllocationStrategy["USER_MANAGED"]
    assert ("ICudaEngine", "create_execution_context", (strategy,)) in trt.calls


def test_scratch_is_allocated_once(trt: StandIn) -> None:
    asked: list[int] = []
    engine = opened(allocate=lambda n: asked.append(n) or Tensor(4096, (n,)))
    for _ in range(3):
        engine.bind(*GOOD, Stream())
    assert asked == [1000]
    trt.says["ICudaEngine.device_memory_size_v2"] = 0
    opened(allocate=lambda n: pytest.fail("none is needed")).bind(*GOOD, Stream())


def test_refusals(trt: StandIn) -> None:
    engine = opened()
    with pytest.raises(EngineFailure, match="high_depth: it runs on the stream it was opened with"):
        engine.bind(*GOOD, Stream(8))
    for member, answer, message in (
        ("ICudaEngine.create_execution_context", None, "it gives no execution context"),
        ("IExecutionContext.set_input_shape", False, r"it does not take low_depth of shape \(1, 2, 16, 16\)"),
        ("IExecutionContext.infer_shapes", ["low_depth"], "the shapes of low_depth are not known"),
        ("IExecutionContext.set_tensor_address", False, "it does not take the memory of low_depth"),
        ("IExecutionContext.execute_async_v3", False, "it does not run"),
    ):
        before = dict(trt.says)
        trt.says[member] = answer
        with pytest.raises(EngineFailure, match=f"high_depth: TensorRT failed, {message}: it gave no reason"):
            engine.bind(*GOOD, Stream()).enqueue(Stream())
        trt.says = before
    trt.says["IExecutionContext.get_tensor_shape"] = lambda key: (1, 2, 64, 64)
    with pytest.raises(EngineFailure, match=r"depth must have shape \(1, 2, 64, 64\), not \(1, 2, 128, 128\)"):
        engine.bind(*GOOD, Stream())
    with pytest.raises(EngineFailure, match="high_depth: low_depth must be float32, not float16"):
        engine.bind({"low_depth": Tensor(1, (1, 2, 16, 16), np.dtype(np.float16))}, GOOD[1], Stream())


def test_plan_of_another_network(trt: StandIn) -> None:
    with pytest.raises(EngineFailure, match="high_depth: the plan is of another network: its low_depth is"):
        opened(shapes={**SHAPES, "low_depth": (1, 2, 256, 256)})
    with pytest.raises(EngineFailure, match="high_depth: the plan is of another network: it has no mask"):
        opened(shapes={**SHAPES, "mask": (1, 1, "height8", "width8")})


def test_workspace_is_capped_by_free_memory() -> None:
    assert [workspace_for(n) for n in (0, 2 << 30, 80 << 30)] == [1 << 20, 1 << 30, 4 << 30]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineFailure, match=r'tensorrt is not installed; run: pip install "tensorrt>=10\.13"'):
        import_tensorrt()
    old = type(sys)("tensorrt")
    old.__version__ = "8.6.1"
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(EngineFailure, match=r"TensorRT 8\.6\.1 is too old; run: pip install --upgrade tensorrt"):
        import_tensorrt()


# The real bindings. Their native libraries are replaced by empty ones: everything up to the GPU runs for real.

REAL = """
import logging, sys
from h2k_engines.engine import EngineFailure
from h2k_engines.building import Recipe
from h2k_engines.tensorrt_engine import build_plan, import_tensorrt, load_plan, logger_of, make_monitor, _strongly_typed
trt = import_tensorrt()
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
words = logger_of(trt)
words.log(trt.ILogger.Severity.ERROR, "said")
assert words.reason() == "said" and words.reason() == "it gave no reason"
monitor = make_monitor(trt, lambda *told: print(*told), lambda: False)
assert isinstance(words, trt.ILogger) and isinstance(monitor, trt.IProgressMonitor)
monitor.phase_start("phase", None, 3)
assert monitor.step_complete("phase", 0) is True
print(_strongly_typed(trt) == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
for attempt in (lambda: build_plan(b"graph", "face", Recipe({}, {}, {})), lambda: load_plan(b"plan", "face")):
    try:
        attempt()
    except EngineFailure as error:
        print(error)
"""


def test_real_bindings(tmp_path: Path) -> None:
    import importlib.util

    found = importlib.util.find_spec("tensorrt_bindings")
    maker = shared_dir() / "tools" / "trt_stub" / "make_stub.py"
    if found is None or found.origin is None:
        pytest.skip("tensorrt-cu13-bindings is not installed")
    if not maker.is_file():
        pytest.skip(f"there is no {maker}; set H2K_SHARED")
    folder = Path(found.origin).parent
    subprocess.run([sys.executable, maker, folder, tmp_path, "--alias"], check=True, capture_output=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *(p for p in sys.path if p)])
    run = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, env=environment, timeout=120)
    lines = run.stdout.splitlines()
    assert run.returncode == 0 and len(lines) == 5, run.stderr
    assert lines[:3] == ["ERROR said", "1 3 phase", "True"]
    for line in lines[3:]:
        assert line.startswith("face: TensorRT 1") and line.endswith("no GPU, or a driver that is too old")
        assert "factory function returned nullptr" in line
