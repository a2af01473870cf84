"""The second method's networks on one GPU: maps and features stay there, points go up, occupancy comes down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from h2k_engines import Binding, DeviceEngine, EngineFailure
from h2k_kernels.launch import DeviceArray
from h2k_kernels.launch.runtime import Runtime, Stream
from h2k_kernels.launch.sample_features import sample_features
from numpy.typing import NDArray

from h2k_rt.bundle import Bundle
from h2k_rt.device.arena import Arena, Tensor, plan_layout
from h2k_rt.device.chain import OpenEngine
from h2k_rt.device.pipeline import open_device, telling
from h2k_rt.engines import EngineName, Precision
from h2k_rt.views.chunks import Chunks, chunk_size
from h2k_rt.views.networks import bytes_per_point, side_of
from h2k_rt.views.octree import Occupancy


class DeviceViewNetworks:
    """Both networks and ``sample_features`` on one stream of a GPU. For one thread, and one person at a time.

    Args:
        open_engine: opens each network on the stream.
        sizes: fewest and most points that the point network was made for.
        runtime: the device.

    Raises:
        EngineError: no driver, no GPU, or an engine cannot be opened.
    """

    def __init__(self, open_engine: OpenEngine, sizes: tuple[int, int], runtime: Runtime) -> None:
        self._open_engine, self._sizes, self._runtime = open_engine, sizes, runtime
        with telling(), runtime.active():
            self._stream = runtime.stream()
            self.engines: dict[str, DeviceEngine] = {name: open_engine(name, self._stream) for name in ("encoder", "points")}
        self._person: _Person | None = None

    @property
    def providers(self) -> dict[str, str]:
        return {name: engine.provider for name, engine in self.engines.items()}

    @property
    def picture_size(self) -> int:
        return side_of(self.engines["encoder"].inputs)

    def take_notes(self) -> list[str]:
        given: list[str] = getattr(self._open_engine, "notes", [])
        notes, given[:] = list(given), []
        return notes

    def encode(self, pictures: NDArray[np.float32], projections: NDArray[np.float32]) -> Occupancy:
        self._person = None  # first free what the last one took
        with telling(), self._runtime.active():
            self._person = person = _Person(self._runtime, self._stream, self.engines, projections, self._sizes)
            person.encode(pictures)

        def occupancy(points: NDArray[np.float32]) -> NDArray[np.float32]:
            with telling(), self._runtime.active():
                return person.chunks(points)

        return occupancy


class _Person:
    """Maps of one person's views, and the memory in which chunks of points are worked on."""

    def __init__(
        self,
        runtime: Runtime,
        stream: Stream,
        engines: Mapping[str, DeviceEngine],
        projections: NDArray[np.float32],
        sizes: tuple[int, int],
    ) -> None:
        self._runtime, self._stream, self._engines = runtime, stream, engines
        self._views = len(projections)
        encoder = engines["encoder"]
        shapes = {name: _fixed(encoder, name) for name in (*encoder.inputs, *encoder.outputs)}
        maps = {f"all {name}": Tensor((self._views, *shapes[name].shape[1:]), shapes[name].dtype) for name in encoder.outputs}
        layout = plan_layout({**shapes, **maps, "projections": Tensor(projections.shape)})
        self._arena = Arena(runtime, layout)
        self._maps = [self._arena.array(name) for name in maps]
        self._channels = sum(array.shape[3] for array in self._maps) + 1
        self._projections = np.ascontiguousarray(projections, np.float32)
        least, most = sizes
        size = chunk_size(runtime.memory()[0], bytes_per_point(self._views, self._channels), least, most)
        self.chunks = Chunks(self._evaluate, size, least)
        self._least = least
        self._space: _Space | None = None

    def encode(self, pictures: NDArray[np.float32]) -> None:
        """Fill the maps: the encoder takes one view after the other, in the same memory."""
        runtime, stream, encoder = self._runtime, self._stream, self._engines["encoder"]
        array = self._arena.array
        runtime.upload(array("projections"), self._projections, stream)
        target = array("picture")
        binding = encoder.bind({"picture": target}, {name: array(name) for name in encoder.outputs}, stream)
        for view, picture in enumerate(np.ascontiguousarray(pictures)):
            runtime.upload(target, picture[None], stream)
            binding.enqueue(stream)
            for name, maps in zip(encoder.outputs, self._maps, strict=True):
                runtime.copy(_entry(maps, view), array(name), stream)
        runtime.synchronize(stream)

    def _evaluate(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """A chunk: points up, features, point network, occupancy down."""
        try:
            if self._space is None or self._space.size != self.chunks.size:
                self._space = None
                self._space = _Space(self._runtime, self._views, self._channels, self.chunks.size)
            return self._run(self._space, points)
        except Exception:
            self._space = None  # its memory is free for a smaller chunk
            raise

    def _run(self, space: _Space, points: NDArray[np.float32]) -> NDArray[np.float32]:
        runtime, stream = self._runtime, self._stream
        count = self._least
        while count < len(points):
            count *= 2
        space.points[: len(points)] = points
        space.points[len(points) : count] = 0
        on_device, features, occupancy = space.arrays(count)
        runtime.upload(on_device, space.points[:count], stream)
        sample_features(runtime, self._maps, self._arena.array("projections"), on_device, features, stream)
        if count not in space.bindings:
            space.bindings[count] = self._engines["points"].bind({"features": features}, {"occupancy": occupancy}, stream)
        space.bindings[count].enqueue(stream)
        runtime.download(space.values[:count], occupancy.reshape(count), stream)
        runtime.synchronize(stream)
        return space.values[: len(points)].copy()


class _Space:
    """Memory of a chunk of at most ``size`` points; smaller ones use a part of it.

    Engines are made ready for each number of points anew, so numbers are rounded up to few: powers of two times the smallest.

    Attributes:
        points, values: (size, 3) and (size,) float32, page-locked.
        bindings: of the point network, by number of points.
    """

    def __init__(self, runtime: Runtime, views: int, channels: int, size: int) -> None:
        self.size, self._views, self._channels = size, views, channels
        tensors = {
            "points": Tensor((size, 3)),
            "features": Tensor((views, channels, 1, size)),
            "occupancy": Tensor((1, 1, 1, size)),
        }
        self._arena = Arena(runtime, plan_layout(tensors))
        self.points, self.values = runtime.pinned((size, 3), np.float32), runtime.pinned((size,), np.float32)
        self.bindings: dict[int, Binding] = {}

    def arrays(self, count: int) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
        """Points, features and occupancy for ``count`` points."""
        array = self._arena.array
        return (
            array("points", (count, 3)),
            array("features", (self._views, self._channels, 1, count)),
            array("occupancy", (1, 1, 1, count)),
        )


def open_view_networks(
    bundle: Bundle, engine: EngineName = "auto", precision: Precision = "auto", number: int = 0
) -> DeviceViewNetworks:
    """The networks of a bundle of the second method on a GPU.

    Args:
        engine, precision: see :func:`h2k_rt.engines.device_engines`.
        number: of the GPU.

    Raises:
        MissingPackageError: PyCUDA is not installed.
        EngineError: no driver, no GPU, not enough memory, or a network cannot be opened.
        BundleError: a file of the bundle is missing or has changed.
    """
    open_engine, runtime = open_device(bundle, engine, precision, number)
    least, _, most = bundle.networks["points"].profile["points"]
    return DeviceViewNetworks(open_engine, (least, most), runtime)


def _fixed(engine: DeviceEngine, name: str) -> Tensor:
    spec = {**engine.inputs, **engine.outputs}[name]
    if not all(isinstance(n, int) for n in spec.shape):
        raise EngineFailure(f"{engine.name}: {name} has no fixed shape; export the model again")
    return Tensor(tuple(int(n) for n in spec.shape), spec.dtype)


def _entry(array: DeviceArray, index: int) -> DeviceArray:
    """One entry along the first axis, kept as an axis."""
    one = array.nbytes // array.shape[0]
    return DeviceArray(array.pointer + index * one, (1, *array.shape[1:]), array.dtype, (), array.owner, array.device)
