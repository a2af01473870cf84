"""Networks on ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_engines.engine import EngineFailure, TensorSpec, check_feeds

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


def default_threads() -> int:
    """Cores this process may use (its affinity, not the machine's count)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


class OnnxRuntimeEngine:
    """One ONNX graph in an ONNX Runtime session.

    Args:
        model: path of a single-file ONNX graph, or its bytes.
        name: the network's name for messages; the file's stem if not given.
        threads: intra-op threads; None: all cores of this process.
        providers: execution providers in order of preference. A provider that was asked for and does not take part
            raises, it is never replaced in silence.

    Raises:
        EngineFailure: ONNX Runtime is not installed, the graph cannot be loaded, or a provider is not there.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        name: str | None = None,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        ort = import_onnxruntime()
        self.name = name or (Path(os.fspath(model)).stem if not isinstance(model, bytes) else "network")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors come as exceptions; nothing is printed beside them
        # Every session's arena keeps that session's peak. Measured for all eight networks at width 1 on two cores: 3.1 GB
        # with arenas, 1.8 GB with one arena for all, 1.3 GB without, for a tenth more time.
        options.enable_cpu_mem_arena = False
        try:
            self._session = ort.InferenceSession(
                model if isinstance(model, bytes) else os.fspath(model), sess_options=options, providers=list(providers)
            )
        except Exception as error:  # ONNX Runtime raises its own, undocumented family
            raise EngineFailure(f"{self.name}: ONNX Runtime cannot load the network: {first_line(error)}") from error
        running = self._session.get_providers()
        absent = [p for p in providers if p not in running]
        if absent:
            raise EngineFailure(f"{self.name}: ONNX Runtime has no {absent[0]} here; it offers {', '.join(running)}")
        self.inputs: Mapping[str, TensorSpec] = {a.name: spec_of(a) for a in self._session.get_inputs()}
        self.outputs: Mapping[str, TensorSpec] = {a.name: spec_of(a) for a in self._session.get_outputs()}
        self.provider = f"onnxruntime {ort.__version__} {running[0]}"

    def run(self, feeds: Mapping[str, NDArray]) -> dict[str, NDArray]:
        check_feeds(self.inputs, feeds, self.name)
        names = list(self.outputs)
        try:
            values = self._session.run(names, dict(feeds))
        except Exception as error:
            raise EngineFailure(f"{self.name}: ONNX Runtime failed: {first_line(error)}") from error
        return dict(zip(names, values, strict=True))


def import_onnxruntime() -> Any:
    """The package.

    Raises:
        EngineFailure: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineFailure('ONNX Runtime is not installed; run: pip install "h2k-rt[cpu]" (or h2k-rt[gpu])') from error
    return onnxruntime


def spec_of(argument: object) -> TensorSpec:
    """What ONNX Runtime says of an input or output."""
    name, kind, shape = argument.name, argument.type, argument.shape  # type: ignore[attr-defined]
    if kind not in _DTYPES:
        raise EngineFailure(f"{name}: tensors of type {kind} are not supported")
    dims = tuple(d if isinstance(d, int) else str(d) for d in shape)
    return TensorSpec(name, np.dtype(_DTYPES[kind]), dims)


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
