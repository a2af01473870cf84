"""What a synthetic person costs: processor and wall time of a sample by stage, at 512 and 2048 pixels.

    python bench/people.py --assets makehuman [--workers 2] [--size 512 --size 2048] [--samples 24] [--warm 8] [-o FOLDER]

Every worker makes ``--warm`` samples first, which load clothes and pictures, then ``--samples`` that count: the person, the picture
with all maps, and the files. Processor time (user and system) hardly depends on what else the machine does; samples per second do,
and are only worth quoting from an idle machine, which is why the load is told.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("export", "engines", "kernels"))]

STAGES = ("person", "picture", "files")


def measure_worker(number: int, size: int, given: argparse.Namespace, folder: Path, ready: Barrier) -> dict[str, Any]:
    """One worker's samples: seconds of processor and wall by stage, page faults, bytes written, begin and end."""
    from h2k_rt.data.dataset import DatasetWriter, Description
    from h2k_rt.data.people.generate import make_figure, make_view, open_factory, single_thread
    from h2k_rt.data.produce import keep_memory

    single_thread()
    keep_memory()
    factory = open_factory(given.assets, "train", size)
    own = folder / f"{size}_{number}"
    writer = DatasetWriter(own, Description(size, given.warm + given.samples))
    cpu: defaultdict[str, float] = defaultdict(float)
    wall: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        before, start = time.process_time(), time.perf_counter()
        yield
        cpu[name] += time.process_time() - before
        wall[name] += time.perf_counter() - start

    start = time.time()
    faults = 0
    for index in range(given.warm + given.samples):
        if index == given.warm:
            ready.wait()
            cpu.clear()
            wall.clear()
            start, faults = time.time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        person = index * given.workers + number
        with stage("person"):
            figure = make_figure(factory, given.seed, person)
        with stage("picture"):
            rendering = make_view(figure, given.seed, person, 0, size)
        with stage("files"):
            writer.write(index, rendering, figure.about)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    written = sum(path.stat().st_size for path in own.rglob("*") if path.is_file()) / (given.warm + given.samples)
    return {"cpu": dict(cpu), "wall": dict(wall), "start": start, "end": time.time(), "faults": faults, "bytes": written}


def _work(number: int, size: int, given: argparse.Namespace, folder: Path, ready: Barrier, answers: Any) -> None:
    try:
        answers.put(measure_worker(number, size, given, folder, ready))
    except BaseException as error:
        ready.abort()
        answers.put(f"{type(error).__name__}: {error}")
        raise


def measure(size: int, given: argparse.Namespace) -> dict[str, Any]:
    """All workers together."""
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(given.workers), context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            context.Process(target=_work, args=(number, size, given, Path(folder), ready, answers))
            for number in range(given.workers)
        ]
        for worker in workers:
            worker.start()
        found = [answers.get() for _ in workers]
        for worker in workers:
            worker.join()
    failed = [answer for answer in found if isinstance(answer, str)]
    if failed:
        raise SystemExit(failed[0])
    count = given.workers * given.samples
    return {
        "size": size,
        "cpu_s": {name: sum(one["cpu"][name] for one in found) / count for name in STAGES},
        "wall_s": {name: sum(one["wall"][name] for one in found) / count for name in STAGES},
        "samples_per_s": count / (max(one["end"] for one in found) - min(one["start"] for one in found)),
        "page_faults": sum(one["faults"] for one in found) / count,
        "bytes": sum(one["bytes"] for one in found) / given.workers,
    }


def report_text(report: dict[str, Any]) -> str:
    """The table, as Markdown."""
    lines = [
        f"{report['workers']} workers, {report['samples']} samples each after {report['warm']}; {report['machine']}; "
        f"load {report['load_before']:.1f} before, {report['load_after']:.1f} after. Processor seconds (user and system) and wall "
        "seconds of a sample; wall and samples per second count only where the load was no more than the workers'.",
        "",
        "| size | " + " | ".join(f"{name}, CPU s" for name in STAGES) + " | CPU s | wall s | samples/s | page faults | MB |",
        "| --- |" + " --- |" * (len(STAGES) + 5),
    ]
    for row in report["rows"]:
        stages = " | ".join(f"{row['cpu_s'][name]:.3f}" for name in STAGES)
        lines.append(
            f"| {row['size']} | {stages} | {sum(row['cpu_s'].values()):.3f} | {sum(row['wall_s'].values()):.3f} "
            f"| {row['samples_per_s']:.2f} | {row['page_faults']:.0f} | {row['bytes'] / 1e6:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, help="MakeHuman's assets; H2K_MAKEHUMAN if not given")
    parser.add_argument("--size", type=int, action="append", help="512 and 2048 if not given")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--samples", type=int, default=24, help="that count, for each worker")
    parser.add_argument("--warm", type=int, default=8, help="before them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, help="folder for people.json and people.md")
    given = parser.parse_args()
    before = os.getloadavg()[0]
    rows = [measure(size, given) for size in given.size or (512, 2048)]
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "workers": given.workers,
        "samples": given.samples,
        "warm": given.warm,
        "seed": given.seed,
        "load_before": before,
        "load_after": os.getloadavg()[0],
        "rows": rows,
    }
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
        (given.output / "people.json").write_text(json.dumps(report, indent=1) + "\n")
        (given.output / "people.md").write_text(report_text(report))
    print(report_text(report))


if __name__ == "__main__":
    main()
