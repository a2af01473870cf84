"""Photo bytes to mesh arrays on a GPU: latency, share by stage, memory; beside it the published way in PyTorch on the same GPU.

    python bench/gpu_pipeline.py [--engine torch|onnxruntime] [--runs 100] [--seconds 240] [-o FOLDER]

The photo is decoded and its person found before (that is the CPU's work and told apart). Full-size networks have weights made by a
rule: their cost is the published one, what they see is no body, so their last result is replaced by that of the model ``small``
before the mesh is made. Times are of the host clock around one photo, which ends when the mesh arrays are in host memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("bench", "tests", "export", "engines", "kernels"))]

from gpu_case import Case, GivenDepth, bundle_engines, example, full_size_engines, machine, markdown  # noqa: E402
from h2k_kernels.launch import DeviceArray, Runtime  # noqa: E402

from h2k_rt.bundle import Bundle  # noqa: E402
from h2k_rt.device.pipeline import DevicePipeline  # noqa: E402
from h2k_rt.picture import prepare_picture  # noqa: E402
from h2k_rt.stopwatch import Stopwatch  # noqa: E402


def latencies(run: Callable[[], Any], runs: int, deadline: float) -> dict[str, float]:
    """Milliseconds of single runs: percentiles; fewer runs where time is short."""
    times: list[float] = []
    while len(times) < runs and (len(times) < 5 or time.perf_counter() < deadline):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    p50, p90, p99 = (float(np.percentile(times, q)) for q in (50, 90, 99))
    return {"runs": len(times), "p50": p50, "p90": p90, "p99": p99, "min": min(times)}


def our_way(
    case: Case, open_engine: Any, runtime: Runtime, arguments: argparse.Namespace, deadline: float
) -> tuple[dict[str, Any], dict[tuple[int, ...], DeviceArray]]:
    """One pipeline's numbers, and the depth that it made."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    before = runtime.memory()[0]
    graphs = DevicePipeline(case.method, open_engine, runtime)
    first = time.perf_counter()
    mesh = graphs.mesh(case.job, case.joints)
    first = time.perf_counter() - first
    graphs.mesh(case.job, case.joints)
    report: dict[str, Any] = {
        "engines": sorted(set(graphs.providers.values())),
        "first_photo_s": first,
        "vertices": len(mesh.vertices),
        "replayed": latencies(lambda: graphs.mesh(case.job, case.joints), arguments.runs, deadline),
        "graph_problem": graphs._graphs.problem,
        "pipeline_mib": graphs.nbytes / 2**20,
        "device_mib": (before - runtime.memory()[0]) / 2**20,
    }
    shape = graphs.chain.trunk("depth", case.job.window.size)
    depth = runtime.empty(shape.shape, shape.dtype)
    runtime.copy(depth, shape)
    runtime.synchronize()
    graphs.close()
    plain = DevicePipeline(case.method, open_engine, runtime, graphs=False)
    plain.mesh(case.job, case.joints)
    report["plain"] = latencies(lambda: plain.mesh(case.job, case.joints), max(arguments.runs // 5, 5), deadline)
    profiles = [plain.profile(case.job, case.joints) for _ in range(9)][2:]
    report["stages_ms"] = {stage: float(np.median([p[stage] for p in profiles])) for stage in profiles[0]}
    plain.close()
    return report, {depth.shape: depth}


def published_way(case: Case, state: dict[str, Any], runs: int, deadline: float) -> dict[str, Any]:
    """The method in PyTorch FP32 as published, from the prepared picture to depth; no mesh."""
    import cv2
    import torch
    from h2k_export import load_human_net
    from published_way import forward

    class SyncedStopwatch(Stopwatch):
        def __call__(self, stage: str) -> Any:
            torch.cuda.synchronize()
            return super().__call__(stage)

    framing = case.job.framing
    rgb = framing.image(case.job.rgb, border=cv2.BORDER_REPLICATE)
    mask = framing.image(case.job.mask, border=cv2.BORDER_CONSTANT)
    picture = prepare_picture(rgb, mask, case.method.colour_factors, case.method.background_value)
    net = load_human_net(state).cuda()
    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    transforms = case.job.transforms

    def run() -> dict[str, float]:
        watch = SyncedStopwatch()
        forward(net, picture, transforms.to_canvas, transforms.to_part, watch, device="cuda")
        torch.cuda.synchronize()
        return watch.seconds

    run()
    stages = [run() for _ in range(3)]
    return {
        **latencies(run, runs, deadline),
        "stages_ms": {stage: 1000 * float(np.median([s[stage] for s in stages])) for stage in stages[0]},
        "peak_mib_beyond_weights": (torch.cuda.max_memory_allocated() - weights) / 2**20,
    }


def measure(arguments: argparse.Namespace, save: Callable[[dict[str, Any]], None]) -> None:
    """Everything, the most wanted first; ``save`` gets the report after each way: a limit of time loses the last one only."""
    from oracle_rules import weights

    end = time.perf_counter() + arguments.seconds
    runtime = Runtime()
    bundle = Bundle.open("small")
    case = example(bundle)
    report: dict[str, Any] = {"machine": machine(runtime), "photo": list(case.job.rgb.shape), "ways": {}}

    def measured(name: str, opener: Any, share: int) -> dict[tuple[int, ...], DeviceArray]:
        deadline = time.perf_counter() + arguments.seconds / share
        report["ways"][name], made = our_way(case, opener, runtime, arguments, deadline)
        save(report)
        return made

    depth = measured("small, fp16", bundle_engines(bundle, arguments.engine, "fp16"), 8)
    if arguments.full:
        state = weights(width=1.0)
        for half in (True, False):
            opener = full_size_engines(state, half)

            def with_depth(name: str, stream: Any, opener: Any = opener) -> Any:
                engine = opener(name, stream)
                return GivenDepth(engine, runtime, depth) if name == "high_depth" else engine

            measured(f"full size, {'fp16' if half else 'fp32'}", with_depth, 6)
        report["published"] = published_way(case, state, 10, end)
        save(report)
    measured("small, fp32", bundle_engines(bundle, arguments.engine, "fp32"), 8)


def stage_table(stages: dict[str, float]) -> str:
    """Milliseconds and shares of the stages of one photo."""
    total = sum(stages.values())
    return markdown(["stage", "ms", "share"], [[stage, f"{ms:.2f}", f"{100 * ms / total:.0f} %"] for stage, ms in stages.items()])


def table(report: dict[str, Any]) -> str:
    rows = []
    for name, way in report["ways"].items():
        replayed, plain = way["replayed"], way["plain"]
        rows.append(
            [
                name,
                f"{replayed['p50']:.1f}",
                f"{replayed['p90']:.1f}",
                f"{replayed['p99']:.1f}",
                f"{plain['p50']:.1f}",
                f"{way['pipeline_mib']:.0f}",
                f"{way['device_mib']:.0f}",
            ]
        )
    if "published" in report:
        way = report["published"]
        row = ["full size, the published way (picture to depth)", *(f"{way[p]:.1f}" for p in ("p50", "p90", "p99")), "", ""]
        rows.append([*row, f"{way['peak_mib_beyond_weights']:.0f}"])
    head = ["photo bytes to mesh arrays", "p50 ms", "p90 ms", "p99 ms", "without graphs p50 ms", "pipeline MiB", "all device MiB"]
    text = f"{report['machine']['nvidia-smi']}; photo {report['photo'][1]} x {report['photo'][0]}.\n\n" + markdown(head, rows)
    text += (
        "\nThe published way's memory is its peak beyond its weights. Ours is all that the pipeline took: of the full size beyond "
        "its weights, which were there before; of the model small with them.\n"
    )
    for name, way in report["ways"].items():
        text += f"\n## Stages on the GPU: {name} ({', '.join(way['engines'])}), launched step by step\n\n"
        text += stage_table(way["stages_ms"])
        if way["graph_problem"]:
            text += f"\n{way['graph_problem']}\n"
    if "published" in report:
        text += "\n## Stages of the published way, PyTorch FP32, with a wait after each\n\n"
        text += stage_table(report["published"]["stages_ms"])
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=240, help="about how long all of it may take")
    parser.add_argument("--full", action=argparse.BooleanOptionalAction, default=True, help="the full-size networks, too")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "bench" / "results")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    def save(report: dict[str, Any]) -> None:
        (arguments.output / "gpu_pipeline.json").write_text(json.dumps(report, indent=1) + "\n")
        (arguments.output / "gpu_pipeline.md").write_text("# The pipeline on a GPU\n\n" + table(report))

    measure(arguments, save)
    print((arguments.output / "gpu_pipeline.md").read_text())


if __name__ == "__main__":
    main()
