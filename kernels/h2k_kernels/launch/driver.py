"""The few calls of the CUDA driver that PyCUDA does not offer: graphs, and events on another library's streams.

Every call is checked. The library is loaded at the first call.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from h2k_kernels.launch.errors import DeviceFailure, NoDriver
from h2k_kernels.launch.packing import argument_bytes
from h2k_kernels.launch.plan import Argument, LaunchPlan

#: What the loader looks for. Windows installs it with the driver, Linux with the driver's package.
LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

#: CU_STREAM_CAPTURE_MODE_RELAXED: other threads go on allocating and copying while a chain is recorded.
_CAPTURE_RELAXED = 2
_EVENT_DISABLE_TIMING = 2


class _KernelNode(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS_v2 of cuda.h."""

    _fields_ = [
        ("function", ctypes.c_void_p),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("parameters", ctypes.POINTER(ctypes.c_void_p)),
        ("extra", ctypes.POINTER(ctypes.c_void_p)),
        ("kernel", ctypes.c_void_p),
        ("context", ctypes.c_void_p),
    ]


@cache
def library() -> ctypes.CDLL:
    """The driver's library.

    Raises:
        NoDriver: there is none on this machine.
    """
    try:
        return getattr(ctypes, "WinDLL", ctypes.CDLL)(LIBRARY)  # calls of the Windows API's kind there
    except OSError as error:
        raise NoDriver(LIBRARY) from error


def _call(name: str, *arguments: Any) -> None:
    function = getattr(library(), name, None)
    if function is None:
        raise DeviceFailure(f"the NVIDIA driver is too old: it has no {name}; update it to release 525 or newer")
    status = function(*arguments)
    if status:
        raise DeviceFailure(f"{name} failed: {error_text(status)}")


def error_text(status: int) -> str:
    """What the driver says of an error number."""
    text = ctypes.c_char_p()
    library().cuGetErrorString(ctypes.c_int(status), ctypes.byref(text))
    return f"{(text.value or b'unknown error').decode()} (CUDA error {status})"


def driver_version() -> tuple[int, int]:
    """The newest CUDA version that the driver supports, for example (13, 0).

    Raises:
        DeviceFailure: there is no driver.
    """
    version = ctypes.c_int()
    _call("cuDriverGetVersion", ctypes.byref(version))
    return version.value // 1000, version.value % 1000 // 10


def order_after(waiting: int, leading: int) -> None:
    """Let the stream ``waiting`` wait for all that is in the stream ``leading`` now; both are handles, any library's."""
    event = ctypes.c_void_p()
    _call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(_EVENT_DISABLE_TIMING))
    try:
        _call("cuEventRecord", event, ctypes.c_void_p(leading))
        _call("cuStreamWaitEvent", ctypes.c_void_p(waiting), event, ctypes.c_uint(0))
    finally:
        _call("cuEventDestroy_v2", event)


def begin_capture(stream: int) -> None:
    """Record what is put into ``stream``, and into streams that wait for its events, instead of running it."""
    _call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_CAPTURE_RELAXED))


def last_node(stream: int) -> int:
    """Handle of the graph node that ``stream``, which is being recorded, put last.

    Raises:
        DeviceFailure: the stream is not being recorded, or ends in several nodes.
    """
    status, number, graph = ctypes.c_int(), ctypes.c_uint64(), ctypes.c_void_p()
    nodes, count = ctypes.POINTER(ctypes.c_void_p)(), ctypes.c_size_t()
    _call(
        "cuStreamGetCaptureInfo_v2",
        ctypes.c_void_p(stream),
        ctypes.byref(status),
        ctypes.byref(number),
        ctypes.byref(graph),
        ctypes.byref(nodes),
        ctypes.byref(count),
    )
    if status.value != 1 or count.value != 1:
        raise DeviceFailure(f"the stream is not being recorded, or ends in {count.value} nodes")
    return int(nodes[0])


class Graph:
    """A recorded chain of work, ready to be replayed. Free it with :meth:`close`."""

    def __init__(self, handle: int) -> None:
        self._graph = ctypes.c_void_p(handle)
        self._executable = ctypes.c_void_p()
        try:
            _call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), self._graph, ctypes.c_ulonglong(0))
        except DeviceFailure:
            library().cuGraphDestroy(self._graph)
            raise

    def launch(self, stream: int) -> None:
        _call("cuGraphLaunch", self._executable, ctypes.c_void_p(stream))

    def node_count(self) -> int:
        count = ctypes.c_size_t()
        _call("cuGraphGetNodes", self._graph, None, ctypes.byref(count))
        return count.value

    def update(self, node: int, plan: LaunchPlan) -> None:
        """Give a recorded kernel other arguments or another grid for the next launches."""
        values = [_cell(argument) for argument in plan.args]
        addresses = (ctypes.c_void_p * max(len(values), 1))(*(ctypes.addressof(value) for value in values))
        params = _KernelNode()
        _call("cuGraphKernelNodeGetParams_v2", ctypes.c_void_p(node), ctypes.byref(params))
        params.grid[:], params.block[:], params.shared = plan.grid, plan.block, plan.shared
        params.parameters = ctypes.cast(addresses, ctypes.POINTER(ctypes.c_void_p))
        params.extra = None
        _call("cuGraphExecKernelNodeSetParams_v2", self._executable, ctypes.c_void_p(node), ctypes.byref(params))

    def close(self) -> None:
        if self._executable:
            _call("cuGraphExecDestroy", self._executable)
            _call("cuGraphDestroy", self._graph)
            self._executable = ctypes.c_void_p()


def end_capture(stream: int) -> Graph:
    """Stop recording.

    Raises:
        DeviceFailure: something in between could not be recorded.
    """
    graph = ctypes.c_void_p()
    _call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
    return Graph(graph.value or 0)


def abandon_capture(stream: int) -> None:
    """Stop recording after a failure; the stream can be used again."""
    graph = ctypes.c_void_p()
    library().cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph))
    if graph.value:
        _call("cuGraphDestroy", graph)


def _cell(argument: Argument) -> ctypes.Array[Any]:
    """The argument's bytes at an address that is aligned for them."""
    data, _ = argument_bytes(argument)
    words = (ctypes.c_uint64 * (-(-len(data) // 8)))()
    ctypes.memmove(words, data, len(data))
    return words


__all__: Sequence[str] = (
    "LIBRARY",
    "Graph",
    "abandon_capture",
    "begin_capture",
    "driver_version",
    "end_capture",
    "error_text",
    "last_node",
    "library",
    "order_after",
)
