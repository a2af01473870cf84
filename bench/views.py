"""The second method in numbers: the paper's table on held-out people, an ablation over the views, time and memory of the surface.

    python bench/views.py --data HOLDOUT --model ours=BUNDLE --model pifu=BUNDLE [--single small] [--people 40] [-o FOLDER]

HOLDOUT is a set of several views, for example of

    h2k-rt data people --rig 8 --count 40 --seed 700102 --size 512 --split holdout -o HOLDOUT

Every model and the visual hull see the same photos with their true masks and cameras. The single-photo method sees the front one;
it knows neither the person's height nor where they stand, so its mesh is brought to the true height and centroid.
``--surface`` measures the first model with the dense grid and coarse to fine at 256 and 512, each in a process of its own.
``--keep`` keeps the rows of an earlier run, of the same people, that this one does not measure anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("export", "engines", "kernels"))]

from h2k_rt.data.views.viewset import ViewSet, ViewSets  # noqa: E402
from h2k_rt.metrics.mesh import compare_meshes  # noqa: E402
from h2k_rt.metrics.shape import Shape, load_shape  # noqa: E402
from h2k_rt.metrics.table import Table  # noqa: E402
from h2k_rt.metrics.views import measure_views, paper_figures, reconstruct_person  # noqa: E402
from h2k_rt.photo import Photo  # noqa: E402
from h2k_rt.views.reconstruct import HULL, ViewReconstructor, upright_axes  # noqa: E402

VIEWS = (1, 2, 4, 8)
FIGURES = ("p2s_cm", "chamfer_l2_cm2", "iou")
#: Figures of the paper, P2S / Chamfer-L2 / IoU; it does not state the units.
PAPER = {
    "Articulated": {"PIFu": (0.8194, 0.0210, 0.8255), "multi-scale": (0.7332, 0.0194, 0.8484)},
    "CAPE": {"PIFu": (1.0330, 0.0212, 0.7571), "multi-scale": (0.9482, 0.0196, 0.7829)},
}


def measure_single(data: Path, model: str, people: int, threads: int | None) -> Table:
    """The single-photo method on the front view."""
    from h2k_rt.reconstruct import Reconstructor

    sets, reconstructor = ViewSets(data), Reconstructor(model, threads=threads)
    rows: list[dict[str, float | str]] = []
    failures = {}
    for name in sets.ids[:people]:
        person = sets.read(name)
        try:
            rows.append({"name": name, **_single(reconstructor, person, threads)})
        except Exception as error:  # nobody found: a failure of the method, counted
            failures[name] = f"{type(error).__name__}: {error}"
    return Table(rows, {"model": model}, failures)


def _single(reconstructor: Any, person: ViewSet, threads: int | None) -> dict[str, float]:
    truth = load_shape(person.mesh_path)
    height = truth.height
    start = time.perf_counter()
    made = reconstructor.reconstruct(Photo(person.rgb(0), "front"), mask=person.mask(0), height=height)
    seconds = time.perf_counter() - start
    axes = upright_axes([person.cameras[0]])
    shape = Shape((made.mesh.vertices @ axes).astype(np.float32), made.mesh.faces)
    shape = shape.moved(height / shape.height)
    found = compare_meshes(shape.moved(shift=truth.centroid - shape.centroid), truth, threads=threads)
    return {**paper_figures(found), "seconds": seconds}


def surface_case(data: Path, model: str, views: int, resolution: int, dense: bool, threads: int) -> dict[str, Any]:
    """One reconstruction; runs in a process of its own."""
    sets = ViewSets(data)
    reconstructor = ViewReconstructor(model, threads=threads)
    person = sets.read(sets.ids[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = reconstruct_person(reconstructor, person, views, resolution=resolution, dense=dense)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "resolution": resolution,
        "way": "dense" if dense else "coarse to fine",
        "seconds": sum(made.timings.values()),
        "surface_seconds": made.timings["surface"],
        "evaluations": made.evaluations,
        "nodes": made.nodes,
        "peak_mb": peak / 1024,
        "before_mb": before / 1024,
        "vertices": len(made.mesh.vertices),
    }


def surface_cases(data: Path, model: str, threads: int, resolutions: list[int]) -> list[dict[str, Any]]:
    """Dense against coarse to fine, one after the other."""
    found = []
    for resolution in resolutions:
        for dense in (False, True):
            words = [sys.executable, __file__, "--data", data, "--case", model, "--resolution", resolution, "--threads", threads]
            words += ["--dense"] if dense else []
            result = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True)
            found.append(json.loads(result.stdout.splitlines()[-1]))
    return found


def report_text(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = ["# Several photos: the second method", "", f"{report['people']} held-out people, {report['machine']}.", ""]
    lines += [
        "| method | views | P2S cm | Chamfer-L2 cm² | IoU | seconds | failed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["rows"]:
        numbers = [f"{row[name]:.4f}" for name in FIGURES]
        lines.append(f"| {row['method']} | {row['views']} | {' | '.join(numbers)} | {row['seconds']:.1f} | {row['failed']} |")
    lines += ["", "Published (units not stated): " + "; ".join(_paper_line(name, figures) for name, figures in PAPER.items()) + "."]
    if report["surface"]:
        lines += [
            "",
            "| cells | way | surface s | in all s | points evaluated | nodes | peak MB |",
            "| ---: | --- |" + " ---: |" * 5,
        ]
        for case in report["surface"]:
            numbers = [f"{case['surface_seconds']:.1f}", f"{case['seconds']:.1f}", f"{case['evaluations']}", f"{case['nodes']}"]
            lines.append(f"| {case['resolution']} | {case['way']} | {' | '.join(numbers)} | {case['peak_mb']:.0f} |")
    return "\n".join(lines) + "\n"


def _paper_line(name: str, figures: dict[str, tuple[float, ...]]) -> str:
    return f"{name}: " + ", ".join(f"{method} {' / '.join(map(str, values))}" for method, values in figures.items())


def row_of(method: str, views: int, table: Table) -> dict[str, Any]:
    """Means over the people."""
    means = {name: found["mean"] for name, found in table.summary().items()}
    none = dict.fromkeys((*FIGURES, "seconds"), float("nan"))
    return {"method": method, "views": views, "failed": len(table.failures), **none, **means}


def _joined(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What was measured before, with what was measured now in its place."""
    if before["people"] != now["people"]:
        raise SystemExit(f"views.json is of {before['people']} people, not {now['people']}: leave out --keep")
    made = {(row["method"], row["views"]) for row in now["rows"]}
    kept = [row for row in before["rows"] if (row["method"], row["views"]) not in made]
    return {**now, "rows": kept + now["rows"], "surface": now["surface"] or before["surface"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=BUNDLE")
    parser.add_argument("--single", metavar="BUNDLE", help="also the single-photo method")
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--views", type=int, default=4, help="of the table")
    parser.add_argument("--surface", action="store_true")
    parser.add_argument("--hull", action=argparse.BooleanOptionalAction, default=True, help="also the visual hull of the masks")
    parser.add_argument(
        "--ablation", action=argparse.BooleanOptionalAction, default=True, help="first model and hull at 1, 2, 4, 8"
    )
    parser.add_argument("--keep", action="store_true", help="rows of views.json that are not measured now")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--dense", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "bench" / "results")
    given = parser.parse_args()
    if given.case:
        print(json.dumps(surface_case(given.data, given.case, given.views, given.resolution, given.dense, given.threads)))
        return
    models = dict(word.partition("=")[::2] for word in given.model)
    rows = []
    most = ViewSets(given.data).description.views
    ablation = [views for views in VIEWS if views <= most]
    for name, model in {**models, **({"visual hull": HULL} if given.hull else {})}.items():
        reconstructor = ViewReconstructor(model, threads=given.threads)
        # One photo's hull is a cone without end.
        first = given.ablation and name in (*list(models)[:1], "visual hull")
        wanted = [n for n in ablation if n > 1 or model != HULL] if first else [given.views]
        for views in wanted:
            table = measure_views(
                given.data,
                model,
                views=views,
                count=given.people,
                resolution=given.resolution,
                threads=given.threads,
                reconstructor=reconstructor,
            )
            rows.append(row_of(name, views, table))
            print(rows[-1], flush=True)
    if given.single:
        table = measure_single(given.data, given.single, given.people, given.threads)
        rows.append(row_of("single photo, centroid and height given", 1, table))
    surface = surface_cases(given.data, next(iter(models.values()), HULL), given.threads, [256, 512]) if given.surface else []
    machine = f"{platform.machine()}, {given.threads} threads, Python {platform.python_version()}"
    report = {"people": len(ViewSets(given.data).ids[: given.people]), "machine": machine, "rows": rows, "surface": surface}
    if given.keep:
        report = _joined(json.loads((given.output / "views.json").read_text()), report)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "views.json").write_text(json.dumps(report, indent=1) + "\n")
    (given.output / "views.md").write_text(report_text(report))
    print(report_text(report))


if __name__ == "__main__":
    main()
