"""Launch of ``integrate_normals.cu``: the relief of normals laid on depth maps, in place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from h2k_kernels.integrate_normals import (
    COARSEST_PAIRS,
    CYCLES,
    LEAST_GAP,
    LEAST_Z,
    LEVELS,
    SLOPE_Z,
    STEP_FACTORS,
    TRUSTED_SLOPE,
)
from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import FLOATS, check_persons, check_scratch, structure
from h2k_kernels.launch.plan import Argument, LaunchPlan, Triple

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

#: ``Maps``, ``Grid`` and ``Factors`` of integrate_normals.cu.
_MAPS = np.dtype(
    [
        *((name, "u8") for name in ("depth", "normals", "start")),
        *((name, "i4") for name in ("height", "width", "depth_is_half", "normals_are_half")),
        *((name, "f4") for name in ("normal_z", "steepness", "screening", "least_z", "slope_z", "least_gap")),
    ],
    align=True,
)
_PLANES = ("right", "down", "screen", "wanted", "values", "smoothed")
_GRID = np.dtype([*((name, "u8") for name in _PLANES), ("height", "i4"), ("width", "i4")], align=True)
_FACTORS = np.dtype([("first", "f4"), ("second", "f4")], align=True)
#: ``BOUND_ROWS`` times the warps of a block.
_BOUNDS = (32, 64)
#: Cells of a block of ``relief_equations`` and ``relief_coarsen``, pixels of one of ``relief_apply``; cells of a tile.
_CELLS, _TILE = (32, 8), (32, 16)
_THREADS = (256, 1, 1)
_SIDES = 2


def grid_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of the grids for maps of that size, from the finest on."""
    return [(-(-height >> level), -(-width >> level)) for level in range(1, LEVELS + 1)] if height and width else []


def scratch_bytes(height: int, width: int, persons: int = 1) -> int:
    """Bytes of device memory that :func:`plan` needs beside its arguments."""
    return _start_bytes(persons) + sum(len(_PLANES) * _plane_bytes(size, persons) for size in grid_sizes(height, width))


def plan(
    depth: DeviceArray,
    normals: DeviceArray,
    scratch: DeviceArray,
    *,
    wavelength: float,
    normal_z: float,
    depth_unit: float,
) -> list[LaunchPlan]:
    """How to launch the kernels. B persons on maps of H x W pixels; the maps may be float32 or float16, each by itself.

    Args:
        depth: (B, 2, H, W) nu, front and back; changed where front < back.
        normals: (B, 6, H, W), encoded normals of front and back.
        scratch: (n,) uint8, at least :func:`scratch_bytes`.
        wavelength, normal_z, depth_unit: as for :func:`h2k_kernels.integrate_normals.integrate_normals`.

    Raises:
        ValueError: an argument has another type or shape, or the wavelength is not above 0.
    """
    require(depth, "depth", FLOATS, None, _SIDES, None, None)
    persons, _, height, width = depth.shape
    require(normals, "normals", FLOATS, persons, 3 * _SIDES, height, width)
    check_persons(_SIDES * persons)
    if not height or not width:
        raise ValueError(f"maps of {width} x {height} pixels are too small")
    if not (math.isfinite(wavelength) and wavelength > 0):
        raise ValueError(f"the wavelength must be above 0 pixels, not {wavelength}")
    check_scratch(scratch, scratch_bytes(height, width, persons))
    halves = (array.dtype == np.float16 for array in (depth, normals))
    numbers = (normal_z, depth_unit / TRUSTED_SLOPE, (4 * math.pi / wavelength) ** 2, LEAST_Z, SLOPE_Z, LEAST_GAP)
    maps = structure(np.array((depth.pointer, normals.pointer, scratch.pointer, height, width, *halves, *numbers), _MAPS))
    grids = _grids(scratch.pointer + _start_bytes(persons), height, width, persons)
    factors = structure(np.array(STEP_FACTORS, _FACTORS))

    def launch(kernel: str, size: tuple[int, int], cells: tuple[int, int], *args: Argument) -> LaunchPlan:
        return LaunchPlan(kernel, _blocks(size, cells, _SIDES * persons), _THREADS, args)

    sizes = grid_sizes(height, width)
    pairs = list(zip(range(LEVELS - 1), range(1, LEVELS), strict=True))
    whole = (height, width)
    plans = [
        LaunchPlan("relief_start", (-(-persons // 256), 1, 1), _THREADS, (maps, np.int32(persons))),
        LaunchPlan("relief_bounds", _blocks(whole, _BOUNDS, persons), (*_CELLS, 1), (maps,)),
        launch("relief_equations", sizes[0], _CELLS, maps, grids[0]),
    ]
    plans += [launch("relief_coarsen", sizes[coarse], _CELLS, grids[fine], grids[coarse]) for fine, coarse in pairs]
    for cycle in range(CYCLES):
        for fine, coarse in pairs:
            fresh = np.int32(cycle == 0 or fine > 0)
            plans.append(launch("relief_down", sizes[fine], _TILE, grids[fine], grids[coarse], factors, fresh))
        plans.append(launch("relief_coarsest", (1, 1), _TILE, grids[-1], factors, np.int32(COARSEST_PAIRS)))
        plans += [launch("relief_up", sizes[fine], _TILE, grids[fine], grids[coarse], factors) for fine, coarse in reversed(pairs)]
    return [*plans, LaunchPlan("relief_apply", _blocks(whole, _CELLS, persons), (*_CELLS, 1), (maps, grids[0]))]


def _blocks(size: tuple[int, int], cells: tuple[int, int], count: int) -> Triple:
    return -(-size[1] // cells[0]), -(-size[0] // cells[1]), count


def _plane_bytes(size: tuple[int, int], persons: int) -> int:
    """Of a float for each cell of all sides, a multiple of 16."""
    return -(-4 * _SIDES * persons * size[0] * size[1] // 16) * 16


def _start_bytes(persons: int) -> int:
    """Of two numbers for each person, a multiple of 16."""
    return -(-8 * persons // 16) * 16


def _grids(start: int, height: int, width: int, persons: int) -> list[np.void]:
    """The grids, one after the other from an address on."""
    grids = []
    for size in grid_sizes(height, width):
        step = _plane_bytes(size, persons)
        grids.append(structure(np.array((*(start + step * plane for plane in range(len(_PLANES))), *size), _GRID)))
        start += step * len(_PLANES)
    return grids


def integrate_normals(
    runtime: Runtime,
    depth: DeviceArray,
    normals: DeviceArray,
    scratch: DeviceArray,
    *,
    wavelength: float,
    normal_z: float,
    depth_unit: float,
    stream: Stream | None = None,
) -> None:
    """Lay the relief on ``depth``; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused a launch.
    """
    for step in plan(depth, normals, scratch, wavelength=wavelength, normal_z=normal_z, depth_unit=depth_unit):
        runtime.run("integrate_normals", step, stream)
