"""A device without a GPU: the kernels as tests/cuda_host compiles them for the CPU, streams that do nothing until they must.

What is put into a stream runs when somebody waits for it, in an order that only keeps what streams and events promise: among the
steps that may go next one is drawn at random. A chain that lacks a wait then works on memory that is not ready (new memory is
filled with 0xcd), and its result differs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cuda_host.module import HostModule, load
from h2k_engines import OnnxRuntimeDeviceEngine
from h2k_kernels.launch import DeviceArray, DeviceFailure, LaunchPlan
from h2k_kernels.launch.runtime import same_plan
from numpy.typing import DTypeLike, NDArray

POISON = 0xCD


@dataclass(eq=False)
class Step:
    work: Callable[[], None]
    after: list[Step]
    plan: tuple[str, LaunchPlan] | None = None
    done: bool = False


@dataclass(eq=False)
class HostStream:
    handle: int
    last: Step | None = None
    awaited: list[Step] = field(default_factory=list)
    recording: HostRecording | None = None


@dataclass(eq=False)
class HostEvent:
    step: Step | None = None
    recording: HostRecording | None = None
    time: float = 0.0


@dataclass(eq=False)
class HostRecording:
    """What ``capture`` recorded: the steps, and those of them that are kernels."""

    steps: list[Step] = field(default_factory=list)
    streams: list[HostStream] = field(default_factory=list)

    @property
    def launches(self) -> list[Step]:
        return [step for step in self.steps if step.plan is not None]

    def close(self) -> None:
        self.steps.clear()


def array_of(array: DeviceArray) -> NDArray[Any]:
    """A device array's memory as a NumPy array."""
    assert array.contiguous
    block = np.frombuffer((np.ctypeslib.ctypes.c_uint8 * max(array.nbytes, 1)).from_address(array.pointer), np.uint8)
    return block[: array.nbytes].view(array.dtype).reshape(array.shape)


