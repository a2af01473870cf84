"""Depth that keeps its shape at large and takes its relief from normals (CPU twin).

The least squares of Horn and Brooks (1986), screened by the depth itself: with d the depth, g the slopes of the normals, c the
correction wanted, and sums over neighbouring cells i, j,

    sum w_ij (c_i - c_j - r_ij)^2 + s sum c_i^2,    r = g - grad d,

where s = (2 pi / wavelength)^2 sets from which wavelength on the depth stays what it is. Steep slopes, which neither normals nor
depth know well, count less: w = 1 / (1 + (slope / ``TRUSTED_SLOPE``)^2). The equations are solved at half resolution by multigrid.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]

#: Pixels of depth per pixel at which a slope's weight has fallen to a half.
TRUSTED_SLOPE = 2.5
#: Grids, each half as fine as the one before; the finest has a cell for 2 x 2 pixels.
LEVELS = 6
#: V-cycles: two digits each.
CYCLES = 3
#: Pairs of smoothing steps on the coarsest grid.
COARSEST_PAIRS = 4
#: Factors of a pair of Jacobi steps: Chebyshev's for eigenvalues from 0.5 to 2.
STEP_FACTORS = (1 / 1.78, 1 / 0.72)
#: Encoded z above which a normal is one of a person's surface; 0.5 is z = 0, and what is not written is 0.
LEAST_Z = 0.5
#: Least z of a normal whose slope is taken.
SLOPE_Z = 1 / 64
#: Front and back stay so far apart, nu: two pixels.
LEAST_GAP = 0.004


def integrate_normals(
    depth: Map, normals: Map, *, wavelength: float, normal_z: float, depth_unit: float, threads: int | None = None
) -> Map:
    """Lay the relief of normals on depth maps.

    Args:
        depth: (2, H, W) float32 nu, front and back; a pixel belongs to the person where front < back.
        normals: (6, H, W) float32, encoded as (n + 1) / 2 of front and back; z is 0 where there is none.
        wavelength: in pixels; what is longer stays as it is.
        normal_z: z of a normal before normalisation, in nu per pixel.
        depth_unit: pixels of depth in one nu.
        threads: front and back side by side from 2 on; None: so.

    Returns:
        (2, H, W) float32; pixels outside the person and pixels without a normal are unchanged.

    Raises:
        ValueError: shapes or wavelength are wrong.
    """
    if depth.ndim != 3 or depth.shape[0] != 2 or normals.shape != (6, *depth.shape[1:]):
        raise ValueError(f"depth must be (2, H, W) and normals (6, H, W), not {depth.shape} and {normals.shape}")
    if not (math.isfinite(wavelength) and wavelength > 0):
        raise ValueError(f"the wavelength must be above 0 pixels, not {wavelength}")
    out = depth.copy()
    person = depth[0] < depth[1]
    rows, columns = np.flatnonzero(person.any(1)), np.flatnonzero(person.any(0))
    if not len(rows):
        return out
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    def correct(side: int) -> None:
        slopes = _slopes(normals[3 * side : 3 * side + 3][(slice(None), *window)], normal_z)
        on = person[window] & (normals[3 * side + 2][window] > LEAST_Z)
        out[side][window] += _correction(depth[side][window], slopes, on, wavelength, depth_unit)

    with ThreadPoolExecutor(1 if threads == 1 else 2) as pool:
        list(pool.map(correct, (0, 1)))
    front, back = out[0][window], out[1][window]
    met = person[window] & (front > back - np.float32(LEAST_GAP))
    middle = (front[met] + back[met]) / 2
    front[met], back[met] = middle - np.float32(LEAST_GAP / 2), middle + np.float32(LEAST_GAP / 2)
    return out


@dataclass(frozen=True)
class _Grid:
    """Equations of one grid, (h, w) each: weights of the links to the right and downward, screening (0: no cell), 1 / diagonal."""

    right: Map
    down: Map
    screen: Map
    inverse: Map

    def residual(self, values: Map, wanted: Map) -> Map:
        rest = wanted - self.screen * values
        flow = self.right[:, :-1] * (values[:, 1:] - values[:, :-1])
        rest[:, :-1] += flow
        rest[:, 1:] -= flow
        flow = self.down[:-1] * (values[1:] - values[:-1])
        rest[:-1] += flow
        rest[1:] -= flow
        return rest

    def smooth(self, values: Map, wanted: Map) -> None:
        """Two Jacobi steps, in place."""
        for factor in STEP_FACTORS:
            rest = self.residual(values, wanted)
            rest *= self.inverse
            rest *= np.float32(factor)
            values += rest


def _slopes(normals: Map, normal_z: float) -> tuple[Map, ...]:
    """Depth of a pixel less that of its right and lower neighbour in nu, as SPEC 8 defines normals; (3, h, w) encoded."""
    x, y, z = (2 * channel - 1 for channel in normals)
    scale = np.float32(normal_z) / np.maximum(z, np.float32(SLOPE_Z))
    return x * scale, y * scale


def _correction(depth: Map, slopes: tuple[Map, ...], on: NDArray[np.bool_], wavelength: float, depth_unit: float) -> Map:
    """What is to be added to one side's depth; 0 where not ``on``."""
    height, width = depth.shape
    even = ((0, height % 2), (0, width % 2))
    # What is not on may be anything, NaN too.
    depth, slopes = np.where(on, depth, np.float32(0)), tuple(np.where(on, slope, np.float32(0)) for slope in slopes)
    depth, on = np.pad(depth, even), np.pad(on, even)
    person = on.astype(np.float32)
    share = np.float32(0.25) * _block_sums(person)
    cells = (share > 0).astype(np.float32)
    right, flow_right = _links(depth, np.pad(slopes[0], even), person, cells, depth_unit)
    down, flow_down = (
        np.ascontiguousarray(links.T) for links in _links(depth.T, np.pad(slopes[1], even).T, person.T, cells.T, depth_unit)
    )
    wanted = flow_right + flow_down
    wanted[:, 1:] -= flow_right[:, :-1]
    wanted[1:] -= flow_down[:-1]
    screen = share * np.float32((2 * math.pi * 2 / wavelength) ** 2)
    grids = _grids(right, down, screen)
    values = np.zeros_like(wanted)
    for _ in range(CYCLES):
        _cycle(grids, values, wanted)
    fine = _interpolated(values, screen > 0)
    return np.where(on, fine, np.float32(0))[:height, :width]


