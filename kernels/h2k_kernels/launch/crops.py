"""The table of part crops that a kernel takes by value: where each crop lies, how large it is, which transform it has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import FLOATS, check_persons, structure
from h2k_kernels.warp_parts import Crops

#: ``MAX_CROPS`` of common.cuh: parameters of a kernel have a fixed size, and a warp decides on one crop per lane.
MAX_CROPS = 32

#: ``Crop``, ``CropTable`` and ``Canvas`` of common.cuh.
_CROP = np.dtype(
    [
        ("data", "u8"),
        ("person_stride", "i8"),
        ("first_pixel", "i8"),
        ("height", "i4"),
        ("width", "i4"),
        ("part", "i4"),
        ("first_tile", "i4"),
        ("tiles_across", "i4"),
        ("is_half", "i4"),
    ],
    align=True,
)
_TABLE = np.dtype([("count", "i4"), ("tiles", "i4"), ("pixels", "i8"), ("crops", _CROP, (MAX_CROPS,))], align=True)
_CANVAS = np.dtype([("size", "i4"), ("step", "f4")], align=True)


def crop_table(tensors: Sequence[DeviceArray], groups: Sequence[Crops], persons: int, tile_width: int, tile_height: int) -> np.void:
    """The crops of all groups, in the groups' order, as a ``CropTable``.

    Args:
        tensors: for each group (persons * parts, 6, h, w), float32 or float16, person by person.

    Raises:
        ValueError: a tensor does not fit its group, or there are more than 32 parts.
    """
    if len(tensors) != len(groups):
        raise ValueError(f"{len(groups)} groups of crops need as many tensors, not {len(tensors)}")
    check_persons(persons)
    number = sum(len(group.parts) for group in groups)
    if not 0 < number <= MAX_CROPS:
        raise ValueError(f"a kernel takes 1 to {MAX_CROPS} crops, not {number}")
    table = np.zeros((), _TABLE)
    tiles = pixels = index = 0
    for order, (tensor, group) in enumerate(zip(tensors, groups, strict=True)):
        require(tensor, f"crops of group {order}", FLOATS, persons * len(group.parts), 6, group.height, group.width)
        block = 6 * group.height * group.width
        if block >= 1 << 31:
            raise ValueError(f"a crop of {group.height} x {group.width} pixels is too large")
        across, down = -(-group.width // tile_width), -(-group.height // tile_height)
        for slot, part in enumerate(group.parts):
            table["crops"][index] = (
                tensor.pointer + slot * block * tensor.dtype.itemsize,
                len(group.parts) * block,
                pixels,
                group.height,
                group.width,
                part,
                tiles,
                across,
                tensor.dtype == np.float16,
            )
            tiles, pixels, index = tiles + across * down, pixels + group.height * group.width, index + 1
    table["count"], table["tiles"], table["pixels"] = number, tiles, pixels
    return structure(table)


def crop_pixels(groups: Sequence[Crops]) -> int:
    """Pixels of all crops of one person."""
    return sum(len(group.parts) * group.height * group.width for group in groups)


def canvas_of(size: int) -> np.void:
    """A ``Canvas``: the side and the step of the normalised grid, as :mod:`h2k_kernels.sampling` rounds it.

    Raises:
        ValueError: the side is less than 2.
    """
    if size < 2:
        raise ValueError(f"a canvas has at least 2 pixels a side, not {size}")
    return structure(np.array((size, np.float32(2) / np.float32(size - 1)), _CANVAS))


def check_parts(groups: Sequence[Crops], parts: int) -> None:
    """Whether each group's parts have a row in a transform array of ``parts`` rows.

    Raises:
        ValueError: a part has none.
    """
    for group in groups:
        for part in group.parts:
            if not 0 <= part < parts:
                raise ValueError(f"part {part} has no transform: there are {parts}")
