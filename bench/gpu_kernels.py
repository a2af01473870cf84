"""Time each kernel on a GPU against a device-to-device copy of the bytes that it must move at least.

    python bench/gpu_kernels.py [--engine torch|onnxruntime] [--runs 30] [-o FOLDER]

The kernels run on what the pipeline has of the example photo, in their order. Before each group the second-level cache is emptied
by writing a gigabyte, which also keeps the GPU busy while the launches are queued, so that no gap of the host is measured. Times
are medians between CUDA events. The copy moves as many bytes (half read, half written) under the same conditions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("bench", "export", "engines", "kernels"))]

from gpu_case import Case, bundle_engines, example, machine, markdown  # noqa: E402
from h2k_kernels.launch import LaunchPlan, Runtime, sample_features  # noqa: E402
from h2k_kernels.launch.runtime import Stream  # noqa: E402
from kernel_work import Workload, works  # noqa: E402

from h2k_rt.bundle import Bundle  # noqa: E402
from h2k_rt.constants import PART_GROUPS  # noqa: E402
from h2k_rt.device.launcher import ListingLauncher  # noqa: E402
from h2k_rt.device.pipeline import DevicePipeline  # noqa: E402

#: What the issue asks for: share of the copy's bandwidth.
TARGETS = {"fuse_parts": 0.6, "warp_parts": 0.6, "depth_to_mesh": 0.4}
_FLUSH = 1 << 30
_LAUNCH_SECONDS = 50e-6  # of the host, generously
_BANDWIDTH = 4e12


class Groups(ListingLauncher):
    """Lists the kernels of a chain by source; the networks between them are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, list[tuple[str, LaunchPlan]]] = {}
        self._stage = ""

    def mark(self, stage: str) -> None:
        self._stage = stage

    def run(self, stem: str, plan: LaunchPlan, stream: Any = None) -> None:
        name = {"clean depth": "clean_depth", "colours": "person_colours"}.get(self._stage, stem)
        self.groups.setdefault(name, []).append((stem, plan))


