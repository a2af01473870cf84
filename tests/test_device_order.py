"""The order of the device chain's steps, and graphs: recorded, replayed, updated, given up."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from h2k_engines import TensorSpec
from h2k_kernels.launch import DeviceArray, LaunchPlan
from host_runtime import HostRuntime, HostStream, array_of

from h2k_rt.bundle import Bundle
from h2k_rt.constants import METHOD, PART_GROUPS
from h2k_rt.device.chain import NetworkChain
from h2k_rt.device.graph import GraphRunner
from h2k_rt.device.launcher import DirectLauncher, Launcher, ListingLauncher
from h2k_rt.errors import EngineError

FLOAT = np.dtype(np.float32)
GROUPS = tuple(group.name for group in PART_GROUPS)


class Log(HostRuntime):
    """Nothing is computed; what would run is listed."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.ran: list[str] = []

    def empty(self, shape: Any, dtype: Any) -> DeviceArray:
        self.allocations += 1
        return DeviceArray(2**32 * self.allocations, tuple(shape), np.dtype(dtype), (), None, (1, 0))

    def _execute(self, stem: str, plan: LaunchPlan) -> None:
        self.ran.append(plan.kernel)


class Network:
    """An engine that does nothing but be listed."""

    provider = "none"

    def __init__(self, runtime: Log, name: str, stream: HostStream) -> None:
        self.name, self._runtime, self._stream = name, runtime, stream
        described = Bundle.open("small").networks[name]
        self.inputs = {n: TensorSpec(n, FLOAT, tuple(s)) for n, s in described.inputs.items()}
        self.outputs = {n: TensorSpec(n, FLOAT, tuple(s)) for n, s in described.outputs.items()}

    def bind(self, inputs: Any, outputs: Any, stream: HostStream) -> Network:
        assert stream is self._stream and inputs.keys() == self.inputs.keys() and outputs.keys() == self.outputs.keys()
        return self

    def enqueue(self, stream: HostStream) -> None:
        assert stream is self._stream
        self._runtime.submit(stream, lambda: self._runtime.ran.append(self.name))


def make_chain(runtime: Log) -> NetworkChain:
    return NetworkChain(runtime, lambda name, stream: Network(runtime, name, stream), METHOD)  # type: ignore[arg-type]


@cache
def sizes() -> tuple[tuple[int, int], ...]:
    return make_chain(Log()).sizes


def steps(chain: NetworkChain, size: tuple[int, int]) -> Callable[[Launcher], None]:
    photos, masks = (DeviceArray(at, (1000,), np.dtype(np.uint8), (), None, (1, 0)) for at in (64, 128))
    return lambda launch: chain.enqueue(launch, photos, masks, size)


#: What must have run before what, for one photo.
BEFORE = [
    ("photo_frame", "photo_mean"),
    ("photo_mean", "photo_colour"),
    ("photo_colour", "low_normal"),
    ("low_normal", "low_depth"),
    ("low_normal", "warp_parts_u8"),
    ("low_normal", "fill_normals"),
    *(("warp_parts_u8", group) for group in GROUPS),
    *((group, "fuse_parts") for group in GROUPS),
    ("fuse_weights", "fuse_parts"),
    ("fill_normals", "fuse_parts"),
    ("fuse_parts", "high_depth"),
    ("low_depth", "copy_window_4"),
    ("copy_window_4", "high_depth"),
]
#: What the next photo must not write before the last one was read.
NEXT = [
    ("photo_frame", "high_depth"),
    ("low_normal", "low_depth"),
    *(("warp_parts_u8", group) for group in GROUPS),
    *((group, "fuse_parts") for group in GROUPS),
    ("low_depth", "copy_window_4"),
    ("fuse_parts", "high_depth"),
]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_order_the_streams_take(seed: int) -> None:
    runtime = Log(seed)
    chain = make_chain(runtime)
    for _ in range(2):
        steps(chain, sizes()[0])(DirectLauncher(runtime))  # type: ignore[arg-type]
    runtime.synchronize()
    names = {name for pair in BEFORE for name in pair}
    assert sorted(runtime.ran) == sorted([*names, *names])
    first = {name: runtime.ran.index(name) for name in names}
    second = {name: len(runtime.ran) - 1 - runtime.ran[::-1].index(name) for name in names}
    for at in (first, second):
        assert all(at[one] < at[other] for one, other in BEFORE)
    assert all(second[writer] > first[reader] for writer, reader in NEXT)


