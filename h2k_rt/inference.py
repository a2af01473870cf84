"""The method from the prepared canvas to high-resolution depth: eight networks and the geometry between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from h2k_engines import Engine
from h2k_engines.onnxruntime_engine import default_threads
from h2k_kernels import Crops, fuse_parts, integrate_normals, warp_parts
from numpy.typing import NDArray

from h2k_rt.constants import PART_GROUPS, Method
from h2k_rt.high_depth import ALIGN, HALO, person_region, refine_depth
from h2k_rt.parts import PartTransforms
from h2k_rt.picture import low_picture
from h2k_rt.stopwatch import Stopwatch

#: Below this sum of part weights the low-resolution normals make up the rest (default mode). The published way gives full
#: weight to the last tail of a window, which draws a seam where it ends.
FILL_WEIGHT = 0.05

CROPS = tuple(Crops(g.parts, g.height, g.width) for g in PART_GROUPS)


@dataclass(frozen=True)
class CoarseMaps:
    """What the networks say of one canvas before the trunk. N = 2048, n = 256.

    Attributes:
        low_normals, part_normals, normals, low_depth, low_mask: as in :class:`CanvasMaps`.
        region: (N, N) bool, where the trunk is to run; None: everywhere.
    """

    low_normals: NDArray[np.float32]
    part_normals: tuple[NDArray[np.float32], ...]
    normals: NDArray[np.float32]
    low_depth: NDArray[np.float32]
    low_mask: NDArray[np.float32]
    region: NDArray[np.bool_] | None


@dataclass(frozen=True)
class CanvasMaps:
    """What the networks say of one canvas. N = 2048, n = 256; depth in nu, normals encoded as (n + 1) / 2.

    Attributes:
        low_normals: (6, n, n) float32, front and back.
        part_normals: for each part group (B, 6, h, w) float32.
        normals: (6, N, N) float32, fused.
        low_depth: (2, n, n) float32, front and back, background 6 and 0.
        low_mask: (n, n) float32 probability.
        depth: (2, N, N) float32, front and back; outside the person front > back.
        mask: (N, N) float32 probability.
    """

    low_normals: NDArray[np.float32]
    part_normals: tuple[NDArray[np.float32], ...]
    normals: NDArray[np.float32]
    low_depth: NDArray[np.float32]
    low_mask: NDArray[np.float32]
    depth: NDArray[np.float32]
    mask: NDArray[np.float32]


def run_networks(
    engines: Mapping[str, Engine],
    picture: NDArray[np.float32],
    transforms: PartTransforms,
    method: Method,
    *,
    person: NDArray[np.uint8] | None = None,
    threads: int | None = None,
    watch: Stopwatch | None = None,
) -> CanvasMaps:
    """Run the whole method on a prepared canvas.

    Args:
        engines: by network name: ``low_normal``, the five part groups, ``low_depth``, ``high_depth``.
        picture: (N, N, 3) float32, cut out, colour-factored, in [-1, 1].
        person: (N, N) uint8 mask. Given: the trunk and the fusion run where the person is, and low-resolution normals stand
            in where no usable part reaches. None: the published way, on the whole canvas and without a stand-in.
        threads: for the geometry between the networks; None: all cores.
        watch: takes each stage's time.
    """
    watch = watch or Stopwatch()
    coarse = fused_normals(engines, picture, transforms, method, person=person, threads=threads, watch=watch)
    with watch("high depth"):
        depth, mask = refine_depth(engines["high_depth"], coarse.low_depth[None], coarse.normals, method, coarse.region)
    if person is not None and method.relief_wavelength_px is not None:
        with watch("relief"):
            depth = integrate_normals(
                depth,
                coarse.normals,
                wavelength=method.relief_wavelength_px,
                normal_z=method.normal_z,
                depth_unit=method.depth_unit_px,
                threads=threads,
            )
    return CanvasMaps(coarse.low_normals, coarse.part_normals, coarse.normals, coarse.low_depth, coarse.low_mask, depth, mask)


def fused_normals(
    engines: Mapping[str, Engine],
    picture: NDArray[np.float32],
    transforms: PartTransforms,
    method: Method,
    *,
    person: NDArray[np.uint8] | None = None,
    threads: int | None = None,
    watch: Stopwatch | None = None,
) -> CoarseMaps:
    """All that comes before the trunk: low-resolution maps, part normals and their fusion. Arguments as :func:`run_networks`."""
    watch = watch or Stopwatch()
    threads = threads or default_threads()
    with watch("low normals"):
        low = low_picture(picture, method.low_size)
        low_normals = engines["low_normal"].run({"picture": low})["normals"]
    with watch("low depth"):
        outputs = engines["low_depth"].run({"picture": low, "normals": low_normals})
        low_depth, low_mask = outputs["depth"], outputs["mask"][0, 0]
    with watch("warp parts"):
        crops = warp_parts(picture, low_normals[0, :3], transforms.to_canvas, CROPS, threads)
    part_normals = []
    for group, crop in zip(PART_GROUPS, crops, strict=True):
        with watch(f"{group.name} normals"):
            part_normals.append(engines[group.name].run({"crops": crop})["normals"])
    del crops
    with watch("fuse parts"):
        region = None if person is None else person_region(person)
        normals = fuse_parts(
            part_normals,
            CROPS,
            transforms.to_canvas,
            transforms.to_part,
            method.size,
            usable=transforms.usable,
            region=None if region is None else bounding_box(region, HALO + ALIGN),
            fill=None if region is None else fine_scale_normals(low_normals[0], method.size // method.low_size, method.normal_z),
            fill_weight=0.0 if region is None else FILL_WEIGHT,
            back_share=(method.back_low_share or 0.0) if region is not None else 0.0,
            trim=method.window_trim,
            taps=method.blur_taps,
            sigma=method.blur_sigma,
            threads=threads,
        )
    return CoarseMaps(low_normals[0], tuple(part_normals), normals, low_depth[0], low_mask, region)


def fine_scale_normals(low_normals: NDArray[np.float32], factor: int, normal_z: float) -> NDArray[np.float32]:
    """Low-resolution normals in the encoding of the high resolution, still (6, n, n).

    A normal is made from depth differences of neighbouring pixels with the same z at every resolution (SPEC 8), so the same
    surface has ``factor`` times smaller differences on the finer grid. Background (all 0) stays background.
    """
    out = np.empty_like(low_normals)
    for side in (slice(0, 3), slice(3, 6)):
        encoded = low_normals[side]
        vector = 2 * encoded - 1
        # Differences in units of z; a steep or broken prediction is held at the steepest that 8 bits can tell.
        slope = vector[:2] / np.maximum(vector[2], 1 / 128) / factor
        fine = np.concatenate([slope, np.ones_like(slope[:1])])
        fine /= np.sqrt((fine * fine).sum(0))
        present = np.clip(encoded.max(0) / 0.5, 0, 1)
        out[side] = (fine + 1) * (0.5 * present)
    return out


def bounding_box(region: NDArray[np.bool_], margin: int) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) around the true pixels with a margin, within the array; all 0 if there are none."""
    size_y, size_x = region.shape
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    x0, y0 = max(0, int(columns[0]) - margin), max(0, int(rows[0]) - margin)
    return x0, y0, min(size_x, int(columns[-1]) + 1 + margin), min(size_y, int(rows[-1]) + 1 + margin)
