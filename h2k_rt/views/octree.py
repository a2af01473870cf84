"""The surface of an occupancy function: evaluated coarse to fine, only where the surface is, and marched.

As in Occupancy Networks' extraction (Mescheder et al. 2019), with a rule that makes the result that of the dense grid:
at each level every cell whose corners are not all inside or all outside gets all its corners evaluated, until no such cell is left.
So what touches an evaluated part of the surface is found to its end; only a piece that no node of any coarser level hits is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2k_rt.errors import H2KError, MissingPackageError

#: (N, 3) float32 points in cube coordinates -> (N,) float32 occupancy, 0 outside to 1 inside.
Occupancy = Callable[[NDArray[np.float32]], NDArray[np.float32]]

LEVEL = 0.5
#: At the coarsest level, nodes whose occupancy lies between these are looked at more closely whatever their neighbours are.
_UNSURE = (0.05, 0.95)


@dataclass(frozen=True)
class Grid:
    """Nodes of a regular grid over a box of the cube.

    Attributes:
        origin: (3,) float64, cube coordinates of the first node; cell: distance of neighbours.
        shape: nodes along each axis.
        stride: distance in nodes of the coarsest level; each side has a multiple of it plus 1.
    """

    origin: NDArray[np.float64]
    cell: float
    shape: tuple[int, int, int]
    stride: int

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def points(self, nodes: NDArray[np.int64]) -> NDArray[np.float32]:
        """(N, 3) cube coordinates of nodes (N, 3)."""
        return (self.origin + nodes * self.cell).astype(np.float32)


@dataclass(frozen=True)
class Field:
    """Occupancy on a grid.

    Attributes:
        values: float32 of the grid's shape; where nothing was evaluated, interpolated, on the right side of the level.
        evaluations: of the function, in points.
    """

    values: NDArray[np.float32]
    evaluations: int


def make_grid(resolution: int, coarse: int = 32, low: NDArray | None = None, high: NDArray | None = None) -> Grid:
    """The nodes of the cube's grid of ``resolution`` cells a side that lie in the box from ``low`` to ``high``, a little enlarged.

    Args:
        resolution: cells along a side of the whole cube (-1..1); coarse: of the coarsest level. Powers of two.
        low, high: (3,) cube coordinates; None: the whole cube.

    Raises:
        ValueError: a resolution is no power of two, or the coarse one larger.
    """
    if min(resolution, coarse) < 2 or resolution & (resolution - 1) or coarse & (coarse - 1) or coarse > resolution:
        raise ValueError(f"resolutions must be powers of two, coarse to fine, not {coarse} and {resolution}")
    stride, cell = resolution // coarse, 2 / resolution
    first = (
        np.zeros(3, int) if low is None else np.clip(np.floor((np.asarray(low) + 1) / (cell * stride)), 0, coarse - 1).astype(int)
    )
    last = np.full(3, coarse) if high is None else np.clip(np.ceil((np.asarray(high) + 1) / (cell * stride)), 1, coarse).astype(int)
    x, y, z = (np.maximum(last - first, 1) * stride + 1).tolist()
    return Grid(first * stride * cell - 1, cell, (x, y, z), stride)


def evaluate_dense(occupancy: Occupancy, grid: Grid) -> Field:
    """Every node, slice by slice."""
    values = np.empty(grid.shape, np.float32)
    plane = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape[1:]), indexing="ij"), axis=-1).reshape(-1, 2)
    for x in range(grid.shape[0]):
        nodes = np.column_stack((np.full(len(plane), x), plane))
        values[x] = occupancy(grid.points(nodes)).reshape(grid.shape[1:])
    return Field(_closed(values), grid.size)


def evaluate_coarse_to_fine(occupancy: Occupancy, grid: Grid) -> Field:
    """The nodes at the surface, and those of the coarser levels that lead there; the rest is interpolated."""
    step = grid.stride
    shape = [(n - 1) // step + 1 for n in grid.shape]
    values, known = np.empty(shape, np.float32), np.zeros(shape, np.bool_)
    evaluations = _evaluate(occupancy, grid, step, values, known, np.ones(shape, np.bool_))
    while step > 1:
        unsure = (values > _UNSURE[0]) & (values < _UNSURE[1]) if step == grid.stride else None
        refined = _corners(_mixed(values > LEVEL))
        if unsure is not None:
            refined = _grown(refined | unsure)
        step //= 2
        values, known = _upsampled(values), _spread(known)
        # Nodes between two of those to be refined.
        wanted = _between(refined)
        while evaluated := _evaluate(occupancy, grid, step, values, known, wanted):
            evaluations += evaluated
            wanted = _corners(_mixed(values > LEVEL))
    return Field(_closed(values), evaluations)


def march(field: Field, grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vertices (V, 3) float32 in cube coordinates and faces (F, 3) int32, counter-clockwise seen from outside, by marching cubes.

    Raises:
        H2KError: nothing is inside.
        MissingPackageError: scikit-image is not installed.
    """
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise MissingPackageError('marching cubes needs scikit-image; run: pip install "h2k-rt[views]"') from error
    if not (field.values > LEVEL).any():
        raise H2KError("the networks found nothing inside the person's outline; check cameras, masks and model")
    nodes, faces, _, _ = marching_cubes(field.values, LEVEL, gradient_direction="ascent")
    return (grid.origin + nodes * grid.cell).astype(np.float32), faces.astype(np.int32)


