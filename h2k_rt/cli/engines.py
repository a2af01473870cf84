"""``h2k-rt build-engines`` and ``h2k-rt engines``: engines built ahead for the GPU, and their cache."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2k_rt.cli.common import Debug, reporting, tell
from h2k_rt.cli.infer import Precision
from h2k_rt.cli.progress import counting
from h2k_rt.errors import EngineError, MissingPackageError, OutputError

if TYPE_CHECKING:
    from h2k_rt.build_engines import Row
    from h2k_rt.built_engines import BuiltEngines

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class BuiltKind(str, Enum):
    """What is built."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"


def build_engines(
    model: Annotated[str, typer.Option("--model", "-m", help="A bundle's name (see h2k-rt models) or path.")] = "small",
    engine: Annotated[
        BuiltKind, typer.Option("--engine", help="auto is TensorRT if it is installed, else TensorRT for RTX.")
    ] = BuiltKind.auto,
    precision: Annotated[
        Precision, typer.Option("--precision", help="auto is fp16 where the model has it, but for the trunk.")
    ] = Precision.auto,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NETWORK", help="Build this network; may be given more than once.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build even what is there.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, max=8, help="Networks built at the same time.")] = 1,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Build a model's engines for this machine's GPU, check each against FP32, and keep them. Goes on where it was stopped."""
    with reporting(debug):
        from h2k_rt.bundle import Bundle

        bundle = Bundle.open(model)
        there = tuple(bundle.networks)
        unknown = [name for name in only or [] if name not in there]
        if unknown:
            raise typer.BadParameter(f"there is no network {unknown[0]!r}; there are {', '.join(there)}", param_hint="--only")
        built, runtime = open_built(bundle, engine.value)
        log_to(built.cache.folder)
        if not as_json:
            tell(f"{built.builder.title} on {runtime.name}; engines in {built.cache.folder}")
        from h2k_rt.build_engines import build_engines, unusable

        def told(row: Row) -> None:
            if not as_json:
                tell(row_text(row))

        with counting("building") as bar:
            rows = build_engines(
                built,
                runtime,
                [name for name in there if not only or name in only],
                precision.value,
                force=force,
                jobs=jobs,
                done=told,
                progress=lambda network, step, total, what: bar(step, total, f"{network}: {what}, {step} of {total}"),
            )
        tell_rows(rows, built, as_json)
        lost = [row for row in rows if row.not_kept]
        if lost:
            raise OutputError(f"engines were built but not kept: {lost[0].not_kept}")
        if unusable(rows):
            reason = next(row.problem for row in reversed(rows) if row.network == unusable(rows)[0])
            raise EngineError(f"no engine can be used for {', '.join(unusable(rows))}: {reason}")


def open_built(bundle: Any, engine: str) -> tuple[BuiltEngines, Any]:
    """The engines of a bundle on the first GPU.

    Raises:
        EngineError, MissingPackageError: there is no GPU, or no builder.
    """
    from h2k_engines import EngineFailure
    from h2k_engines.cache import EngineCache
    from h2k_kernels.launch import DeviceFailure, MissingDevicePackage, Runtime
    from h2k_kernels.launch.errors import NoDriver

    from h2k_rt.built_engines import BuiltEngines, open_builder
    from h2k_rt.engines import BUILT

    runtime = Runtime()
    cache = EngineCache(tell=lambda sentence: tell(f"note: {sentence}", error=True))
    reasons: list[str] = []
    try:
        runtime.open()
        for kind in BUILT if engine == "auto" else (engine,):
            try:
                return BuiltEngines(bundle, open_builder(kind, runtime, cache.folder), cache, runtime), runtime
            except EngineFailure as error:
                reasons.append(f"{kind}: {error}")
    except MissingDevicePackage as error:
        raise MissingPackageError(str(error)) from error
    except DeviceFailure as error:
        what = error.what if isinstance(error, NoDriver) else str(error)
        raise EngineError(f"{what}; engines are built on the GPU that they are for; run: h2k-rt doctor") from error
    raise EngineError(f"no engines can be built here; {'; '.join(reasons)}")


def log_to(folder: Path) -> None:
    """What the builders say goes to ``build.log`` in the cache's folder, if it can be written."""
    import logging

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = logging.FileHandler(folder / "build.log", encoding="utf-8")
    except OSError:
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger = logging.getLogger("h2k_engines")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def row_text(row: Row) -> str:
    """One line of a network."""
    if row.state == "failed":
        return f"{row.network:<12} {row.precision}  failed: {row.problem}"
    errors = ", ".join(f"{name} {error:.1e}" for name, error in row.errors.items())
    layers = f"{row.layers} layers, " if row.layers else ""
    verdict = f"not used: {row.problem}" if row.problem else f"finite, off FP32 by {errors}"
    return f"{row.network:<12} {row.precision}  {row.state:<6} {row.seconds:>6.1f} s {row.size / 1e6:>7.1f} MB  {layers}{verdict}"


