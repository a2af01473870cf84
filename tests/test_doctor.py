"""``h2k-rt doctor``: what it finds here, and what it says of machines that lack something."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_runner import in_process

from h2k_rt.doctor import Finding, examine, machine, mending, own, packages, versions


def states(findings: Iterator[Finding] | list[Finding]) -> dict[str, str]:
    return {finding.name: finding.state for finding in findings}


def test_a_probe_that_fails_is_a_finding() -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("first", "ok", "fine")
        raise ZeroDivisionError("no")

    found = list(examine([("broken", broken), ("next", machine.python)]))
    assert [f.name for f in found] == ["first", "broken", "Python"]
    assert found[1] == Finding("broken", "problem", "cannot be looked at: ZeroDivisionError: no", "please report this")


def test_here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("H2K_CACHE", str(tmp_path))
    monkeypatch.setattr(packages, "NEEDED", ("numpy", "pillow", "rich", "typer", "opencv-python-headless"))
    run = in_process(capfd)("doctor", "--json", "--no-self-test")
    document = json.loads(run.out)
    found = {f["name"]: f for f in document["findings"]}
    names = {"Python", "system", "packages", "NVIDIA driver", "CUDA compiler", "ONNX Runtime", "TensorRT", "model small"}
    assert names <= found.keys()
    assert found["Python"]["state"] == found["model small"]["state"] == found["packages"]["state"] == "ok"
    assert "CPUExecutionProvider" in found["ONNX Runtime"]["says"]
    assert all(f["mend"] for f in found.values() if f["state"] != "ok"), "everything that is missing has its command"
    broken = [f["name"] for f in found.values() if f["state"] == "problem"]
    assert document["ok"] == (not broken) and run.code == (7 if broken else 0)


def test_text(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    command = sys.modules["h2k_rt.cli.doctor"]
    found = [Finding("GPU 0", "ok", "RTX"), Finding("PyCUDA", "problem", "not usable", "pip install it")]
    monkeypatch.setattr(command, "_probes", lambda: [("all", lambda: found)])
    run = in_process(capfd)("doctor", "--no-self-test")
    assert run.code == 7 and run.err == "error: to be mended: PyCUDA\n"
    lines = run.out.splitlines()
    assert lines[0].split() == ["ok", "GPU", "0", "RTX"] and lines[2].strip() == "to mend it: pip install it"


@pytest.mark.slow
def test_self_test() -> None:
    pytest.importorskip("onnxruntime")
    (finding,) = own.self_test()
    assert finding.state == "ok" and "CPUExecutionProvider" in finding.says, finding


def test_self_test_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "PICTURE", Path("nowhere.jpg"))
    (finding,) = own.self_test()
    assert finding.state == "problem" and "nowhere.jpg" in finding.says


def test_works_without_any_package() -> None:
    """In an interpreter that sees the standard library and the source alone."""
    root = Path(own.__file__).parents[2]
    code = (
        "import sys; from h2k_rt.doctor import examine; from h2k_rt.doctor import machine, own, packages\n"
        "probes = [machine.python, machine.system, machine.gpus, machine.compilers, packages.required, packages.onnxruntime,"
        " packages.tensorrt, packages.tensorrt_rtx, packages.pycuda, packages.torch, own.models, own.caches, own.places]\n"
        "found = list(examine([(p.__name__, p) for p in probes]))\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'cv2', 'typer', 'onnxruntime', 'tomli'}))\n"
        "print(*(f'{f.name}={f.state}' for f in found), sep='|')"
    )
    environment = {"PYTHONPATH": str(root), "PATH": os.environ.get("PATH", ""), "HOME": str(root)}
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert run.returncode == 0, run.stderr
    heavy, line = run.stdout.splitlines()
    assert heavy == "[]"
    found = dict(part.split("=") for part in line.split("|"))
    assert found["packages"] == found["ONNX Runtime"] == "problem" and found["TensorRT"] == found["PyTorch"] == "absent"
    assert found["Python"] == "ok" and found["caches"] == "problem", "this one needs a package, and says so"


@pytest.mark.parametrize(
    ("installed", "answer", "state", "words"),
    [
        ({"onnxruntime": "1", "onnxruntime-gpu": "1"}, (None, ""), "problem", "overwrite each other"),
        ({}, (None, ""), "problem", "not installed"),
        ({"onnxruntime-gpu": "1.31"}, (["CUDAExecutionProvider"], ""), "ok", "onnxruntime-gpu 1.31: CUDAExecutionProvider"),
        ({"onnxruntime": "1.31"}, (["CPUExecutionProvider"], ""), "ok", "onnxruntime 1.31: CPUExecutionProvider"),
        ({"onnxruntime": "1.31"}, (None, "libfoo is missing"), "problem", "onnxruntime 1.31 cannot be imported: libfoo is missing"),
    ],
)
def test_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], answer: tuple[Any, str], state: str, words: str
) -> None:
    monkeypatch.setattr(packages, "version", installed.get)
    monkeypatch.setattr(packages, "ask", lambda code: answer)
    finding, *_ = packages.onnxruntime()
    assert finding.state == state and words in finding.says and bool(finding.mend) == (state != "ok")


@pytest.mark.parametrize(
    ("package", "reason", "state", "mend"),
    [
        ("onnxruntime", "", "absent", "pip uninstall -y onnxruntime, then"),
        (
            "onnxruntime-gpu",
            "OSError: libcudnn.so.9: cannot open shared object file",
            "problem",
            'pip install "onnxruntime-gpu[cuda,cudnn]"',
        ),
        ("onnxruntime-gpu", "OSError: libcuda.so.1: cannot open shared object file", "absent", mending.driver_mend()),
        ("onnxruntime-gpu", "", "ok", ""),
    ],
)
def test_cuda_provider(monkeypatch: pytest.MonkeyPatch, package: str, reason: str, state: str, mend: str) -> None:
    """The provider's name in ONNX Runtime's list says nothing of the libraries that it needs."""
    monkeypatch.setattr(packages, "version", {package: "1.31"}.get)
    monkeypatch.setattr(packages, "ask", lambda code: (None, reason) if "providers_" in code else (["CPUExecutionProvider"], ""))
    _, finding = packages.onnxruntime()
    assert (finding.name, finding.state) == ("CUDA provider", state)
    assert reason in finding.says or state == "absent"
    assert finding.mend.startswith(mend) and bool(finding.mend) == bool(mend)


@pytest.mark.parametrize(
    ("runtime", "answer", "state", "words"),
    [
        ("1.24.4", (None, ""), "problem", "needs ONNX Runtime 1.25 or newer, not 1.24.4"),
        ("1.31.1", (2, ""), "ok", "offers 2 GPUs"),
        ("1.31.1", (0, ""), "ok", "offers no GPU here"),
        ("1.31.1", (None, "libcuda.so.1: cannot open shared object file"), "ok", "offers no GPU here"),
        (
            "1.31.1",
            (None, "libtensorrt_rtx.so.1: file too short"),
            "problem",
            "cannot be loaded: libtensorrt_rtx.so.1: file too short",
        ),
    ],
)
def test_tensorrt_rtx(monkeypatch: pytest.MonkeyPatch, runtime: str, answer: tuple[Any, str], state: str, words: str) -> None:
    installed = {"onnxruntime": runtime, "onnxruntime-ep-nv-tensorrt-rtx-cu13": "0.5.0"}
    monkeypatch.setattr(packages, "version", installed.get)
    monkeypatch.setattr(packages, "ask", lambda code: answer)
    (finding,) = packages.tensorrt_rtx()
    assert finding.state == state and words in finding.says and bool(finding.mend) == (state != "ok")


def test_versions_are_the_engines_own() -> None:
    """They are written down twice: the doctor works where the engines cannot be imported."""
    from h2k_engines import tensorrt_engine, tensorrt_rtx

    assert versions.ONNXRUNTIME_FOR_RTX == tensorrt_rtx.OLDEST_ONNXRUNTIME
    assert versions.TENSORRT_OLDEST == tensorrt_engine.OLDEST


def test_the_real_plugin() -> None:
    pytest.importorskip("onnxruntime_ep_nv_tensorrt_rtx")
    (finding,) = packages.tensorrt_rtx()
    assert finding.state == "ok" and "offers" in finding.says, finding


@pytest.mark.parametrize(
    ("where", "driver", "pycuda"),
    [
        ("windows", "https://www.nvidia.com/drivers", "winget install -e --id Nvidia.CUDA, then install Visual Studio's C++ build"),
        ("wsl", "none in WSL", "sudo apt-get install nvidia-cuda-toolkit g++, then pip install pycuda"),
        ("container", "--gpus all", "sudo apt-get install nvidia-cuda-toolkit g++, then pip install pycuda"),
        (
            "debian",
            "sudo apt-get install nvidia-driver-580",
            "sudo apt-get install nvidia-cuda-toolkit g++, then pip install pycuda",
        ),
        ("jetson", "sudo apt-get install nvidia-jetpack", "sudo apt-get install nvidia-cuda-toolkit g++, then pip install pycuda"),
        ("other", "https://www.nvidia.com/drivers", "install the CUDA toolkit (https://"),
    ],
)
def test_commands_by_system(monkeypatch: pytest.MonkeyPatch, where: str, driver: str, pycuda: str) -> None:
    monkeypatch.setattr(mending, "surroundings", lambda: where)
    monkeypatch.setattr(
        mending.shutil, "which", lambda tool: "/usr/bin/apt-get" if tool == "apt-get" and where != "other" else None
    )
    assert driver in mending.driver_mend() and mending.pycuda_mend().startswith(pycuda)
    monkeypatch.setattr(mending.shutil, "which", lambda tool: tool)
    assert mending.pycuda_mend().startswith("pip install pycuda")


@pytest.mark.parametrize(
    ("installed", "answer", "state"),
    [
        ({}, (None, "No module named 'tensorrt'"), "absent"),
        ({"tensorrt": "11.4"}, (None, "libnvinfer.so.11: cannot open shared object file"), "problem"),
        ({"tensorrt": "11.4"}, ("11.4.0.106", ""), "ok"),
        ({"tensorrt": "10.9"}, ("10.9.0.34", ""), "problem"),
    ],
)
def test_tensorrt(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], answer: tuple[Any, str], state: str) -> None:
    monkeypatch.setattr(packages, "version", installed.get)
    monkeypatch.setattr(packages, "ask", lambda code: answer)
    (finding,) = packages.tensorrt()
    assert finding.state == state and bool(finding.mend) == (state != "ok")


def test_imports_that_crash_are_survived() -> None:
    assert packages.ask("import json; print('noise'); print(json.dumps([1]))") == ([1], "")
    assert packages.ask("import os; os.abort()")[1].startswith("it crashed with signal")
    assert packages.ask("raise ImportError('libfoo.so: no such file')") == (None, "ImportError: libfoo.so: no such file")


class Driver:
    """Stands for the driver's library."""

    def __init__(self, cuda: int = 13000, count: int = 1, status: int = 0, capability: tuple[int, int] = (8, 9)) -> None:
        def put(value: int) -> Any:
            def call(out: Any, *_: Any) -> int:
                out._obj.value = value
                return 0

            return call

        self.cuDriverGetVersion, self.cuDeviceGetCount, self.cuDeviceGet = put(cuda), put(count), put(0)
        self.cuDeviceTotalMem_v2 = put(24 << 30)
        self.cuInit = lambda flags: status
        self.cuDeviceGetAttribute = lambda out, which, device: put(capability[which - 75])(out)

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = b"NVIDIA GeForce RTX 4090"
        return 0


