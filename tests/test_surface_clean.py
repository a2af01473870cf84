"""Cleaning the depth maps: pieces, holes, flying depths, thickness, gates."""

from __future__ import annotations

import cv2
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
    calm = clean_depth(front, back)
    front[row, trunk] -= 0.5  # a quarter of a metre
    clean = clean_depth(front, back)
    assert np.abs(clean.front - calm.front).max() < 0.1  # of 0.5
    assert np.abs(clean.front - calm.front)[np.abs(np.arange(512) - row) > 30].max() == 0


def test_rough_depth_at_the_silhouette_is_calmed() -> None:
    front, back = person(1024)
    rim = (front < 6) & ~(cv2.erode((front < 6).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    calm = clean_depth(front, back)
    front[rim] += np.random.default_rng(0).uniform(-0.05, 0.05, int(rim.sum())).astype(np.float32)
    clean = clean_depth(front, back)
    rough = (clean.front - calm.front)[rim & calm.mask & clean.mask]
    assert len(rough) > 1000
    assert rough.std() < 0.6 * 0.05 / np.sqrt(3)


def test_a_slab_gets_a_round_edge_and_a_body_stays() -> None:
    mask = np.zeros((512, 512), bool)
    mask[100:400, 150:350] = True
    slab = clean_depth(np.where(mask, 1.8, 6).astype(np.float32), np.where(mask, 2.2, 0).astype(np.float32))
    half = (slab.back - slab.front)[250, 150:250] / 2 * METHOD.depth_unit_px / 4  # pixels of this map
    assert half[0] < 12 and half[-1] == pytest.approx(0.2 * METHOD.depth_unit_px / 4, rel=1e-4)
    assert (np.diff(half) >= -1e-4).all()
    front, back = person(512)
    clean = clean_depth(front, back)
    change = np.abs(clean.front - front)[clean.mask] * METHOD.depth_unit_px
    assert np.quantile(change, 0.95) < 1 and np.median(change) == 0


def test_spikes_and_notches_of_the_outline_go() -> None:
    front, back = person(1024)
    plain = clean_depth(front, back).mask
    row = 400
    first = int(np.flatnonzero(plain[row])[0])
    front[row, first - 30 : first], back[row, first - 30 : first] = 1.9, 2.1
    front[row + 60, first : first + 12], back[row + 60, first : first + 12] = 6, 0
    assert np.count_nonzero(clean_depth(front, back).mask ^ plain) < 12


def test_what_the_networks_missed_of_the_person_is_filled_in() -> None:
    front, back = person(512)
    person_mask = front < 6
    lost = person_mask & (np.arange(512)[:, None] > 330)
    cut_front, cut_back = np.where(lost, 6, front), np.where(lost, 0, back)
    without = clean_depth(cut_front, cut_back, person_mask, options=CleanOptions(complete=False))
    assert not without.mask[340:].any() and without.filled < 0.01
    clean = clean_depth(cut_front, cut_back, person_mask)
    assert (clean.mask ^ person_mask).sum() < 0.01 * person_mask.sum()
    assert clean.filled == pytest.approx(lost.sum() / person_mask.sum(), abs=0.02)
    middle = (clean.front + clean.back)[lost & clean.mask] / 2
    assert np.abs(middle - ((front + back) / 2)[lost & clean.mask]).max() < 0.35
    thick = (clean.back - clean.front)[lost & clean.mask] * METHOD.depth_unit_px
    assert 40 < thick.max() <= 2 * CleanOptions().limb_radius_px + 1


def test_a_mask_of_everything_fills_nothing_in(maps) -> None:
    front, back = maps
    everything = np.ones((512, 512), bool)
    np.testing.assert_array_equal(clean_depth(front, back, everything).mask, clean_depth(front, back).mask)


@pytest.mark.parametrize("kind", ["bool", "alpha"])
def test_person_mask_gates(maps, kind: str) -> None:
    front, back = maps
    gate = np.zeros((512, 512), bool)
    gate[:256] = True
    mask = gate if kind == "bool" else np.where(gate, 200, 60).astype(np.uint8)
    clean = clean_depth(front, back, mask)
    assert abs(int(clean.mask[:256].sum()) - int((front < 6)[:256].sum())) < 20
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
    distance, source = (a.reshape(20, 31) for a in nearest_known(known, np.arange(620)))
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
        nearest_known(np.zeros((3, 3), bool), np.arange(9))


def test_bounding_box_with_margin() -> None:
    mask = np.zeros((10, 12), bool)
    mask[3:5, 0:7] = True
    assert bounding_box(mask) == (slice(3, 5), slice(0, 7))
    assert bounding_box(mask, 4) == (slice(0, 9), slice(0, 11))
    with pytest.raises(ValueError, match="empty"):
        bounding_box(np.zeros((2, 2), bool))
