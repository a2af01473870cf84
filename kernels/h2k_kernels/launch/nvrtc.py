"""NVRTC, the compiler as a library (pip package nvidia-cuda-nvrtc, or a part of the toolkit), through ctypes."""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from h2k_kernels.launch.errors import DeviceFailure

if TYPE_CHECKING:
    from h2k_kernels.launch.compile import Source

_MAJORS = (13, 12)
#: nvcc's words that NVRTC knows by another name or does not need.
_UNKNOWN = ("-O3", "-O2", "-lineinfo")


def _names() -> Iterator[str]:
    for major in _MAJORS:
        yield f"nvrtc64_{major}0_0.dll" if sys.platform == "win32" else f"libnvrtc.so.{major}"


def _folders() -> Iterator[Path]:
    """Where the pip packages of CUDA 13 and 12 put libraries."""
    for site in dict.fromkeys((sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"], *sys.path)):
        base = Path(site) / "nvidia"
        if base.is_dir():
            for inner in ("cu13/lib", "cu13/bin/x86_64", "cuda_nvrtc/lib", "cuda_nvrtc/bin"):
                yield base / inner


def include_folders() -> list[Path]:
    """Folders with CUDA's own headers (cuda_fp16.h)."""
    roots = [Path("/usr/local/cuda/include")]
    for site in dict.fromkeys((sysconfig.get_paths()["purelib"], *sys.path)):
        roots += [Path(site) / "nvidia" / inner / "include" for inner in ("cu13", "cuda_runtime")]
    return [root for root in roots if (root / "cuda_fp16.h").is_file()]


@cache
def _library() -> ctypes.CDLL:
    for name in _names():
        for candidate in (name, *(str(folder / name) for folder in _folders())):
            try:
                return ctypes.CDLL(candidate)
            except OSError:
                continue
    raise DeviceFailure("NVRTC was not found (pip install nvidia-cuda-nvrtc)")


def _check(status: int, what: str) -> None:
    if status:
        text = _library().nvrtcGetErrorString
        text.restype = ctypes.c_char_p
        raise DeviceFailure(f"NVRTC: {what} failed: {text(status).decode()}")


def find() -> tuple[str, Callable[[Source, str], bytes]]:
    """Name with version, and a function that makes a cubin of a source for an architecture.

    Raises:
        DeviceFailure: there is no NVRTC.
    """
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "nvrtcVersion")
    return f"NVRTC {major.value}.{minor.value}", compile_source


def compile_source(source: Source, architecture: str) -> bytes:
    """A cubin.

    Raises:
        DeviceFailure: with the first error that the compiler names.
    """
    library = _library()
    program = ctypes.c_void_p()
    names, texts = (list(part) for part in zip(*source.headers.items(), strict=True)) if source.headers else ([], [])
    array = ctypes.c_char_p * max(len(names), 1)
    _check(
        library.nvrtcCreateProgram(
            ctypes.byref(program),
            source.text.encode(),
            f"{source.stem}.cu".encode(),
            len(names),
            array(*(text.encode() for text in texts)),
            array(*(name.encode() for name in names)),
        ),
        "nvrtcCreateProgram",
    )
    try:
        words = [f"--gpu-architecture={architecture}", *(word for word in source.options if word not in _UNKNOWN)]
        words += [f"--include-path={folder}" for folder in include_folders()]
        status = library.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*(w.encode() for w in words)))
        if status:
            raise DeviceFailure(f"NVRTC failed on {source.stem}.cu for {architecture}: {_first_error(program)}")
        size = ctypes.c_size_t()
        _check(library.nvrtcGetCUBINSize(program, ctypes.byref(size)), "nvrtcGetCUBINSize")
        code = ctypes.create_string_buffer(size.value)
        _check(library.nvrtcGetCUBIN(program, code), "nvrtcGetCUBIN")
        return code.raw
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _first_error(program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    _check(_library().nvrtcGetProgramLogSize(program, ctypes.byref(size)), "nvrtcGetProgramLogSize")
    log = ctypes.create_string_buffer(max(size.value, 1))
    _check(_library().nvrtcGetProgramLog(program, log), "nvrtcGetProgramLog")
    lines = [line for line in log.value.decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "no message")
