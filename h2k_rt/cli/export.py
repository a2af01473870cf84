"""``h2k-rt export``: trained weights to a model bundle."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from h2k_rt.cli.common import Debug, reporting, tell
from h2k_rt.cli.progress import counting

if TYPE_CHECKING:
    from h2k_export import ExportReport


class Precision(str, Enum):
    """Which graphs a bundle holds."""

    fp32 = "fp32"
    fp16 = "fp16"
    both = "both"


Output = Annotated[Path, typer.Option("--output", "-o", metavar="BUNDLE", help="Folder to make, or a file ending in .zip.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace a bundle that is already there.")]
Graphs = Annotated[Precision, typer.Option("--precision", help="Which graphs the bundle holds.")]


def export(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Trained weights (.safetensors).")],
    output: Output,
    name: Annotated[str | None, typer.Option("--name", help="The bundle's name; by default that of its folder.")] = None,
    licence: Annotated[str, typer.Option("--licence", help="Licence of the weights, for example Apache-2.0.")] = "unknown",
    trained_on: Annotated[str, typer.Option("--trained-on", help="What they were trained on, in words.")] = "unknown",
    width: Annotated[float | None, typer.Option("--width", help="Width of the networks; by default read off the weights.")] = None,
    precision: Graphs = Precision.both,
    store_fp16: Annotated[
        bool, typer.Option("--store-fp16", help="Store the weights of FP32 graphs in 16 bits: half the size.")
    ] = False,
    constant: Annotated[
        list[str] | None,
        typer.Option("--constant", metavar="NAME=VALUE", help="A constant of the method that these weights were trained with."),
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", metavar="FILE", help="Model card (Markdown) to put into the bundle as card.md.")
    ] = None,
    replace: Replace = False,
    debug: Debug = False,
) -> None:
    """Export trained weights to a model bundle of ONNX graphs. Needs: pip install "h2k-rt\\[export,cpu]"."""
    with reporting(debug):
        from h2k_export import export_bundle
        from h2k_export.views import METHOD_NAME, export_view_bundle, stated_method

        if stated_method(weights) == METHOD_NAME:
            if constant or width:
                raise typer.BadParameter("networks of the second method have no --constant, and their --width is in the file")
            about = {"name": name or output.stem, "licence": licence, "trained_on": trained_on}
            with counting("exporting") as progress:
                report = export_view_bundle(
                    weights,
                    output,
                    **about,
                    precision=precision.value,
                    store_fp16=store_fp16,
                    card=card,
                    progress=progress,
                    replace=replace,
                )
            print_report(report)
            return
        with counting("exporting") as progress:
            report = export_bundle(
                weights,
                output,
                name=name or output.stem,
                licence=licence,
                trained_on=trained_on,
                width=width,
                precision=precision.value,
                store_fp16=store_fp16,
                constants=_constants(constant) if constant else None,
                card=card,
                progress=progress,
                replace=replace,
            )
        print_report(report)


def _constants(words: list[str]) -> dict[str, float | tuple[float, ...]]:
    """``NAME=VALUE`` and ``NAME=A,B,C`` as the bundle states them."""
    constants: dict[str, float | tuple[float, ...]] = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            numbers = tuple(float(part) for part in value.split(","))
        except ValueError:
            raise typer.BadParameter(f"{word!r} is not NAME=VALUE with numbers", param_hint="--constant") from None
        constants[name] = numbers if len(numbers) > 1 else numbers[0]
    return constants


def print_report(report: ExportReport) -> None:
    """The bundle that was made, graph by graph."""
    tell(f"{'network':<12} {'precision':<9} {'size':>9} {'error':>9} {'seconds':>8}")
    for row in report.rows:
        tell(f"{row.network:<12} {row.precision:<9} {row.size / 1e6:>6.1f} MB {row.error:>9.1e} {row.seconds:>8.1f}")
    tell(f"wrote {report.bundle}")
