"""The kernel ``person_colours``, run on the CPU with those it needs: against h2k_rt.surface.colour and back_colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module, poisoned
from h2k_kernels.launch.person_colours import FILL_PLANES, fill_scratch_bytes, plan, plan_fill, scratch_bytes
from numpy.typing import NDArray

from h2k_rt.device.rules import colour_rules
from h2k_rt.surface.back_colour import COARSE, apply_fill
from h2k_rt.surface.back_head import Fill
from h2k_rt.surface.colour import front_colours

STEMS = ("mask_component", "distance_field", "person_colours")
SIZE = 160


@pytest.fixture(scope="module")
def kernels(kernel_folder) -> dict[str, HostModule]:
    return {stem: host_module(stem, kernel_folder) for stem in STEMS}


def photo(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A patterned figure on a ground of another colour, and a mask that reaches a little too far."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIZE, SIZE))
    figure = ((x - 80) / 34.0) ** 2 + ((y - 84) / 60.0) ** 2 < 1
    figure |= (np.abs(y - 70) < 3) & (np.abs(x - 110) < 40)  # an arm too thin to have an inside
    ground = np.array([40, 150, 60]) + rng.integers(0, 20, (SIZE, SIZE, 3))
    cloth = np.array([200, 60, 70]) + 25 * np.sin(x / 5.0)[..., None] + rng.integers(0, 12, (SIZE, SIZE, 3))
    rgb = cv2.GaussianBlur(np.where(figure[..., None], cloth, ground).astype(np.uint8), (0, 0), 0.8)
    mask = cv2.dilate(figure.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    return np.asarray(rgb, np.uint8), mask


def front_of(
    kernels: dict[str, HostModule], rgb: NDArray[np.uint8], mask: NDArray[np.bool_], window: tuple[int, int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Colours of a batch, computed in a window (x0, y0, x1, y1) of the canvas."""
    x0, y0, x1, y1 = window
    persons = len(rgb)
    canvas = np.concatenate([rgb, np.zeros((*rgb.shape[:3], 1), np.uint8)], axis=3)
    inside = np.ascontiguousarray(mask[:, y0:y1, x0:x1]).astype(np.uint8)
    front, back = poisoned((*inside.shape, 4), np.uint8), poisoned((*inside.shape, 4), np.uint8)
    scratch, origin = poisoned((scratch_bytes(y1 - y0, x1 - x0, persons),), np.uint8), np.array([[x0, y0]] * persons, np.int32)
    views = [device_view(array) for array in (canvas, inside, front, back, scratch)]
    for stem, step in plan(*views, colour_rules(SIZE), origin=device_view(origin)):
        kernels[stem].run(step)
    return front, back


def test_front_colours(kernels: dict[str, HostModule]) -> None:
    photos = [photo(seed) for seed in (1, 2)]
    rgb, mask = np.stack([p[0] for p in photos]), np.stack([p[1] for p in photos])
    mask[1] = False
    mask[1, 70:74, 30:40] = True  # nothing is sure
    window = (20, 8, 156, 152)
    front, back = front_of(kernels, rgb, mask, window)
    assert (front == back).all()
    rows, columns = slice(window[1], window[3]), slice(window[0], window[2])
    for person in range(2):
        want = front_colours(rgb[person], mask[person])[rows, columns]
        difference = np.abs(front[person, ..., :3].astype(int) - want).max(-1)
        inside = mask[person, rows, columns]
        assert (difference[~inside] == 0).all()
        # Where two pixels are equally near either may give its colour.
        assert np.mean(difference[inside] > 1) < 0.06 and np.mean(difference[inside]) < 1.0
    changed = (front[0, ..., :3] != rgb[0, rows, columns]).any(-1)
    assert changed.sum() > 1000 and not changed[~mask[0, rows, columns]].any()


@pytest.mark.parametrize("factor", [1, 4])
def test_fill_of_the_back(kernels: dict[str, HostModule], factor: int) -> None:
    rgb, _ = photo(3)
    height, width = 40 * factor, 24 * factor
    part = np.ascontiguousarray(rgb[:height, 10 : 10 + width])
    y, x = np.indices((40, 24)).astype(np.float32)
    disc = np.clip(2 - np.hypot(x - 12, y - 20) / 6, 0, 1).astype(np.float32)
    colour = np.stack([180 + 2 * x, 60 + y, 70 + x], axis=-1).astype(np.float32)
    fill = Fill(colour, disc, (3 * np.sin(x)).astype(np.float32), np.clip(y / 30, 0, 1).astype(np.float32))
    want = part.copy()
    apply_fill(want, fill, factor)
    back = np.zeros((1, height, width, 4), np.uint8)
    back[0, ..., :3] = part
    planes = np.ascontiguousarray(np.concatenate([colour.transpose(2, 0, 1), [disc, fill.grain, fill.detail]])[None], np.float32)
    assert planes.shape[1] == FILL_PLANES
    scratch = poisoned((fill_scratch_bytes(height, width),), np.uint8)
    for stem, step in plan_fill(*map(device_view, (back, planes, scratch)), colour_rules(SIZE), factor, COARSE * factor):
        kernels[stem].run(step)
    difference = np.abs(back[0, ..., :3].astype(int) - want)
    assert np.mean(np.abs(want.astype(int) - part)) > 2, "the fill changes something"
    # The twin blurs and erodes within the fill's own window; near its border the two know different surroundings.
    assert np.mean(difference) < 0.15 and np.quantile(difference, 0.99) <= 2


def test_arguments() -> None:
    canvas, mask = np.zeros((1, 64, 64, 4), np.uint8), np.zeros((1, 32, 40), np.uint8)
    front, scratch = np.zeros((1, 32, 40, 4), np.uint8), np.zeros(scratch_bytes(32, 40), np.uint8)
    good = [canvas, mask, front, front.copy(), scratch]
    assert {stem for stem, _ in plan(*map(device_view, good), colour_rules(2048))} == set(STEMS)
    wrong = {0: canvas[..., :3], 1: mask.astype(np.int32), 2: front[..., :3], 3: front[:, 1:], 4: scratch[16:]}
    for place, array in wrong.items():
        with pytest.raises(ValueError):
            plan(*(device_view(array if i == place else each) for i, each in enumerate(good)), colour_rules(2048))
    planes, work = np.zeros((1, 6, 8, 10), np.float32), np.zeros(fill_scratch_bytes(32, 40), np.uint8)
    plan_fill(*map(device_view, (front, planes, work)), colour_rules(2048), 4, 10.0)
    with pytest.raises(ValueError, match="a blur of"):
        plan_fill(*map(device_view, (front, planes, work)), colour_rules(2048), 4, 20.0)
    with pytest.raises(ValueError, match="planes must have shape"):
        plan_fill(*map(device_view, (front, planes[:, :5].copy(), work)), colour_rules(2048), 4, 10.0)
