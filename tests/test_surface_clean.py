"""Cleaning the depth maps: pieces, holes, flying depths, thickness, gates."""

from __future__ import annotations

import numpy as np
import pytest
from surface_bodies import person

from h2k_rt.constants import METHOD
from h2k_rt.errors import PersonError
from h2k_rt.surface.clean import CleanOptions, clean_depth, parity_depth, published_mask
from h2k_rt.surface.fill import bounding_box, nearest_known, push_pull


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    front, back = person(512)
    return front.copy(), back.copy()


def test_background_of_the_networks_is_outside(maps) -> None:
    front, back = maps
    clean = clean_depth(front, back)
    inside = front < 6
    assert (clean.mask & ~inside).sum() == 0
    assert (inside & ~clean.mask).sum() <= 2
    assert (clean.front[~clean.mask] == 0).all() and (clean.back[~clean.mask] == 0).all()
    assert clean.front.dtype == clean.back.dtype == np.float32


def test_front_behind_back_is_published_as_outside() -> None:
    front = np.array([[1.0, 3.0, 2.0], [0.0, 6.0, 2.5]], np.float32)
    back = np.array([[2.0, 2.0, 2.0], [0.0, 0.0, 2.4]], np.float32)
    assert published_mask(front, back).tolist() == [[True, False, True], [False, False, False]]
    near, far = parity_depth(front, back)
    assert near.tolist() == [[1, 0, 2], [0, 0, 0]] and far.tolist() == [[2, 0, 2], [0, 0, 0]]


def test_front_stays_before_back(maps) -> None:
    front, back = maps
    rows, columns = np.nonzero(front < 6)
    some = rows % 7 == 0
    back[rows[some], columns[some]] = front[rows[some], columns[some]]
    clean = clean_depth(front, back)
    least = CleanOptions().min_thickness_px / METHOD.depth_unit_px
    assert (clean.back - clean.front)[clean.mask].min() >= least * 0.99


def test_specks_go_and_cut_off_limbs_stay(maps) -> None:
    front, back = maps
    front[10:14, 10:14], back[10:14, 10:14] = 1.9, 2.1
    front[20:120, 30:60], back[20:120, 30:60] = 1.9, 2.1  # a tenth of the person
    clean = clean_depth(front, back)
    assert not clean.mask[10:14, 10:14].any()
    assert clean.mask[20:120, 30:60].all()


def test_small_holes_are_filled_with_the_depth_around_them(maps) -> None:
    front, back = maps
    y, x = 200, 256
    before = front[y - 1 : y + 2, x - 1 : x + 2].copy()
    front[y - 1 : y + 2, x - 1 : x + 2], back[y - 1 : y + 2, x - 1 : x + 2] = 6, 0
    clean = clean_depth(front, back)
    assert clean.mask[y - 1 : y + 2, x - 1 : x + 2].all()
    np.testing.assert_allclose(clean.front[y - 1 : y + 2, x - 1 : x + 2], before, atol=5e-3)


def test_a_gap_between_limbs_stays_open(maps) -> None:
    front, back = maps
    front[180:220, 236:246], back[180:220, 236:246] = 6, 0
    assert not clean_depth(front, back).mask[180:220, 236:246].any()


def test_flying_depths_at_the_silhouette_are_pulled_in(maps) -> None:
    front, back = maps
    inside = front < 6
    row = 200
    trunk = 256
    while inside[row, trunk - 1]:
        trunk -= 1
    kept = front[row, trunk]
    front[row, trunk] = kept - 0.5  # a quarter of a metre
    clean = clean_depth(front, back)
    limit = CleanOptions().max_rim_jump_px / METHOD.depth_unit_px
    assert abs(clean.front[row, trunk] - kept) < 2 * limit
    untouched = clean.mask & (np.abs(np.arange(512)[:, None] - row) > 30)
    assert np.abs(clean.front - front)[untouched].max() < 2 * limit


@pytest.mark.parametrize("kind", ["bool", "alpha"])
def test_person_mask_gates(maps, kind: str) -> None:
    front, back = maps
    gate = np.zeros((512, 512), bool)
    gate[:256] = True
    mask = gate if kind == "bool" else np.where(gate, 200, 60).astype(np.uint8)
    clean = clean_depth(front, back, mask)
    assert clean.mask[:256].sum() == (front < 6)[:256].sum()
    assert not clean.mask[260:].any()


def test_numbers_that_are_not_finite_are_outside(maps) -> None:
    front, back = maps
    front[100], back[300] = np.nan, np.inf
    clean = clean_depth(front, back, options=CleanOptions(min_share=0, max_hole=0))
    assert not clean.mask[100].any() and not clean.mask[300].any()
    assert np.isfinite(clean.front).all() and np.isfinite(clean.back).all()


def test_nobody_is_a_clear_error() -> None:
    front, back = np.full((64, 64), 6, np.float32), np.zeros((64, 64), np.float32)
    with pytest.raises(PersonError, match="no person"):
        clean_depth(front, back)
    with pytest.raises(PersonError, match="no person"):
        clean_depth(*person(64), np.zeros((64, 64), bool))
    with pytest.raises(ValueError, match="shape"):
        clean_depth(front, back[:32])


def test_push_pull_keeps_what_is_known_and_stays_in_range() -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(2, 5, (37, 53, 3)).astype(np.float32)
    weight = (rng.uniform(size=(37, 53)) < 0.05).astype(np.float32)
    filled = push_pull(values, weight)
    known = weight > 0
    np.testing.assert_array_equal(filled[known], values[known])
    assert filled.min() >= values[known].min() - 1e-4 and filled.max() <= values[known].max() + 1e-4
    flat = push_pull(np.where(known, np.float32(3.5), 0).astype(np.float32), weight)
    np.testing.assert_allclose(flat, 3.5, atol=1e-4)
    assert (push_pull(values, np.zeros((37, 53), np.float32)) == 0).all()


def test_nearest_known_agrees_with_brute_force() -> None:
    known = np.random.default_rng(5).uniform(size=(20, 31)) < 0.05
    distance, source = nearest_known(known)
    rows, columns = np.nonzero(known)
    for y in range(20):
        for x in range(31):
            all_distances = np.hypot(rows - y, columns - x)
            sy, sx = divmod(int(source[y, x]), 31)
            assert known[sy, sx]
            # OpenCV's 5 x 5 distance is good to two percent.
            assert np.hypot(sy - y, sx - x) <= all_distances.min() * 1.03 + 1e-6
            assert distance[y, x] == pytest.approx(all_distances.min(), rel=0.03, abs=1e-6)
    with pytest.raises(ValueError, match="no pixel"):
        nearest_known(np.zeros((3, 3), bool))


def test_bounding_box_with_margin() -> None:
    mask = np.zeros((10, 12), bool)
    mask[3:5, 0:7] = True
    assert bounding_box(mask) == (slice(3, 5), slice(0, 7))
    assert bounding_box(mask, 4) == (slice(0, 9), slice(0, 11))
    with pytest.raises(ValueError, match="empty"):
        bounding_box(np.zeros((2, 2), bool))
