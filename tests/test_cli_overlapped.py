"""``h2k-rt infer --device cuda`` on several photos: reading and writing overlap with the GPU; what is told stays the same."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli_runner import in_process
from PIL import Image

from h2k_rt import reconstruct as module
from h2k_rt.errors import EngineError, PersonError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photos, the third of them no picture; their first byte is their number."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(np.full((80, 64, 3), 40 * number, np.uint8)).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"nothing")
    return folder


class Stub:
    """Stands for the Reconstructor: remembers which thread called it with what."""

    calls: list[tuple[int, str, Any]]
    fail: type[Exception] | None = None

    def __init__(self, model: str, engine: str, **options: Any) -> None:
        assert options["device"] == "cuda"
        type(self).calls = []

    def reconstruct(self, photo: Any, **options: Any) -> Any:
        number = int(photo.rgb[0, 0, 0]) // 40
        self.calls.append((number, threading.current_thread().name, options["subject"]))
        if self.fail is not None and number == 1:
            raise self.fail("it went wrong")

        def save(path: Path) -> None:
            Path(path).write_text(str(number))

        mesh = SimpleNamespace(vertices=np.zeros((number, 3)), faces=np.zeros((0, 3)))
        return SimpleNamespace(
            mesh=mesh,
            save=save,
            timings={"GPU": 0.5},
            notes=[f"note {number}"],
            people_found=1,
            person_number=1,
            providers={},
            engine="",
        )


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> type[Stub]:
    class Fresh(Stub):
        pass

    def find(finder: Any, photo: Any, joints: Any, mask: Any, person: Any) -> str:
        assert threading.current_thread().name.startswith("h2k-load")
        return f"subject of {photo.name}"

    monkeypatch.setattr(module, "Reconstructor", Fresh)
    monkeypatch.setattr(module, "find_subject", find)
    return Fresh


def infer(photos: Path, out: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    return in_process(capfd)("infer", str(photos), "-o", str(out), "--device", "cuda", "--no-preview")


def test_order_failures_and_threads(photos: Path, tmp_path: Path, stubbed: type[Stub], capfd: pytest.CaptureFixture[str]) -> None:
    run = infer(photos, tmp_path / "out", capfd)
    assert run.code == 3
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["0.glb", "1.glb", "3.glb", "4.glb"]
    assert (tmp_path / "out" / "3.glb").read_text() == "3"
    lines = run.err.splitlines()
    assert [line for line in lines if "note" in line] == [f"{n}.png: note: note {n}" for n in (0, 1, 3, 4)]
    assert sum("2.png" in line and line.startswith("error: ") for line in lines) == 1
    assert lines[-1] == f"4 of 5 photos done; failed: {photos / '2.png'}"
    order = [run.out.index(f"{n}.glb") for n in (0, 1, 3, 4)]
    assert order == sorted(order)
    main = threading.main_thread().name
    assert stubbed.calls == [(n, main, f"subject of {n}.png") for n in (0, 1, 3, 4)], "one thread drives the GPU"


@pytest.mark.parametrize(("error", "code", "done"), [(PersonError, 3, 3), (EngineError, 7, 1)])
def test_a_failure_of_the_gpu_stops_the_batch(
    error: type[Exception],
    code: int,
    done: int,
    photos: Path,
    tmp_path: Path,
    stubbed: type[Stub],
    capfd: pytest.CaptureFixture[str],
) -> None:
    stubbed.fail = error
    run = infer(photos, tmp_path / "out", capfd)
    assert run.code == (5 if error is PersonError else code)
    assert len(list((tmp_path / "out").glob("*.glb"))) >= done
    assert "1.png: it went wrong" in run.err
    assert ("not tried" in run.err) == (error is EngineError)
