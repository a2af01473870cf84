"""The benchmark of networks on a GPU (bench/gpu_engines.py), on the emulated device: what it measures and what it says."""

from __future__ import annotations

import sys
import time
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("onnxruntime")

from conftest import REPOSITORY
from h2k_engines import EngineFailure
from host_runtime import HostEngine, HostRuntime

from h2k_rt.bundle import NETWORKS, Bundle


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "bench"), *sys.path])
    import gpu_engines

    return gpu_engines


@pytest.fixture(scope="module")
def small() -> Bundle:
    return Bundle.open("small")


def rows(bench: ModuleType, bundle: Bundle, runtime: HostRuntime, precision: str, networks: list[str]) -> list[dict[str, Any]]:
    def open_network(name: str, stream: Any) -> HostEngine:
        if name == "face":
            raise EngineFailure("face: out of memory | and more")
        return HostEngine(runtime, bundle.network(name, precision), name=name, stream=stream)

    timer = bench.Timer(runtime, 12, time.perf_counter())
    return list(bench.rows_of(bundle, runtime, open_network, networks, timer))


def test_times_and_errors(bench: ModuleType, small: Bundle) -> None:
    exact, failed = rows(bench, small, HostRuntime(), "fp32", ["shoe", "face"])
    assert exact["errors"] == {"normals": 0.0} and exact["problem"] is None and "CPUExecutionProvider" in exact["provider"]
    # The emulated clock says one millisecond between any two events.
    assert exact["graph_ms"]["p50"] == exact["plain_ms"]["p99"] == 1 and exact["graph_ms"]["runs"] == 10, "time is over"
    assert exact["per_second"] == 10_000, "ten runs between two events"
    assert failed == {"network": "face", "not_run": "face: out of memory | and more"}
    (half,) = rows(bench, small, HostRuntime(), "fp16", ["shoe"])
    assert 0 < half["errors"]["normals"] < 0.01


def test_a_network_that_cannot_be_recorded(bench: ModuleType, small: Bundle) -> None:
    runtime = HostRuntime()
    runtime.refuse_capture = "operation not permitted"
    (row,) = rows(bench, small, runtime, "fp32", ["shoe"])
    assert "graph_ms" not in row and row["no_graph"] == "operation not permitted" and row["per_second"] == 10_000
    page = bench.report([{"model": "small", "engine": "cuda", "precision": "fp32", **row}], "A GPU.")
    assert "| small | cuda | fp32 | shoe | not recorded | 1.000 | 10000.0 | normals 0.0e+00 |" in page
    assert page.endswith("Not recorded as a CUDA graph, shoe: operation not permitted.\n")


def test_table(bench: ModuleType) -> None:
    times = {"p50": 2.0, "p90": 3.0, "p99": 4.0}
    about = {"model": "small", "engine": "torch", "precision": "fp16"}
    row = {"graph_ms": times, "plain_ms": times, "per_second": 500.0, "errors": {"normals": 0.02}, "problem": "it differs"}
    made = bench.table([{**about, "network": name, **row} for name in NETWORKS]).splitlines()
    assert made[2].startswith(
        "| small | torch | fp16 | low_normal | 2.000 / 3.000 / 4.000 | 2.000 | 500.0 | normals 2.0e-02; too much"
    )
    assert made[-1] == f"| small | torch | fp16 | **all, one after the other** | {2 * len(NETWORKS):.3f} |  | 62.5 |  |"
    assert len({line.count("|") for line in made}) == 1


def test_without_a_gpu_nothing_is_left_out(bench: ModuleType) -> None:
    made = bench.table(bench.absent(bench.ENGINES, "there is no driver")).splitlines()[2:]
    assert len(made) == 2 * 4 * 2 and all("| not run |  |  | there is no driver |" in line for line in made)
    said = bench._cells({"not_run": "face: out of memory | and more"})
    assert said[-1] == "face: out of memory / and more", "a table's line is not broken"


def test_an_engine_that_is_not_here_is_one_row(bench: ModuleType, small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    found = list(bench.measure([small], HostRuntime(), ["tensorrt"], 1, 0.0))
    assert [row["precision"] for row in found] == ["fp16", "fp32"]
    assert all("tensorrt is not installed; run: pip install" in row["not_run"] and row["network"] == "all" for row in found)
