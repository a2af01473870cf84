"""The commands that mend what is missing, by the system."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path


def surroundings() -> str:
    """What decides how things are installed: "windows", "wsl", "jetson", "container", "debian" (or one made from it), "other"."""
    if sys.platform == "win32":
        return "windows"
    if "microsoft" in platform.release().lower():
        return "wsl"
    if Path("/etc/nv_tegra_release").exists():
        return "jetson"
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return "container"
    return "debian" if shutil.which("apt-get") else "other"


def driver_mend() -> str:
    """The command or page that brings NVIDIA's driver here. Release 580 is what CUDA 13 packages need."""
    return {
        "windows": "install release 580 or newer from https://www.nvidia.com/drivers",
        "wsl": "install release 580 or newer on Windows (https://www.nvidia.com/drivers), none in WSL; then: wsl --shutdown",
        "jetson": "sudo apt-get install nvidia-jetpack",
        "container": "start the container with --gpus all, on a machine with NVIDIA's driver and nvidia-container-toolkit",
        "debian": "sudo apt-get install nvidia-driver-580 (Debian: nvidia-driver), then restart",
    }.get(surroundings(), "install release 580 or newer from https://www.nvidia.com/drivers")


def pycuda_mend() -> str:
    """The commands that install PyCUDA: the toolkit and the compiler that it is built with first, where they are missing."""
    where = surroundings()
    cpp = shutil.which("cl" if where == "windows" else "g++")
    missing = [name for name, there in (("nvcc", shutil.which("nvcc")), ("compiler", cpp)) if not there]
    if where == "windows":
        tools = {"nvcc": "winget install -e --id Nvidia.CUDA", "compiler": "install Visual Studio's C++ build tools"}
        return ", then ".join([*(tools[name] for name in missing), "pip install pycuda (in a shell that finds cl and nvcc)"])
    if not missing:
        return "pip install pycuda"
    if shutil.which("apt-get"):
        apt = {"nvcc": "nvidia-cuda-toolkit", "compiler": "g++"}
        return f"sudo apt-get install {' '.join(apt[name] for name in missing)}, then pip install pycuda"
    return "install the CUDA toolkit (https://developer.nvidia.com/cuda-downloads) and g++, then pip install pycuda"
