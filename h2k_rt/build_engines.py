"""Building the engines of a model ahead, network by network, with what came of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from h2k_engines import EngineFailure
from h2k_kernels.launch import DeviceFailure

from h2k_rt.built_engines import BuiltEngines, Precision, precisions

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime

#: Takes (network, steps done, steps in all, what is being done).
NetworkProgress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Row:
    """What came of one network in one precision.

    Attributes:
        state: "built", "cached" or "failed".
        seconds: this took now.
        size: bytes of the engine.
        errors: against FP32, by output: 99.9 % of the values are nearer.
        layers: of the network as the builder was given it; None where it does not tell.
        problem: why it is not used; None: it is.
        not_kept: why it was not kept; None: it was.
    """

    network: str
    precision: str
    state: str
    seconds: float
    size: int = 0
    errors: Mapping[str, float] = field(default_factory=dict)
    problem: str | None = None
    not_kept: str | None = None
    layers: int | None = None


def build_engines(
    engines: BuiltEngines,
    runtime: Runtime,
    networks: Sequence[str],
    precision: Precision = "auto",
    *,
    force: bool = False,
    jobs: int = 1,
    done: Callable[[Row], None] = lambda row: None,
    progress: NetworkProgress = lambda network, step, total, what: None,
) -> list[Row]:
    """Build what is missing; a network whose FP16 engine is not good enough gets one in FP32, too.

    Args:
        jobs: networks built at the same time; the builder's measurements disturb each other then.
        done: called with each row as soon as it is known.

    Returns:
        the rows in the order of ``networks``. Ctrl-C stops at the next step of the builder; what was built stays.
    """
    stopped = threading.Event()
    rows: dict[str, list[Row]] = {}

    def work(network: str) -> None:
        rows[network] = []
        with runtime.active():
            stream = runtime.stream()
            for each in precisions(engines.bundle, network, precision):
                if stopped.is_set():
                    return
                row = _build(engines, network, each, stream, force, stopped, progress)
                rows[network].append(row)
                done(row)
                if row.problem is None or (row.state == "failed" and stopped.is_set()):
                    return

    with ThreadPoolExecutor(jobs) as pool:
        waiting: set[Future[None]] = {pool.submit(work, network) for network in networks}
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for each in finished:
                    each.result()
        except BaseException:
            stopped.set()
            for each in waiting:
                each.cancel()
            raise
    return [row for network in networks for row in rows[network]]


def _build(
    engines: BuiltEngines,
    network: str,
    precision: str,
    stream: object,
    force: bool,
    stopped: threading.Event,
    progress: NetworkProgress,
) -> Row:
    start = time.perf_counter()
    try:
        obtained = engines.obtain(
            network,
            precision,
            stream,  # type: ignore[arg-type]
            force=force,
            progress=lambda step, total, what: progress(network, step, total, what),
            cancelled=stopped.is_set,
        )
    except (EngineFailure, DeviceFailure) as error:
        return Row(network, precision, "failed", time.perf_counter() - start, problem=str(error))
    facts = obtained.facts
    return Row(
        network,
        precision,
        "cached" if obtained.cached else "built",
        time.perf_counter() - start,
        obtained.size,
        dict(facts.get("errors", {})),
        facts.get("problem"),
        obtained.not_kept,
        facts.get("layers"),
    )


def unusable(rows: Sequence[Row]) -> list[str]:
    """Networks for which no engine can be used."""
    good = {row.network for row in rows if row.problem is None}
    return [network for network in dict.fromkeys(row.network for row in rows) if network not in good]
