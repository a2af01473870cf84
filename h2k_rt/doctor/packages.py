"""Packages: which are installed and can be imported. Imports run in processes of their own: a native library may crash."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator

from h2k_rt.doctor.mending import driver_mend, pycuda_mend, surroundings
from h2k_rt.doctor.report import Finding
from h2k_rt.doctor.versions import ONNXRUNTIME_FOR_RTX, TENSORRT_OLDEST, numbers

#: What every installation needs, by the name on the package index.
NEEDED = ("numpy", "opencv-python-headless", "pillow", "rich", "typer")
_SECONDS = 60


def version(package: str) -> str | None:
    """The installed version of a package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def ask(code: str) -> tuple[object, str]:
    """What ``code`` prints as JSON in its last line, or why it could not: (value, "") or (None, reason)."""
    try:
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, errors="replace", timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {_SECONDS} s"
    lines = run.stdout.strip().splitlines()
    if run.returncode == 0 and lines:
        return json.loads(lines[-1]), ""
    said = run.stderr.strip().splitlines()
    how = f"it crashed with signal {-run.returncode}" if run.returncode < 0 else said[-1] if said else f"exit {run.returncode}"
    return None, how


def required() -> Iterator[Finding]:
    """The packages without which nothing works."""
    there = {package: version(package) for package in NEEDED}
    # OpenCV comes under several names.
    there["opencv-python-headless"] = there["opencv-python-headless"] or version("opencv-python")
    missing = [package for package, found in there.items() if found is None]
    if missing:
        yield Finding("packages", "problem", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Finding("packages", "ok", ", ".join(f"{package} {found}" for package, found in there.items()))


def onnxruntime() -> Iterator[Finding]:
    """ONNX Runtime: which of its packages, and the providers it offers."""
    cpu, gpu = version("onnxruntime"), version("onnxruntime-gpu")
    if cpu and gpu:
        mend = 'pip uninstall -y onnxruntime onnxruntime-gpu, then pip install "h2k-rt[gpu]"'
        yield Finding("ONNX Runtime", "problem", f"onnxruntime {cpu} and onnxruntime-gpu {gpu} overwrite each other", mend)
        return
    if not cpu and not gpu:
        yield Finding("ONNX Runtime", "problem", "not installed", 'pip install "h2k-rt[cpu]", or h2k-rt[gpu] for an NVIDIA GPU')
        return
    providers, reason = ask("import json, onnxruntime; print(json.dumps(onnxruntime.get_available_providers()))")
    package = f"onnxruntime-gpu {gpu}" if gpu else f"onnxruntime {cpu}"
    if not isinstance(providers, list):
        yield Finding(
            "ONNX Runtime",
            "problem",
            f"{package} cannot be imported: {reason}",
            "pip install --force-reinstall " + package.split()[0],
        )
        return
    yield Finding("ONNX Runtime", "ok", f"{package}: {', '.join(providers)}")
    if not gpu:
        mend = 'pip uninstall -y onnxruntime, then pip install "h2k-rt[gpu]"'
        yield Finding("CUDA provider", "absent", f"{package} is the package for the CPU; only --engine cuda needs another", mend)
        return
    _, reason = ask(_LOAD_CUDA_PROVIDER)
    if "libcuda.so" in reason or "nvcuda" in reason:
        yield Finding("CUDA provider", "absent", "its libraries are there; it needs NVIDIA's driver", driver_mend())
    elif reason:
        mend = 'pip install "onnxruntime-gpu[cuda,cudnn]"'
        yield Finding("CUDA provider", "problem", f"its libraries cannot be loaded: {reason}", mend)
    else:
        yield Finding("CUDA provider", "ok", "its library and those of CUDA and cuDNN can be loaded")


#: Loads the provider's library as ONNX Runtime does, with CUDA and cuDNN of the pip packages where they are.
_LOAD_CUDA_PROVIDER = """
import ctypes, json, pathlib, sys
import onnxruntime as ort
if hasattr(ort, "preload_dlls"):
    ort.preload_dlls(cuda=True, cudnn=True, msvc=False)
folder = pathlib.Path(ort.__file__).parent / "capi"
name = "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
for part in ("shared", "cuda"):
    ctypes.CDLL(str(folder / name.format(part)), ctypes.RTLD_GLOBAL)
print(json.dumps(True))
"""


def tensorrt() -> Iterator[Finding]:
    """TensorRT: bindings and native libraries."""
    names = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")  # bindings alone are no installation
    installed = next((f"{name} {found}" for name in names if (found := version(name))), None)
    answer, reason = ask("import json, tensorrt; print(json.dumps(tensorrt.__version__))")
    if answer is not None:
        if numbers(str(answer)) < TENSORRT_OLDEST:
            yield Finding("TensorRT", "problem", f"{answer} is too old; 10.13 or newer is needed", "pip install --upgrade tensorrt")
        else:
            yield Finding("TensorRT", "ok", f"{answer}, bindings and libraries")
    elif installed is None:
        on_jetson = "TensorRT comes with JetPack: python3 -m venv --system-site-packages, see docs/engines.md"
        mend = on_jetson if surroundings() == "jetson" else 'pip install "tensorrt>=10.13"'
        yield Finding("TensorRT", "absent", "not installed", mend)
    else:
        yield Finding("TensorRT", "problem", f"{installed} cannot be imported: {reason}", "pip install --force-reinstall tensorrt")


def tensorrt_rtx() -> Iterator[Finding]:
    """TensorRT for RTX: ONNX Runtime's plugin package."""
    names = ("onnxruntime-ep-nv-tensorrt-rtx-cu13", "onnxruntime-ep-nv-tensorrt-rtx-cu12")
    found = next((f"{name} {known}" for name in names if (known := version(name))), None)
    if not found:
        yield Finding("TensorRT for RTX", "absent", "not installed", f"pip install {names[0]}")
        return
    package, runtime = next(
        ((name, known) for name in ("onnxruntime-gpu", "onnxruntime") if (known := version(name))), ("onnxruntime", "0")
    )
    if numbers(runtime) < ONNXRUNTIME_FOR_RTX:
        mend = f'pip install --upgrade "{package}>=1.25" (Python 3.11 or newer)'
        yield Finding("TensorRT for RTX", "problem", f"{found} needs ONNX Runtime 1.25 or newer, not {runtime}", mend)
        return
    count, reason = ask(_COUNT_RTX_GPUS)
    if count:
        yield Finding("TensorRT for RTX", "ok", f"{found}, offers {count} GPUs")
    elif "libcuda" in reason or "nvcuda" in reason or count == 0:
        yield Finding("TensorRT for RTX", "ok", f"{found}; offers no GPU here: it needs an RTX 30 or newer and its driver")
    else:
        mend = f"pip install --force-reinstall {found.split()[0]}"
        yield Finding("TensorRT for RTX", "problem", f"{found} cannot be loaded: {reason}", mend)


#: Loads the plugin as the engine does, and counts the GPUs that it takes.
_COUNT_RTX_GPUS = """
import json
import onnxruntime as ort
from h2k_engines.tensorrt_rtx import PROVIDER, import_plugin
ort.register_execution_provider_library(PROVIDER, import_plugin().get_library_path())
print(json.dumps(sum(device.ep_name == PROVIDER for device in ort.get_ep_devices())))
"""


def pycuda() -> Iterator[Finding]:
    """PyCUDA, which launches the kernels."""
    if version("pycuda") is None:
        yield Finding("PyCUDA", "absent", "not installed; it is built while it is installed", pycuda_mend())
        return
    answer, reason = ask("import json, pycuda, pycuda.driver; print(json.dumps(pycuda.VERSION_TEXT))")
    if answer is None:
        mend = "pip install --force-reinstall --no-cache-dir --no-deps pycuda"
        yield Finding("PyCUDA", "problem", f"{version('pycuda')} cannot be imported: {reason}", mend)
    else:
        yield Finding("PyCUDA", "ok", str(answer))


def torch() -> Iterator[Finding]:
    """PyTorch, for training, exporting and --engine torch."""
    found = version("torch")
    if found:
        yield Finding("PyTorch", "ok", f"{found} (for training, exporting and --engine torch)")
    else:
        yield Finding(
            "PyTorch", "absent", "not installed; only training, exporting and --engine torch need it", 'pip install "h2k-rt[train]"'
        )
