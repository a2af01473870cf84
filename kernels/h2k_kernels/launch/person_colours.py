"""Launch of ``person_colours.cu`` and of what it needs of other sources: colours of the front and the back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from h2k_kernels.launch import distance_field
from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import check_persons, check_scratch, optional, part_of, structure
from h2k_kernels.launch.distance_field import Step
from h2k_kernels.launch.plan import Argument, LaunchPlan

#: Planes of a fill: red, green, blue (0..255), alpha (0..1), grain (grey levels), detail (0..1).
FILL_PLANES = 6
_MAX_TAPS = 64
_RULES = np.dtype([("mixed", "f4"), ("core", "f4"), ("outside", "f4"), ("distinct", "f4"), ("box", "i4")], align=True)
_FILL_RULES = np.dtype(
    [
        ("factor", "i4"),
        ("height", "i4"),
        ("width", "i4"),
        ("blur", "i4"),
        ("reach", "i4"),
        ("detail_reach", "f4"),
        ("detail_share", "f4"),
        ("detail_limit", "f4"),
        ("taps", "f4", (_MAX_TAPS,)),
    ],
    align=True,
)
_MAPS = np.dtype([("height", "i4"), ("width", "i4")], align=True)
_BLOCK = (32, 8, 1)


@dataclass(frozen=True)
class ColourRules:
    """Lengths in pixels of the maps, differences in grey levels; see h2k_rt.surface.colour and back_colour for what each is for."""

    mixed: float
    core: float
    outside: float
    distinct: float
    detail_reach: float
    detail_share: float
    detail_limit: float


def _sizes(height: int, width: int, persons: int) -> dict[str, int]:
    """Bytes of each array in the scratch memory, multiples of 16."""
    mask, field = persons * height * width, 4 * persons * height * width
    sizes = dict.fromkeys(("one", "two", "three"), mask) | dict.fromkeys(("inside", "away", "first", "second", "picture"), field)
    sizes["any"] = 4 * persons
    sizes["work"] = distance_field.scratch_bytes(height, width, persons)
    return {name: -(-size // 16) * 16 for name, size in sizes.items()}


def scratch_bytes(height: int, width: int, persons: int = 1) -> int:
    """Bytes of device memory that :func:`plan` needs beside its arguments."""
    return sum(_sizes(height, width, persons).values())


def fill_scratch_bytes(height: int, width: int, persons: int = 1) -> int:
    """Bytes of device memory that :func:`plan_fill` needs beside its arguments."""
    return persons * height * width * (16 + 4 + 4) + 32


def plan(
    canvas: DeviceArray,
    mask: DeviceArray,
    front: DeviceArray,
    back: DeviceArray,
    scratch: DeviceArray,
    rules: ColourRules,
    *,
    origin: DeviceArray | None = None,
) -> list[Step]:
    """How to launch the kernels. B persons on maps of H x W pixels, a window of the canvas.

    Args:
        canvas: (B, N, N, 4) uint8; R, G, B and anything.
        mask: (B, H, W) uint8, 0 or not.
        front, back: written; (B, H, W, 4) uint8, both the photo's colours with the background's kept out of the mask's edge.
        scratch: (n,) uint8, at least :func:`scratch_bytes`.
        origin: (B, 2) int32 x, y of the maps on the canvas; None: 0.

    Raises:
        ValueError: an argument has another type or shape.
    """
    require(mask, "mask", np.uint8, None, None, None)
    persons, height, width = mask.shape
    check_persons(persons)
    size = canvas.shape[1] if canvas.ndim > 1 else 0
    require(canvas, "canvas", np.uint8, persons, size, size, 4)
    require(front, "front", np.uint8, persons, height, width, 4)
    require(back, "back", np.uint8, persons, height, width, 4)
    check_scratch(scratch, scratch_bytes(height, width, persons))
    place = optional(origin, "origin", np.int32, persons, 2)
    memory, start = {}, 0
    for name, nbytes in _sizes(height, width, persons).items():
        memory[name] = part_of(scratch, start, nbytes)
        start += nbytes

    def field(name: str, dtype: type) -> DeviceArray:
        part = memory[name]
        return DeviceArray(part.pointer, mask.shape, np.dtype(dtype), (), part.owner, part.device)

    inside, away = field("inside", np.float32), field("away", np.float32)
    core, edge, background = (field(name, np.uint8) for name in ("one", "two", "three"))
    nearest_core, nearest_background = field("first", np.int32), field("second", np.int32)
    picture, work = memory["picture"], memory["work"]
    sure, unsure, source = core, edge, nearest_core  # used up by then
    packed = structure(np.array((rules.mixed, rules.core, rules.outside, rules.distinct, round(rules.core)), _RULES))
    maps = structure(np.array((height, width), _MAPS))

    def own(kernel: str, *args: Argument) -> Step:
        return "person_colours", LaunchPlan(kernel, (-(-width // 32), -(-height // 8), persons), _BLOCK, (*args, maps, packed))

    replace = LaunchPlan("colour_replace", (-(-width // 32), -(-height // 8), persons), _BLOCK, (picture, source, maps))
    return [
        *distance_field.plan(mask, work, distance=inside, where=mask, zeros=True),
        *distance_field.plan(mask, work, distance=away, limit=rules.outside + 1),
        own("colour_targets", inside, away, core, edge, background, memory["any"]),
        *distance_field.plan(core, work, index=nearest_core, where=edge, limit=_up_to(1.5 * rules.core)),
        *distance_field.plan(background, work, index=nearest_background, where=edge),
        own(
            "colour_sure",
            canvas,
            place,
            np.int32(size),
            inside,
            nearest_core,
            nearest_background,
            picture,
            sure,
            unsure,
            memory["any"],
        ),
        *distance_field.plan(sure, work, index=source, where=unsure, limit=_up_to(rules.core)),
        ("person_colours", replace),
        own("colour_even", picture, inside, front, back, memory["any"]),
    ]


def plan_fill(
    back: DeviceArray, planes: DeviceArray, scratch: DeviceArray, rules: ColourRules, factor: int, sigma: float
) -> list[Step]:
    """How to lay a fill over the colours of the back.

    Args:
        back: (B, H, W, 4) uint8, changed.
        planes: (B, 6, h, w) float32, :data:`FILL_PLANES`, on a grid that is ``factor`` times coarser; alpha 0: nothing changes.
        scratch: (n,) uint8, at least :func:`fill_scratch_bytes`.
        sigma: deviation in pixels of the blur that tells the front's fine detail.

    Raises:
        ValueError: an argument has another type or shape.
    """
    require(back, "back", np.uint8, None, None, None, 4)
    persons, height, width, _ = back.shape
    check_persons(persons)
    require(planes, "planes", np.float32, persons, FILL_PLANES, None, None)
    check_scratch(scratch, fill_scratch_bytes(height, width, persons))
    radius = (round(sigma * 8 + 1) | 1) // 2  # OpenCV's choice for floats
    if factor < 1 or not 0 <= radius < _MAX_TAPS:
        raise ValueError(f"a fill cannot have factor {factor} and a blur of {2 * radius + 1} taps (at most {2 * _MAX_TAPS - 1})")
    k = np.arange(radius + 1)
    half = np.exp(-(k**2) / (2 * sigma**2))
    taps = np.zeros(_MAX_TAPS, np.float32)
    taps[: radius + 1] = half / (2 * half.sum() - half[0])
    sizes = (factor, *planes.shape[2:], radius, 2 * factor)
    packed = structure(np.array((*sizes, rules.detail_reach, rules.detail_share, rules.detail_limit, taps), _FILL_RULES))
    maps = structure(np.array((height, width), _MAPS))
    field = persons * height * width
    rows = part_of(scratch, 0, 16 * field)
    alike = part_of(scratch, 16 * field, 4 * field)
    fine = part_of(scratch, 16 * field + -(-4 * field // 16) * 16, 4 * field)
    stride = np.int64(FILL_PLANES * planes.shape[2] * planes.shape[3])
    grid = (-(-width // 32), -(-height // 8), persons)

    def own(kernel: str, *args: Argument) -> Step:
        return "person_colours", LaunchPlan(kernel, grid, _BLOCK, (*args, maps, packed))

    return [
        own("fill_rows", back, rows),
        own("fill_detail", back, rows, planes, stride, alike, fine),
        own("fill_apply", back, planes, stride, alike, fine),
    ]


def _up_to(limit: float) -> float:
    """The field's limit is the first distance that is too far."""
    return float(np.nextafter(np.float32(limit), np.float32(np.inf)))