class HostRuntime:
    """Stands for :class:`h2k_kernels.launch.Runtime`.

    Args:
        seed: of the order in which steps run.

    Attributes:
        allocations: how many arrays were allocated, on the device and page-locked.
        launched: names of the kernels that ran.
    """

    name, number, capability = "CPU", 0, (8, 9)

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._pending: list[Step] = []
        self._modules: dict[str, HostModule] = {}
        self._streams = 0
        self.default = HostStream(0)
        self.allocations = 0
        self.launched: list[str] = []
        self.refuse_capture = ""

    # Memory

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> DeviceArray:
        self.allocations += 1
        kind = np.dtype(dtype)
        block = np.full(math.prod(shape) * kind.itemsize + 256, POISON, np.uint8)
        start = -block.ctypes.data % 256
        return DeviceArray(block.ctypes.data + start, tuple(shape), kind, (), block, (1, 0))

    def pinned(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        self.allocations += 1
        return np.full(math.prod(shape) * np.dtype(dtype).itemsize, POISON, np.uint8).view(dtype).reshape(shape)

    def memory(self) -> tuple[int, int]:
        return 2**33, 2**34

    def upload(self, target: DeviceArray, source: NDArray[Any], stream: HostStream | None = None) -> None:
        assert (target.nbytes, target.dtype) == (source.nbytes, source.dtype) and source.flags.c_contiguous
        self._submit(stream, lambda: np.copyto(array_of(target), source.reshape(target.shape)))

    def download(self, target: NDArray[Any], source: DeviceArray, stream: HostStream | None = None) -> None:
        assert (target.nbytes, target.dtype) == (source.nbytes, source.dtype) and target.flags.c_contiguous
        self._submit(stream, lambda: np.copyto(target, array_of(source).reshape(target.shape)))

    def copy(self, target: DeviceArray, source: DeviceArray, stream: HostStream | None = None) -> None:
        self._submit(stream, lambda: np.copyto(array_of(target), array_of(source)))

    def fill(self, target: DeviceArray, byte: int = 0, stream: HostStream | None = None) -> None:
        self._submit(stream, lambda: array_of(target).reshape(-1).view(np.uint8).fill(byte))

    # Order

    def open(self) -> None:
        pass

    @contextmanager
    def active(self) -> Iterator[None]:
        yield

    def stream(self) -> HostStream:
        self._streams += 1
        return HostStream(self._streams)

    def event(self, timing: bool = False) -> HostEvent:
        return HostEvent()

    def record(self, event: HostEvent, stream: HostStream | None = None) -> None:
        at = stream or self.default
        event.step, event.recording = at.last, at.recording

    def wait(self, stream: HostStream, event: HostEvent) -> None:
        if event.recording is not None and event.recording.streams:
            stream.recording = event.recording
            event.recording.streams.append(stream)
        if event.step is not None:
            stream.awaited.append(event.step)

    def milliseconds(self, start: HostEvent, end: HostEvent) -> float:
        self.synchronize()
        return 1.0

    def _submit(self, stream: HostStream | None, work: Callable[[], None], plan: tuple[str, LaunchPlan] | None = None) -> None:
        at = stream or self.default
        after = [*at.awaited, *([at.last] if at.last is not None else [])]
        step = Step(work, after, plan)
        at.last, at.awaited = step, []
        (self._pending if at.recording is None else at.recording.steps).append(step)

    def submit(self, stream: HostStream, work: Callable[[], None]) -> None:
        """Any work, for example a network."""
        self._submit(stream, work)

    def synchronize(self, stream: HostStream | None = None) -> None:
        """Run all that is waiting, whichever stream is meant."""
        if stream is not None and stream.recording is not None:
            raise DeviceFailure("operation not permitted when stream is capturing")
        while self._pending:
            ready = [step for step in self._pending if all(before.done for before in step.after)]
            assert ready, "the streams wait for each other"
            step = self._random.choice(ready)
            self._pending.remove(step)
            step.work()
            step.done = True

    # Kernels

    def _module(self, stem: str) -> HostModule:
        if stem not in self._modules:
            self._modules[stem] = load(stem)
        return self._modules[stem]

    def _execute(self, stem: str, plan: LaunchPlan) -> None:
        self.launched.append(plan.kernel)
        if 0 not in plan.grid:
            self._module(stem).run(plan)

    def run(self, stem: str, plan: LaunchPlan, stream: HostStream | None = None) -> None:
        self._submit(stream, lambda: self._execute(stem, plan), (stem, plan))

    # Graphs

    @contextmanager
    def capture(self, stream: HostStream) -> Iterator[HostRecording]:
        assert not self._pending, "work that is waiting would be lost between recorded steps"
        recording = HostRecording()
        stream.recording, stream.last = recording, None
        recording.streams.append(stream)
        try:
            if self.refuse_capture:
                raise DeviceFailure(self.refuse_capture)
            yield recording
            joined, ahead = set[int](), [stream.last, *stream.awaited]
            while ahead:
                step = ahead.pop()
                if step is not None and id(step) not in joined:
                    joined.add(id(step))
                    ahead += step.after
            if any(id(step) not in joined for step in recording.steps):
                raise DeviceFailure("dependent work was left on another stream that is not joined")
        finally:
            for used in recording.streams:
                used.recording, used.last, used.awaited = None, None, []
            recording.streams.clear()

    def replay(self, recording: HostRecording, plans: Sequence[LaunchPlan], stream: HostStream) -> None:
        launches = recording.launches
        assert [step.plan[1].kernel for step in launches if step.plan] == [plan.kernel for plan in plans]
        for step, plan in zip(launches, plans, strict=True):
            assert step.plan is not None
            if not same_plan(step.plan[1], plan):
                stem = step.plan[0]
                step.plan = stem, plan
                step.work = lambda stem=stem, plan=plan: self._execute(stem, plan)  # type: ignore[misc]
        fresh: dict[int, Step] = {}
        first = [] if stream.last is None else [stream.last]
        for step in recording.steps:
            after = [fresh[id(before)] for before in step.after if id(before) in fresh] or first
            fresh[id(step)] = Step(step.work, after)
            self._pending.append(fresh[id(step)])
        self._submit(stream, lambda: None)
        if stream.last is not None:
            stream.last.after += list(fresh.values())


class HostEngine(OnnxRuntimeDeviceEngine):
    """ONNX Runtime on the CPU as an engine of a :class:`HostRuntime`: its run is a step of the stream."""

    def __init__(self, runtime: HostRuntime, model: Any, *, name: str, stream: HostStream) -> None:
        super().__init__(model, name=name, stream=stream, provider=("CPUExecutionProvider", "cpu"))
        self._runtime = runtime

    def bind(self, inputs: Any, outputs: Any, stream: Any) -> Any:
        return _Deferred(self._runtime, super().bind(inputs, outputs, stream))


class _Deferred:
    def __init__(self, runtime: HostRuntime, binding: Any) -> None:
        self._runtime, self._binding = runtime, binding

    def enqueue(self, stream: Any) -> None:
        self._runtime.submit(stream, lambda: self._binding.enqueue(stream))
