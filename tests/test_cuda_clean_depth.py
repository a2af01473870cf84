"""The kernel ``clean_depth``, run on the CPU with those it needs: against h2k_rt.surface.clean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module, poisoned
from h2k_kernels.launch.clean_depth import COUNTS, plan, scratch_bytes
from numpy.typing import NDArray

from h2k_rt.constants import METHOD
from h2k_rt.device.rules import clean_rules
from h2k_rt.errors import PersonError
from h2k_rt.surface.clean import CleanDepth, clean_depth, published_mask
from h2k_rt.surface.fill import bounding_box

STEMS = ("mask_component", "distance_field", "push_pull", "clean_depth")
SIZE = 176
#: A canvas of this size is the whole one: lengths are what they are on 2048 pixels.
SMALL = replace(METHOD, size=SIZE, depth_unit_px=64.0)


@pytest.fixture(scope="module")
def kernels(kernel_folder) -> dict[str, HostModule]:
    return {stem: host_module(stem, kernel_folder) for stem in STEMS}


def body(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Depth (2, N, N) of a rough figure and its mask: trunk, head, an arm; noise; a hole, a speck, spikes."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIZE, SIZE)).astype(np.float64)
    thickness = np.zeros((SIZE, SIZE))
    for cx, cy, rx, ry in ((84, 100, 30, 62), (84, 26, 14, 16), (130, 90, 24, 9)):
        e = 1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2
        thickness = np.maximum(thickness, np.sqrt(np.maximum(e, 0)) * min(rx, ry))
    person = (thickness > 0).astype(np.uint8) * np.uint8(255)
    middle = 1.0 + 0.002 * (x - 80)
    depth = np.stack([middle - thickness / 64, middle + thickness / 64]) + rng.normal(0, 0.004, (2, SIZE, SIZE))
    outside = person == 0
    depth[0][outside], depth[1][outside] = 6, 0
    depth[:, 80:84, 70:75] = [[[6]], [[0]]]  # a hole
    depth[:, 60, 100:130] = [[0.9], [1.1]]  # a spike
    depth[:, 160:163, 20:24] = [[[0.9]], [[1.1]]]  # a speck that the mask has, too
    person[160:163, 20:24] = 255
    depth[0, 120:124, 60:70] = np.nan
    return depth.astype(np.float32), person


def on_device(
    kernels: dict[str, HostModule], depth: NDArray[np.float32], person: NDArray[np.uint8], window: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.int32]]:
    """Cleaned depth, mask and counts of a batch, computed in a window (x0, y0, x1, y1) of the canvas and put back into it."""
    x0, y0, x1, y1 = window
    persons, height, width = len(depth), y1 - y0, x1 - x0
    maps = np.ascontiguousarray(depth[:, :, y0:y1, x0:x1])
    canvas = np.zeros((*person.shape, 4), np.uint8)
    canvas[..., 3] = person
    out, mask, counts = (
        poisoned(maps.shape),
        poisoned((persons, height, width), np.uint8),
        poisoned((persons, len(COUNTS)), np.int32),
    )
    scratch, origin = poisoned((scratch_bytes(height, width, persons),), np.uint8), np.array([[x0, y0]] * persons, np.int32)
    views = [device_view(array) for array in (maps, canvas, out, mask, counts, scratch)]
    for stem, step in plan(*views, clean_rules(SMALL, SIZE), origin=device_view(origin)):
        kernels[stem].run(step)
    whole, whole_mask = np.zeros_like(depth), np.zeros(person.shape, np.uint8)
    whole[:, :, y0:y1, x0:x1], whole_mask[:, y0:y1, x0:x1] = out, mask
    return whole, whole_mask, counts


def cpu_window(depth: NDArray[np.float32], person: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """The window that the CPU works in: with the same one the pyramid's cells lie alike, and all numbers are equal."""
    raw = published_mask(*depth) & np.isfinite(depth).all(0) & (cv2.dilate(person, np.ones((7, 7), np.uint8)) > 127)
    rows, columns = bounding_box(raw | (person > 127), margin=8)
    return columns.start, rows.start, columns.stop, rows.stop