def _evaluate(
    occupancy: Occupancy,
    grid: Grid,
    step: int,
    values: NDArray[np.float32],
    known: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
) -> int:
    """Evaluate the wanted nodes that are not known; returns how many."""
    new = wanted & ~known
    nodes = np.argwhere(new)
    if len(nodes):
        values[new] = occupancy(grid.points(nodes * step))
        known |= new
    return len(nodes)


def _closed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Nothing is inside at the grid's border, and no node lies on the level itself, where a face would have no area."""
    for axis in range(3):
        ends = np.moveaxis(values, axis, 0)
        ends[0], ends[-1] = 0, 0
    values[values == LEVEL] = np.float32(LEVEL - 1e-5)
    return values


def _mixed(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells whose corners are not all alike."""
    every, some = inside, inside
    for axis in range(3):
        near, far = _shifted(axis)
        every, some = every[near] & every[far], some[near] | some[far]
    return some & ~every


def _corners(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The nodes at the corners of cells."""
    for axis in range(3):
        near, far = _shifted(axis)
        out = np.zeros([n + (k == axis) for k, n in enumerate(cells.shape)], np.bool_)
        out[near] |= cells
        out[far] |= cells
        cells = out
    return cells


def _grown(nodes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Nodes and their neighbours, diagonal ones too."""
    for axis in range(3):
        near, far = _shifted(axis)
        out = nodes.copy()
        out[near] |= nodes[far]
        out[far] |= nodes[near]
        nodes = out
    return nodes


def _upsampled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Trilinear, n nodes to 2 n - 1."""
    for axis in range(3):
        near, far = _shifted(axis)
        out = np.empty([n + (n - 1) * (k == axis) for k, n in enumerate(values.shape)], np.float32)
        out[_every_second(axis, 0)] = values
        out[_every_second(axis, 1)] = (values[near] + values[far]) / 2
        values = out
    return values


def _spread(nodes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same nodes on a grid of half the cell."""
    out = np.zeros([2 * n - 1 for n in nodes.shape], np.bool_)
    out[::2, ::2, ::2] = nodes
    return out


def _between(nodes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same nodes on a grid of half the cell, and those between two of them along the axes in turn."""
    for axis in range(3):
        near, far = _shifted(axis)
        out = np.zeros([n + (n - 1) * (k == axis) for k, n in enumerate(nodes.shape)], np.bool_)
        out[_every_second(axis, 0)] = nodes
        out[_every_second(axis, 1)] = nodes[near] & nodes[far]
        nodes = out
    return nodes


def _shifted(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """All but the last and all but the first along an axis."""
    whole = (slice(None),) * axis
    return (*whole, slice(None, -1)), (*whole, slice(1, None))


def _every_second(axis: int, first: int) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(first, None, 2))
