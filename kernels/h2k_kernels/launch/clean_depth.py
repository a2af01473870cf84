"""Launch of ``clean_depth.cu`` and of what it needs of other sources: a mask and depths that can be meshed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from h2k_kernels.launch import distance_field, mask_component, push_pull
from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import NULL, check_persons, check_scratch, optional, part_of, structure
from h2k_kernels.launch.distance_field import Step
from h2k_kernels.launch.plan import Argument, LaunchPlan

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

#: ``Counter`` of clean_depth.cu: numbers of each person, in the order of ``counts``.
COUNTS = ("missed", "known", "kept", "complete", "smooth", "new", "filled", "total")
_MISSED, _KNOWN, _KEPT, _COMPLETE, _SMOOTH, _NEW = range(6)
_MAX_TAPS = 16
_RULES = np.dtype(
    [
        ("nearest", "f4"),
        ("thickness", "f4"),
        ("stand_out", "f4"),
        ("limb_radius", "f4"),
        ("rim_width", "f4"),
        ("rim_radius", "f4"),
        ("nu_per_px", "f4"),
        ("rim", "i4"),
        ("blur", "i4"),
        ("taps", "f4", (_MAX_TAPS,)),
    ],
    align=True,
)
_MAPS = np.dtype([("height", "i4"), ("width", "i4")], align=True)

#: Truth tables of ``clean_logic``, by the weights of its masks a, b and c.
_A, _B, _C = 0b10101010, 0b11001100, 0b11110000
_ALL = 0xFF
_BLOCK = (32, 8, 1)


@dataclass(frozen=True)
class CleanRules:
    """What counts as a flaw, in pixels of the maps; see ``CleanOptions`` of h2k_rt.surface.clean for what each is for.

    Attributes:
        nearest: depth in nu of the nearest point that counts.
        thickness, stand_out: in nu.
        nu_per_px: depth in nu that is as long as a pixel is wide.
        outline: side of the square whose majority decides the outline; below 3: the outline is left as it is.
    """

    nearest: float
    thickness: float
    stand_out: float
    nu_per_px: float
    gate_margin: int
    min_share: float
    max_hole: int
    outline: int
    rim: float
    rim_radius: float
    limb_radius: float
    missed: int
    complete: bool = True

    def packed(self) -> np.void:
        """As a kernel's argument.

        Raises:
            ValueError: the rim is so wide that its blur has more than 31 taps.
        """
        rim = max(self.rim, 1.0)
        sigma = max(rim / 4, 0.5)
        radius = (round(sigma * 8 + 1) | 1) // 2  # OpenCV's choice for floats
        if radius >= _MAX_TAPS:
            raise ValueError(f"a rim of {self.rim} pixels is too wide: its blur would have {2 * radius + 1} taps")
        k = np.arange(radius + 1)
        half = np.exp(-(k**2) / (2 * sigma**2))
        taps = np.zeros(_MAX_TAPS, np.float32)
        taps[: radius + 1] = half / (2 * half.sum() - half[0])
        fields = (self.nearest, self.thickness, self.stand_out, self.limb_radius, rim, self.rim_radius, self.nu_per_px)
        return structure(np.array((*fields, max(round(rim), 1), radius, taps), _RULES))


def _sizes(height: int, width: int, persons: int) -> dict[str, int]:
    """Bytes of each array in the scratch memory, multiples of 16."""
    mask, field = persons * height * width, 4 * persons * height * width
    sizes = dict.fromkeys(("person", "raw", "known", "missed", "kept", "one", "two"), mask)
    sizes |= {"mended": 2 * field, "distance": field, "pyramid": push_pull.pyramid_bytes(height, width, persons)}
    components = mask_component.scratch_bytes(height, width, persons)
    sizes["work"] = max(components, distance_field.scratch_bytes(height, width, persons))
    return {name: -(-size // 16) * 16 for name, size in sizes.items()}


def scratch_bytes(height: int, width: int, persons: int = 1) -> int:
    """Bytes of device memory that :func:`plan` needs beside its arguments."""
    return sum(_sizes(height, width, persons).values())


def plan(
    depth: DeviceArray,
    canvas: DeviceArray,
    out: DeviceArray,
    mask: DeviceArray,
    counts: DeviceArray,
    scratch: DeviceArray,
    rules: CleanRules,
    *,
    origin: DeviceArray | None = None,
) -> list[Step]:
    """How to launch the kernels. B persons on maps of H x W pixels, a window of the canvas with room around the person.

    Args:
        depth: (B, 2, H, W) float32 nu, front and back, as the networks give it. More than 2 pixels a side.
        canvas: (B, N, N, 4) uint8; the last channel is the person's mask.
        out: written; (B, 2, H, W) float32, 0 outside the mask, front < back inside.
        mask: written; (B, H, W) uint8, 0 or 1.
        counts: written; (B, 8) int32, :data:`COUNTS`. No person is left where "total" is 0.
        scratch: (n,) uint8, at least :func:`scratch_bytes`.
        origin: (B, 2) int32 x, y of the maps on the canvas; None: 0.

    Raises:
        ValueError: an argument has another type or shape.
    """
    require(depth, "depth", np.float32, None, 2, None, None)
    persons, _, height, width = depth.shape
    check_persons(persons)
    size = canvas.shape[1] if canvas.ndim > 1 else 0
    require(canvas, "canvas", np.uint8, persons, size, size, 4)
    require(out, "out", np.float32, persons, 2, height, width)
    require(mask, "mask", np.uint8, persons, height, width)
    require(counts, "counts", np.int32, persons, len(COUNTS))
    if max(height, width) <= 2:
        raise ValueError(f"maps of {width} x {height} pixels are too small")
    check_scratch(scratch, scratch_bytes(height, width, persons))
    return _Builder(depth, canvas, out, mask, counts, scratch, rules, optional(origin, "origin", np.int32, persons, 2)).steps()


class _Builder:
    """The steps of :func:`plan`, part by part."""

    def __init__(
        self,
        depth: DeviceArray,
        canvas: DeviceArray,
        out: DeviceArray,
        mask: DeviceArray,
        counts: DeviceArray,
        scratch: DeviceArray,
        rules: CleanRules,
        origin: Argument,
    ) -> None:
        self.depth, self.canvas, self.out, self.mask, self.counts = depth, canvas, out, mask, counts
        self.rules, self.origin = rules, origin
        self.persons, self.height, self.width = mask.shape
        self.packed = rules.packed()
        self.maps = structure(np.array((self.height, self.width), _MAPS))
        self.memory, start = {}, 0
        for name, size in _sizes(self.height, self.width, self.persons).items():
            self.memory[name] = part_of(scratch, start, size)
            start += size

    def steps(self) -> list[Step]:
        return [*self._raw(), *self._missed(), *self._complete(), *self._outline(), *self._rim()]

    def _raw(self) -> list[Step]:
        """Where depth makes sense, without small pieces."""
        person, raw, known = (self._map(name) for name in ("person", "raw", "known"))
        size = np.int32(self.canvas.shape[1])
        return [
            self._own("clean_person", self.canvas, self.origin, person, self.counts, size, self.maps),
            *self._spread(person, raw, self.rules.gate_margin),
            self._own("clean_raw", self.depth, raw, raw, self.maps, self.packed),
            *self._component(mask_component.plan(raw, known, self.memory["work"], min_share=self.rules.min_share)),
        ]

    def _missed(self) -> list[Step]:
        """What the person has and the depth lacks, except thin strips; and what of the depth is sure beside it."""
        person, known, missed, kept, one, two = (self._map(n) for n in ("person", "known", "missed", "kept", "one", "two"))
        reach, margin = self.rules.missed // 2, max(round(2 * self.rules.rim), 1)
        table = _A & ~_B & _ALL if self.rules.complete else 0
        return [
            self._logic(table, person, known, None, one),
            *self._spread(one, one, reach, erode=True),
            *self._spread(one, one, 2 * reach),  # opened, and the gap to the known depth closed
            self._logic(_A & _B & ~_C & _ALL, one, person, known, missed, _MISSED),
            self._logic(_A, known, None, None, known, _KNOWN),
            *self._spread(missed, one, margin),
            self._logic(_A & ~_B & _ALL, known, one, None, kept),
            *self._spread(kept, two, margin, erode=True),
            *self._spread(two, two, margin),
            *self._spread(missed, one, 5 * margin),
            self._logic((_A & _B) | (~_A & _C & _ALL), one, two, kept, kept, _KEPT),
            self._own("clean_decide", known, missed, kept, self.counts, self.maps),
        ]

    def _complete(self) -> list[Step]:
        """The depth carried on into what it missed."""
        known, kept, mended, distance = self._map("known"), self._map("kept"), self._pair("mended"), self._field("distance")
        guard, pyramid = self._counter(_COMPLETE), self.memory["pyramid"]
        first, second = self._plane(self.depth, 0), self._plane(self.depth, 1)
        return [
            *distance_field.plan(known, self.memory["work"], distance=distance, where=known, zeros=True, inset=0.5, guard=guard),
            *push_pull.plan(first, second, kept, pyramid, guard=guard),
            self._own(
                "clean_complete",
                self.depth,
                known,
                kept,
                distance,
                pyramid,
                self._pyramid_stride(),
                mended,
                self.counts,
                self.maps,
                self.packed,
            ),
        ]

    def _outline(self) -> list[Step]:
        """The mask without holes, spikes and small pieces, and depth for what it has more."""
        known, mended, work = self._map("known"), self._pair("mended"), self.memory["work"]
        steps = self._component(mask_component.plan_holes(known, self.mask, work, self.rules.max_hole))
        if self.rules.outline >= 3:
            words = self.height * -(-self.width // 32)
            size = (np.int32(self.height), np.int32(self.width))
            to_bits = LaunchPlan(
                "mask_to_bits",
                (-(-words // 8), self.persons, 1),
                (256, 1, 1),
                (self.mask, work, NULL, NULL, NULL, *size, np.int32(0)),
            )
            steps += [
                ("mask_component", to_bits),
                self._own("clean_majority", work, self.mask, np.int32(self.rules.outline // 2), self.maps),
            ]
        fresh, pyramid = self._map("one"), self.memory["pyramid"]
        first, second = self._plane(mended, 0), self._plane(mended, 1)
        return [
            *steps,
            *self._component(mask_component.plan(self.mask, self.mask, work, min_share=self.rules.min_share)),
            self._logic(_A, self.mask, None, None, self.mask, _SMOOTH),
            self._own("clean_mask", known, self.mask, fresh, self.counts, self.maps),
            *push_pull.plan(first, second, known, pyramid, guard=self._counter(_NEW)),
            self._own("clean_fill", mended, self.mask, fresh, pyramid, self._pyramid_stride(), self.maps),
        ]

    def _rim(self) -> list[Step]:
        """Depth mended along the silhouette."""
        mended, inner, distance = self._pair("mended"), self._map("one"), self._field("distance")
        rim = max(round(max(self.rules.rim, 1.0)), 1)
        return [
            *self._spread(self.mask, inner, rim, erode=True),
            self._own("clean_pull_in", mended, self.mask, inner, self.maps, self.packed),
            *distance_field.plan(self.mask, self.memory["work"], distance=distance, where=self.mask, zeros=True, inset=0.5),
            self._own("clean_finish", mended, self.mask, self._map("raw"), distance, self.out, self.counts, self.maps, self.packed),
        ]

    # Pieces of steps and of memory

    def _own(self, kernel: str, *args: Argument) -> Step:
        grid = (-(-self.width // 32), -(-self.height // 8), self.persons)
        return "clean_depth", LaunchPlan(kernel, grid, _BLOCK, args)

    def _logic(
        self, table: int, a: DeviceArray, b: DeviceArray | None, c: DeviceArray | None, out: DeviceArray, counter: int = -1
    ) -> Step:
        masks = (NULL if mask is None else mask for mask in (a, b, c))
        return self._own("clean_logic", *masks, out, np.int32(table), self.counts, np.int32(counter), self.maps)

    def _spread(self, mask: DeviceArray, out: DeviceArray, radius: int, erode: bool = False) -> list[Step]:
        return self._component(mask_component.plan_spread(mask, out, self.memory["work"], radius, erode=erode))

    @staticmethod
    def _component(plans: list[LaunchPlan]) -> list[Step]:
        return [("mask_component", step) for step in plans]

    def _map(self, name: str) -> DeviceArray:
        memory = self.memory[name]
        return DeviceArray(memory.pointer, self.mask.shape, np.dtype(np.uint8), (), memory.owner, memory.device)

    def _field(self, name: str) -> DeviceArray:
        memory = self.memory[name]
        return DeviceArray(memory.pointer, self.mask.shape, np.dtype(np.float32), (), memory.owner, memory.device)

    def _pair(self, name: str) -> DeviceArray:
        memory = self.memory[name]
        return DeviceArray(memory.pointer, self.depth.shape, np.dtype(np.float32), (), memory.owner, memory.device)

    def _plane(self, pair: DeviceArray, index: int) -> DeviceArray:
        """Front or back of all persons, (B, H, W)."""
        plane = 4 * self.height * self.width
        strides = (2 * plane, 4 * self.width, 4)
        return DeviceArray(pair.pointer + index * plane, self.mask.shape, pair.dtype, strides, pair.owner, pair.device)

    def _counter(self, number: int) -> DeviceArray:
        counts = self.counts
        shape = (self.persons, len(COUNTS) - number)
        return DeviceArray(counts.pointer + 4 * number, shape, counts.dtype, counts.strides, counts.owner, counts.device)

    def _pyramid_stride(self) -> np.int64:
        """Pixels of one person's pyramid."""
        return np.int64(push_pull.pyramid_bytes(self.height, self.width) // 16)


def clean_depth(
    runtime: Runtime,
    depth: DeviceArray,
    canvas: DeviceArray,
    out: DeviceArray,
    mask: DeviceArray,
    counts: DeviceArray,
    scratch: DeviceArray,
    rules: CleanRules,
    *,
    origin: DeviceArray | None = None,
    stream: Stream | None = None,
) -> None:
    """Fill ``out``, ``mask`` and ``counts``; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused a launch.
    """
    for stem, step in plan(depth, canvas, out, mask, counts, scratch, rules, origin=origin):
        runtime.run(stem, step, stream)