def check(
    have: NDArray[np.float32], mask: NDArray[np.uint8], counts: NDArray[np.int32], want: CleanDepth, filled_alike: bool
) -> None:
    """Masks are equal; so is the depth, apart from what a pyramid with other cells filled in."""
    assert ((mask > 0) == want.mask).all()
    difference = np.abs(have - np.stack([want.front, want.back])).max(0)
    if filled_alike:
        assert difference.max() < 2e-5
    else:
        assert np.quantile(difference[want.mask], 0.3) < 2e-5, "what is filled in replaces its surroundings, too"
        assert np.quantile(difference[want.mask], 0.99) < 0.15, "of nu, of 64 pixels each"
    total = dict(zip(COUNTS, counts.tolist(), strict=True))
    assert total["total"] == want.mask.sum() and total["filled"] / total["total"] == pytest.approx(want.filled)


def lacking_body() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A body whose depth lacks a part of the trunk."""
    depth, person = body(1)
    depth[0, 110:160], depth[1, 110:160] = 6, 0
    return depth, person


@pytest.mark.parametrize("make", [body, lacking_body])
def test_one_person(kernels: dict[str, HostModule], make: Callable[[], tuple[NDArray[np.float32], NDArray[np.uint8]]]) -> None:
    depth, person = make()
    want = clean_depth(depth[0], depth[1], person, method=SMALL)
    have, mask, counts = on_device(kernels, depth[None], person[None], cpu_window(depth, person))
    check(have[0], mask[0], counts[0], want, filled_alike=True)
    assert counts[0][COUNTS.index("complete")] == (make is lacking_body) and counts[0][COUNTS.index("new")] > 10


def test_persons_beside_each_other(kernels: dict[str, HostModule]) -> None:
    """One whose trunk was missed in part, one at the canvas's border, nobody, and one of whom most is missing."""
    lacking, person = lacking_body()
    shifted = [np.roll(array, (SIZE - 162, -54), (-2, -1)) for array in body(2)]
    empty = np.stack([np.full((SIZE, SIZE), 6, np.float32), np.zeros((SIZE, SIZE), np.float32)])
    mostly = lacking.copy()
    mostly[0, 50:], mostly[1, 50:] = 6, 0
    depth, masks = np.stack([lacking, shifted[0], empty, mostly]), np.stack([person, shifted[1], person, person])
    have, mask, counts = on_device(kernels, depth, masks, (0, 0, SIZE, SIZE))
    for number in (0, 1, 3):
        want = clean_depth(*depth[number], masks[number], method=SMALL)
        check(have[number], mask[number], counts[number], want, filled_alike=False)
    complete = counts[:, COUNTS.index("complete")]
    assert complete.tolist() == [1, 0, 0, 0], "more missed than seen: the mask is not believed"
    assert counts[2][COUNTS.index("total")] == 0 and not mask[2].any() and not have[2].any()
    with pytest.raises(PersonError):
        clean_depth(*depth[2], masks[2], method=SMALL)


def test_arguments() -> None:
    depth, canvas = np.zeros((1, 2, 40, 50), np.float32), np.zeros((1, 64, 64, 4), np.uint8)
    mask, counts = np.zeros((1, 40, 50), np.uint8), np.zeros((1, 8), np.int32)
    scratch = np.zeros(scratch_bytes(40, 50), np.uint8)
    good = [depth, canvas, depth.copy(), mask, counts, scratch]
    rules = clean_rules(METHOD, 2048)
    steps = plan(*map(device_view, good), rules)
    assert {stem for stem, _ in steps} == set(STEMS)
    assert all(0 not in step.grid for _, step in steps)
    wrong = {0: depth[:, :1], 1: canvas[..., :3], 2: depth.astype(np.float16), 3: mask[:, 1:], 4: counts[:, 1:], 5: scratch[:-16]}
    for place, array in wrong.items():
        arrays = [array if i == place else each for i, each in enumerate(good)]
        with pytest.raises(ValueError):
            plan(*map(device_view, arrays), rules)
    with pytest.raises(ValueError, match="too wide"):
        plan(*map(device_view, good), replace(rules, rim=40.0))