def test_networks_run_beside_each_other() -> None:
    """Some order has every part network after every other one: none waits for another without need."""
    positions: dict[str, set[int]] = {name: set() for name in (*GROUPS, "low_depth")}
    for seed in range(60):
        runtime = Log(seed)
        steps(make_chain(runtime), sizes()[0])(DirectLauncher(runtime))  # type: ignore[arg-type]
        runtime.synchronize()
        parts = [name for name in runtime.ran if name in positions]
        for place, name in enumerate(parts):
            positions[name].add(place)
    assert all(positions[name] >= {0, 1, 2, 3, 4} for name in GROUPS)
    assert {0, 5} <= positions["low_depth"]


def test_every_window_size_is_a_kind_of_its_own() -> None:
    runtime = Log()
    chain = make_chain(runtime)
    allocations = runtime.allocations
    fixed = []
    for size in sizes():
        listed = ListingLauncher()
        steps(chain, size)(listed)
        fixed.append(listed.fixed)
        again = ListingLauncher()
        steps(chain, size)(again)
        assert again.fixed == listed.fixed
    assert runtime.allocations == allocations, "nothing is allocated for a photo"


def test_recorded_after_a_plain_run_then_replayed() -> None:
    runtime = Log()
    chain = make_chain(runtime)
    runner = GraphRunner(runtime, chain.main)  # type: ignore[arg-type]
    orders = []
    for number in range(4):
        runtime.ran.clear()
        runner.run(sizes()[0], steps(chain, sizes()[0]))
        runtime.synchronize()
        orders.append(sorted(runtime.ran))
        assert runner.replays == number
        position = {name: runtime.ran.index(name) for name in runtime.ran}
        assert all(position[one] < position[other] for one, other in BEFORE)
    assert orders[0] == orders[1] == orders[2] == orders[3] and runner.problem is None
    runner.run(sizes()[1], steps(chain, sizes()[1]))
    assert runner.replays == 3, "another size is another graph"
    runner.close()


def test_what_cannot_be_recorded_is_launched_step_by_step() -> None:
    runtime = Log()
    runtime.refuse_capture = "operation not permitted when stream is capturing (CUDA error 900)"
    chain = make_chain(runtime)
    runner = GraphRunner(runtime, chain.main)  # type: ignore[arg-type]
    for _ in range(3):
        runtime.ran.clear()
        runner.run(0, steps(chain, sizes()[0]))
        runtime.synchronize()
        assert len(runtime.ran) == len({name for pair in BEFORE for name in pair})
    assert runner.replays == 0
    assert runner.problem == (
        "the chain cannot be recorded as a CUDA graph and is launched step by step: "
        "operation not permitted when stream is capturing (CUDA error 900)"
    )
    off = GraphRunner(runtime, chain.main, enabled=False)  # type: ignore[arg-type]
    off.run(0, steps(chain, sizes()[0]))
    assert off.problem == "graphs are switched off"


def add(target: DeviceArray, source: DeviceArray) -> LaunchPlan:
    """Any kernel: a copy of a window."""
    from h2k_kernels.launch.copy_window import plan

    origin = DeviceArray(ORIGIN.ctypes.data, (1, 2), ORIGIN.dtype, (), ORIGIN, (1, 0))
    return plan(source, target, origin)


ORIGIN = np.zeros((1, 2), np.int32)


def test_replay_takes_new_arguments_and_new_steps_are_recorded_anew() -> None:
    runtime = HostRuntime()
    stream = runtime.stream()
    runner = GraphRunner(runtime, stream)  # type: ignore[arg-type]
    sources = [runtime.empty((1, 1, 4, 4), np.float32) for _ in range(2)]
    target = runtime.empty((1, 1, 4, 4), np.float32)
    for number, source in enumerate(sources):
        array_of(source)[:] = number + 1

    def chain(source: DeviceArray, byte: int) -> Callable[[Launcher], None]:
        def enqueue(launch: Launcher) -> None:
            launch.fill(target, byte, stream)  # type: ignore[arg-type]
            launch.run("copy_window", add(target, source), stream)  # type: ignore[arg-type]

        return enqueue

    for source, byte, replays in ((0, 0, 0), (1, 0, 1), (0, 0, 2), (0, 7, 2), (1, 7, 3)):
        runner.run("kind", chain(sources[source], byte))
        runtime.synchronize()
        assert (array_of(target) == source + 1).all()
        assert runner.replays == replays
    assert runtime.launched == ["copy_window_4"] * 5, "recording runs nothing"


def test_networks_that_do_not_fit_are_told() -> None:
    runtime = Log()

    def open_engine(name: str, stream: HostStream) -> Network:
        network = Network(runtime, name, stream)
        if name == "shoe":
            network.inputs = {"crop": network.inputs["crops"]}
        return network

    from h2k_rt.device.pipeline import DevicePipeline

    with pytest.raises(EngineError, match="shoe: it has no tensor crops of a fixed shape"):
        DevicePipeline(METHOD, open_engine, runtime)  # type: ignore[arg-type]
