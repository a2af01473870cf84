"""TensorRT plans from a bundle's ONNX graphs: strongly typed, one way for TensorRT 10.13 to 11.x.

Nothing numeric of TensorRT's enums stands here: their numbers moved between 10 and 11. What a call says by returning None or False
is turned into an error with the logger's words.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from h2k_engines.building import Progress, Recipe
from h2k_engines.engine import EngineFailure

log = logging.getLogger("h2k_engines.tensorrt")
log.addHandler(logging.NullHandler())

#: The oldest version whose interface was compared with what is called here.
OLDEST = (10, 13)


@dataclass(frozen=True)
class Plan:
    """What the builder made.

    Attributes:
        data: the serialized engine.
        layers: of the network before the builder joined them.
        timings: what it measured, for the next build on this GPU; empty if it gave none.
    """

    data: bytes
    layers: int
    timings: bytes


def import_tensorrt() -> Any:
    """The package.

    Raises:
        EngineFailure: it is not installed, its libraries are missing, or it is too old.
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        raise EngineFailure(f'{error.name} is not installed; run: pip install "tensorrt>=10.13"') from error
    except (ImportError, OSError) as error:  # a library that is missing: ImportError on Linux, FileNotFoundError on Windows
        raise EngineFailure(
            f"TensorRT's libraries are not there: {_first_line(error)}; run: pip install --force-reinstall tensorrt"
        ) from error
    version = tuple(int(part) for part in tensorrt.__version__.split(".")[:2])
    if version < OLDEST:
        raise EngineFailure(f"TensorRT {tensorrt.__version__} is too old; run: pip install --upgrade tensorrt")
    return tensorrt


def build_plan(
    graph: bytes,
    name: str,
    recipe: Recipe,
    *,
    timings: bytes = b"",
    progress: Progress = lambda done, total, what: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Plan:
    """Build a network for the GPU of the current context.

    Args:
        graph: a single-file ONNX graph; its types are the engine's types.
        name: the network's name for messages.
        timings: of an earlier build with the same version on the same GPU.
        cancelled: asked at every step; True stops the build.

    Raises:
        EngineFailure: TensorRT is not there, there is no GPU, the graph is refused, the build failed or was stopped.
    """
    trt = import_tensorrt()
    words = logger_of(trt)
    words.reason()  # what an earlier build said is none of this one's
    builder = made(lambda: trt.Builder(words), name, trt)

    def given(value: Any, what: str) -> Any:
        if value is None:
            raise EngineFailure(f"{name}: TensorRT {trt.__version__} gives no {what}: {words.reason()}")
        return value

    network = given(builder.create_network(_strongly_typed(trt)), "network")
    parser = made(lambda: trt.OnnxParser(network, words), name, trt, "it refuses the network")
    if not parser.parse(graph):
        refusals = [parser.get_error(i) for i in range(parser.num_errors)]
        said = "; ".join(f"{refusal.node_operator()} {refusal.node_name()}: {refusal.desc()}" for refusal in refusals)
        raise EngineFailure(f"{name}: TensorRT's ONNX parser refuses the graph: {said or words.reason()}")
    config = given(builder.create_builder_config(), "configuration")
    config.builder_optimization_level = recipe.level
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace)
    config.max_aux_streams = 0  # the pipeline runs networks side by side on streams of its own
    config.clear_flag(trt.BuilderFlag.TF32)  # what is FP32 is there to be exact
    layers = network.num_layers
    of_all = lambda done, total, what: progress(done, total, f"{what} ({layers} layers)")  # noqa: E731
    config.progress_monitor = make_monitor(trt, of_all, cancelled)
    if recipe.free:
        profile = given(builder.create_optimization_profile(), "optimization profile")
        try:
            for key in recipe.free:
                smallest, usual, largest = recipe.sizes(key)
                profile.set_shape(key, smallest, usual, largest)
            taken = config.add_optimization_profile(profile) >= 0
        except (ValueError, RuntimeError):  # sizes that contradict each other
            taken = False
        if not taken:
            raise EngineFailure(f"{name}: TensorRT refuses the sizes {dict(recipe.profile)}: {words.reason()}")
    timing_cache = _timing_cache(config, timings)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        if cancelled():
            raise EngineFailure(f"{name}: the build was stopped")
        raise EngineFailure(f"{name}: TensorRT {trt.__version__} cannot build the network: {words.reason()}")
    measured = None if timing_cache is None else timing_cache.serialize()
    return Plan(bytes(plan), layers, b"" if measured is None else bytes(measured))


def load_plan(data: bytes, name: str) -> tuple[Any, Any, Any, Any]:
    """A plan ready to run: the package, its logger, runtime and engine. Each must live as long as what follows it.

    Raises:
        EngineFailure: TensorRT is not there, there is no GPU, or the plan is of another version or GPU.
    """
    trt = import_tensorrt()
    words = logger_of(trt)
    words.reason()
    runtime = made(lambda: trt.Runtime(words), name, trt)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise EngineFailure(f"{name}: TensorRT {trt.__version__} does not load the plan: {words.reason()}")
    return trt, words, runtime, engine


def made(make: Callable[[], Any], name: str, trt: Any, why: str = "no GPU, or a driver that is too old") -> Any:
    """A builder, runtime or parser; where there is none, for a builder without a GPU, the bindings raise TypeError."""
    try:
        return make()
    except TypeError as error:
        raise EngineFailure(f"{name}: TensorRT {trt.__version__} does not start ({_first_line(error)}): {why}") from error


@functools.cache
def logger_of(trt: Any) -> Any:
    """The logger of this process, which writes to Python's logging and remembers what went wrong.

    There is only one: TensorRT sends what no object of its own says to the first that it was given.
    """
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.INFO,
    }

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: list[tuple[int, str]] = []
            self._lock = threading.Lock()

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level == logging.ERROR:
                with self._lock:
                    self._errors.append((threading.get_ident(), msg.strip()))
            log.log(level, "%s", msg)

        def reason(self) -> str:
            """The errors since the last question: this thread's, or where it has none, those of TensorRT's own threads."""
            me = threading.get_ident()
            with self._lock:
                mine = [each for each in self._errors if each[0] == me] or self._errors
                self._errors = [each for each in self._errors if each not in mine]
            return "; ".join(dict.fromkeys(said for _, said in mine)) or "it gave no reason"

    return Logger()


def make_monitor(trt: Any, progress: Progress, cancelled: Callable[[], bool]) -> Any:
    """Tells how far a build is. TensorRT calls it from C++, where no exception may arrive: one stops the build instead."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                progress(step + 1, self._steps.get(phase_name, step + 1), phase_name)
                return not cancelled()
            except BaseException:
                log.exception("the progress of a build cannot be told")
                return False

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def _strongly_typed(trt: Any) -> int:
    """Flags of a network whose types are those of the graph: asked for in 10.x, the only kind in 11.x."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _timing_cache(config: Any, timings: bytes) -> Any:
    """The cache of measurements that the build uses: a known one, or where that is refused an empty one; None where both are."""
    for content in dict.fromkeys((timings, b"")):
        timing_cache = config.create_timing_cache(content)
        if timing_cache is not None and config.set_timing_cache(timing_cache, False):
            return timing_cache
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
