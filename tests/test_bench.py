"""``h2k-rt bench``: figures of a real run, and the arithmetic of its table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("onnxruntime")

from cli_runner import in_process
from h2k_engines import OnnxRuntimeEngine

from h2k_rt import benchmark
from h2k_rt.benchmark import Measured, all_networks, machine, machine_text, merged, percentiles, table, timed
from h2k_rt.bundle import NETWORKS, Bundle
from h2k_rt.doctor.own import PICTURE


def test_percentiles() -> None:
    found = percentiles([float(n) for n in range(101)])
    assert (found["p50"], found["p90"], found["p99"], found["min"], found["runs"]) == (50, 90, 99, 0, 101)


def test_warmup_is_apart_and_time_is_kept() -> None:
    calls: list[int] = []
    assert len(timed(lambda: calls.append(1), runs=7, warmup=4, seconds=100)) == 7 and len(calls) == 11
    assert len(timed(lambda: None, runs=7, warmup=0, seconds=0)) == 3, "three at least"


def test_table_of_two() -> None:
    times = {"face": [10.0, 10.0], "shoe": [5.0, 7.0]}
    slow = Measured("slow", 1.0, 2.0, times, [100.0, 200.0, 300.0], {"surface": 40.0}, 2.0, 700)
    times = {"face": [2.0, 2.0], "shoe": [1.0, 1.0]}
    fast = Measured("fast", 1.0, 2.0, times, [50.0, 50.0, 50.0], {"GPU": 4.0}, 9.0, 900, 1200.0)
    assert all_networks(slow) == [15, 17]
    lines = table({"a": slow, "b": fast}).splitlines()
    assert lines[0] == "| milliseconds, p50 / p90 / p99 | a | b | a / b |"
    assert "| **photo to file** | 200.0 / 280.0 / 298.0 | 50.0 / 50.0 / 50.0 | 4.00 |" in lines
    assert "| network face | 10.0 / 10.0 / 10.0 | 2.0 / 2.0 / 2.0 | 5.00 |" in lines
    assert "| stage surface (median) | 40.0 |  |  |" in lines and "| stage GPU (median) |  | 4.0 |  |" in lines
    assert "| photos per second, folder | 2.00 | 9.00 |  |" in lines and "| device memory (MiB) |  | 1200 |  |" in lines
    assert len({line.count("|") for line in lines}) == 1 and not any("arm" in line for line in lines)


def test_merged_rounds() -> None:
    parts = [Measured("e", n, n, {"face": [n]}, [n, n], {"s": n}, n, n) for n in (1.0, 3.0)]
    both = merged(parts)
    assert both.photo_to_file == [1, 1, 3, 3] and both.networks == {"face": [1, 3]}
    assert (both.load_s, both.peak_mib, both.gpu_mib, both.stages) == (2, 2, None, {"s": 2})


def test_machine() -> None:
    about = machine()
    assert about["cores"] >= 1 and about["processor"] and "onnxruntime" in " ".join(about["packages"])
    assert str(about["cores"]) in machine_text(about)


def test_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cold start, warm-up, counted runs and the folder apart; one real network, everything around it pretended."""
    bundle = Bundle.open("small")
    calls: list[str] = []

    class Pretended:
        pipeline, engine = None, "pretended"

        def __init__(self, model: str, engine: str, **options: object) -> None:
            calls.append("load")
            self.bundle = bundle
            self.engines = {"shoe": OnnxRuntimeEngine(bundle.network("shoe"), name="shoe", threads=1)}

        def reconstruct(self, photo: object) -> SimpleNamespace:
            calls.append("reconstruct")
            return SimpleNamespace(save=lambda path: calls.append(path.name), timings={"surface": 0.25})

    monkeypatch.setattr(benchmark, "Reconstructor", Pretended)
    measured = benchmark.measure("small", PICTURE, runs=4, warmup=3, seconds=1e9, photos=5)
    assert calls.count("load") == 1 and calls.count("photo.glb") == 1 + 2 + 4 and calls[-1] == "4.glb"
    assert calls.count("reconstruct") == 1 + 2 + 4 + 5
    assert len(measured.photo_to_file) == 4 and len(measured.networks["shoe"]) == 4 and measured.gpu_mib is None
    assert list(measured.stages) == ["surface", "read files", "write files"] and measured.stages["surface"] == 250
    assert measured.photos_per_s > 0 and measured.engine == "pretended" and "| pretended |" in table({"pretended": measured})


