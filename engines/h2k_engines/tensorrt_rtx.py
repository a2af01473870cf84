"""TensorRT for RTX by way of ONNX Runtime's plugin package: for RTX 30, 40 and 50 without a TensorRT installation.

A network is compiled into an ONNX file with one EPContext node, which holds the engine; kernels are generated from it on the GPU at
the first run and kept in the provider's runtime cache. Only whole graphs are taken: a node that is left out is an error here, since
the provider would put everything on the CPU without a word.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from h2k_kernels.user_cache import why_not_private

from h2k_engines.building import Gpu, Progress, Recipe
from h2k_engines.cache import Built
from h2k_engines.device import DeviceStream
from h2k_engines.engine import EngineFailure
from h2k_engines.onnxruntime_device import SessionEngine
from h2k_engines.onnxruntime_engine import first_line, import_onnxruntime

PROVIDER = "NvTensorRTRTXExecutionProvider"
PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
#: The first ONNX Runtime whose Python interface ties memory that is called "cuda" to NVIDIA's devices, as the plugin's are.
OLDEST_ONNXRUNTIME = (1, 25)
#: The oldest GPUs that TensorRT for RTX runs on: Ampere.
OLDEST = (8, 0)


class TensorRtRtxBuilder:
    """Compiles and opens networks with the provider on one GPU.

    Args:
        gpu: the one.
        folder: of the engine cache; the provider's runtime cache lies beside it.
        library: the provider's library in place of the package's.

    Raises:
        EngineFailure: the package or a library is missing, there is no driver, or the provider does not offer this GPU.
    """

    name = "tensorrt-rtx"

    def __init__(self, gpu: Gpu, folder: Path, library: str | None = None) -> None:
        if gpu.capability < OLDEST:
            raise EngineFailure(
                f"TensorRT for RTX needs an RTX 30 or newer; {gpu.name} has compute capability {gpu.parts['capability']}"
            )
        self._ort, plugin = import_onnxruntime(), import_plugin()
        if tuple(int(part) for part in self._ort.__version__.split(".")[:2]) < OLDEST_ONNXRUNTIME:
            raise EngineFailure(
                f"ONNX Runtime {self._ort.__version__} is too old for TensorRT for RTX; "
                'run: pip install --upgrade "onnxruntime>=1.25" (Python 3.11 or newer)'
            )
        version = f"{plugin.__version__}, TensorRT-RTX {library_version(plugin)}"
        self.title = f"TensorRT for RTX ({PACKAGE} {version})"
        self.parts: Mapping[str, str] = {"version": version, "onnxruntime": self._ort.__version__, **gpu.parts}
        self._gpu, self._folder = gpu, folder
        self._device = _register(self._ort, library or plugin.get_library_path(), gpu.number)

    def build(
        self, graph: bytes, network: str, recipe: Recipe, progress: Progress, cancelled: Callable[[], bool] = lambda: False
    ) -> Built:
        if cancelled():
            raise EngineFailure(f"{network}: the build was stopped")
        progress(0, 1, "compiling")
        start = time.perf_counter()
        try:
            compiler = self._ort.ModelCompiler(
                self._options(recipe, {}),
                graph,
                embed_compiled_data_into_model=True,
                flags=self._ort.OrtCompileApiFlags.ERROR_IF_NO_NODES_COMPILED,
            )
            data = compiler.compile_to_bytes()
        except Exception as error:  # ONNX Runtime raises its own, undocumented family
            raise EngineFailure(f"{network}: {self.title} cannot compile the network: {first_line(error)}") from error
        progress(1, 1, "compiling")
        return Built(data, {"seconds": time.perf_counter() - start})

    def open(self, data: bytes, network: str, recipe: Recipe, stream: DeviceStream) -> SessionEngine:
        options = self._options(recipe, {"has_user_compute_stream": "1", "user_compute_stream": str(stream.handle)})
        # Not one node may be left to the CPU.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            session = self._ort.InferenceSession(data, sess_options=options)
        except Exception as error:
            raise EngineFailure(f"{network}: {self.title} does not load the engine: {first_line(error)}") from error
        if session.get_providers()[0] != PROVIDER:
            raise EngineFailure(f"{network}: {self.title} does not take part; ONNX Runtime would run {session.get_providers()[0]}")
        return SessionEngine(session, name=network, stream=stream, memory="cuda", device=self._gpu.number, provider=self.title)

    def _options(self, recipe: Recipe, more: Mapping[str, str]) -> Any:
        options = self._ort.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        options.add_provider_for_devices([self._device], {**provider_options(recipe, self._runtime_cache()), **more})
        return options

    def _runtime_cache(self) -> Path | None:
        """Folder of the kernels that the provider generates: the user's own, or none."""
        folder = self._folder / "tensorrt-rtx-kernels"
        return folder if why_not_private(self._folder) is None and why_not_private(folder) is None else None


def provider_options(recipe: Recipe, runtime_cache: Path | None) -> dict[str, str]:
    """Options of the provider for a network. Memory is kept between runs: nothing is allocated for a photo."""
    options = {"nv_persistent_context_memory": "1", "nv_max_workspace_size": str(recipe.workspace)}
    if runtime_cache is not None:
        options["nv_runtime_cache_path"] = str(runtime_cache)
    for i, which in enumerate(("min", "opt", "max")):
        if recipe.free:
            shapes = [f"{name}:{'x'.join(map(str, recipe.sizes(name)[i]))}" for name in recipe.inputs]
            options[f"nv_profile_{which}_shapes"] = ",".join(shapes)
    return options


def import_plugin() -> Any:
    """The provider's package, with its libraries loaded.

    Raises:
        EngineFailure: it is not installed, or its CUDA runtime cannot be loaded.
    """
    try:
        import onnxruntime_ep_nv_tensorrt_rtx as plugin
    except ImportError as error:
        raise EngineFailure(f"the package {PACKAGE} is not installed; run: pip install {PACKAGE}") from error
    if sys.platform != "win32":
        # It ships the CUDA runtime but does not load it (seen with 0.5.0).
        for path in sorted(Path(plugin.__file__).parent.glob("libcudart.so.*")):
            try:
                ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
            except OSError as error:
                raise EngineFailure(f"{path.name} of {PACKAGE} cannot be loaded: {first_line(error)}") from error
    return plugin


def library_version(plugin: Any) -> str:
    """Version of the TensorRT-RTX libraries in the package, from their names; "unknown" where they do not tell."""
    folder = Path(plugin.__file__).parent
    names = [path.name.partition("libtensorrt_rtx.so.")[2] for path in folder.glob("libtensorrt_rtx.so.*")]
    names += [path.stem.partition("tensorrt_rtx_")[2].replace("_", ".") for path in folder.glob("tensorrt_rtx_*.dll")]
    return max((name for name in names if name), default="unknown")


def _register(ort: Any, library: str, number: int) -> Any:
    """The provider's device of a GPU. Registering twice is refused by ONNX Runtime, so devices that are there are taken."""

    def devices() -> list[Any]:
        return [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]

    if not devices():
        try:
            ort.register_execution_provider_library(PROVIDER, library)
        except Exception as error:
            raise EngineFailure(f"ONNX Runtime cannot register {PROVIDER}: {first_line(error)}") from error
    found = devices()
    if number >= len(found):
        raise EngineFailure(
            f"{PROVIDER} offers {len(found)} GPUs here, not GPU {number}: it needs an RTX 30 or newer and its driver"
        )
    return found[number]
