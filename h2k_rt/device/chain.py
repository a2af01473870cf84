"""The method from a photo's bytes to high-resolution depth on one GPU: kernels and networks on their streams.

    main   photo -> low normals -+-> warp --+---------------------> fuse -> trunk -> ...
    depth                        +-> low depth ----------------------------^
    parts                                   +-> face, upper, arm, leg, shoe ^

Everything that differs from photo to photo lies in device memory (:class:`Parameters`), so that the same launches serve all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from h2k_engines import Binding, DeviceEngine, EngineFailure
from h2k_kernels.launch import DeviceArray
from h2k_kernels.launch.copy_window import copy_window
from h2k_kernels.launch.fuse_parts import fuse_parts, plan_fill
from h2k_kernels.launch.fuse_parts import scratch_bytes as fuse_scratch
from h2k_kernels.launch.photo_prep import FRAME, photo_prep
from h2k_kernels.launch.photo_prep import scratch_bytes as photo_scratch
from h2k_kernels.launch.runtime import Runtime, Stream
from h2k_kernels.launch.warp_parts import warp_parts

from h2k_rt.constants import PART_GROUPS, PARTS, Method
from h2k_rt.device.arena import Arena, Layout, Tensor, plan_layout
from h2k_rt.device.launcher import Launcher
from h2k_rt.device.windows import START, window_sizes
from h2k_rt.inference import CROPS, FILL_WEIGHT

#: Networks that run beside the main stream, each on a stream of its own.
SIDE = ("low_depth", *(group.name for group in PART_GROUPS))

#: Opens a network on a stream.
OpenEngine = Callable[[str, Stream], DeviceEngine]


def parameter_layout() -> Layout:
    """What the kernels read of each photo, in one block: one upload."""
    parts = len(PARTS)
    return plan_layout(
        {
            "frame": Tensor((1, FRAME.itemsize), np.dtype(np.uint8)),
            "to_canvas": Tensor((1, parts, 2, 3)),
            "to_part": Tensor((1, parts, 2, 3)),
            "usable": Tensor((1, parts), np.dtype(np.uint8)),
            "origin": Tensor((1, 2), np.dtype(np.int32)),
            "region": Tensor((1, 4), np.dtype(np.int32)),
        }
    )


class NetworkChain:
    """The chain's streams, engines, memory and steps, for one photo at a time.

    Args:
        runtime: the device.
        open_engine: opens each network on the stream that it will run on.
        method: constants of the model.
        more: further tensors for the arena, by name.

    Raises:
        DeviceFailure: not enough device memory.
        EngineFailure: an engine cannot be opened, or the networks' tensors do not fit each other.
    """

    def __init__(self, runtime: Runtime, open_engine: OpenEngine, method: Method, more: Mapping[str, Tensor] | None = None) -> None:
        self.method = method
        self.main = runtime.stream()
        self._side = {name: runtime.stream() for name in SIDE}
        self.engines = {name: open_engine(name, self.stream_of(name)) for name in ("low_normal", "high_depth", *SIDE)}
        self.sizes = window_sizes(method.size)
        self.arena = Arena(runtime, plan_layout({**self._tensors(), **(more or {})}))
        self.parameters = {name: self._parameter(name) for name in parameter_layout().tensors}
        self._trunks: dict[tuple[int, int], Binding] = {}
        self._bindings = self._bind()
        self._events = {name: runtime.event() for name in ("low normals", "warped", *SIDE)}

    # Memory

    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor of the chain; networks' tensors as the networks declare them."""
        byte, size = np.dtype(np.uint8), self.method.size
        tensors = {
            "parameters": Tensor((parameter_layout().nbytes,), byte),
            "canvas": Tensor((1, size, size, 4), byte),
            "picture": Tensor((1, size, size, 4), byte),
            "photo scratch": Tensor((photo_scratch(size),), byte),
            "fuse scratch": Tensor((fuse_scratch(CROPS),), byte),
            "low picture": self._declared("low_normal", "picture"),
            "low normals": self._declared("low_normal", "normals"),
            "low depth": self._declared("low_depth", "depth"),
            "low mask": self._declared("low_depth", "mask"),
        }
        tensors["fill"] = tensors["low normals"]
        for group in PART_GROUPS:
            tensors[f"{group.name} crops"] = self._declared(group.name, "crops")
            tensors[f"{group.name} normals"] = self._declared(group.name, "normals")
        for name, tensor in self._trunk_tensors(self.sizes[-1]).items():
            tensors[f"trunk {name}"] = tensor
        return tensors

    def _declared(self, network: str, name: str) -> Tensor:
        engine = self.engines[network]
        spec = {**engine.inputs, **engine.outputs}.get(name)
        if spec is None or not all(isinstance(n, int) for n in spec.shape):
            raise EngineFailure(f"{network}: it has no tensor {name} of a fixed shape")
        return Tensor(tuple(int(n) for n in spec.shape), spec.dtype)

    def _trunk_tensors(self, size: tuple[int, int]) -> dict[str, Tensor]:
        """Inputs and outputs of the trunk for a window."""
        height, width = size
        factor = self.method.size // self.method.low_size
        if factor != START:
            raise EngineFailure(f"the trunk makes depth {START} times finer, not {factor} times")
        engine = self.engines["high_depth"]
        specs = {**engine.inputs, **engine.outputs}
        shapes = {
            "low_depth": (1, 2, height // factor, width // factor),
            "normals": (1, 6, height, width),
            "depth": (1, 2, height, width),
            "mask": (1, 1, height, width),
        }
        return {name: Tensor(shape, specs[name].dtype) for name, shape in shapes.items()}

    def _parameter(self, name: str) -> DeviceArray:
        layout = parameter_layout()
        block, tensor = self.arena.array("parameters"), layout.tensors[name]
        return DeviceArray(block.pointer + layout.offsets[name], tensor.shape, tensor.dtype, (), block.owner, block.device)

    def trunk(self, name: str, size: tuple[int, int]) -> DeviceArray:
        """An input or output of the trunk for windows of ``size``: "low_depth", "normals", "depth" or "mask"."""
        tensor = self._trunk_tensors(size)[name]
        return self.arena.array(f"trunk {name}", tensor.shape)

    # Engines

    def stream_of(self, network: str) -> Stream:
        """The stream that a network runs on."""
        return self._side.get(network, self.main)

    def _bind(self) -> dict[str, Binding]:
        array, engines, side = self.arena.array, self.engines, self._side
        bindings = {
            "low_normal": engines["low_normal"].bind(
                {"picture": array("low picture")}, {"normals": array("low normals")}, self.main
            ),
            "low_depth": engines["low_depth"].bind(
                {"picture": array("low picture"), "normals": array("low normals")},
                {"depth": array("low depth"), "mask": array("low mask")},
                side["low_depth"],
            ),
        }
        for group in PART_GROUPS:
            crops, normals = array(f"{group.name} crops"), array(f"{group.name} normals")
            bindings[group.name] = engines[group.name].bind({"crops": crops}, {"normals": normals}, side[group.name])
        return bindings

    def _trunk_binding(self, size: tuple[int, int]) -> Binding:
        if size not in self._trunks:
            tensors = {name: self.trunk(name, size) for name in ("low_depth", "normals", "depth", "mask")}
            inputs = {name: tensors[name] for name in ("low_depth", "normals")}
            outputs = {name: tensors[name] for name in ("depth", "mask")}
            self._trunks[size] = self.engines["high_depth"].bind(inputs, outputs, self.main)
        return self._trunks[size]

    # Steps

    def enqueue(self, launch: Any, photos: DeviceArray, masks: DeviceArray, size: tuple[int, int]) -> None:
        """Put the chain into its streams; it begins and ends in ``main``.

        Args:
            launch: a :class:`Launcher`; typed loosely, since the kernels' functions ask for a Runtime and use its ``run`` alone.
            photos, masks: (n,) uint8 buffers that hold the photo's and the mask's bytes.
            size: of the window, one of ``sizes``.

        Raises:
            DeviceFailure, EngineFailure: a step was refused.
        """
        array, main = self.arena.array, self.main
        launch.mark("photo")
        photo_prep(
            launch,
            photos,
            masks,
            self.parameters["frame"],
            array("canvas"),
            array("picture"),
            array("low picture"),
            array("photo scratch"),
            factors=self.method.colour_factors,
            background=self.method.background_value,
            stream=main,
        )
        launch.mark("low normals")
        launch.engine(self._bindings["low_normal"], main)
        self._fork(launch, "low normals", ("low_depth",))
        launch.mark("warp parts")
        crops = [array(f"{group.name} crops") for group in PART_GROUPS]
        warp_parts(
            launch,
            array("picture"),
            array("low normals"),
            self.parameters["to_canvas"],
            CROPS,
            crops,
            self.method.background_value,
            main,
        )
        launch.mark("part normals")
        self._fork(launch, "warped", tuple(group.name for group in PART_GROUPS))
        launch.run("fuse_parts", plan_fill(array("low normals"), array("fill"), self.method.size // self.method.low_size), main)
        self._join(launch, tuple(group.name for group in PART_GROUPS))
        launch.mark("fuse parts")
        fuse_parts(
            launch,
            [array(f"{group.name} normals") for group in PART_GROUPS],
            CROPS,
            self.parameters["to_canvas"],
            self.parameters["to_part"],
            self.method.size,
            self.trunk("normals", size),
            array("fuse scratch"),
            usable=self.parameters["usable"],
            region=self.parameters["region"],
            origin=self.parameters["origin"],
            fill=array("fill"),
            fill_weight=FILL_WEIGHT,
            back_share=self.method.back_low_share or 0.0,
            trim=self.method.window_trim,
            taps=self.method.blur_taps,
            sigma=self.method.blur_sigma,
            stream=main,
        )
        self._join(launch, ("low_depth",))
        launch.mark("high depth")
        copy_window(launch, array("low depth"), self.trunk("low_depth", size), self.parameters["origin"], START, main)
        launch.engine(self._trunk_binding(size), main)

    def _fork(self, launch: Launcher, event: str, networks: tuple[str, ...]) -> None:
        """Run networks on their own streams after what is in the main stream now."""
        launch.record(self._events[event], self.main)
        for name in networks:
            launch.wait(self._side[name], self._events[event])
            launch.engine(self._bindings[name], self._side[name])
            launch.record(self._events[name], self._side[name])

    def _join(self, launch: Launcher, networks: tuple[str, ...]) -> None:
        for name in networks:
            launch.wait(self.main, self._events[name])
