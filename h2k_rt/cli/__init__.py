"""The command line. Its modules import nothing heavy: a command loads what it needs when it runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from h2k_rt import __version__
from h2k_rt.cli.bench import bench
from h2k_rt.cli.common import EXIT_CODES, EXIT_STOPPED, CtrlC, tell
from h2k_rt.cli.data import data
from h2k_rt.cli.doctor import doctor
from h2k_rt.cli.engines import build_engines, engine_cache
from h2k_rt.cli.evaluate import evaluate
from h2k_rt.cli.export import export
from h2k_rt.cli.import_checkpoint import import_checkpoint
from h2k_rt.cli.infer import infer
from h2k_rt.cli.infer_views import infer_views
from h2k_rt.cli.models import models
from h2k_rt.cli.train import train

app = typer.Typer(
    help="From one photo of a person to a closed, coloured 3D mesh, on your own machine.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=EXIT_CODES)(infer)
app.command("infer-views", epilog=EXIT_CODES)(infer_views)
app.command("build-engines")(build_engines)
app.add_typer(engine_cache, name="engines")
app.command()(doctor)
app.command()(bench)
app.command()(models)
app.command("import-checkpoint")(import_checkpoint)
app.command()(export)
app.command()(train)
app.command("eval")(evaluate)
app.add_typer(data, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"h2k-rt {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of ``h2k-rt``."""
    CtrlC.remember()
    try:
        app()
    except KeyboardInterrupt:
        tell("stopped", error=True)
        sys.exit(EXIT_STOPPED)
