"""--device cuda where something is missing: one sentence, an exit code, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import in_process
from h2k_kernels.launch import DeviceFailure, MissingDevicePackage, driver
from h2k_kernels.launch import runtime as runtime_module
from h2k_kernels.launch.runtime import Runtime

from h2k_rt.errors import EngineError, MissingPackageError
from h2k_rt.reconstruct import Reconstructor

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "person.jpg"


@pytest.fixture
def no_driver() -> None:
    try:
        driver.library()
    except DeviceFailure:
        return
    pytest.skip("this machine has a driver")


def test_no_driver(no_driver: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = in_process(capfd)("infer", str(EXAMPLE), "-o", str(tmp_path / "out"), "--device", "cuda")
    assert run.code == 7
    assert run.sentence == (
        "there is no NVIDIA driver on this machine (libcuda.so.1 cannot be loaded); install it, or run with --engine cpu"
    )
    assert not (tmp_path / "out").exists()


def test_no_driver_in_python(no_driver: None) -> None:
    with pytest.raises(EngineError, match="there is no NVIDIA driver on this machine"):
        Reconstructor(device="cuda")


def test_no_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingDevicePackage('PyCUDA is not installed; run: pip install "h2k-rt[gpu]"')

    monkeypatch.setattr(runtime_module, "_pycuda", missing)
    with pytest.raises(MissingPackageError, match=r'pip install "h2k-rt.gpu."') as caught:
        Reconstructor(device="cuda")
    assert caught.value.exit_code == 9


def test_onnxruntime_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU, but the wrong ONNX Runtime."""
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the provider")
    from host_runtime import HostRuntime

    from h2k_rt.device import pipeline

    monkeypatch.setattr(pipeline, "Runtime", lambda number: HostRuntime())
    with pytest.raises(EngineError, match=r"low_normal: this ONNX Runtime has no CUDAExecutionProvider: .* pip install"):
        Reconstructor(device="cuda")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parity": True}, "parity mode runs on the CPU only"),
        ({"engines": {"face": object()}}, "given engines run on the CPU only"),
        (
            {"engine": "warp drive"},
            "there is no engine 'warp drive'; choose auto, tensorrt, tensorrt-rtx, cuda, cpu, torch",
        ),
    ],
)
def test_what_the_gpu_does_not_do(monkeypatch: pytest.MonkeyPatch, options: dict[str, object], message: str) -> None:
    monkeypatch.setattr(Runtime, "open", lambda self: None)
    with pytest.raises(EngineError, match=message):
        Reconstructor(device="cuda", **options)  # type: ignore[arg-type]


def test_no_such_device() -> None:
    with pytest.raises(EngineError, match="there is no device 'tpu'; choose auto, cpu or cuda"):
        Reconstructor(device="tpu")  # type: ignore[arg-type]