def _links(depth: Map, slope: Map, person: Map, cells: Map, depth_unit: float) -> tuple[Map, Map]:
    """Links of cells to their right neighbours from the pixels' own: weight, and weight times the difference wanted.

    From a cell's middle to the next one's is half a pixel link, a whole one, and another half, in two rows.
    """
    actual = depth[:, :-1] - depth[:, 1:]
    slope = slope[:, :-1]
    steepest = np.maximum(np.abs(slope), np.abs(actual)) * np.float32(depth_unit / TRUSTED_SLOPE)
    weight = person[:, :-1] * person[:, 1:] / (1 + steepest * steepest)

    def gathered(values: Map) -> Map:
        rows = values[0::2] + values[1::2]
        out = np.zeros_like(cells)
        out[:, :-1] = np.float32(0.5) * (rows[:, 0:-2:2] + rows[:, 2::2]) + rows[:, 1:-1:2]
        return out

    both = cells.copy()
    both[:, :-1] *= cells[:, 1:]
    both[:, -1] = 0
    # The mean weight of four halves, and twice the mean residual.
    return np.float32(0.25) * both * gathered(weight), np.float32(0.5) * both * gathered(weight * (slope - actual))


def _grids(right: Map, down: Map, screen: Map) -> list[_Grid]:
    """The finest grid's equations and those of the coarser ones."""
    grids = [_grid(right, down, screen)]
    for _ in range(LEVELS - 1):
        even = ((0, screen.shape[0] % 2), (0, screen.shape[1] % 2))
        right, down, screen = np.pad(right, even), np.pad(down, even), np.pad(screen, even)
        # A step of two cells is half as steep: half the sum of the links between two blocks.
        right = np.float32(0.5) * (right[0::2, 1::2] + right[1::2, 1::2])
        down = np.float32(0.5) * (down[1::2, 0::2] + down[1::2, 1::2])
        screen = _block_sums(screen)
        grids.append(_grid(right, down, screen))
    return grids


def _grid(right: Map, down: Map, screen: Map) -> _Grid:
    diagonal = screen + right + down
    diagonal[:, 1:] += right[:, :-1]
    diagonal[1:] += down[:-1]
    inverse = np.where(screen > 0, 1 / np.maximum(diagonal, np.float32(1e-20)), np.float32(0))
    return _Grid(right, down, screen, inverse.astype(np.float32))


def _block_sums(values: Map) -> Map:
    return values[0::2, 0::2] + values[1::2, 0::2] + values[0::2, 1::2] + values[1::2, 1::2]


def _cycle(grids: list[_Grid], values: Map, wanted: Map) -> None:
    """One V-cycle, in place."""
    grid, *coarser = grids
    if not coarser:
        for _ in range(COARSEST_PAIRS):
            grid.smooth(values, wanted)
        return
    grid.smooth(values, wanted)
    height, width = values.shape
    rest = _block_sums(np.pad(grid.residual(values, wanted), ((0, height % 2), (0, width % 2))))
    correction = np.zeros_like(rest)
    _cycle(coarser, correction, rest)
    fine = _interpolated(correction, coarser[0].screen > 0)[:height, :width]
    values += np.where(grid.screen > 0, fine, np.float32(0))
    grid.smooth(values, wanted)


def _interpolated(values: Map, cells: NDArray[np.bool_]) -> Map:
    """Twice as fine, bilinear between the middles of cells; cells that are none are left out of the mean."""
    weight = cells.astype(np.float32)
    total = np.maximum(_twice(_twice(weight).T).T, np.float32(1e-6))
    return np.asarray(_twice(_twice(values * weight).T).T / total, np.float32)


def _twice(values: Map) -> Map:
    """Rows twice as fine, (2h, w), with nothing around."""
    near = np.float32(0.75) * values
    far = np.float32(0.25) * values
    out = np.repeat(near, 2, axis=0)
    out[2::2] += far[:-1]
    out[1:-1:2] += far[1:]
    return out
