"""``h2k-rt eval``: meshes against the truth, or a model against a dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2k_rt.cli.common import Debug, reporting, stdout_for_results, tell

if TYPE_CHECKING:
    from h2k_rt.metrics.table import Table


class Align(str, Enum):
    """What of the prediction may move before meshes are compared."""

    none = "none"
    z = "z"
    centroid = "centroid"


def _height(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter("a height is above 0")
    return value


def evaluate(
    prediction: Annotated[
        Path | None, typer.Argument(metavar="PRED", help="Predicted mesh in metres, or a folder of meshes.", show_default=False)
    ] = None,
    truth: Annotated[
        Path | None, typer.Argument(metavar="GT", help="True mesh, or a folder of meshes of the same names.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Measure a model on the samples of this dataset instead.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="With --data: a bundle's name or path; if not given small, for view sets views-small."),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", min=1, help="With --data: the first N samples only.")] = None,
    views: Annotated[
        int, typer.Option("--views", metavar="K", min=1, max=16, help="With --data of several views: photos of each person.")
    ] = 4,
    finder: Annotated[
        bool, typer.Option("--finder", help="With --data: find mask and joints in the picture, instead of giving the true ones.")
    ] = False,
    mesh: Annotated[
        bool, typer.Option("--mesh/--no-mesh", help="With --data: measure the meshes too, where there are any.")
    ] = True,
    align: Annotated[
        Align, typer.Option("--align", help="Meshes: move the prediction along z, or wholly, to the truth's centroid.")
    ] = Align.none,
    height: Annotated[
        float | None,
        typer.Option("--height", metavar="METRES", callback=_height, help="Meshes: bring both to this height, feet on the floor."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", metavar="N", min=100, help="Meshes: points drawn on each surface.")] = 30_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Meshes: which points are drawn.")] = 0,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the results: .json, .csv or .md. May be given more than once."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads; all cores if not given.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Measure meshes against the truth (PRED GT), or a model against a dataset (--model NAME --data DIR).

    Distances are in cm; docs/metrics.md defines every number.
    """
    with reporting(debug):
        files = _checked(output or [])
        if data is not None and prediction is None:
            from h2k_rt.data.views.viewset import is_view_sets

            if is_view_sets(data):
                table = _measure_views(data, model or "views-small", count, views, finder, threads)
            else:
                table = _measure_model(data, model or "small", count, finder, mesh, threads)
        elif data is None and prediction is not None and truth is not None:
            table = _measure_meshes(prediction, truth, align.value, height, samples, seed, threads)
        else:
            raise typer.BadParameter("give two meshes or folders (PRED GT), or a dataset with --data")
        for file in files:
            table.write(file)
        if as_json:
            typer.echo(table.to_json(), nl=False)
        else:
            _tell_table(table, files)
        if table.failures:
            from h2k_rt.errors import PersonError

            tell(f"error: {len(table.failures)} of {len(table.failures) + len(table.rows)} failed", error=True)
            raise typer.Exit(PersonError.exit_code)


def _checked(files: Sequence[Path]) -> Sequence[Path]:
    """Formats and folders are looked at before the work begins."""
    from h2k_rt.errors import OutputError
    from h2k_rt.metrics.table import checked_suffix

    for file in files:
        checked_suffix(file)
        if not file.parent.is_dir():
            raise OutputError(f"{file}: the folder {file.parent} does not exist; create it first")
    return files


def _measure_meshes(
    prediction: Path, truth: Path, align: Any, height: float | None, samples: int, seed: int, threads: int | None
) -> Table:
    from h2k_rt.cli.progress import counting
    from h2k_rt.metrics.folders import find_pairs, measure_pairs
    from h2k_rt.metrics.table import Table

    pairs = find_pairs(prediction, truth)
    with stdout_for_results(), counting("measuring") as progress:
        rows = measure_pairs(pairs, alignment=align, height=height, samples=samples, seed=seed, threads=threads, progress=progress)
    settings = {"prediction": str(prediction), "truth": str(truth), "align": align, "height_m": height}
    return Table(rows, {**settings, "samples": samples, "seed": seed})


def _measure_model(data: Path, model: str, count: int | None, finder: bool, mesh: bool, threads: int | None) -> Table:
    from h2k_rt.cli.progress import counting
    from h2k_rt.metrics.dataset import measure_model

    def note(name: str, sentence: str) -> None:
        tell(f"sample {name}: {sentence}", error=True)

    with stdout_for_results(), counting("measuring") as progress:
        every: Callable[[int, int, str], None] = progress
        return measure_model(
            data, model, count=count, use_finder=finder, with_mesh=mesh, threads=threads, progress=every, failed=note
        )


def _measure_views(data: Path, model: str, count: int | None, views: int, finder: bool, threads: int | None) -> Table:
    from h2k_rt.cli.progress import counting
    from h2k_rt.metrics.views import measure_views

    def note(name: str, sentence: str) -> None:
        tell(f"person {name}: {sentence}", error=True)

    with stdout_for_results(), counting("measuring") as progress:
        return measure_views(
            data, model, views=views, count=count, use_finder=finder, threads=threads, progress=progress, failed=note
        )


def _tell_table(table: Table, files: Sequence[Path]) -> None:
    from h2k_rt.metrics.table import STATISTICS, number

    summary = table.summary()
    if summary:
        several = len(table.rows) > 1
        width = max(map(len, summary))
        names = tuple(STATISTICS) if several else ("mean",)
        heading = "".join(f"{name:>10}" for name in names) if several else f"{'value':>10}"
        tell(f"{'metric':<{width}}{heading}")
        for metric, found in summary.items():
            tell(f"{metric:<{width}}" + "".join(f"{number(found[name]):>10}" for name in names))
    for file in files:
        tell(str(file))