def tell_rows(rows: list[Row], built: BuiltEngines, as_json: bool) -> None:
    """The summary."""
    if as_json:
        document = {
            "model": built.bundle.name,
            "engine": built.builder.name,
            "builder": built.builder.title,
            "folder": str(built.cache.folder),
            "networks": [asdict(row) for row in rows],
        }
        typer.echo(json.dumps(document, indent=2))
        return
    new = [row for row in rows if row.state == "built"]
    used = {row.network: row.precision for row in rows if row.problem is None}
    full = [network for network, precision in used.items() if precision == "fp32"]
    tell(
        f"{len(used)} of {len({row.network for row in rows})} networks ready, {len(new)} built now in "
        f"{sum(row.seconds for row in new):.1f} s, {sum(row.size for row in rows) / 1e6:.1f} MB; "
        f"in FP32: {', '.join(full) or 'none'}"
    )


engine_cache = typer.Typer(no_args_is_help=True, help="The cache of engines that were built: list, verify, clear.")


@engine_cache.command("list")
def list_engines(as_json: AsJson = False, debug: Debug = False) -> None:
    """List the engines in the cache."""
    with reporting(debug):
        _tell_entries(as_json, verify=False)


@engine_cache.command("verify")
def verify_engines(as_json: AsJson = False, debug: Debug = False) -> None:
    """Read every engine and compare its digest; exits with 7 if one is damaged. It is built anew when it is needed."""
    with reporting(debug):
        bad = _tell_entries(as_json, verify=True)
        if bad:
            raise EngineError(f"{bad} entries of the cache are damaged; h2k-rt engines clear removes them")


@engine_cache.command("clear")
def clear_engines(
    engine: Annotated[BuiltKind, typer.Option("--engine", help="Only those of one engine.")] = BuiltKind.auto,
    only: Annotated[str | None, typer.Option("--only", metavar="NETWORK", help="Only those of one network.")] = None,
    debug: Debug = False,
) -> None:
    """Remove engines from the cache."""
    with reporting(debug):
        from h2k_engines.cache import CacheEntry, EngineCache

        def wanted(entry: CacheEntry) -> bool:
            return (engine is BuiltKind.auto or entry.engine == engine.value) and (only is None or entry.network == only)

        cache = EngineCache()
        try:
            gone = cache.clear(wanted)
        except OSError as error:
            raise OutputError(f"{error.filename}: cannot be removed: {error.strerror}") from error
        tell(f"removed {len(gone)} engines, {sum(entry.size for entry in gone) / 1e6:.1f} MB, from {cache.folder}")


def _tell_entries(as_json: bool, verify: bool) -> int:
    """Print the entries; returns how many are bad."""
    from h2k_engines.cache import EngineCache

    cache = EngineCache()
    entries = cache.entries(verify=verify)
    if as_json:
        typer.echo(json.dumps([{**asdict(entry), "path": str(entry.path)} for entry in entries], indent=2))
    else:
        for entry in entries:
            made = f"{entry.engine} {entry.parts.get('version', '')}, {entry.parts.get('gpu', '')}" if entry.engine else ""
            model = entry.facts.get("model", "")
            state = entry.problem or entry.facts.get("problem") or ("sound" if verify else "")
            tell(f"{model:<10} {entry.network:<12} {entry.precision:<5} {entry.size / 1e6:>7.1f} MB  {made}  {state}".rstrip())
        total = sum(entry.size for entry in entries)
        tell(f"{len(entries)} engines, {total / 1e6:.1f} MB, in {cache.folder}")
    return sum(entry.problem is not None for entry in entries)
