"""Build the driver and, for it, modules of kernels."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST = HERE.parent / "cuda_host"
SOURCES = HERE.parents[1] / "kernels" / "h2k_kernels"
_KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s+)?void\s+(?:__launch_bounds__\s*\([^)]*\)\s+)?(\w+)\s*\(")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_ALIGN = """
template <class... A> void alignments(void (*)(A...), int* out) { ((*out++ = int(alignof(A))), ...); }
#define ALIGN_EXPORT(kernel) extern "C" void kernel##__align(int* out) { alignments(kernel, out); }
"""


def pycuda_library() -> Path | None:
    """PyCUDA's extension module; None where PyCUDA is not installed. It is not imported: that needs the driver."""
    spec = importlib.util.find_spec("pycuda")
    folders = spec.submodule_search_locations if spec is not None else None
    return next((path for folder in folders or () for path in Path(folder).glob("_driver*.so")), None)


def build_driver(folder: Path) -> Path:
    """``libcuda.so.1`` in ``folder``: the calls of libcuda.cpp, and every other one that PyCUDA links to as a failure."""
    target = folder / "libcuda.so.1"
    source = (HERE / "libcuda.cpp").read_text()
    extension, nm = pycuda_library(), shutil.which("nm")
    wanted: set[str] = set()
    if extension is not None and nm is not None:
        symbols = subprocess.run([nm, "-D", "--undefined-only", extension], capture_output=True, text=True, check=True).stdout
        wanted = set(re.findall(r"\bcu[A-Z]\w*", symbols))
    missing = sorted(name for name in wanted if f" {name}(" not in source)
    stubs = "".join(f'extern "C" int {name}() {{ return 801; }}\n' for name in missing)  # not supported
    _compile(source + stubs, target, ["-Wl,-soname,libcuda.so.1"])
    return target


def build_module(source: Path, folder: Path) -> Path:
    """A .cu file for the CPU, as the driver loads it."""
    names = _KERNEL.findall(_COMMENT.sub("", source.read_text()))
    exports = "".join(f"CUDA_HOST_EXPORT({name})\nALIGN_EXPORT({name})\n" for name in names)
    target = folder / f"{source.stem}.so"
    _compile(f'#include "cuda_host.hpp"\n#include "{source}"\n{_ALIGN}{exports}', target, ["-I", str(HOST), "-I", str(SOURCES)])
    return target


def _compile(text: str, target: Path, more: list[str]) -> None:
    command = [
        "g++",
        "-std=c++20",
        "-O2",
        "-ffp-contract=off",
        "-fno-strict-aliasing",
        "-shared",
        "-fPIC",
        "-pthread",
        "-Wall",
        "-Werror",
    ]
    command += ["-Wno-unknown-pragmas", *more, "-x", "c++", "-", "-o", str(target), "-ldl"]
    subprocess.run(command, input=text, text=True, check=True)
