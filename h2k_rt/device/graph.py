"""A chain as a CUDA graph: recorded after a first plain run, then replayed with each photo's arguments."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from h2k_engines import EngineFailure
from h2k_kernels.launch import DeviceFailure
from h2k_kernels.launch.runtime import Recording, Runtime, Stream

from h2k_rt.device.launcher import DirectLauncher, Launcher, ListingLauncher

#: A chain: puts its steps into the launcher it is given.
Steps = Callable[[Launcher], None]


@dataclass
class _Recorded:
    recording: Recording
    fixed: list[Any]


class GraphRunner:
    """Runs chains, as graphs where that is possible.

    The first run of a kind of chain is plain: engines allocate and choose their algorithms then. After it the chain is recorded
    (which runs nothing), and from the second run on it is replayed; kernels whose arguments differ are updated in the graph.
    If a step cannot be recorded, all later runs are plain, and ``problem`` says why.

    Args:
        runtime: the device.
        stream: the chain's main stream: its steps begin and end there.
        enabled: False: always plain.

    Attributes:
        problem: why graphs are not used; None while they are.
        replays: how many runs were replays.
    """

    def __init__(self, runtime: Runtime, stream: Stream, enabled: bool = True) -> None:
        self._runtime, self._stream = runtime, stream
        self._recorded: dict[Hashable, _Recorded] = {}
        self.problem: str | None = None if enabled else "graphs are switched off"
        self.replays = 0

    def run(self, kind: Hashable, steps: Steps) -> None:
        """Put one run of a chain into the main stream.

        Args:
            kind: chains of one kind have the same steps; their kernels may differ in arguments and grids.

        Raises:
            DeviceFailure, EngineFailure: a step failed.
        """
        known = self._recorded.get(kind)
        if known is not None:
            listed = ListingLauncher()
            steps(listed)
            if listed.fixed == known.fixed:
                self._runtime.replay(known.recording, listed.plans, self._stream)
                self.replays += 1
                return
            known.recording.close()  # memory moved: an old recording would write where something else is now
            del self._recorded[kind]
        steps(DirectLauncher(self._runtime))
        if self.problem is None:
            self._record(kind, steps)

    def _record(self, kind: Hashable, steps: Steps) -> None:
        listed = ListingLauncher()
        steps(listed)
        # Whatever a first run set up must have ended before the second one is recorded.
        self._runtime.synchronize(self._stream)
        try:
            with self._runtime.capture(self._stream) as recording:
                steps(DirectLauncher(self._runtime))
        except (DeviceFailure, EngineFailure) as error:
            self.problem = f"the chain cannot be recorded as a CUDA graph and is launched step by step: {error}"
            return
        self._recorded[kind] = _Recorded(recording, listed.fixed)

    def close(self) -> None:
        """Free all recordings."""
        for known in self._recorded.values():
            known.recording.close()
        self._recorded.clear()
