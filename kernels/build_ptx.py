"""Build hook of the wheel: the kernels' PTX goes with it, for machines without a compiler.

Where nvcc is found it is made now; else what lies in ``kernels/h2k_kernels/ptx`` is taken, if it is of these sources; else the
wheel goes without, says so, and needs nvcc or NVRTC where it runs. An editable installation needs none of it.
``H2K_PTX=1`` makes a wheel without PTX an error (for releases), ``H2K_PTX=0`` leaves it out.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def _prebuild(kernels: Path) -> Any:
    """``h2k_kernels.launch.prebuild`` without the packages' own imports: NumPy is not there when a wheel is built."""
    for name in ("h2k_kernels", "h2k_kernels.launch"):
        package = ModuleType(name)
        package.__path__ = [str(kernels / name.replace(".", "/"))]
        sys.modules[name] = package
    return importlib.import_module("h2k_kernels.launch.prebuild")


class PtxHook(BuildHookInterface):
    """Adds ``h2k_kernels/ptx`` to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("H2K_PTX", "")
        if version == "editable" or wanted == "0":
            return
        prebuild = _prebuild(Path(self.root) / "kernels")
        self._made = Path(tempfile.mkdtemp(prefix="h2k-ptx-"))
        folder = self._made
        try:
            prebuild.write_ptx(folder)
        except prebuild.DeviceFailure as problem:
            folder = prebuild.FOLDER
            if not prebuild.is_current(folder):
                said = f"the wheel holds no prebuilt PTX: {problem}"
                if wanted == "1":
                    raise SystemExit(f"error: {said}") from problem
                self.app.display_warning(f"{said}; where it runs, the kernels need nvcc or NVRTC")
                return
        build_data["force_include"][str(folder)] = "h2k_kernels/ptx"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_made"):
            shutil.rmtree(self._made, ignore_errors=True)