@pytest.mark.parametrize(
    ("driver", "expected", "words"),
    [
        (Driver(), {"NVIDIA driver": "ok", "GPU 0": "ok"}, "RTX 4090, compute capability 8.9, 24.0 GiB"),
        (Driver(cuda=11080), {"NVIDIA driver": "problem", "GPU 0": "ok"}, "up to CUDA 11.8"),
        (Driver(count=0), {"NVIDIA driver": "ok", "GPU": "problem"}, "the driver finds none"),
        (Driver(status=100, count=0), {"NVIDIA driver": "ok", "GPU": "problem"}, "CUDA error 100"),
        (Driver(capability=(6, 1)), {"NVIDIA driver": "ok", "GPU 0": "problem"}, "compute capability 6.1"),
    ],
)
def test_gpus(monkeypatch: pytest.MonkeyPatch, driver: Driver, expected: dict[str, str], words: str) -> None:
    loaders = {"CDLL": lambda name: driver, "WinDLL": lambda name: driver}
    monkeypatch.setattr(machine, "ctypes", SimpleNamespace(**{**vars(ctypes), **loaders}))
    monkeypatch.setattr(machine, "driver_release", lambda: "580.65.06")
    found = list(machine.gpus())
    assert states(found) == expected and any(words in f.says for f in found)


def test_damaged_model_and_open_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import shutil

    import h2k_rt

    shutil.copytree(Path(h2k_rt.__file__).parent / "models" / "small", tmp_path / "models" / "small")
    (tmp_path / "models" / "small" / "shoe.onnx").write_bytes(b"nothing")
    monkeypatch.setenv("H2K_MODELS", str(tmp_path / "models"))
    damaged = next(f for f in own.models() if f.name == "model small")
    assert damaged.state == "problem" and "shoe.onnx" in damaged.says
    if sys.platform != "win32":
        monkeypatch.setenv("H2K_CACHE", str(tmp_path / "cache"))
        (tmp_path / "cache" / "engines").mkdir(parents=True)
        (tmp_path / "cache" / "engines").chmod(0o777)
        found = {f.name: f for f in own.caches()}
        assert found["cached kernels"].state == "ok" and found["cached engines"].state == "problem"
        assert found["cached engines"].mend.startswith("chmod 700 ")
