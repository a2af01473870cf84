"""Each network alone on a GPU: latency, throughput and error of every engine that is here, FP16 against FP32, for both bundles.

    python bench/gpu_engines.py [--engines cuda torch tensorrt tensorrt-rtx] [--runs 200] [--seconds 120] [-o FOLDER]

A network's tensors stay on the device; times are the GPU's own clock around one run. "graph" is a replay of a CUDA graph that was
recorded after three plain runs, "plain" a run without. Throughput is of runs one behind the other without a wait between. Errors
are against ONNX Runtime in FP32 on the CPU, as h2k-rt build-engines takes them. The full-size bundle has weights made by a rule.
What cannot be run stands in the table with the reason; without a GPU that is everything.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("bench", "tests", "export", "engines", "kernels"))]

from h2k_engines import DeviceEngine, EngineFailure  # noqa: E402
from h2k_kernels.launch import DeviceFailure, Runtime  # noqa: E402

from h2k_rt.benchmark import percentiles, usual_binding  # noqa: E402
from h2k_rt.bundle import NETWORKS, Bundle  # noqa: E402
from h2k_rt.engine_check import Checker  # noqa: E402
from h2k_rt.engines import DeviceEngines  # noqa: E402
from h2k_rt.errors import H2KError  # noqa: E402

ENGINES = ("cuda", "torch", "tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp16", "fp32")
#: Opens a network on a stream.
Open = Callable[[str, Any], DeviceEngine]
Row = dict[str, Any]


class Timer:
    """Times one network.

    Args:
        runs: single runs of each figure, at most.
        deadline: by ``time.perf_counter``; after it each figure gets ten runs.
    """

    def __init__(self, runtime: Any, runs: int, deadline: float) -> None:
        self._runtime, self._runs, self._deadline = runtime, runs, deadline

    def network(self, bundle: Bundle, engine: DeviceEngine, stream: Any) -> Row:
        """Milliseconds of single runs, and runs per second."""
        runtime = self._runtime
        binding = usual_binding(runtime, bundle.networks[engine.name], engine, stream)
        for _ in range(3):  # allocates, and chooses algorithms
            binding.enqueue(stream)
        runtime.synchronize(stream)
        row: Row = {"plain_ms": self._singles(lambda: binding.enqueue(stream), stream)}
        run: Callable[[], Any] = lambda: binding.enqueue(stream)  # noqa: E731
        try:
            with runtime.capture(stream) as recording:
                binding.enqueue(stream)
        except (DeviceFailure, EngineFailure) as error:
            row["no_graph"] = str(error)
        else:
            run = lambda: runtime.replay(recording, [], stream)  # noqa: E731
            row["graph_ms"] = self._singles(run, stream)
        row["per_second"] = self._rate(run, stream)
        return row

    def _singles(self, run: Callable[[], Any], stream: Any) -> dict[str, float]:
        start, end = self._runtime.event(timing=True), self._runtime.event(timing=True)
        times: list[float] = []
        while len(times) < self._runs and (len(times) < 10 or time.perf_counter() < self._deadline):
            self._runtime.record(start, stream)
            run()
            self._runtime.record(end, stream)
            times.append(self._runtime.milliseconds(start, end))
        return percentiles(times)

    def _rate(self, run: Callable[[], Any], stream: Any) -> float:
        start, end = self._runtime.event(timing=True), self._runtime.event(timing=True)
        count = max(self._runs // 4, 10)
        self._runtime.record(start, stream)
        for _ in range(count):
            run()
        self._runtime.record(end, stream)
        return 1000 * count / self._runtime.milliseconds(start, end)


def rows_of(bundle: Bundle, runtime: Any, open_network: Open, networks: Sequence[str], timer: Timer) -> Iterator[Row]:
    """One row for each network: times and error, or why there are none."""
    checker = Checker(bundle, runtime)
    for network in networks:
        row: Row = {"network": network}
        try:
            with runtime.active():
                stream = runtime.stream()
                engine = open_network(network, stream)
                check = checker.check(engine, stream)
                row |= {"provider": engine.provider, "errors": dict(check.errors), "problem": check.problem}
                row |= timer.network(bundle, engine, stream)
        except (H2KError, EngineFailure, DeviceFailure) as error:
            row["not_run"] = str(error)
        yield row


def measure(bundles: Sequence[Bundle], runtime: Any, engines: Sequence[str], runs: int, seconds: float) -> Iterator[Row]:
    """Rows of all bundles, engines and precisions as they come."""
    share = seconds / (len(bundles) * len(engines) * len(PRECISIONS) * len(NETWORKS))
    for bundle in bundles:
        for engine in engines:
            for precision in PRECISIONS:
                about = {"model": bundle.name, "engine": engine, "precision": precision}
                try:
                    opener = DeviceEngines(bundle, engine, precision, runtime)  # type: ignore[arg-type]
                except (H2KError, DeviceFailure) as error:
                    yield {**about, "network": "all", "not_run": str(error)}
                    continue
                for network in NETWORKS:
                    timer = Timer(runtime, runs, time.perf_counter() + share)
                    for row in rows_of(bundle, runtime, opener, [network], timer):
                        yield {**about, **row}
                for note in opener.notes:
                    print(f"{bundle.name} {engine}: {note}", flush=True)


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line for each row, and one for all networks together."""
    head = ["model", "engine", "precision", "network", "graph p50 / p90 / p99 ms", "plain p50 ms", "runs per s", "error"]
    lines = [head, ["---"] * 4 + ["---:"] * 3 + ["---"]]
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["engine"], row["precision"]), []).append(row)
    for (model, engine, precision), group in groups.items():
        for row in group:
            lines.append([model, engine, precision, row["network"], *_cells(row)])
        times = [row["graph_ms"]["p50"] for row in group if "graph_ms" in row]
        if len(times) == len(NETWORKS):
            total = f"{sum(times):.3f}"
            lines.append([model, engine, precision, "**all, one after the other**", total, "", f"{1000 / sum(times):.1f}", ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cells(row: Row) -> list[str]:
    if "not_run" in row:
        return ["not run", "", "", row["not_run"].replace("|", "/")]
    graph = " / ".join(f"{row['graph_ms'][p]:.3f}" for p in ("p50", "p90", "p99")) if "graph_ms" in row else "not recorded"
    errors = ", ".join(f"{name} {error:.1e}" for name, error in row["errors"].items())
    verdict = f"{errors}; too much: {row['problem']}" if row["problem"] else errors
    return [graph, f"{row['plain_ms']['p50']:.3f}", f"{row['per_second']:.1f}", verdict]


def report(rows: Sequence[Row], about: str) -> str:
    """The whole page."""
    reasons = dict.fromkeys(f"{row['network']}: {row['no_graph']}" for row in rows if "no_graph" in row)
    text = f"# Networks alone on a GPU\n\n{about}\n\n{table(rows)}"
    return text + "".join(f"\nNot recorded as a CUDA graph, {reason}.\n" for reason in reasons)


def absent(engines: Sequence[str], reason: str) -> list[Row]:
    """What the table says where there is no GPU."""
    models = ("small", "full-size")
    return [
        {"model": model, "engine": engine, "precision": precision, "network": "all", "not_run": reason}
        for model in models
        for engine in engines
        for precision in PRECISIONS
    ]


def write(rows: Sequence[Row], about: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu_engines.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    (folder / "gpu_engines.md").write_text(report(rows, about))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120, help="about how long the timing may take")
    parser.add_argument("--full", action=argparse.BooleanOptionalAction, default=True, help="the full-size bundle, too")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "bench" / "results")
    arguments = parser.parse_args()
    runtime = Runtime()
    try:
        runtime.open()
    except DeviceFailure as error:
        reason = str(error).partition(";")[0]
        rows, about = absent(arguments.engines, reason), f"Not run: {reason}."
    else:
        from gpu_case import machine
        from rtx_engines import full_size

        about = "; ".join(machine(runtime).values()) + "."
        with tempfile.TemporaryDirectory() as folder:
            bundles = [Bundle.open("small")]
            if arguments.full:
                bundles.append(Bundle.open(full_size(Path(folder) / "full-size")))
            rows = []
            for row in measure(bundles, runtime, arguments.engines, arguments.runs, arguments.seconds):
                rows.append(row)
                write(rows, about, arguments.output)  # what was measured stays if the rest is cut off
    write(rows, about, arguments.output)
    print(report(rows, about))


if __name__ == "__main__":
    main()