@pytest.mark.slow
def test_a_real_run(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = in_process(capfd)(
        "bench",
        "--engine",
        "cpu",
        "--runs",
        "3",
        "--warmup",
        "1",
        "--seconds",
        "0",
        "--photos",
        "1",
        "--json",
        "-o",
        tmp_path / "table.md",
    )
    assert run.code == 0, run.err
    document = json.loads(run.out)
    (measured,) = [Measured(**each) for each in document["engines"].values()]
    assert set(measured.networks) == set(NETWORKS) and all(len(times) == 3 for times in measured.networks.values())
    assert 0 < min(all_networks(measured)) < max(measured.photo_to_file), "networks are a part of the whole"
    assert measured.engine.endswith(" CPUExecutionProvider") and measured.photos_per_s > 0 and (measured.peak_mib or 100) > 50
    assert sum(measured.stages.values()) < 1.5 * max(measured.photo_to_file)
    assert table({"cpu": measured}) in (tmp_path / "table.md").read_text()


def test_compare(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two engines in turn, each in a process of its own; all rounds count."""
    asked: list[tuple[str, list[str]]] = []

    def measured(photo: Path, engine: str, device: str, words: list[object]) -> Measured:
        asked.append((engine, [str(word) for word in words]))
        return Measured(f"{engine} of {len(asked)}", networks={"face": [len(asked) * 1.0]}, photo_to_file=[10.0 * len(asked)])

    monkeypatch.setattr(sys.modules["h2k_rt.cli.bench"], "_in_a_process", measured)
    cli = in_process(capfd)
    run = cli("bench", "--engine", "cuda", "--compare", "torch", "--rounds", "2", "--precision", "fp16", "--json")
    assert run.code == 0, run.err
    assert [engine for engine, _ in asked] == ["cuda", "torch", "cuda", "torch"]
    assert all(words[:4] == ["--model", "small", "--precision", "fp16"] for _, words in asked)
    engines = json.loads(run.out)["engines"]
    assert engines["cuda"]["photo_to_file"] == [10, 30] and engines["torch"]["networks"] == {"face": [2, 4]}
    text = cli("bench", "--engine", "cuda", "--compare", "torch", "--rounds", "1").out
    assert "| milliseconds, p50 / p90 / p99 | cuda | torch | cuda / torch |" in text and "torch: torch of 6\n" in text
    assert "| **photo to file** | 50.0 / 50.0 / 50.0 | 60.0 / 60.0 / 60.0 | 0.83 |" in text


@pytest.mark.slow
def test_a_process_of_its_own() -> None:
    from h2k_rt.cli.bench import _in_a_process
    from h2k_rt.errors import EngineError

    few = ["--runs", 3, "--warmup", 1, "--seconds", 0, "--photos", 1]
    found = _in_a_process(PICTURE, "cpu", "cuda", few)
    assert found.engine.endswith("CPUExecutionProvider") and len(found.photo_to_file) == 3, "the place is in the engine's name"
    with pytest.raises(EngineError, match=r"cpu: .*nowhere"):
        _in_a_process(PICTURE, "cpu", "auto", ["--model", "nowhere"])


def test_wrong_use(capfd: pytest.CaptureFixture[str]) -> None:
    cli = in_process(capfd)
    assert cli("bench", "--engine", "cpu", "--compare", "cpu").code == 2
    run = cli("bench", "nowhere.jpg", "--engine", "cpu")
    assert run.code == 3 and "nowhere.jpg" in run.sentence
    run = cli("bench", "--engine", "cpu", "--device", "cuda")
    assert run.code == 7 and run.sentence == "--engine cpu does not run on --device cuda"
