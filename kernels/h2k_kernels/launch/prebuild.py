"""Write the PTX that a wheel carries: ``python -m h2k_kernels.launch.prebuild``, which the build of a wheel does by itself.

Needs nvcc. Only the standard library is imported: a wheel is built where nothing else is installed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from h2k_kernels import user_cache
from h2k_kernels.launch import nvcc, ptx
from h2k_kernels.launch.compile import Source, cache_key, ptx_mark, read_source
from h2k_kernels.launch.errors import DeviceFailure
from h2k_kernels.user_cache import read_digested, why_not_private, write_digested

SOURCES = Path(__file__).resolve().parents[1]
#: Where they lie beside the sources, and in a wheel.
FOLDER = SOURCES / "ptx"


def stems() -> list[str]:
    """All kernel sources."""
    return sorted(path.stem for path in SOURCES.glob("*.cu"))


def write_ptx(folder: Path | None = None) -> list[Path]:
    """Write the PTX of every kernel, by default beside the sources; returns the files.

    What was made before from the same sources by the same compiler is taken from the user's cache.

    Raises:
        DeviceFailure: there is no nvcc, or a source does not compile.
    """
    folder = folder or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = nvcc.version(nvcc.path())

    def write(stem: str) -> Path:
        target = folder / f"{stem}.ptx"
        target.write_bytes(_made(read_source(stem), name))
        return target

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(write, stems()))


def is_current(folder: Path) -> bool:
    """Whether a folder holds the PTX of every kernel, made from these sources."""
    try:
        return all((folder / f"{stem}.ptx").read_bytes().startswith(ptx_mark(read_source(stem))) for stem in stems())
    except OSError:
        return False


def _made(source: Source, compiler: str) -> bytes:
    cache = user_cache.cache_dir("ptx")
    path = cache / f"{source.stem}-{cache_key(source, f'{ptx.ARCHITECTURE} {ptx.VERSION}', compiler)[:24]}.ptx"
    own = why_not_private(cache) is None
    if own and (known := read_digested(path)) is not None:
        return known
    text = ptx.portable(nvcc.compile_source(nvcc.path(), source, ptx.ARCHITECTURE, "ptx"))
    check(source.stem, text)
    made = ptx_mark(source) + text
    if own:
        with contextlib.suppress(OSError):
            write_digested(path, made)
    return made


def check(stem: str, text: bytes) -> None:
    """Let the toolkit's assembler read the text, if it is there: it knows which version each instruction needs.

    Raises:
        DeviceFailure: the text holds something that its version of PTX has not.
    """
    ptxas = nvcc.path().with_name("ptxas.exe" if sys.platform == "win32" else "ptxas")
    if not ptxas.is_file():
        return
    with tempfile.TemporaryDirectory(prefix="h2k-ptx-") as folder:
        path = Path(folder) / f"{stem}.ptx"
        path.write_bytes(text)
        command = [ptxas, "-O0", f"-arch={ptx.ARCHITECTURE.replace('compute', 'sm')}", "-o", path.with_suffix(".cubin"), path]
        result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode:
        said = (result.stderr + result.stdout).strip().splitlines() or ["no message"]
        raise DeviceFailure(f"{stem}: PTX {ptx.VERSION} cannot hold it: {said[0]}")


if __name__ == "__main__":
    try:
        written = write_ptx()
    except DeviceFailure as problem:
        sys.exit(f"error: {problem}")
    print(f"{len(written)} kernels for {ptx.ARCHITECTURE} in PTX {ptx.VERSION} in {FOLDER}")
