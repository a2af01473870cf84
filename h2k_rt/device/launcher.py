"""What a chain of kernels and engines is written against: the same chain is launched, recorded, or only listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from h2k_engines import Binding
from h2k_kernels.launch import DeviceArray, LaunchPlan
from h2k_kernels.launch.runtime import Event, Runtime, Stream


class Launcher(Protocol):
    """The steps of a chain. Nothing waits for the GPU."""

    def run(self, stem: str, plan: LaunchPlan, stream: Stream | None = None) -> None:
        """Launch a kernel."""

    def engine(self, binding: Binding, stream: Stream) -> None:
        """Run a network."""

    def fill(self, target: DeviceArray, byte: int = 0, stream: Stream | None = None) -> None:
        """Set every byte of an array."""

    def record(self, event: Event, stream: Stream | None = None) -> None:
        """Put an event after what is in a stream."""

    def wait(self, stream: Stream, event: Event) -> None:
        """Let a stream go on only after an event."""

    def mark(self, stage: str) -> None:
        """The stage ``stage`` begins on the main stream."""


class DirectLauncher:
    """Every step goes to the device.

    Args:
        on_mark: called with each stage's name when its first step is about to be launched.
    """

    def __init__(self, runtime: Runtime, on_mark: Callable[[str], None] | None = None) -> None:
        self.run, self.fill, self.record, self.wait = runtime.run, runtime.fill, runtime.record, runtime.wait
        self._on_mark = on_mark

    def engine(self, binding: Binding, stream: Stream) -> None:
        binding.enqueue(stream)

    def mark(self, stage: str) -> None:
        if self._on_mark is not None:
            self._on_mark(stage)


class ListingLauncher:
    """Nothing is launched; what would be is listed.

    Attributes:
        plans: of the kernels, in order.
        fixed: everything else that a recording holds as it is, in order; two chains whose lists are equal can share a recording.
    """

    def __init__(self) -> None:
        self.plans: list[LaunchPlan] = []
        self.fixed: list[Any] = []

    def run(self, stem: str, plan: LaunchPlan, stream: Stream | None = None) -> None:
        self.plans.append(plan)
        self.fixed.append((stem, plan.kernel, id(stream)))

    def engine(self, binding: Binding, stream: Stream) -> None:
        self.fixed.append((id(binding), id(stream)))

    def fill(self, target: DeviceArray, byte: int = 0, stream: Stream | None = None) -> None:
        self.fixed.append((target.pointer, target.nbytes, byte, id(stream)))

    def record(self, event: Event, stream: Stream | None = None) -> None:
        self.fixed.append((id(event), id(stream)))

    def wait(self, stream: Stream, event: Event) -> None:
        self.fixed.append((id(stream), id(event)))

    def mark(self, stage: str) -> None:
        pass
