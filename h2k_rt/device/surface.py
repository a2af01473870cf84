"""From high-resolution depth to mesh arrays on the GPU: relief, clean-up, colours, grid mesh; the twin of h2k_rt.surface.

What the back of head and trunk looks like is worked out on the host from the photo alone, at a quarter of the resolution, while the
GPU runs the networks; here it is only laid over the front's colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from h2k_kernels.launch import DeviceArray
from h2k_kernels.launch.camera import CanvasCamera
from h2k_kernels.launch.clean_depth import COUNTS, clean_depth
from h2k_kernels.launch.clean_depth import scratch_bytes as clean_scratch
from h2k_kernels.launch.depth_to_mesh import MeshArrays, depth_to_mesh
from h2k_kernels.launch.depth_to_mesh import scratch_bytes as mesh_scratch
from h2k_kernels.launch.integrate_normals import integrate_normals
from h2k_kernels.launch.integrate_normals import scratch_bytes as relief_scratch
from h2k_kernels.launch.person_colours import FILL_PLANES, fill_scratch_bytes, plan, plan_fill
from h2k_kernels.launch.person_colours import scratch_bytes as colour_scratch
from h2k_kernels.launch.runtime import Runtime, Stream
from numpy.typing import NDArray

from h2k_rt.constants import Method
from h2k_rt.device.arena import Arena, Tensor, plan_layout
from h2k_rt.device.job import Job
from h2k_rt.device.rules import clean_rules, colour_rules
from h2k_rt.errors import PersonError
from h2k_rt.surface.back_colour import COARSE, SMALL, back_fills
from h2k_rt.surface.back_head import Fill

#: Most fills of a back: trunk and head.
MAX_FILLS = 2
#: Vertices that there is room for at first: twice what a person of common build has. A larger mesh gets more room once.
FIRST_VERTICES = 2_500_000

Size = tuple[int, int]


@dataclass(frozen=True)
class MeshCounts:
    """Numbers that came down before the arrays do.

    Attributes:
        vertices, faces: of the mesh.
        pixels: of the person in the depth maps; 0: the networks found no body.
        filled: share of them that was filled in.
    """

    vertices: int
    faces: int
    pixels: int
    filled: float

    def check(self) -> None:
        """Whether there is a mesh.

        Raises:
            PersonError: nobody is left in the depth maps, or less than a mesh needs.
        """
        if not self.pixels:
            raise PersonError(
                "no person is left in the depth maps: the photo may show no whole person; try another photo or give a mask"
            )
        if not self.vertices:
            raise PersonError("the person is too small to be meshed: no 2 x 2 pixels of the depth maps belong to one piece")


class SurfaceChain:
    """Memory and steps of the surface, for one photo at a time, on one stream.

    Args:
        runtime: the device.
        method: constants of the model.
        window: the largest window, (height, width).
        first_vertices: for how many there is room at first.

    Raises:
        DeviceFailure: not enough device memory.
    """

    def __init__(self, runtime: Runtime, method: Method, window: Size, first_vertices: int = FIRST_VERTICES) -> None:
        self._runtime, self._method = runtime, method
        self.factor = max(round(method.size / SMALL), 1)
        self._clean_rules, self._colour_rules = clean_rules(method, method.size), colour_rules(method.size)
        self._camera = CanvasCamera(method.size, method.half_tan, method.depth_unit_px, method.size, method.world_scale)
        self._arena = Arena(runtime, plan_layout(self._tensors(window)))
        tangents = self._camera.tangents()
        runtime.upload(self._arena.array("tangents"), tangents)
        runtime.synchronize()
        self._vertices, self._faces = 0, 0
        self.make_room(first_vertices, 2 * first_vertices)

    def _tensors(self, window: Size) -> dict[str, Tensor]:
        height, width = window
        byte, int32 = np.dtype(np.uint8), np.dtype(np.int32)
        stages = (relief_scratch, clean_scratch, colour_scratch, fill_scratch_bytes, mesh_scratch)
        scratch = max(size(height, width) for size in stages)
        return {
            "depth": Tensor((1, 2, height, width)),
            "mask": Tensor((1, height, width), byte),
            "clean counts": Tensor((1, len(COUNTS)), int32),
            "mesh counts": Tensor((1, 4), np.dtype(np.int64)),
            "front": Tensor((1, height, width, 4), byte),
            "back": Tensor((1, height, width, 4), byte),
            "fills": Tensor((MAX_FILLS, FILL_PLANES, *self.fill_size(window))),
            "tangents": Tensor((self._method.size,)),
            "scratch": Tensor((scratch,), byte),
        }

    @property
    def nbytes(self) -> int:
        """Device memory of the surface, the mesh's arrays included."""
        return self._arena.nbytes + sum(array.nbytes for array in self._out())

    def fill_size(self, window: Size) -> Size:
        """Rows and columns of a fill for a window."""
        return -(-window[0] // self.factor), -(-window[1] // self.factor)

    def array(self, name: str, window: Size) -> DeviceArray:
        """A map for a window: "depth", "mask", "front" or "back"."""
        shapes = {"depth": (1, 2, *window), "mask": (1, *window), "front": (1, *window, 4), "back": (1, *window, 4)}
        return self._arena.array(name, shapes[name])

    def fill(self, number: int, window: Size) -> DeviceArray:
        """Planes of a fill, (1, 6, h, w)."""
        shape = (1, FILL_PLANES, *self.fill_size(window))
        return self._arena.array("fills", (MAX_FILLS, *shape[1:]))[number].reshape(*shape)

    # The mesh's arrays

    def make_room(self, vertices: int, faces: int) -> None:
        """Make sure that a mesh of so many vertices and faces fits.

        Raises:
            DeviceFailure: not enough device memory.
        """
        if vertices <= self._vertices and faces <= self._faces:
            return
        more = 1.0 if not self._vertices else 1.25
        self._vertices, self._faces = round(max(vertices, self._vertices) * more), round(max(faces, self._faces) * more)
        empty = self._runtime.empty
        self.vertices = empty((1, self._vertices, 3), np.float32)
        self.normals = empty((1, self._vertices, 3), np.float32)
        self.colors = empty((1, self._vertices, 3), np.uint8)
        self.faces = empty((1, self._faces, 3), np.int32)

    def _out(self) -> tuple[DeviceArray, ...]:
        return self.vertices, self.normals, self.colors, self.faces

    def fits(self, counts: MeshCounts) -> bool:
        """Whether a mesh of these numbers was written."""
        return counts.vertices <= self._vertices and counts.faces <= self._faces

    # Steps

    def enqueue_relief(self, launch: Any, depth: DeviceArray, normals: DeviceArray, stream: Stream) -> None:
        """Lay the relief of the fused normals on the trunk's depth, in place, if the method asks for it.

        Args:
            depth, normals: (1, 2, h, w) and (1, 6, h, w) of the window.

        Raises:
            DeviceFailure: a step was refused.
        """
        method = self._method
        if method.relief_wavelength_px is None:
            return
        launch.mark("relief")
        integrate_normals(
            launch,
            depth,
            normals,
            self._scratch(relief_scratch(*depth.shape[2:])),
            wavelength=method.relief_wavelength_px,
            normal_z=method.normal_z,
            depth_unit=method.depth_unit_px,
            stream=stream,
        )

    def enqueue_clean(self, launch: Any, depth: DeviceArray, canvas: DeviceArray, origin: DeviceArray, stream: Stream) -> None:
        """Clean the trunk's depth: (1, 2, h, w) float32.

        Raises:
            DeviceFailure: a step was refused.
        """
        height, width = depth.shape[2:]
        window = (height, width)
        launch.mark("clean depth")
        clean_depth(
            launch,
            depth,
            canvas,
            self.array("depth", window),
            self.array("mask", window),
            self._arena.array("clean counts"),
            self._scratch(clean_scratch(height, width)),
            self._clean_rules,
            origin=origin,
            stream=stream,
        )

    def enqueue_mesh(self, launch: Any, window: Size, canvas: DeviceArray, origin: DeviceArray, fills: int, stream: Stream) -> None:
        """Colours and mesh of the cleaned depth.

        Args:
            fills: how many of the fills are to be laid over the back.

        Raises:
            DeviceFailure: a step was refused.
        """
        height, width = window
        mask, front, back = (self.array(name, window) for name in ("mask", "front", "back"))
        launch.mark("colours")
        steps = plan(canvas, mask, front, back, self._scratch(colour_scratch(height, width)), self._colour_rules, origin=origin)
        for number in range(fills):
            work = self._scratch(fill_scratch_bytes(height, width))
            steps += plan_fill(back, self.fill(number, window), work, self._colour_rules, self.factor, COARSE * self.factor)
        for stem, step in steps:
            launch.run(stem, step, stream)
        launch.mark("mesh")
        out = MeshArrays(self.vertices, self.normals, self.colors, self.faces, self._arena.array("mesh counts"))
        depth_to_mesh(
            launch,
            self.array("depth", window),
            mask,
            front,
            back,
            self._arena.array("tangents"),
            self._camera,
            out,
            self._scratch(mesh_scratch(height, width)),
            origin=origin,
            stream=stream,
        )

    def _scratch(self, nbytes: int) -> DeviceArray:
        return self._arena.array("scratch", (nbytes,))

    def counts(self) -> tuple[DeviceArray, DeviceArray]:
        """The numbers on the device: (1, 8) int32 and (1, 4) int64."""
        return self._arena.array("clean counts"), self._arena.array("mesh counts")


def mesh_counts(clean: NDArray[np.int32], mesh: NDArray[np.int64]) -> MeshCounts:
    """The downloaded numbers."""
    of = dict(zip(COUNTS, clean[0].tolist(), strict=True))
    return MeshCounts(int(mesh[0, 0]), int(mesh[0, 1]), of["total"], of["filled"] / max(of["total"], 1))


def plan_back(job: Job, joints: NDArray[np.float64], factor: int) -> list[NDArray[np.float32]]:
    """What the back of trunk and head looks like, from the photo: for each fill (6, h, w) float32, a quarter of the window.

    Args:
        joints: (31, 3) canvas pixels.
        factor: by which the fills are coarser than the canvas.
    """
    small = job.framing.reduced(factor)
    picture = small.image(job.rgb, border=cv2.BORDER_REPLICATE)
    inside = small.image(job.mask, border=cv2.BORDER_CONSTANT) > 63
    window = job.window
    height, width = -(-window.height // factor), -(-window.width // factor)
    at = np.s_[window.y // factor : window.y // factor + height, window.x // factor : window.x // factor + width]
    return [_planes(fill) for fill in back_fills(picture[at], inside[at], joints, (window.x, window.y), factor)]


def _planes(fill: Fill) -> NDArray[np.float32]:
    color = np.moveaxis(fill.color, -1, 0)
    return np.concatenate([color, fill.alpha[None], fill.grain[None], fill.detail[None]]).astype(np.float32)
