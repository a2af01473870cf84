"""``h2k-rt import-checkpoint``: the published checkpoint to a model bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from h2k_rt.cli.common import Debug, reporting
from h2k_rt.cli.export import Graphs, Output, Precision, Replace, print_report
from h2k_rt.cli.progress import counting


def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The published checkpoint, ckpt_bg_mask.pth.tar.")],
    output: Output,
    name: Annotated[str, typer.Option("--name", help="The bundle's name.")] = "2k2k",
    precision: Graphs = Precision.both,
    replace: Replace = False,
    debug: Debug = False,
) -> None:
    """Make a bundle of the published 2K2K checkpoint, which you bring (CC BY-NC). Needs: pip install "h2k-rt\\[export,cpu]"."""
    with reporting(debug):
        from h2k_export import import_checkpoint as import_file

        with counting("importing") as progress:
            report = import_file(file, output, name=name, precision=precision.value, progress=progress, replace=replace)
        print_report(report)
