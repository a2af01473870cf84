"""CPU twins of the kernels: against the published numbers, and against an independent calculation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from h2k_kernels import Crops, fuse_parts, warp_parts, window_weight
from h2k_kernels.sampling import pixel_affine
from oracle_rules import unit

from h2k_rt.constants import METHOD, PART_GROUPS
from h2k_rt.inference import CROPS

Vectors = Callable[[str], dict[str, np.ndarray]]


def share_above(difference: np.ndarray, tolerance: float) -> float:
    return float((difference > tolerance).mean())


@pytest.fixture(scope="module")
def part_matrices(load_vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
    data = load_vectors("parts_in")
    return data["z"][0], data["inv_z"][0]


@pytest.mark.parity
def test_window_weights_match_the_published_blur(load_vectors: Vectors, part_matrices: tuple[np.ndarray, np.ndarray]) -> None:
    data = load_vectors("fusion")
    for group in PART_GROUPS:
        weight = window_weight(part_matrices[0][group.parts[0]], METHOD.size, group.height, group.width, 16, 15, 5.0)
        assert np.abs(weight[:40, :40] - data[f"blur_{group.name}_topleft40"]).max() <= 1e-5
        canvas_sum, box_sum = data[f"blur_{group.name}_sum"]
        assert canvas_sum == pytest.approx(box_sum)  # nothing is outside the crop
        assert weight.sum(dtype=np.float64) == pytest.approx(box_sum, rel=1e-5)


@pytest.mark.parity
def test_fusion_matches_the_published_one(
    load_vectors: Vectors, part_matrices: tuple[np.ndarray, np.ndarray], wave_offset: float
) -> None:
    data = load_vectors("fusion")
    normals = [np.stack([unit(6, g.height, g.width, a=i, v=wave_offset) for i in g.parts]) for g in PART_GROUPS]
    fused = fuse_parts(normals, CROPS, *part_matrices, METHOD.size, threads=2)
    difference = np.abs(fused[:, 4::8, 4::8] - data["fused_synthetic_stride8"])
    # Pixels with a tiny sum of weights may differ by more (VECTORS.md).
    assert np.quantile(difference, 0.999) <= 2e-4
    y, x = data["dense_yx"]
    window = np.s_[:, y - 32 : y + 32, x - 32 : x + 32]
    assert np.quantile(np.abs(fused[window] - data["fused_synthetic_dense64"]), 0.999) <= 2e-4
    np.testing.assert_allclose(fused.mean((1, 2), dtype=np.float64), data["fused_synthetic_stats"][:, 0], atol=1e-5)


@pytest.mark.parity
def test_each_weight_matches(load_vectors: Vectors, part_matrices: tuple[np.ndarray, np.ndarray]) -> None:
    """Fusing one-hot "normals" (ones for one part, zeros for the others) gives that part's normalised weight."""
    data = load_vectors("fusion")
    y, x = data["dense_yx"]
    covered = None
    for part in range(12):
        hot = [np.stack([np.full((6, g.height, g.width), float(i == part), np.float32) for i in g.parts]) for g in PART_GROUPS]
        weight = fuse_parts(hot, CROPS, *part_matrices, METHOD.size, threads=2)[0]
        difference = np.abs(weight[8::16, 8::16] - data["weights_stride16"][part])
        assert np.quantile(difference, 0.999) <= 1e-4
        assert np.quantile(np.abs(weight[y - 32 : y + 32, x - 32 : x + 32] - data["weights_dense64"][part]), 0.999) <= 1e-4
        assert weight.sum(dtype=np.float64) == pytest.approx(data["weights_sum_per_part"][part], rel=2e-4)
        covered = weight if covered is None else covered + weight
    assert covered is not None
    assert abs(int((covered > 0.5).sum()) - int(data["covered_pixels"])) <= 1e-4 * int(data["covered_pixels"])


def small_case(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[Crops, ...]]:
    """A 64 px canvas with three parts: inside, across the border, and wholly outside."""
    rng = np.random.default_rng(seed)
    picture = rng.uniform(-1, 1, (64, 64, 3)).astype(np.float32)
    low = rng.uniform(0, 1, (3, 8, 8)).astype(np.float32)
    angle = 0.4
    c, s = 0.9 * np.cos(angle), 0.9 * np.sin(angle)
    to_canvas = np.array([[[c, -s, 0.1], [s, c, -0.05]], [[1.1, 0, 0.8], [0, 1.1, 0.7]], [[1, 0, 5], [0, 1, 5]]], np.float32)
    block = np.linalg.inv(to_canvas[..., :2].astype(np.float64))
    to_part = np.concatenate([block, -block @ to_canvas[..., 2:]], axis=-1).astype(np.float32)
    return picture, low, to_canvas, to_part, (Crops((0, 1), 24, 20), Crops((2,), 17, 31))


def bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """(c,) value of (h, w, c) at a pixel index, zeros outside: the textbook formula."""
    total = np.zeros(image.shape[2])
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    for j in (y0, y0 + 1):
        for i in (x0, x0 + 1):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[0]:
                total += image[j, i] * (1 - abs(x - i)) * (1 - abs(y - j))
    return total


def test_warp_equals_the_textbook_formula() -> None:
    import cv2

    picture, low, to_canvas, _, crops = small_case()
    normals = cv2.resize(low.transpose(1, 2, 0), (64, 64), interpolation=cv2.INTER_LINEAR)
    source = np.concatenate([picture, normals], 2)
    for threads in (1, 2):
        outputs = warp_parts(picture, low, to_canvas, crops, threads)
        for group, output in zip(crops, outputs, strict=True):
            assert output.shape == (len(group.parts), 6, group.height, group.width)
            top, left = 32 - group.height // 2, 32 - group.width // 2
            for slot, part in enumerate(group.parts):
                affine = pixel_affine(to_canvas[part], 64)
                for r in range(0, group.height, 3):
                    for q in range(0, group.width, 3):
                        x, y = affine @ (left + q, top + r, 1)
                        np.testing.assert_allclose(output[slot, :, r, q], bilinear(source, x, y), atol=2e-5)
    assert np.abs(outputs[0][0]).max() > 0.5
    assert not outputs[1].any()  # the part outside the canvas


def test_fusion_equals_the_textbook_formula() -> None:
    _, _, to_canvas, to_part, crops = small_case()
    rng = np.random.default_rng(1)
    normals = [rng.uniform(0, 1, (len(g.parts), 6, g.height, g.width)).astype(np.float32) for g in crops]
    fused = fuse_parts(normals, crops, to_canvas, to_part, 64, trim=4, taps=3, sigma=1.0)
    parts = []
    for g, n in zip(crops, normals, strict=True):
        for slot, part in enumerate(g.parts):
            weight = window_weight(to_canvas[part], 64, g.height, g.width, 4, 3, 1.0)
            affine = pixel_affine(to_part[part], 64)
            affine[:, 2] -= (32 - g.width // 2, 32 - g.height // 2)
            parts.append((affine, n[slot].transpose(1, 2, 0), weight[..., None]))
    touched = 0
    for y in range(64):
        for x in range(64):
            total, sum_weights = np.zeros(6), 0.0
            for affine, n, weight in parts:
                at = affine @ (x, y, 1)
                w = float(bilinear(weight, *at)[0])
                total += w * bilinear(n, *at)
                sum_weights += w
            if sum_weights > 1e-3:
                touched += 1
                np.testing.assert_allclose(fused[:, y, x], total / sum_weights, atol=1e-4)
            elif sum_weights == 0:
                assert not fused[:, y, x].any()
    assert touched > 500


def test_region_and_threads_change_nothing_inside() -> None:
    _, _, to_canvas, to_part, crops = small_case()
    rng = np.random.default_rng(2)
    normals = [rng.uniform(0, 1, (len(g.parts), 6, g.height, g.width)).astype(np.float32) for g in crops]
    whole = fuse_parts(normals, crops, to_canvas, to_part, 64)
    part = fuse_parts(normals, crops, to_canvas, to_part, 64, region=(10, 5, 50, 61), threads=2)
    np.testing.assert_array_equal(part[:, 5:61, 10:50], whole[:, 5:61, 10:50])
    part[:, 5:61, 10:50] = 0
    assert not part.any()


def test_fill_stands_in_only_where_parts_are_missing() -> None:
    _, _, to_canvas, to_part, crops = small_case()
    normals = [np.full((len(g.parts), 6, g.height, g.width), 0.25, np.float32) for g in crops]
    fill = np.full((6, 8, 8), 0.75, np.float32)
    options = {"fill": fill, "fill_weight": 0.05, "trim": 4, "taps": 3, "sigma": 1.0}
    fused = fuse_parts(normals, crops, to_canvas, to_part, 64, **options)
    alone = fuse_parts(normals, crops, to_canvas, to_part, 64, usable=np.array([False, True, True]), **options)
    assert fused[0, 32, 32] == pytest.approx(0.25)
    assert alone[0, 32, 32] == pytest.approx(0.75)
    assert fused[0, 0, 0] == pytest.approx(0.75)
    assert fused.min() >= 0.25 - 1e-5
    assert fused.max() <= 0.75 + 1e-5
    # A share of the back is the fill's everywhere; where nothing but the fill is, there is nothing to mix.
    mixed = fuse_parts(normals, crops, to_canvas, to_part, 64, back_share=0.6, **options)
    np.testing.assert_array_equal(mixed[:3], fused[:3])
    np.testing.assert_allclose(mixed[3:], 0.4 * fused[3:] + 0.6 * 0.75, rtol=1e-5)
    for wrong in ({"back_share": 1.0, **options}, {"back_share": 0.5}):
        with pytest.raises(ValueError, match="back_share"):
            fuse_parts(normals, crops, to_canvas, to_part, 64, **wrong)
