"""TensorRT for RTX up to the GPU: options, packages and devices. That its engines are real: ``test_graph_checks.py``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("onnxruntime")

from h2k_engines import EngineFailure, tensorrt_rtx
from h2k_engines.building import Gpu, Recipe
from h2k_engines.tensorrt_rtx import PROVIDER, TensorRtRtxBuilder, import_plugin, library_version, provider_options

FREE = Recipe(
    {"low_depth": (1, 2, "h", "w"), "normals": (1, 6, "h8", "w8")},
    {"depth": (1, 2, "h8", "w8")},
    {"h": (16, 208, 256), "w": (16, 112, 256), "h8": (128, 1664, 2048), "w8": (128, 896, 2048)},
)
ADA = Gpu(0, "NVIDIA GeForce RTX 4090", (8, 9), (13, 0), 8 << 30)


def test_options(tmp_path: Path) -> None:
    options = provider_options(FREE, tmp_path)
    assert options["nv_profile_min_shapes"] == "low_depth:1x2x16x16,normals:1x6x128x128"
    assert options["nv_profile_opt_shapes"] == "low_depth:1x2x208x112,normals:1x6x1664x896"
    assert options["nv_profile_max_shapes"] == "low_depth:1x2x256x256,normals:1x6x2048x2048"
    assert options["nv_runtime_cache_path"] == str(tmp_path) and options["nv_persistent_context_memory"] == "1"
    fixed = provider_options(Recipe({"crops": (1, 6, 368, 320)}, {}, {}), None)
    assert not any("shapes" in key or "cache" in key for key in fixed)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)
    with pytest.raises(EngineFailure, match="is not installed; run: pip install onnxruntime-ep-nv-tensorrt-rtx-cu13"):
        import_plugin()
    with pytest.raises(EngineFailure, match="is not installed"):
        TensorRtRtxBuilder(ADA, tmp_path)


def test_onnxruntime_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tensorrt_rtx, "import_plugin", lambda: None)
    monkeypatch.setattr(tensorrt_rtx, "import_onnxruntime", lambda: SimpleNamespace(__version__="1.24.4"))
    with pytest.raises(EngineFailure, match=r"ONNX Runtime 1\.24\.4 is too old for TensorRT for RTX; run: pip install --upgrade"):
        TensorRtRtxBuilder(ADA, tmp_path)


def test_memory_of_nvidias_devices() -> None:
    """The plugin's devices carry NVIDIA's number; memory of "cuda" without it would be another device's."""
    import onnxruntime
    from onnxruntime.capi.onnxruntime_inference_collection import OrtDevice

    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < tensorrt_rtx.OLDEST_ONNXRUNTIME:
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} is older")
    assert OrtDevice.make("cuda", 0).device_vendor_id() == 0x10DE


def test_turing_is_too_old(tmp_path: Path) -> None:
    turing = Gpu(0, "NVIDIA GeForce RTX 2070", (7, 5), (13, 0), 8 << 30)
    with pytest.raises(EngineFailure, match=r"needs an RTX 30 or newer; NVIDIA GeForce RTX 2070 has compute capability 7\.5"):
        TensorRtRtxBuilder(turing, tmp_path)


def test_version_of_the_libraries(tmp_path: Path) -> None:
    plugin = SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
    assert library_version(plugin) == "unknown"
    (tmp_path / "libtensorrt_rtx.so.1.7.1").touch()
    assert library_version(plugin) == "1.7.1"


class Runtime:
    """Stands for ONNX Runtime's registry of providers."""

    def __init__(self, count: int, refuses: str = "") -> None:
        self.count, self.refuses, self.registered = count, refuses, 0

    def get_ep_devices(self) -> list[Any]:
        return [SimpleNamespace(ep_name=PROVIDER)] * self.count * bool(self.registered) + [SimpleNamespace(ep_name="CPU")]

    def register_execution_provider_library(self, name: str, library: str) -> None:
        if self.refuses:
            raise RuntimeError(self.refuses)
        self.registered += 1


def test_registered_once() -> None:
    ort = Runtime(1)
    for _ in range(2):
        assert tensorrt_rtx._register(ort, "library", 0).ep_name == PROVIDER
    assert ort.registered == 1
    with pytest.raises(EngineFailure, match="offers 1 GPUs here, not GPU 1"):
        tensorrt_rtx._register(ort, "library", 1)
    with pytest.raises(EngineFailure, match="offers 0 GPUs here"):
        tensorrt_rtx._register(Runtime(0), "library", 0)
    with pytest.raises(EngineFailure, match=r"cannot register NvTensorRTRTXExecutionProvider: libcuda\.so\.1: cannot open"):
        tensorrt_rtx._register(Runtime(0, "libcuda.so.1: cannot open shared object file\nmore"), "library", 0)
