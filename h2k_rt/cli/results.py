"""What became of a batch, and how it is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import typer

from h2k_rt import __version__
from h2k_rt.cli.common import tell


@dataclass(frozen=True)
class Result:
    """What became of one photo; paths as text, timings in seconds."""

    photo: str
    files: tuple[str, ...]
    timings: dict[str, float]
    people_found: int
    person: int
    vertices: int
    faces: int
    notes: list[str]
    providers: dict[str, str]
    engine: str = ""


@dataclass(frozen=True)
class Failure:
    """A photo that came to nothing."""

    photo: str
    error: str
    message: str
    exit_code: int


@dataclass
class Batch:
    """What has been done so far, and the folders that were made for it."""

    results: list[Result] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    made: list[Path] = field(default_factory=list)


def tell_json(batch: Batch, model: str) -> None:
    """The batch as one JSON document on stdout."""
    results = [{**asdict(result), "seconds": sum(result.timings.values())} for result in batch.results]
    document = {
        "version": __version__,
        "model": model,
        "results": results,
        "failures": [asdict(f) for f in batch.failures],
    }
    typer.echo(json.dumps(document, indent=2))


def tell_results(batch: Batch) -> None:
    """The files written, and how long each stage took: of several photos the mean and the longest."""
    for result in batch.results:
        shape = f"{result.vertices} vertices, {result.faces} triangles" if result.faces else f"{result.vertices} points"
        which = f", person {result.person} of {result.people_found}" if result.people_found > 1 else ""
        tell(f"{', '.join(result.files)} ({shape}{which})")
    if not batch.results:
        return
    stages = dict.fromkeys(stage for result in batch.results for stage in result.timings)
    rows = {stage: [result.timings[stage] for result in batch.results if stage in result.timings] for stage in stages}
    rows["total"] = [sum(result.timings.values()) for result in batch.results]
    several = len(batch.results) > 1
    tell(f"{'stage':<20} {'mean s' if several else 'seconds':>9}{'    longest s' if several else ''}")
    for stage, seconds in rows.items():
        tell(f"{stage:<20} {sum(seconds) / len(seconds):>9.2f}{f'    {max(seconds):>9.2f}' if several else ''}")
    tell(f"engine: {batch.results[0].engine}")
