"""``h2k-rt bench``: how fast a model is on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2k_rt.cli.common import Debug, reporting, stdout_for_results, tell
from h2k_rt.cli.infer import Device, EngineKind, Precision
from h2k_rt.errors import EngineError

if TYPE_CHECKING:
    from h2k_rt.benchmark import Measured


def bench(
    photo: Annotated[Path | None, typer.Argument(metavar="[PHOTO]", help="A photo; a built-in picture if not given.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A bundle's name (see h2k-rt models) or path.")] = "small",
    engine: Annotated[EngineKind, typer.Option("--engine", help="What runs the networks.")] = EngineKind.auto,
    compare: Annotated[
        EngineKind | None,
        typer.Option("--compare", help="A second engine, measured in turn with the first, each in its own process."),
    ] = None,
    device: Annotated[Device, typer.Option("--device", help="Where they run.")] = Device.auto,
    precision: Annotated[Precision, typer.Option("--precision", help="Of the networks on a GPU.")] = Precision.auto,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads; all cores if not given.")
    ] = None,
    runs: Annotated[int, typer.Option("--runs", metavar="N", min=3, help="Runs of each figure, at most.")] = 20,
    warmup: Annotated[int, typer.Option("--warmup", metavar="N", min=1, help="Runs before that are not counted.")] = 3,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=0, help="About how long each figure may take.")] = 30.0,
    photos: Annotated[int, typer.Option("--photos", metavar="N", min=1, help="Photos of the folder whose rate is measured.")] = 8,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1, help="With --compare: how often each is measured.")] = 2,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the Markdown table there, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every single time.")] = False,
    debug: Debug = False,
) -> None:
    """Measure: networks alone and photo to file, percentiles after a warm-up; a folder's photos per second; memory; the machine."""
    with reporting(debug):
        from h2k_rt.benchmark import machine, machine_text, measure, merged, table
        from h2k_rt.doctor.own import PICTURE

        photo = photo or PICTURE
        if compare is None:
            with stdout_for_results():
                only = measure(
                    model,
                    photo,
                    engine=engine.value,
                    device=device.value,
                    precision=precision.value,
                    threads=threads,
                    runs=runs,
                    warmup=warmup,
                    seconds=seconds,
                    photos=photos,
                )
            measured = {engine.value: only}
        else:
            if compare is engine:
                raise typer.BadParameter("give two different engines", param_hint="--compare")
            words = [
                "--model",
                model,
                "--precision",
                precision.value,
                "--runs",
                runs,
                "--warmup",
                warmup,
                "--seconds",
                seconds,
                "--photos",
                photos,
            ]
            words += ["--threads", threads] if threads else []
            parts: dict[str, list[Measured]] = {engine.value: [], compare.value: []}
            for number in range(rounds):
                for name, found in parts.items():
                    tell(f"round {number + 1} of {rounds}: {name}", error=True)
                    found.append(_in_a_process(photo, name, device.value, words))
            measured = {name: merged(found) for name, found in parts.items()}
        about = machine()
        if as_json:
            document = {"machine": about, "model": model, "photo": str(photo), "precision": precision.value}
            typer.echo(json.dumps({**document, "engines": {name: asdict(each) for name, each in measured.items()}}, indent=1))
        text = f"{machine_text(about)}.\nModel {model}, photo {photo.name}, warm-up {warmup}.\n\n{table(measured)}\n"
        text += "".join(f"{name}: {each.engine}\n" for name, each in measured.items())
        if not as_json:
            typer.echo(text, nl=False)
        if output is not None:
            from h2k_rt.output.atomic import replace_file

            with replace_file(output) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _in_a_process(photo: Path, engine: str, device: str, words: list[Any]) -> Measured:
    """One engine measured in a process of its own, so that its memory is its own.

    Raises:
        EngineError: it failed there; the message is its own.
    """
    from h2k_rt.benchmark import Measured
    from h2k_rt.engines import BUILT

    where = "auto" if engine in ("cpu", "cuda", *BUILT) else device
    command = [sys.executable, "-m", "h2k_rt", "bench", str(photo), "--engine", engine, "--device", where, "--json"]
    run = subprocess.run([*command, *map(str, words)], capture_output=True, text=True)
    if run.returncode:
        said = (run.stderr.strip().splitlines() or [f"exit {run.returncode}"])[-1].removeprefix("error: ")
        raise EngineError(f"{engine}: {said}")
    return Measured(**json.loads(run.stdout)["engines"][engine])
