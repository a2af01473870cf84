"""Python, the system, the NVIDIA driver and its GPUs, the compilers."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from h2k_rt.doctor.mending import driver_mend
from h2k_rt.doctor.packages import version
from h2k_rt.doctor.report import Finding
from h2k_rt.doctor.versions import CAPABILITY_OLDEST, CUDA_OLDEST, PYTHON_NEWEST, PYTHON_OLDEST

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
#: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h.
_MAJOR, _MINOR = 75, 76


def python() -> Iterator[Finding]:
    """The interpreter."""
    bits = 8 * struct.calcsize("P")
    says = f"{platform.python_version()} ({bits} bit) {sys.executable}"
    if not PYTHON_OLDEST <= sys.version_info[:2] <= PYTHON_NEWEST or bits != 64:
        yield Finding("Python", "problem", says, "use a 64-bit Python 3.10 to 3.13")
    else:
        yield Finding("Python", "ok", says)


def system() -> Iterator[Finding]:
    """Operating system, processor, memory."""
    where = "WSL 2" if "microsoft" in platform.release().lower() else "container" if Path("/.dockerenv").exists() else ""
    says = f"{platform.platform()}{f' ({where})' if where else ''}, {platform.machine()}, {cores()} cores"
    memory = memory_bytes()
    yield Finding("system", "ok", says + (f", {memory / 2**30:.1f} GiB memory" if memory else ""))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Memory of the machine, where the system tells it simply."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def processor() -> str:
    """Its name."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def gpus() -> Iterator[Finding]:
    """Driver and GPUs, asked through the driver's own library."""
    try:
        driver = getattr(ctypes, "WinDLL", ctypes.CDLL)(DRIVER)
    except OSError:
        there = "" if nvidia_on_the_bus() else "; no NVIDIA card is on the PCI bus"
        yield Finding("NVIDIA driver", "absent", f"{DRIVER} cannot be loaded{there}", driver_mend())
        return
    number = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(number))
    cuda = number.value // 1000, number.value % 1000 // 10
    says = f"{driver_release() or 'release unknown'}, up to CUDA {cuda[0]}.{cuda[1]}"
    if cuda < CUDA_OLDEST:
        yield Finding("NVIDIA driver", "problem", says, f"525 or newer is needed: {driver_mend()}")
    else:
        yield Finding("NVIDIA driver", "ok", says)
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status or count.value == 0:
        mend = "nvidia-smi shows what the driver sees; CUDA_VISIBLE_DEVICES may hide it"
        yield Finding("GPU", "problem", f"the driver finds none (CUDA error {status})", mend)
    for index in range(count.value):
        yield _gpu(driver, index)


def _gpu(driver: ctypes.CDLL, index: int) -> Finding:
    device, size, major, minor = ctypes.c_int(), ctypes.c_size_t(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    capability = major.value, minor.value
    says = f"{name.value.decode(errors='replace')}, compute capability {major.value}.{minor.value}, {size.value / 2**30:.1f} GiB"
    if capability < CAPABILITY_OLDEST:
        return Finding(f"GPU {index}", "problem", says, "7.5 (RTX 20) or newer is needed; use --device cpu")
    return Finding(f"GPU {index}", "ok", says)


def nvidia_on_the_bus() -> bool:
    """Whether an NVIDIA display device can be seen, also without its driver; True where the system does not tell."""
    devices = Path("/sys/bus/pci/devices")
    if not devices.is_dir():
        return True
    for device in devices.iterdir():
        try:
            kind, vendor = ((device / name).read_text().strip() for name in ("class", "vendor"))
        except OSError:
            continue
        if vendor == "0x10de" and kind.startswith("0x03"):
            return True
    return False


def driver_release() -> str | None:
    """The driver's release, for example 580.65.06."""
    for path in (Path("/sys/module/nvidia/version"), Path("/proc/driver/nvidia/version")):
        try:
            found = re.search(r"\d+\.\d+(\.\d+)?", path.read_text())
        except OSError:
            continue
        if found:
            return found.group(0)
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.strip().splitlines()[0]


def compilers() -> Iterator[Finding]:
    """What compiles the kernels for this GPU: nvcc or NVRTC."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    name = "nvcc.exe" if sys.platform == "win32" else "nvcc"
    nvcc = shutil.which("nvcc") or (str(Path(home) / "bin" / name) if home and (Path(home) / "bin" / name).is_file() else None)
    packages = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu13", "nvidia-cuda-nvrtc-cu12")
    nvrtc = next((f"{package} {found}" for package in packages if (found := version(package))), None)
    there = [text for text in (nvcc, nvrtc) if text]
    if there:
        yield Finding("CUDA compiler", "ok", ", ".join(there))
    else:
        yield Finding("CUDA compiler", "absent", "neither nvcc nor NVRTC", "pip install nvidia-cuda-nvrtc")
