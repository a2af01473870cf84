"""Compile a .cu file for the CPU and run launch plans with it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from h2k_kernels.launch.arrays import DeviceArray
from h2k_kernels.launch.plan import LaunchPlan
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "kernels" / "h2k_kernels"
#: "address" or "thread": build with that sanitizer. Its library must have been loaded into the interpreter first (LD_PRELOAD).
SANITIZER = os.environ.get("CUDA_HOST_SANITIZER", "")
#: No contraction to fused multiply-adds but those that the source writes: float32 results are then those of the twins.
_FLAGS = (
    "-std=c++20",
    "-O2",
    "-g",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-U_FORTIFY_SOURCE",
    "-shared",
    "-fPIC",
    "-pthread",
)
_WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
_SANITIZERS = {
    "": (),
    "address": ("-fsanitize=address", "-fno-omit-frame-pointer"),
    "thread": ("-fsanitize=thread",),
}
_KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s+)?void\s+(?:__launch_bounds__\s*\([^)]*\)\s+)?(\w+)\s*\(")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)


class MissingCompiler(RuntimeError):
    """There is no g++."""


def device_view(array: NDArray) -> DeviceArray:
    """A NumPy array as the launchers take it; the kernels run on its memory."""
    return DeviceArray(array.ctypes.data, array.shape, array.dtype, array.strides, array, (1, 0))


class HostModule:
    """The kernels of one source file, compiled for the CPU."""

    def __init__(self, library: Path, kernels: Iterable[str]) -> None:
        self._library = ctypes.CDLL(str(library))
        self.kernels = tuple(kernels)
        self._parameters = {name: self._describe(name) for name in self.kernels}

    def _describe(self, name: str) -> list[int]:
        describe = self._library[f"{name}__describe"]
        sizes = (ctypes.c_int * describe(None))()
        describe(sizes)
        return list(sizes)

    def run(self, plans: LaunchPlan | Iterable[LaunchPlan]) -> None:
        """Execute one launch after the other.

        Raises:
            TypeError: an argument has not the size or kind of the kernel's parameter.
        """
        for plan in [plans] if isinstance(plans, LaunchPlan) else plans:
            self._launch(plan)

    def _launch(self, plan: LaunchPlan) -> None:
        parameters = self._parameters[plan.kernel]
        if len(plan.args) != len(parameters):
            raise TypeError(f"{plan.kernel} takes {len(parameters)} arguments, not {len(plan.args)}")
        if plan.shared:
            raise TypeError(f"{plan.kernel}: dynamic shared memory is not emulated")
        cells = []
        for position, (argument, size) in enumerate(zip(plan.args, parameters, strict=True)):
            is_pointer = isinstance(argument, DeviceArray) or (isinstance(argument, np.uint64) and size < 0)
            cell = np.array(argument.pointer, np.uint64) if isinstance(argument, DeviceArray) else np.array(argument)
            if is_pointer != (size < 0) or cell.itemsize != abs(size):
                raise TypeError(f"argument {position} of {plan.kernel}: {argument!r} for a parameter of {size} bytes")
            cells.append(cell)
        pointers = (ctypes.c_void_p * max(len(cells), 1))(*(cell.ctypes.data for cell in cells))
        if 0 in plan.grid or 0 in plan.block:
            raise ValueError(f"{plan.kernel}: a launch of {plan.grid} blocks of {plan.block} threads is refused by the driver")
        self._library[f"{plan.kernel}__host"]((ctypes.c_uint * 6)(*plan.grid, *plan.block), pointers)


def load(stem: str | Path, *, folder: Path | None = None, sanitizer: str = SANITIZER) -> HostModule:
    """Compile (or find compiled) ``kernels/h2k_kernels/<stem>.cu``, or any .cu file given by path.

    Args:
        folder: keeps compiled libraries between runs; None: CUDA_HOST_FOLDER of the environment, else a new one.

    Raises:
        MissingCompiler: g++ is not installed.
        RuntimeError: the source does not compile; the compiler's messages are in the text.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise MissingCompiler("the kernels' tests on the CPU need g++")
    source = stem if isinstance(stem, Path) else SOURCES / f"{stem}.cu"
    folder = folder or Path(os.environ.get("CUDA_HOST_FOLDER") or tempfile.mkdtemp(prefix="cuda_host_"))
    names = _KERNEL.findall(_COMMENT.sub("", source.read_text()))
    glue = f'#include "cuda_host.hpp"\n#include "{source}"\n' + "".join(f"CUDA_HOST_EXPORT({name})\n" for name in names)
    command = [compiler, *_FLAGS, *_WARNINGS, *_SANITIZERS[sanitizer], "-I", str(HERE), "-I", str(SOURCES)]
    texts = [path.read_bytes() for path in (source, HERE / "cuda_host.hpp", *sorted(SOURCES.glob("*.cuh")))]
    key = hashlib.sha256(b"\0".join([*texts, glue.encode(), *(part.encode() for part in command)])).hexdigest()[:24]
    library = folder / f"{source.stem}_{key}.so"
    if not library.exists():
        partial = library.with_suffix(f".{os.getpid()}")
        clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # the compiler needs no sanitizer
        result = subprocess.run(
            [*command, "-x", "c++", "-", "-o", str(partial)], input=glue, text=True, capture_output=True, env=clean
        )
        if result.returncode:
            raise RuntimeError(f"{source.name} does not compile for the CPU:\n{result.stderr}")
        partial.replace(library)
    return HostModule(library, names)
