"""Losses and learning-rate schedule against the published program's numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from h2k_kernels import warp_parts
from oracle_rules import bulge, unit, wave

from h2k_rt.constants import METHOD, PART_GROUPS
from h2k_rt.inference import CROPS
from h2k_rt.training import losses
from h2k_rt.training.schedule import learning_rate

pytestmark = pytest.mark.parity

Vectors = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def data(load_vectors: Vectors) -> dict[str, np.ndarray]:
    return load_vectors("losses")


def leaf(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).requires_grad_()


def test_single_terms(data: dict[str, np.ndarray], wave_offset: float) -> None:
    p = torch.from_numpy(np.stack([unit(3, 64, 48, i + 0.3, wave_offset) for i in range(4)]))
    g = torch.from_numpy(np.stack([unit(3, 64, 48, i, wave_offset) for i in range(4)]))
    found = {
        "l1_mean": (p - g).abs().mean(),
        "l1_summed_over_batch": losses.l1(p, g),
        "smooth_l1_summed_over_batch_times6": losses.smooth_l1(6 * p, 6 * g),
        "ssim_loss_3ch": 1 - losses.ssim(p, g),
        "ssim_loss_1ch": 1 - losses.ssim(p[:, :1], g[:, :1]),
        "bce_logits_summed_over_batch": losses.mask_loss(p[:, :1], (g[:, :1] > 0.5).float()),
    }
    for name, value in found.items():
        assert float(value) == pytest.approx(float(data[name]), rel=1e-4), name


def test_schedule(data: dict[str, np.ndarray]) -> None:
    ours = [learning_rate(float(epoch)) for epoch in data["lr_epoch"]]
    np.testing.assert_allclose(ours, data["lr_value"], atol=1e-12)


def depth_prediction(base: np.ndarray, background: float, a: float, v: float) -> np.ndarray:
    n = base.shape[-1]
    filled = np.where(base > 0, base, background)
    return np.clip(filled + 0.05 * wave(1, n, n, a, v)[0], 0, 6)[None, None]


def check_gradient(data: dict[str, np.ndarray], phase: int, name: str, gradient: torch.Tensor) -> None:
    value = gradient.numpy()
    assert float(np.linalg.norm(value.astype(np.float64))) == pytest.approx(
        float(data[f"phase{phase}_gradnorm_{name}"]), rel=2e-3
    ), name
    y, x = value.shape[-2] // 2, value.shape[-1] // 2
    theirs = data[f"phase{phase}_grad_{name}"]
    ours = value[0, :, y - 8 : y + 8, x - 8 : x + 8] * 1e6
    assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max() + 1e-9, name


def check_terms(data: dict[str, np.ndarray], phase: int, found: losses.Losses) -> None:
    terms = {"total": found.total, "lossN": found.normals, "lossD": found.depth, "lossC": found.consistency, "lossM": found.mask}
    for name, value in terms.items():
        assert float(value.detach()) == pytest.approx(float(data[f"phase{phase}_{name}"]), rel=1e-4, abs=1e-12), name


@pytest.mark.slow
def test_phase_1(data: dict[str, np.ndarray], load_vectors: Vectors, wave_offset: float, vector_set: dict[str, Any]) -> None:
    v = wave_offset
    front, back = (side.astype(np.float32) for side in bulge(METHOD.size, v))
    matrices = load_vectors("keypoints_affine")[f"{vector_set['photo']}__z"]
    normals = [losses.normal_from_depth(torch.from_numpy(side)[None, None])[0].numpy().transpose(1, 2, 0) for side in (front, back)]
    blank = np.zeros((3, 8, 8), np.float32)
    crops = [[c[:, :3] for c in warp_parts(side, blank, matrices, CROPS, threads=2)] for side in normals]
    targets = {g.name: torch.from_numpy(np.concatenate([crops[0][i], crops[1][i]], 1)) for i, g in enumerate(PART_GROUPS)}
    low = torch.from_numpy(np.stack([front, back])[None, :, 3::8, 3::8].copy())
    targets["down"] = torch.cat([losses.normal_from_depth(low[:, :1]), losses.normal_from_depth(low[:, 1:])], 1)
    for key, want in (
        ("f_n_f", ("face", 0)),
        ("u_n_b", ("upper", 1)),
        ("a_n_f", ("arm", 0)),
        ("l_n_b", ("leg", 1)),
        ("s_n_f", ("shoe", 0)),
    ):
        group, side = want
        ours = targets[group][:, 3 * side : 3 * side + 3, ::8, ::8].numpy()
        assert np.quantile(np.abs(ours - data[f"target_t_{key}_stride8"]), 0.999) <= 2e-4, key
    np.testing.assert_allclose(targets["down"][0, :3, ::4, ::4].numpy(), data["target_low_normal_front_stride4"], atol=1e-3)

    predictions = {g.name: leaf(np.stack([unit(6, g.height, g.width, i, v) for i in g.parts])) for g in PART_GROUPS} | {
        "down": leaf(unit(6, 256, 256, 1, v)[None])
    }
    sides = [front[3::8, 3::8], back[3::8, 3::8]]
    depth_leaves = [leaf(depth_prediction(sides[0], 5.9, 1, v)), leaf(depth_prediction(sides[1], 0.1, 2, v))]
    mask = leaf(unit(1, 256, 256, 3, v)[None])
    found = losses.phase1_losses(predictions, targets, torch.cat(depth_leaves, 1), mask, low)
    check_terms(data, 1, found)
    found.total.backward()
    for name, prediction in predictions.items():
        assert prediction.grad is not None
        for index, side_name in enumerate(("front", "back")):
            check_gradient(data, 1, f"pred_{name}_normal_{side_name}", prediction.grad[:, 3 * index : 3 * index + 3])
    for leaf_tensor, name in zip([*depth_leaves, mask], ("front", "back", "mask"), strict=True):
        assert leaf_tensor.grad is not None
        check_gradient(data, 1, f"pred_down_depth_{name}", leaf_tensor.grad)


@pytest.mark.slow
def test_phase_2(data: dict[str, np.ndarray], wave_offset: float) -> None:
    v = wave_offset
    front, back = (side.astype(np.float32) for side in bulge(METHOD.size, v))
    leaves = [leaf(depth_prediction(front, 5.9, 1, v)), leaf(depth_prediction(back, 0.1, 2, v))]
    mask = leaf(unit(1, METHOD.size, METHOD.size, 3, v)[None])
    target = torch.from_numpy(np.stack([front, back])[None])
    found = losses.phase2_losses(torch.cat(leaves, 1), mask, target)
    check_terms(data, 2, found)
    found.total.backward()
    for leaf_tensor, name in zip([*leaves, mask], ("front", "back", "mask"), strict=True):
        assert leaf_tensor.grad is not None
        check_gradient(data, 2, f"pred_depth_{name}", leaf_tensor.grad)
