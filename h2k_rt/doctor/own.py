"""What belongs to h2k-rt: models, caches, places to write to, and whether it works at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from h2k_rt.doctor.report import Finding

#: A rendered photo of a synthetic person.
PICTURE = Path(__file__).parent / "person.jpg"
SELF_TEST_SECONDS = 120


def models() -> Iterator[Finding]:
    """Model bundles: each is opened, the default one is read wholly."""
    from h2k_rt.bundle import DEFAULT, list_bundles
    from h2k_rt.errors import BundleError

    found = list_bundles()
    if DEFAULT not in {each.name for each in found}:
        yield Finding("model", "problem", f"the model {DEFAULT} is missing", "pip install --force-reinstall h2k-rt")
    for each in found:
        problem = each.problem
        if each.bundle is not None and each.name == DEFAULT:
            try:
                each.bundle.verify()
            except BundleError as error:
                problem = str(error)
        if problem:
            yield Finding(f"model {each.name}", "problem", problem, f"export or download it again, or remove {each.location}")
        else:
            yield Finding(f"model {each.name}", "ok", str(each.location))


def caches() -> Iterator[Finding]:
    """The folders of compiled kernels and built engines."""
    from h2k_kernels.user_cache import cache_dir, why_not_private

    for what in ("kernels", "engines"):
        folder = cache_dir(what)
        if not folder.exists():
            yield Finding(f"cached {what}", "ok", f"none yet, in {folder}")
            continue
        files = [path for path in folder.rglob("*") if path.is_file()]
        says = f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB in {folder}"
        problem = why_not_private(folder)
        if problem is None:
            yield Finding(f"cached {what}", "ok", says)
        else:
            yield Finding(f"cached {what}", "problem", f"not used: {problem}", f"chmod 700 {folder}, or set H2K_CACHE")


def places() -> Iterator[Finding]:
    """Where files are written: the current folder and the temporary one."""
    for name, folder in (("current folder", Path.cwd()), ("temporary folder", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield Finding(name, "problem", f"{folder} cannot be written: {error.strerror}", "go to another folder, or use --output")
            continue
        if free < 1 << 30:
            yield Finding(name, "problem", f"{folder} has {free / 1e6:.0f} MB left", "free some space")
        else:
            yield Finding(name, "ok", f"{folder}, {free / 1e9:.0f} GB free")


def self_test(device: str = "cpu") -> Iterator[Finding]:
    """The whole program on a built-in picture, in a process of its own: about ten seconds on a laptop."""
    name = f"self-test on the {'CPU' if device == 'cpu' else 'GPU'}"
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "h2k_rt",
            "infer",
            str(PICTURE),
            "-o",
            folder,
            "--no-preview",
            "--json",
            "--device",
            device,
        ]
        start = time.perf_counter()
        try:
            run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SELF_TEST_SECONDS)
        except subprocess.TimeoutExpired:
            yield Finding(name, "problem", f"not done within {SELF_TEST_SECONDS} s", "close other programs and try again")
            return
        seconds = time.perf_counter() - start
        if run.returncode:
            said = (run.stderr.strip().splitlines() or [f"exit {run.returncode}"])[-1]
            yield Finding(name, "problem", said.removeprefix("error: "), "mend what is named above, or see docs/engines.md")
            return
        result = json.loads(run.stdout)["results"][0]
        mesh = Path(result["files"][0])
        if not mesh.is_file() or not mesh.stat().st_size or result["faces"] < 1000:
            yield Finding(name, "problem", f"a mesh of {result['faces']} triangles came out", "please report this")
            return
        yield Finding(name, "ok", f"a mesh of {result['vertices']} vertices in {seconds:.1f} s; engine: {result['engine']}")
