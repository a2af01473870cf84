"""One GPU: its primary context, memory, streams, and the package's kernels on it, through PyCUDA.

Nothing is imported or started before it is needed. The primary context is the one that PyTorch and ONNX Runtime use, so device
pointers pass between them and this package as they are.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from h2k_kernels.launch import driver
from h2k_kernels.launch.arrays import DeviceArray
from h2k_kernels.launch.compile import forget, images
from h2k_kernels.launch.errors import DeviceFailure, MissingDevicePackage
from h2k_kernels.launch.packing import pack
from h2k_kernels.launch.plan import Argument, LaunchPlan, Triple

#: Oldest supported GPU: Turing.
MIN_CAPABILITY = (7, 5)
_NON_BLOCKING = 1
_DISABLE_TIMING = 2
#: Dynamic shared memory that a block gets without being asked for, in bytes.
_COMMON_SHARED = 48 * 1024


class Stream:
    """A stream of the runtime's context; does not wait for the legacy default stream.

    Attributes:
        handle: the CUstream, as an integer that any CUDA library takes.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.handle = int(raw.handle)


class Event:
    """A point in a stream that others can wait for."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw


class Kernel:
    """A function of a loaded module, with the largest dynamic shared memory that it was prepared for."""

    def __init__(self, raw: Any, name: str) -> None:
        self.raw, self.name, self.shared = raw, name, _COMMON_SHARED

    def attributes(self) -> dict[str, int]:
        """Registers, and bytes of static shared, constant and local memory of a thread (spills)."""
        names = ("num_regs", "shared_size_bytes", "const_size_bytes", "local_size_bytes", "max_threads_per_block")
        return {name: int(getattr(self.raw, name)) for name in names}


class Runtime:
    """A GPU, opened at the first use.

    Threads: one thread at a time launches; others may only use what was allocated.

    Args:
        number: which device, counted from 0 as CUDA counts.

    Raises (of every method, at the first use):
        MissingDevicePackage: PyCUDA is not installed.
        DeviceFailure: no driver, no such device, or one older than Turing.
    """

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self._cuda: Any = None
        self._context: Any = None
        self._modules: dict[str, Any] = {}
        self._kernels: dict[tuple[str, str], Kernel] = {}
        self._origins: dict[str, str] = {}
        self._depth = threading.local()
        self._lock = threading.Lock()
        self._recording: list[tuple[str, LaunchPlan, int]] | None = None

    # The device

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the context current in this thread. Every method does; around many calls it saves time."""
        self.open()
        depth = getattr(self._depth, "value", 0)
        if depth == 0:
            self._context.push()
        self._depth.value = depth + 1
        try:
            yield
        finally:
            self._depth.value = depth
            if depth == 0:
                self._context.pop()

    def open(self) -> None:
        """Open the device now, to learn whether it can be."""
        with self._lock:
            if self._context is None:
                self._cuda = _pycuda()
                self._context = _primary_context(self._cuda, self.number)
                # A context that is only collected at exit would be given back in the wrong way.
                atexit.register(self.close)

    @property
    def name(self) -> str:
        """What the device is called, for example "NVIDIA H200"."""
        self.open()
        return str(self._cuda.Device(self.number).name())

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability, for example (9, 0)."""
        self.open()
        major, minor = self._cuda.Device(self.number).compute_capability()
        return int(major), int(minor)

    @property
    def architecture(self) -> str:
        """The compiler's name of it, for example "sm_90"."""
        major, minor = self.capability
        return f"sm_{major}{minor}"

    def memory(self) -> tuple[int, int]:
        """Free and total device memory in bytes, of all programs on the device."""
        with self.active():
            free, total = self._cuda.mem_get_info()
        return int(free), int(total)

    def synchronize(self, stream: Stream | None = None) -> None:
        """Wait for a stream, or for everything in the context. Errors of kernels that ran come out here."""
        with self.active(), _told("waiting for the GPU"):
            if stream is None:
                self._cuda.Context.synchronize()
            else:
                stream.raw.synchronize()

    def close(self) -> None:
        """Unload the modules and let go of the context; done at exit, too. Arrays and streams are of no use afterwards."""
        if self._context is not None:
            atexit.unregister(self.close)
            with self.active():
                self._kernels.clear()
                self._modules.clear()
            self._context.detach()
            self._context = None

    # Memory

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> DeviceArray:
        """A new array in device memory, its content undefined.

        Raises:
            DeviceFailure: there is not enough memory.
        """
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        with self.active(), _told(f"allocating {count * kind.itemsize / 2**20:.0f} MiB on the GPU"):
            owner = self._cuda.mem_alloc(max(count * kind.itemsize, 1))
        return DeviceArray(int(owner), tuple(shape), kind, (), owner, (2, self.number))

    def pinned(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """A NumPy array in page-locked host memory, which the GPU copies to and from while the host goes on."""
        with self.active(), _told("allocating page-locked host memory"):
            array: NDArray[Any] = self._cuda.pagelocked_empty(tuple(shape), np.dtype(dtype))
        return array

    def upload(self, target: DeviceArray, source: NDArray[Any], stream: Stream | None = None) -> None:
        """Copy host memory to the device; asynchronous where the host memory is page-locked.

        Raises:
            ValueError: the two differ in size or type, or one is not contiguous.
        """
        _same(target, source)
        if source.nbytes:
            with self.active(), _told("copying to the GPU"):
                self._cuda.memcpy_htod_async(target.pointer, source, _raw(stream))

    def download(self, target: NDArray[Any], source: DeviceArray, stream: Stream | None = None) -> None:
        """Copy device memory to the host; asynchronous where the host memory is page-locked.

        Raises:
            ValueError: the two differ in size or type, or one is not contiguous.
        """
        _same(source, target)
        if target.nbytes:
            with self.active(), _told("copying from the GPU"):
                self._cuda.memcpy_dtoh_async(target, source.pointer, _raw(stream))

    def copy(self, target: DeviceArray, source: DeviceArray, stream: Stream | None = None) -> None:
        """Copy within the device.

        Raises:
            ValueError: the two differ in size, or one is not contiguous.
        """
        if target.nbytes != source.nbytes or not (target.contiguous and source.contiguous):
            raise ValueError(f"{source.shape} {source.dtype} cannot be copied to {target.shape} {target.dtype}")
        if source.nbytes:
            with self.active(), _told("copying on the GPU"):
                self._cuda.memcpy_dtod_async(target.pointer, source.pointer, source.nbytes, _raw(stream))

    def fill(self, target: DeviceArray, byte: int = 0, stream: Stream | None = None) -> None:
        """Set every byte."""
        if not target.contiguous:
            raise ValueError(f"an array of strides {target.strides} cannot be filled")
        if target.nbytes:
            with self.active(), _told("filling GPU memory"):
                self._cuda.memset_d8_async(target.pointer, byte, target.nbytes, _raw(stream))

    # Order

    def stream(self) -> Stream:
        with self.active():
            return Stream(self._cuda.Stream(_NON_BLOCKING))

    def event(self, timing: bool = False) -> Event:
        with self.active():
            return Event(self._cuda.Event(0 if timing else _DISABLE_TIMING))

    def record(self, event: Event, stream: Stream | None = None) -> None:
        """Put the event after all that is in the stream now."""
        with self.active(), _told("recording an event"):
            event.raw.record(_raw(stream))

    def wait(self, stream: Stream, event: Event) -> None:
        """Let the stream go on only after the event."""
        with self.active(), _told("waiting for an event"):
            stream.raw.wait_for_event(event.raw)

    def milliseconds(self, start: Event, end: Event) -> float:
        """Time between two events made with ``timing``; waits for the second."""
        with self.active(), _told("reading an event"):
            end.raw.synchronize()
            return float(start.raw.time_till(end.raw))

    @contextmanager
    def after(self, handle: int, stream: Stream) -> Iterator[Stream]:
        """Run between what another library's stream holds before and what it gets afterwards.

        Args:
            handle: that stream's CUstream, for example ``torch.cuda.current_stream().cuda_stream``.
            stream: the one of this runtime to use inside.
        """
        with self.active():
            driver.order_after(stream.handle, handle)
            yield stream
            driver.order_after(handle, stream.handle)

    # Kernels

    def module(self, stem: str) -> Any:
        """The loaded code of ``<stem>.cu``: from the cache, or compiled now.

        Raises:
            DeviceFailure: it cannot be compiled or loaded.
        """
        if stem not in self._modules:
            with self.active():
                self._modules[stem], self._origins[stem] = self._load(stem, self.architecture)
        return self._modules[stem]

    def _load(self, stem: str, architecture: str) -> tuple[Any, str]:
        """The first code that the driver takes, and where it came from."""
        refused: list[str] = []
        ways, forgotten = images(stem, architecture), False
        while True:
            try:
                image = next(ways)
            except DeviceFailure as error:
                raise DeviceFailure("; ".join([*refused, str(error)]) if refused else str(error)) from error
            try:
                return self._cuda.module_from_buffer(image.data), image.origin
            except Exception as error:  # PyCUDA's, an undocumented family
                if image.origin.startswith("cache") and not forgotten:  # foreign or outdated: once more from the source
                    forget(stem, architecture)
                    ways, forgotten = images(stem, architecture), True
                else:
                    refused.append(f"the driver does not load kernel {stem} ({image.origin}): {_first_line(error)}")

    def origin(self, stem: str) -> str:
        """Where a module's code came from, for example "nvcc 13.0.88" or "cache (nvcc 13.0.88)"."""
        self.module(stem)
        return self._origins[stem]

    def function(self, stem: str, kernel: str) -> Kernel:
        """A kernel of ``<stem>.cu``.

        Raises:
            DeviceFailure: there is none of that name.
        """
        if (stem, kernel) not in self._kernels:
            module = self.module(stem)
            with self.active(), _told(f"finding {kernel} in {stem}.cu"):
                self._kernels[stem, kernel] = Kernel(module.get_function(kernel), kernel)
        return self._kernels[stem, kernel]

    def launch(
        self,
        function: Kernel,
        grid: Triple,
        block: Triple,
        args: Sequence[Argument],
        shared_bytes: int = 0,
        stream: Stream | None = None,
    ) -> None:
        """Launch a kernel; a grid without blocks does nothing.

        Raises:
            TypeError: an argument is neither a device array nor a NumPy number.
            DeviceFailure: the driver refused the launch.
        """
        if 0 in grid:
            return
        with self.active(), _told(f"launching {function.name} with grid {grid}, block {block}"):
            if shared_bytes > function.shared:
                attribute = self._cuda.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
                function.raw.set_attribute(attribute, shared_bytes)
                function.shared = shared_bytes
            data = pack(args)
            function.raw.prepare([np.dtype((np.void, len(data)))] if data else [])
            function.raw.prepared_async_call(grid, block, _raw(stream), *([data] if data else []), shared_size=shared_bytes)
        if self._recording is not None and stream is not None:
            plan = LaunchPlan(function.name, grid, block, tuple(args), shared_bytes)
            self._recording.append((function.name, plan, driver.last_node(stream.handle)))

    def run(self, stem: str, plan: LaunchPlan, stream: Stream | None = None) -> None:
        """Launch as planned."""
        self.launch(self.function(stem, plan.kernel), plan.grid, plan.block, plan.args, plan.shared, stream)

    # Graphs

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[Recording]:
        """Record what is put into ``stream`` inside the block, instead of running it.

        Raises:
            DeviceFailure: something in the block cannot be recorded; the stream is usable again.
        """
        with self.active():
            driver.begin_capture(stream.handle)
            recording = Recording()
            self._recording = recording.launches
            try:
                yield recording
            except BaseException:
                driver.abandon_capture(stream.handle)
                raise
            finally:
                self._recording = None
            recording.graph = driver.end_capture(stream.handle)

    def replay(self, recording: Recording, plans: Sequence[LaunchPlan], stream: Stream) -> None:
        """Launch a recorded chain, with each kernel's arguments and grid as in ``plans``.

        Raises:
            DeviceFailure: ``plans`` are of other kernels than were recorded.
        """
        assert recording.graph is not None, "the recording has not ended"
        if [plan.kernel for plan in plans] != [name for name, _, _ in recording.launches]:
            raise DeviceFailure("the chain has other kernels than the recorded one")
        with self.active():
            for i, ((name, old, node), plan) in enumerate(zip(recording.launches, plans, strict=True)):
                if not same_plan(old, plan):
                    recording.graph.update(node, plan)
                    recording.launches[i] = (name, plan, node)
            recording.graph.launch(stream.handle)


class Recording:
    """What :meth:`Runtime.capture` recorded.

    Attributes:
        launches: of each kernel of this package its name, plan and graph node, in order.
        graph: once the recording has ended.
    """

    def __init__(self) -> None:
        self.launches: list[tuple[str, LaunchPlan, int]] = []
        self.graph: driver.Graph | None = None

    def close(self) -> None:
        if self.graph is not None:
            self.graph.close()
            self.graph = None


def same_plan(one: LaunchPlan, other: LaunchPlan) -> bool:
    """Whether two launches are the same to the driver."""
    geometry = (one.kernel, one.grid, one.block, one.shared) == (other.kernel, other.grid, other.block, other.shared)
    return geometry and pack(one.args) == pack(other.args)


def _pycuda() -> Any:
    driver.library()  # says it best where the driver is missing
    try:
        import pycuda.driver as cuda
    except ModuleNotFoundError as error:
        raise MissingDevicePackage(f'{error.name} is not installed; run: pip install "h2k-rt[gpu]"') from error
    except ImportError as error:
        raise DeviceFailure(f"PyCUDA does not fit this machine's driver: {_first_line(error)}; install it again") from error
    return cuda


def _primary_context(cuda: Any, number: int) -> Any:
    try:
        cuda.init()
        count = int(cuda.Device.count())
    except Exception as error:
        raise DeviceFailure(f"the NVIDIA driver finds no GPU: {_first_line(error)}") from error
    if not 0 <= number < count:
        found = "no GPU" if count == 0 else f"GPU 0 to {count - 1}" if count > 1 else "only GPU 0"
        raise DeviceFailure(f"there is no GPU {number}: the driver sees {found}")
    device = cuda.Device(number)
    capability = tuple(int(n) for n in device.compute_capability())
    if capability < MIN_CAPABILITY:
        raise DeviceFailure(
            f"{device.name()} has compute capability {capability[0]}.{capability[1]}; 7.5 (Turing) or newer is needed"
        )
    with _told(f"opening {device.name()}"):
        return device.retain_primary_context()


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """PyCUDA's errors, an undocumented family, as one sentence."""
    try:
        yield
    except (DeviceFailure, TypeError, ValueError):
        raise
    except Exception as error:
        raise DeviceFailure(f"{doing} failed: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _raw(stream: Stream | None) -> Any:
    return None if stream is None else stream.raw


def _same(array: DeviceArray, host: NDArray[Any]) -> None:
    if array.nbytes != host.nbytes or array.dtype != host.dtype or not array.contiguous or not host.flags.c_contiguous:
        raise ValueError(f"device array {array.shape} {array.dtype} does not match host array {host.shape} {host.dtype}")
