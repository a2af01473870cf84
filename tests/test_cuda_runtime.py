"""The runtime on real PyCUDA, with a driver that has no GPU behind it; and what is said on a machine without a driver."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_driver.build import HERE, build_driver, build_module, pycuda_library
from h2k_kernels.launch import DeviceFailure, Runtime, driver

TESTS = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def driver_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver, built for this machine."""
    if shutil.which("g++") is None or shutil.which("nm") is None:
        pytest.skip("needs g++ and nm")
    folder = tmp_path_factory.mktemp("driver")
    build_driver(folder)
    return folder


@pytest.fixture(scope="module")
def folder(driver_folder: Path) -> Path:
    """The driver with the demonstration kernels beside it."""
    if pycuda_library() is None:
        pytest.skip("needs PyCUDA")
    build_module(HERE / "demo.cu", driver_folder)
    return driver_folder


def session(folder: Path, *arguments: str, **environment: str) -> str:
    """Run a case of tests/fake_driver/session.py in a process of its own; its output."""
    paths = [str(TESTS), *(str(TESTS.parent / name) for name in ("kernels", "engines", "export")), str(TESTS.parent)]
    more = {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": os.pathsep.join(paths), **environment}
    command = [sys.executable, "-m", "fake_driver.session", str(folder), *arguments]
    result = subprocess.run(command, env={**os.environ, **more}, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("case", ["launches", "fails", "graphs", "reloads"])
def test_on_pycuda(folder: Path, case: str) -> None:
    assert session(folder, case) == "done\n"


@pytest.mark.parametrize(
    ("environment", "number", "message"),
    [
        ({"FAKE_CUDA_DEVICES": "0"}, "0", "the NVIDIA driver finds no GPU: cuInit failed: no CUDA-capable device is detected"),
        ({"FAKE_CUDA_FAIL": "cuInit"}, "0", "the NVIDIA driver finds no GPU: cuInit failed: unknown error"),
        ({}, "1", "there is no GPU 1: the driver sees only GPU 0"),
        ({"FAKE_CUDA_DEVICES": "4"}, "7", "there is no GPU 7: the driver sees GPU 0 to 3"),
        ({"FAKE_CUDA_CAPABILITY": "61"}, "0", "Fake GPU has compute capability 6.1; 7.5 (Turing) or newer is needed"),
        (
            {"FAKE_CUDA_FAIL": "cuDevicePrimaryCtxRetain"},
            "0",
            "opening Fake GPU failed: cuDevicePrimaryCtxRetain failed: unknown error",
        ),
    ],
)
def test_a_gpu_that_cannot_be_opened(folder: Path, environment: dict[str, str], number: str, message: str) -> None:
    assert session(folder, "opens", number, **environment) == f"DeviceFailure: {message}\ndone\n"


def test_without_a_driver() -> None:
    try:
        driver.library()
    except DeviceFailure:
        pass
    else:
        pytest.skip("this machine has a driver")
    gpu = Runtime()
    for use in (lambda: gpu.name, lambda: gpu.empty((1,), np.float32), lambda: gpu.stream(), lambda: gpu.module("warp_parts")):
        with pytest.raises(DeviceFailure, match=r"there is no NVIDIA driver on this machine .* or run with --engine cpu"):
            use()


def test_without_pycuda(driver_folder: Path, tmp_path: Path) -> None:
    """A driver but no PyCUDA: the install command."""
    (tmp_path / "pycuda.py").write_text("raise ModuleNotFoundError('no', name='PyCUDA')")
    code = "import sys\nsys.path.insert(0, sys.argv[1])\nfrom h2k_kernels.launch import Runtime\ntry:\n    Runtime().name\n"
    code += "except Exception as error:\n    print(type(error).__name__, error)\n"
    paths = os.pathsep.join((str(tmp_path), str(TESTS.parent / "kernels")))
    more = {"LD_LIBRARY_PATH": str(driver_folder), "PYTHONPATH": paths}
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, **more}, capture_output=True, text=True, timeout=100
    )
    assert result.stdout.strip() == 'MissingDevicePackage PyCUDA is not installed; run: pip install "h2k-rt[gpu]"'