class Timer:
    """Times launches with a cold second-level cache."""

    def __init__(self, runtime: Runtime, runs: int) -> None:
        self.runtime, self.runs = runtime, runs
        self.stream: Stream = runtime.stream()
        self._junk = runtime.empty((_FLUSH,), np.uint8)

    def _flush(self, launches: int) -> None:
        seconds = launches * _LAUNCH_SECONDS
        for number in range(1 + int(seconds * _BANDWIDTH / _FLUSH)):
            self.runtime.fill(self._junk, number & 1, self.stream)

    def group(self, steps: list[tuple[str, LaunchPlan]]) -> tuple[float, list[float]]:
        """Median milliseconds from the first launch to the last one's end, and of each launch."""
        runtime, totals, each = self.runtime, [], []
        for _ in range(self.runs):
            events = [runtime.event(timing=True) for _ in range(len(steps) + 1)]
            self._flush(len(steps))
            runtime.record(events[0], self.stream)
            for (stem, plan), event in zip(steps, events[1:], strict=True):
                runtime.run(stem, plan, self.stream)
                runtime.record(event, self.stream)
            runtime.synchronize(self.stream)
            totals.append(runtime.milliseconds(events[0], events[-1]))
            each.append([runtime.milliseconds(a, b) for a, b in pairwise(events)])
        return statistics.median(totals), [statistics.median(times) for times in zip(*each, strict=True)]

    def copy(self, nbytes: int) -> float:
        """Median milliseconds of a copy that reads and writes ``nbytes`` in all."""
        runtime = self.runtime
        source, target = (runtime.empty((max(nbytes // 2, 1),), np.uint8) for _ in range(2))
        times = []
        for _ in range(self.runs):
            start, end = runtime.event(timing=True), runtime.event(timing=True)
            self._flush(1)
            runtime.record(start, self.stream)
            runtime.copy(target, source, self.stream)
            runtime.record(end, self.stream)
            runtime.synchronize(self.stream)
            times.append(runtime.milliseconds(start, end))
        return statistics.median(times)


def workload(case: Case, pipeline: DevicePipeline, pixels: int, border: int, cells: int) -> Workload:
    """The example's own numbers, with the networks' types."""
    window = case.job.window
    itemsize = pipeline.chain.engines[PART_GROUPS[0].name].inputs["crops"].dtype.itemsize
    return Workload(
        photo=case.job.mask.size, window=window.width * window.height, person=pixels, cells=cells, border=border, half=itemsize
    )


def sample_features_plan(runtime: Runtime) -> LaunchPlan:
    """A chunk of points of the implicit function: PIFu's width, four scales, half precision (``Workload``)."""
    w = Workload()
    maps = [runtime.empty((w.views, side, side, 128), np.float16) for side in (128, 64, 32, 16)]
    for scale in maps:
        runtime.fill(scale)
    # Cameras around the cube, points of a grid.
    lines = [np.linspace(-0.6, 0.6, n, dtype=np.float32) for n in (w.points // 1024, 32, 32)]
    turns = 2 * np.pi * np.arange(w.views) / w.views
    seen = [np.array([[np.cos(t), 0, -np.sin(t), 0], [0, -1, 0, 0], [-np.sin(t), 0, -np.cos(t), 4]]) for t in turns]
    host = {
        "points": np.ascontiguousarray(np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 3)),
        "projections": np.array([np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]) @ s for s in seen], np.float32),
    }
    device = {name: runtime.empty(array.shape, array.dtype) for name, array in host.items()}
    for name, array in host.items():
        runtime.upload(device[name], array)
    runtime.synchronize()
    features = runtime.empty((w.views, w.features, 1, w.points), np.float16)
    return sample_features.plan(maps, device["projections"], device["points"], features)


def measure(engine: str, runs: int) -> dict[str, Any]:
    runtime = Runtime()
    bundle = Bundle.open("small")
    case = example(bundle)
    pipeline = DevicePipeline(case.method, bundle_engines(bundle, engine, "fp16"), runtime, graphs=False)
    mesh = pipeline.mesh(case.job, case.joints)  # everything the kernels read is there now
    counts = np.zeros((1, 4), np.int64)
    runtime.download(counts, pipeline.surface.counts()[1])
    runtime.synchronize()
    pixels, border = int(counts[0, 2]), int(counts[0, 3])
    listed = Groups()
    pipeline.enqueue_networks(listed, case.job)  # type: ignore[arg-type]
    pipeline.enqueue_mesh(listed, case.job, 2)  # type: ignore[arg-type]
    cells = (len(mesh.faces) - 8 * border) // 4
    least = works(workload(case, pipeline, pixels, border, cells))
    listed.groups["sample_features"] = [("sample_features", sample_features_plan(runtime))]
    timer = Timer(runtime, runs)
    groups = {}
    for name, steps in listed.groups.items():
        total, each = timer.group(steps)
        nbytes = sum(least[plan.kernel].bytes // least[plan.kernel].launches for _, plan in steps)
        copy = timer.copy(nbytes) if nbytes else 0.0
        kernels = [
            {"kernel": plan.kernel, "ms": ms, "least_bytes": least[plan.kernel].bytes // least[plan.kernel].launches}
            for (_, plan), ms in zip(steps, each, strict=True)
        ]
        groups[name] = {
            "ms": total,
            "least_bytes": nbytes,
            "copy_ms": copy,
            "share": copy / total if nbytes else None,
            "target": TARGETS.get(name),
            "code": runtime.origin(steps[0][0]),
            "kernels": kernels,
        }
    big = timer.copy(2 << 30)
    person = {"pixels": pixels, "border": border, "vertices": len(mesh.vertices), "faces": len(mesh.faces)}
    return {"machine": machine(runtime), "copy_tb_per_s": (2 << 30) / big / 1e9, "person": person, "runs": runs, "groups": groups}


def table(report: dict[str, Any]) -> str:
    rows = []
    for name, group in report["groups"].items():
        share = f"{100 * group['share']:.0f} %" if group["share"] else ""
        target = f"{100 * group['target']:.0f} %" if group["target"] else ""
        rows.append(
            [
                name,
                str(len(group["kernels"])),
                f"{1000 * group['ms']:.1f}",
                f"{group['least_bytes'] / 1e6:.1f}",
                f"{1000 * group['copy_ms']:.1f}" if group["copy_ms"] else "",
                share,
                target,
            ]
        )
    head = ["source", "launches", "µs", "least MB", "copy of them µs", "share of the copy", "wanted"]
    where = report["machine"]
    copy = f"a copy of 1 GiB moves {report['copy_tb_per_s']:.2f} TB/s"
    return f"{where['nvidia-smi']}; {copy}. Medians of {report['runs']} runs, cold L2.\n\n" + markdown(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "bench" / "results")
    arguments = parser.parse_args()
    report = measure(arguments.engine, arguments.runs)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "gpu_kernels.json").write_text(json.dumps(report, indent=1) + "\n")
    (arguments.output / "gpu_kernels.md").write_text("# CUDA kernels on a GPU\n\n" + table(report))
    print(table(report))


if __name__ == "__main__":
    main()
