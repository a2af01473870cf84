"""The engine cache, with a builder that is real: what is in the way of a built engine, and what comes of it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import engine_builder
from engine_builder import answer, key_of, obtain
from h2k_engines.cache import Built, EngineCache, EngineKey
from h2k_engines.engine import EngineFailure

import h2k_rt

posix = pytest.mark.skipif(sys.platform == "win32", reason="rights of folders are another matter there")


@pytest.fixture(scope="module")
def graph() -> Path:
    return Path(h2k_rt.__file__).parent / "models" / "small" / "shoe.onnx"


class Case:
    """A cache with what it told and how often something was built."""

    def __init__(self, folder: Path) -> None:
        self.told: list[str] = []
        self.builds = 0
        self.cache = EngineCache(folder, self.told.append)

    def obtain(self, graph: Path, **more: str) -> object:
        def count() -> None:
            self.builds += 1

        return obtain(self.cache, graph, builds=count, **more)

    def files(self, suffix: str) -> list[Path]:
        return sorted(self.cache.folder.glob(f"*.{suffix}"))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "engines")


def child(folder: Path, graph: Path, step: str = "") -> subprocess.Popen[str]:
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    command = [sys.executable, engine_builder.__file__, str(folder), str(graph), step]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finished(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.splitlines()


def test_built_once(case: Case, graph: Path) -> None:
    first, again = case.obtain(graph), case.obtain(graph)
    assert (first.cached, again.cached, case.builds, case.told) == (False, True, 1, [])
    assert first.facts == again.facts == {"seconds": 0.1} and first.size == again.size
    assert np.array_equal(answer(first.engine), answer(again.engine))
    plain = engine_builder.ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    assert np.allclose(answer(again.engine), answer(plain), atol=1e-5), "it is that graph's engine"
    if sys.platform != "win32":
        assert stat.S_IMODE(case.cache.folder.stat().st_mode) == 0o700
        kept = case.files("engine") + case.files("json")
        assert len(kept) == 2 and {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert case.cache.facts(key_of(graph)) == {"seconds": 0.1}


def test_another_gpu_version_graph_or_option_is_another_engine(case: Case, graph: Path) -> None:
    case.obtain(graph)
    for number, more in enumerate(({"gpu": "NVIDIA GeForce RTX 4090"}, {"version": "0.1"}, {"option": "level 5"}), start=2):
        assert case.cache.facts(key_of(graph, **more)) is None
        assert not case.obtain(graph, **more).cached and case.builds == number
    other = graph.with_name("face.onnx")
    assert not case.obtain(other).cached
    keys = {replaced.digest for replaced in (key_of(graph), EngineKey("a", "b", "c", {}), EngineKey("a", "b", "fp16", {}))}
    assert len(keys) == 3 and len(case.files("engine")) == 5 and case.told == []
    assert case.obtain(graph).cached, "the first is still there"


def flipped(data: bytes) -> bytes:
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda data: data[:-1], flipped, lambda data: data + b"\0"], ids=["empty", "cut", "bit", "longer"]
)
def test_damaged_engine(case: Case, graph: Path, damage: Callable[[bytes], bytes]) -> None:
    want = answer(case.obtain(graph).engine)
    (path,) = case.files("engine")
    path.write_bytes(damage(path.read_bytes()))
    (entry,) = case.cache.entries(verify=True)
    assert entry.problem == "its file has changed since it was built"
    mended = case.obtain(graph)
    assert not mended.cached and np.array_equal(answer(mended.engine), want)
    assert case.told == ["the cached onnxruntime engine of face (fp32) is built anew: its file has changed since it was built"]
    assert case.obtain(graph).cached and [e.problem for e in case.cache.entries(verify=True)] == [None]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 1}', '{"format": 2}', "[" * 100_000, "\xff"], ids=lambda text: text[:12] or "empty"
)
def test_damaged_description(case: Case, graph: Path, content: str) -> None:
    case.obtain(graph)
    (path,) = case.files("json")
    path.write_text(content, encoding="latin-1")
    assert case.cache.facts(key_of(graph)) is None
    assert [e.problem for e in case.cache.entries()] == ["its description is damaged"]
    assert not case.obtain(graph).cached and case.obtain(graph).cached
    assert case.told == ["the cached onnxruntime engine of face (fp32) is built anew: its description is damaged"]


def test_description_of_another_key(case: Case, graph: Path) -> None:
    case.obtain(graph)
    case.obtain(graph, gpu="another")
    one, other = case.files("json")
    one.write_bytes(other.read_bytes())
    assert [case.obtain(graph).cached, case.obtain(graph, gpu="another").cached].count(False) == 1 and len(case.told) == 1


def test_engine_that_its_runtime_refuses(case: Case, graph: Path) -> None:
    case.cache.obtain(key_of(graph), lambda: Built(b"a plan of another version"), lambda data: data)
    assert not case.obtain(graph).cached and case.obtain(graph).cached
    (said,) = case.told
    assert said.startswith("the cached onnxruntime engine of face (fp32) is built anew: its runtime refuses it: ")


def test_what_cannot_be_loaded_is_not_kept(case: Case, graph: Path) -> None:
    with pytest.raises(EngineFailure):
        case.cache.obtain(key_of(graph), lambda: Built(b"nothing that runs"), engine_builder.load)
    with pytest.raises(ZeroDivisionError):
        case.cache.obtain(key_of(graph), lambda: Built(b"%d" % (1 // 0)), engine_builder.load)
    assert case.cache.entries() == [] and not case.obtain(graph).cached, "and the lock is free again"


def test_force_and_forget(case: Case, graph: Path) -> None:
    case.obtain(graph)
    forced = case.cache.obtain(
        key_of(graph), lambda: Built(engine_builder.build(graph).data, {"new": 1}), engine_builder.load, force=True
    )
    assert not forced.cached and case.obtain(graph).facts == {"new": 1} and case.told == []
    case.cache.forget(key_of(graph))
    assert not case.obtain(graph).cached


@posix
@pytest.mark.parametrize("step", ["build", "half a file", "between the files"])
def test_killed_in_the_middle(case: Case, graph: Path, step: str) -> None:
    killed = child(case.cache.folder, graph, step)
    out, _ = killed.communicate(timeout=120)
    assert killed.returncode == -9 and out == "building\n"
    left = case.cache.entries()
    assert [e.problem for e in left] == ([] if step == "build" else ["left behind by an interrupted run"])
    result = case.obtain(graph)
    assert not result.cached and case.builds == 1 and case.told == [] and case.obtain(graph).cached
    case.cache.clear()
    assert not case.files("engine") and not case.files("json") and case.cache.entries() == []


@posix
def test_killed_while_replacing(case: Case, graph: Path) -> None:
    """The old description never stands beside a new engine."""
    case.obtain(graph)
    (path,) = case.files("json")
    path.write_text("{")
    killed = child(case.cache.folder, graph, "between the files")
    assert killed.wait(timeout=120) == -9
    assert not path.exists() and not case.obtain(graph).cached and case.told == []


def test_several_processes_at_once(case: Case, graph: Path) -> None:
    """One builds, the others wait for it and take what it made."""
    outputs = [finished(process) for process in [child(case.cache.folder, graph, "slowly") for _ in range(3)]]
    ends = [lines[-1].split("|") for lines in outputs]
    assert sorted(end[0] for end in ends) == ["built", "cached", "cached"]
    assert sum("building" in lines for lines in outputs) == 1
    assert len({end[1] for end in ends}) == 1 and {end[2] for end in ends} == {"None"}
    assert len(case.files("engine")) == len(case.files("json")) == 1


@posix
def test_waiting_for_one_that_dies(case: Case, graph: Path) -> None:
    """Its lock goes with it."""
    import fcntl

    case.cache.folder.mkdir(mode=0o700)
    lock = case.cache.folder / f"{key_of(graph).stem}.lock"
    holder = lock.open("ab")
    fcntl.flock(holder, fcntl.LOCK_EX)
    waiting = child(case.cache.folder, graph)
    assert waiting.stdout is not None
    told = waiting.stdout.readline()
    assert told == "another process is building the onnxruntime engine of face (fp32); waiting for it\n"
    assert waiting.poll() is None, "it does not go on without the lock"
    holder.close()
    assert finished(waiting)[-1].split("|")[::2] == ["built", "None"]


@posix
def test_folder_that_others_can_write_to(case: Case, graph: Path) -> None:
    case.obtain(graph)
    case.cache.folder.chmod(0o777)
    result = case.obtain(graph)
    assert not result.cached and result.not_kept == (
        f"other users may write to {case.cache.folder}; run: chmod 700 {case.cache.folder}"
    )
    assert case.cache.facts(key_of(graph)) is None
    case.cache.folder.chmod(0o700)
    assert case.obtain(graph).cached


@posix
def test_read_only_folder(case: Case, graph: Path) -> None:
    """What is there is taken, what is not is built for this run."""
    root = os.getuid() == 0
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # every folder above must be open to the other user
        Path(name).chmod(0o755)
        copy, folder = Path(name) / "graph.onnx", Path(name) / "engines"
        shutil.copy(graph, copy)
        copy.chmod(0o644)
        folder.mkdir(mode=0o700)
        if root:
            os.chown(folder, 65534, 65534)

        def run(rights: int) -> list[str]:
            folder.chmod(rights)
            return finished(child(folder, copy, "as nobody" if root else ""))[-1].split("|")

        state, total, kept = run(0o500)
        assert (state, kept) == ("built", f"{folder} cannot be written: Permission denied")
        assert run(0o700) == ["built", total, "None"]
        assert run(0o500) == ["cached", total, "None"]
        folder.chmod(0o700)


def test_no_place_for_a_folder(tmp_path: Path, graph: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    case = Case(tmp_path / "file" / "engines")
    result = case.obtain(graph)
    assert result.not_kept == f"{tmp_path / 'file' / 'engines'} cannot be made: Not a directory" and case.cache.entries() == []


@posix
def test_no_space(case: Case, graph: Path) -> None:
    """A disk that is full, by the operating system's own limit on a file's size."""

    def limit() -> None:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    size = len(engine_builder.build(graph).data)
    assert size > 4096
    # The builder writes a file as well; it gets one that is there already.
    case.cache.folder.mkdir(mode=0o700)
    script = (
        "import sys; from pathlib import Path; from h2k_engines.cache import *\n"
        f"cache = EngineCache(Path({str(case.cache.folder)!r}))\n"
        f"result = cache.obtain(EngineKey('a', 'b', 'c', {{}}), lambda: Built(bytes({size})), len)\n"
        "print(result.engine, result.not_kept)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, preexec_fn=limit, env=environment)
    assert run.stdout == f"{size} {case.cache.folder} cannot be written: File too large\n", run.stderr
    assert case.cache.entries() == [] and not case.files("engine"), "nothing half-written stays"


def test_entries_and_clear(case: Case, graph: Path) -> None:
    case.obtain(graph)
    case.obtain(graph, gpu="another")
    (case.cache.folder / ".writing-abc").write_bytes(b"half")
    entries = case.cache.entries(verify=True)
    assert [(e.engine, e.network, e.precision) for e in entries[:2]] == [("onnxruntime", "face", "fp32")] * 2
    assert {e.parts.get("gpu") for e in entries[:2]} == {"none", "another"} and entries[0].size > 1000
    assert entries[2].problem == "left behind by an interrupted run"
    gone = case.cache.clear(lambda entry: entry.parts.get("gpu") == "another")
    assert len(gone) == 1 and case.obtain(graph).cached and len(case.cache.clear()) == 2
    assert case.cache.entries() == [] and EngineCache(case.cache.folder / "none").entries() == []
    json.dumps(gone[0].facts)
