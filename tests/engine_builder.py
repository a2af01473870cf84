"""Building engines in tests with a real builder that needs no GPU: ONNX Runtime's optimised model, kept in its own format.

Run as a program it builds one engine in a cache: ``python engine_builder.py FOLDER GRAPH [STEP]``, where STEP
is a point at which the process kills itself, or another way to run it.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from h2k_engines.cache import Built, EngineCache, EngineKey, Obtained
from h2k_engines.engine import EngineFailure


def key_of(graph: Path, **more: str) -> EngineKey:
    import hashlib

    parts = {"graph": hashlib.sha256(graph.read_bytes()).hexdigest(), "version": ort.__version__, "gpu": "none"}
    return EngineKey("onnxruntime", "face", "fp32", {**parts, **more})


def build(graph: Path) -> Built:
    """The graph optimised for this machine, as a model in ORT format."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "model.ort")
        options.add_session_config_entry("session.save_model_format", "ORT")
        options.log_severity_level = 4
        ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        return Built((Path(folder) / "model.ort").read_bytes(), {"seconds": 0.1})


def load(data: bytes) -> ort.InferenceSession:
    """The engine ready to run; what is no model is refused as a runtime refuses a foreign plan."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.load_model_format", "ORT")
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineFailure(str(error).splitlines()[0]) from error


def answer(session: ort.InferenceSession) -> np.ndarray:
    (given,) = session.get_inputs()
    x = np.linspace(-1, 1, int(np.prod(given.shape)), dtype=np.float32).reshape(given.shape)
    return session.run(None, {given.name: x})[0]


def obtain(cache: EngineCache, graph: Path, *, builds: Callable[[], None] = lambda: None, **more: str) -> Obtained:
    def counted() -> Built:
        builds()
        return build(graph)

    return cache.obtain(key_of(graph, **more), counted, load)


def _prepare(step: str) -> None:
    """Have the process killed at a step of writing an entry, or run it in another way."""
    from h2k_engines import cache
    from h2k_kernels import user_cache

    def killed(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def when(number: int, real: Callable[..., None]) -> Callable[..., None]:
        calls = 0

        def call(*arguments: object, **words: object) -> None:
            nonlocal calls
            calls += 1
            killed() if calls == number else real(*arguments, **words)

        return call

    if step == "build":
        cache.EngineCache._keep = killed  # type: ignore[assignment,method-assign]
    elif step == "half a file":
        user_cache.os.fsync = killed  # type: ignore[attr-defined]
    elif step == "between the files":
        cache.write_whole = when(2, cache.write_whole)
    elif step == "as nobody":  # to whom rights apply
        os.setgid(65534)
        os.setuid(65534)


def main() -> None:
    folder, graph, step = Path(sys.argv[1]), Path(sys.argv[2]), (sys.argv[3] if len(sys.argv) > 3 else "")
    _prepare(step)

    def builds() -> None:
        print("building", flush=True)
        time.sleep(0.5 if step == "slowly" else 0)

    result = obtain(EngineCache(folder, lambda sentence: print(sentence, flush=True)), graph, builds=builds)
    print("cached" if result.cached else "built", float(answer(result.engine).sum()), result.not_kept, sep="|")


if __name__ == "__main__":
    main()
