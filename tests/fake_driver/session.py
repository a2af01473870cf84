"""What tests/test_cuda_runtime.py runs in a process of its own, on PyCUDA and the driver without a GPU.

LD_LIBRARY_PATH=FOLDER python -m fake_driver.session FOLDER CASE
"""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from h2k_kernels.launch import DeviceArray, DeviceFailure, LaunchPlan, Runtime, driver, runtime
from h2k_kernels.launch.compile import Image
from numpy.testing import assert_array_equal

FOLDER = Path(sys.argv[1])
PAIR = np.dtype([("scale", "f8"), ("shift", "i4")], align=True)


def image(stem: str, architecture: str, origin: str = "nvcc") -> Image:
    return Image("cubin", f"{FOLDER / stem}.so\0".encode(), origin)


def scaled(source: DeviceArray, target: DeviceArray, scale: float, count: int | None = None) -> LaunchPlan:
    count = source.size if count is None else count
    pair = np.array((scale, 3), PAIR)[()]
    args = (np.bool_(True), source, np.int16(-1), target, pair, np.int32(count))
    return LaunchPlan("scale_and_shift", (-(-count // 32), 1, 1), (32, 1, 1), args)


def launches(gpu: Runtime) -> None:
    assert (gpu.name, gpu.capability, gpu.architecture) == ("Fake GPU", (9, 0), "sm_90")
    host = np.arange(1000, dtype=np.float32)
    source, target = gpu.empty((1000,), np.float32), gpu.empty((1000,), np.float32)
    stream = gpu.stream()
    staged, back = gpu.pinned((1000,), np.float32), gpu.pinned((1000,), np.float32)
    staged[:] = host
    gpu.upload(source, staged, stream)
    gpu.run("demo", scaled(source, target, 0.5), stream)
    gpu.download(back, target, stream)
    gpu.synchronize(stream)
    assert_array_equal(back, (0.5 * host + 2).astype(np.float32))
    gpu.fill(target, 0, stream)
    gpu.copy(target.first(500), source.first(500), stream)
    gpu.download(back, target)
    assert_array_equal(back, np.where(np.arange(1000) < 500, host, 0))
    assert gpu.origin("demo") == "nvcc"
    gpu.launch(gpu.function("demo", "nothing"), (1, 1, 1), (1, 1, 1), (), 0, stream)
    gpu.launch(gpu.function("demo", "nothing"), (1, 1, 1), (1, 1, 1), (), 100_000, stream)
    gpu.launch(gpu.function("demo", "nothing"), (0, 1, 1), (1, 1, 1), ())  # no blocks: nothing to do
    free, total = gpu.memory()
    assert total - free == 8000 and total == 2**30
    start, end = gpu.event(timing=True), gpu.event(timing=True)
    gpu.record(start, stream)
    gpu.record(end, stream)
    other = gpu.stream()
    gpu.wait(other, end)
    assert gpu.milliseconds(start, end) > 0
    with gpu.after(other.handle, stream) as ours:
        assert ours is stream
    assert gpu.function("demo", "nothing").attributes()["num_regs"] == 32
    for _ in range(3):
        gpu.empty((100,), np.float32)
    assert gpu.memory()[0] == free, "arrays that nobody holds are freed"


def fails(gpu: Runtime) -> None:
    array = gpu.empty((8,), np.int32)
    for call, message in (
        (lambda: gpu.empty((2**40,), np.uint8), "allocating 1048576 MiB on the GPU failed: cuMemAlloc failed: out of memory"),
        (
            lambda: gpu.function("demo", "absent"),
            "finding absent in demo.cu failed: cuModuleGetFunction failed: named symbol not found",
        ),
        (
            lambda: gpu.launch(gpu.function("demo", "nothing"), (1, 1, 1), (2048, 1, 1), ()),
            r"launching nothing with grid \(1, 1, 1\), block \(2048, 1, 1\) failed: cuLaunchKernel failed: invalid argument",
        ),
        (
            lambda: gpu.fill(DeviceArray(array.pointer, (64,), array.dtype), 0),
            "filling GPU memory failed: .* illegal memory access",
        ),
    ):
        _raises(call, message)
    try:
        gpu.launch(gpu.function("demo", "nothing"), (1, 1, 1), (1, 1, 1), (7,))  # type: ignore[arg-type]
        raise AssertionError("a Python number is refused")
    except TypeError as error:
        assert "argument 0: a kernel takes device arrays and NumPy numbers, not int 7" in str(error)
    for host in (np.zeros(8, np.float32), np.zeros(9, np.int32), np.zeros(16, np.int32)[::2]):
        try:
            gpu.upload(array, host)
            raise AssertionError("a host array of another kind is refused")
        except ValueError:
            pass


def graphs(gpu: Runtime) -> None:
    stream, side = gpu.stream(), gpu.stream()
    source, target, counter = gpu.empty((100,), np.float32), gpu.empty((100,), np.float32), gpu.empty((1,), np.int32)
    host = np.linspace(0, 1, 100, dtype=np.float32)
    gpu.upload(source, host)
    gpu.fill(counter)
    out, count = np.empty(100, np.float32), np.empty(1, np.int32)
    increment = LaunchPlan("increment", (2, 1, 1), (4, 1, 1), (counter,))
    gpu.function("demo", "increment"), gpu.function("demo", "scale_and_shift")
    fork, join = gpu.event(), gpu.event()
    with gpu.capture(stream) as recording:
        gpu.fill(target, 0, stream)
        gpu.record(fork, stream)
        gpu.wait(side, fork)
        gpu.run("demo", increment, side)
        gpu.run("demo", scaled(source, target, 2.0), stream)
        gpu.record(join, side)
        gpu.wait(stream, join)
    assert recording.graph is not None and recording.graph.node_count() == 3
    assert [name for name, _, _ in recording.launches] == ["increment", "scale_and_shift"]
    gpu.download(count, counter)
    assert count[0] == 0, "recording runs nothing"
    gpu.replay(recording, [increment, scaled(source, target, 2.0)], stream)
    gpu.download(out, target)
    gpu.download(count, counter)
    assert_array_equal(out, (2.0 * host.astype(np.float64) + 2).astype(np.float32))
    assert count[0] == 8
    # Other arguments, another grid: the same graph.
    for scale, used in ((4.0, 100), (4.0, 40), (2.0, 100)):
        gpu.replay(recording, [increment, scaled(source, target, scale, used)], stream)
        gpu.download(out, target)
        expected = (scale * host.astype(np.float64) + 2).astype(np.float32)
        assert_array_equal(out, np.where(np.arange(100) < used, expected, 0))
    _raises(lambda: gpu.replay(recording, [increment], stream), "other kernels than the recorded one")
    recording.close()
    # A failure inside leaves the stream usable.
    try:
        with gpu.capture(stream):
            gpu.synchronize(stream)
        raise AssertionError("waiting cannot be recorded")
    except DeviceFailure as error:
        assert "not permitted when stream is capturing" in str(error)
    gpu.run("demo", increment, stream)
    gpu.synchronize(stream)


def reloads(gpu: Runtime) -> None:
    """A cached cubin that the driver refuses is thrown away and made anew; code that it refuses again gives way to the next."""
    made = []

    def stale(stem: str, architecture: str) -> Iterator[Image]:
        made.append(architecture)
        yield Image("cubin", b"nonsense\0", "cache (nvcc)") if len(made) == 1 else image(stem, architecture)

    runtime.images = stale  # type: ignore[assignment]
    gpu.launch(gpu.function("demo", "nothing"), (1, 1, 1), (1, 1, 1), ())
    assert made == ["sm_90", "sm_90"] and gpu.origin("demo") == "nvcc"

    # A toolkit newer than the driver.
    refused = [Image("cubin", b"nonsense\0", "nvcc 99.0"), Image("cubin", b"nonsense\0", "NVRTC 99.0")]
    runtime.images = lambda stem, _: iter([*refused, image("demo", _, "prebuilt PTX")])  # type: ignore[assignment]
    gpu.module("other")
    assert gpu.origin("other") == "prebuilt PTX"

    def none(stem: str, architecture: str) -> Iterator[Image]:
        yield refused[0]
        raise DeviceFailure("no prebuilt PTX")

    runtime.images = none  # type: ignore[assignment]
    said = r"the driver does not load kernel third \(nvcc 99.0\): .* kernel image is invalid.*; no prebuilt PTX"
    _raises(lambda: gpu.module("third"), said)


def opens(gpu: Runtime) -> None:
    """Prints how opening the device fails."""
    try:
        gpu.name  # noqa: B018
    except DeviceFailure as error:
        print(f"{type(error).__name__}: {error}")


def _raises(call: object, message: str) -> None:
    try:
        call()  # type: ignore[operator]
    except DeviceFailure as error:
        assert re.search(message, str(error)), str(error)
        assert "\n" not in str(error)
    else:
        raise AssertionError(f"not raised: {message}")


if __name__ == "__main__":
    runtime.images = lambda stem, architecture: iter([image(stem, architecture)])  # type: ignore[assignment]
    case = sys.argv[2]
    device = Runtime(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    globals()[case](device)
    gc.collect()  # exceptions hold their frames in cycles
    device.close()
    if case != "opens":
        assert driver.library().fake_allocations() == 0, "memory was not freed"
    print("done")
