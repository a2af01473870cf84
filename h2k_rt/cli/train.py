"""``h2k-rt train``: the networks from samples."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from h2k_rt.cli.common import Debug, reporting, tell
from h2k_rt.errors import MissingPackageError, TrainingError


class Method(str, Enum):
    """Which method's networks."""

    published = "2k2k"
    implicit = "implicit"


def train(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder for checkpoints, logs and the result.")],
    model: Annotated[Path, typer.Option("--model", metavar="CONFIG.toml", help="Configuration; configs/small.toml is one.")],
    method: Annotated[
        Method, typer.Option("--method", help="2k2k: from one photo; implicit: from several calibrated ones (docs/views.md).")
    ] = Method.published,
    phase: Annotated[int, typer.Option("--phase", min=1, max=2, help="1: normals and low-resolution depth; 2: the trunk.")] = 1,
    data: Annotated[list[Path] | None, typer.Option("--data", metavar="DIR", help="Dataset folder; may be repeated.")] = None,
    people: Annotated[
        int | None,
        typer.Option("--people", metavar="N", min=1, help="Instead of --data: draw N synthetic people anew while training."),
    ] = None,
    assets: Annotated[Path | None, typer.Option("--assets", metavar="DIR", help="MakeHuman's assets, for --people.")] = None,
    holdout: Annotated[list[Path] | None, typer.Option("--holdout", metavar="DIR", help="Dataset to measure on.")] = None,
    init: Annotated[
        list[Path] | None,
        typer.Option(
            "--init",
            metavar="FILE",
            help="Start from weights: a bundle, a run, .safetensors. Repeated: from further ones what was trained in them.",
        ),
    ] = None,
    networks: Annotated[
        str | None, typer.Option("--networks", help="low, parts, or names with commas; by default all of the phase.")
    ] = None,
    restart: Annotated[
        str | None, typer.Option("--restart", metavar="NETWORKS", help="Networks that begin with first weights in spite of --init.")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0, help="End after so many minutes of work.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=0, help="End after so many steps.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in RUN, if there is one.")] = False,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of one process.")] = 1,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Folder for prepared samples of phase 2; by default in RUN.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Train the networks on datasets (h2k-rt data makes them). Needs: pip install "h2k-rt\\[train]"."""
    with reporting(debug):
        if minutes is None and steps is None:
            raise typer.BadParameter("say when to end: --minutes or --steps")
        try:
            from h2k_rt.training.config import load_config
            from h2k_rt.training.distributed import leave
            from h2k_rt.training.job import Job, Limit, PeopleOptions
            from h2k_rt.training.nets import parse_networks
            from h2k_rt.training.trainer import Trainer
        except ImportError as error:
            raise MissingPackageError(f'{error.name} is not installed; run: pip install "h2k-rt[train]"') from error
        config = load_config(model)
        chosen: tuple[str, ...] = ()
        if method is Method.implicit:
            from h2k_rt.training.implicit.networks import NAMES
            from h2k_rt.training.implicit.trainer import ImplicitTrainer

            if phase != 1 or networks or restart:
                raise typer.BadParameter(
                    "--method implicit has no --phase, --networks or --restart; both its networks are trained together"
                )
            chosen = NAMES if steps != 0 else ()
        elif steps != 0:
            chosen = parse_networks(networks, phase)
        if not data and not people and steps != 0:
            raise TrainingError("there is nothing to train on: give --data with a dataset folder, or --people")
        if data and people:
            raise TrainingError("--data and --people exclude each other")
        job = Job(
            config=config,
            phase=phase,
            networks=chosen,
            data=tuple(data or ()),
            run=output,
            limit=Limit(steps, None if minutes is None else 60 * minutes),
            initial=tuple(init or ()),
            restart=parse_networks(restart, phase) if restart else (),
            holdout=tuple(holdout or ()),
            people=PeopleOptions(people, assets) if people else None,
            resume=resume,
            device=device,
            threads=threads,
            cache=cache,
        )
        try:
            trainer = ImplicitTrainer(job) if method is Method.implicit else Trainer(job)
            result = trainer.run()
        finally:
            leave()
        if trainer.world.leads:
            tell(f"wrote {result}")
