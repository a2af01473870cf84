"""Our losses against hand-made cases whose value is known."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch

from h2k_rt.constants import METHOD
from h2k_rt.training.compiled import compiled
from h2k_rt.training.config import LossConfig, RunConfig, TrainingConfig
from h2k_rt.training.figures import CM_PER_NU, depth_figures, normal_figures
from h2k_rt.training.losses import normal_from_depth
from h2k_rt.training.low_stage import both_normals
from h2k_rt.training.objective import SHAPE_BETA, bent_depth, chords, depth_terms, masked_mean, normal_terms, total, trunk_terms

WEIGHTS = LossConfig()


def body(n: int = 48) -> torch.Tensor:
    """(1, 2, n, n): a disc with a curved front and back, 0 around it."""
    axis = (torch.arange(n) + 0.5) / n * 2 - 1
    inside = (1 - axis[None] ** 2 / 0.5 - axis[:, None] ** 2 / 0.5).clamp_min(0)
    bulge = inside.sqrt() * 0.3
    return torch.where(inside > 0, torch.stack([2 - bulge, 2 + bulge]), torch.zeros(()))[None]


def raw_of(depth: torch.Tensor, logit: float = 20.0) -> torch.Tensor:
    person = depth[:, :1] > 0
    front = torch.where(person, depth[:, :1], torch.tensor(METHOD.front_background))
    return torch.cat([front, depth[:, 1:], torch.where(person, logit, -logit)], 1)


def test_truth_costs_nothing() -> None:
    depth = body()
    terms = depth_terms(raw_of(depth), depth, WEIGHTS, 1.0, 8)
    assert {name: round(float(value), 2) for name, value in terms.items()} == dict.fromkeys(terms, 0.0)


def test_an_offset_costs_only_the_offset() -> None:
    depth = body()
    raw = raw_of(depth)
    raw[:, :2] += 0.3
    terms = depth_terms(raw, depth, WEIGHTS, 0.0, 8)
    assert float(terms["depth_offset"]) == pytest.approx(WEIGHTS.depth_offset * (0.3 - SHAPE_BETA / 2), rel=1e-4)
    for name in ("depth_shape", "depth_gradient_1", "depth_gradient_4", "depth_gradient_16"):
        assert float(terms[name]) == pytest.approx(0, abs=1e-5), name
    assert float(terms["depth_normal"]) < 1e-2


def test_a_tilt_costs_its_slope() -> None:
    depth = body()
    raw = raw_of(depth)
    slope = 0.01
    raw[:, :2] += slope * torch.arange(48)[None, None, :, None]
    terms = depth_terms(raw, depth, WEIGHTS, 0.0, 8)
    for step, weight in zip((1, 4, 16), WEIGHTS.depth_gradient, strict=True):
        # Half of the term is the differences down, half those to the right, which are right.
        assert float(terms[f"depth_gradient_{step}"]) == pytest.approx(weight * slope * step / 2, rel=1e-3)


def test_wrong_thickness_is_no_offset() -> None:
    depth = body()
    raw = raw_of(depth)
    raw[:, 0] -= 0.1
    raw[:, 1] += 0.1
    terms = depth_terms(raw, depth, WEIGHTS, 0.0, 8)
    assert float(terms["depth_offset"]) == pytest.approx(0, abs=1e-6)
    assert float(terms["depth_shape"]) == pytest.approx(WEIGHTS.depth_shape * (0.1 - SHAPE_BETA / 2), rel=1e-3)


def test_beyond_the_range_of_relu6_is_right() -> None:
    depth = body()
    raw = raw_of(depth)
    outside = (depth[:, :1] == 0).expand(-1, 2, -1, -1)
    raw[:, :2][outside] = torch.tensor([9.0, -3.0])[None, :, None, None].expand(1, 2, 48, 48)[outside]
    assert float(depth_terms(raw, depth, WEIGHTS, 1.0, 8)["depth_background"]) == 0
    raw[:, :2][outside] = torch.tensor([5.0, 1.0])[None, :, None, None].expand(1, 2, 48, 48)[outside]
    assert float(depth_terms(raw, depth, WEIGHTS, 1.0, 8)["depth_background"]) == pytest.approx(0.5)


@pytest.mark.parametrize("factor", [1, 8])
def test_angles_are_those_of_the_surface(factor: int) -> None:
    """Planes at known slopes: canvas pixels of depth per canvas pixel, encoded at the resolution, compared as angles."""

    def plane(degrees: float) -> torch.Tensor:
        per_pixel = math.tan(math.radians(degrees)) * factor / METHOD.depth_unit_px
        row = 2 + per_pixel * torch.arange(16)
        return normal_from_depth(row.expand(1, 1, 16, 16))[..., 2:-2, 2:-2].repeat(1, 2, 1, 1)

    for one, other in ((0, 30), (20, 70), (-45, 45)):
        chord = chords(plane(one), plane(other), factor)
        assert torch.allclose(chord, torch.full_like(chord, 2 * math.sin(math.radians(abs(one - other)) / 2)), atol=2e-3)
        figures = normal_figures(plane(one), plane(other), factor)
        assert figures["normal_front"] == pytest.approx(abs(one - other), abs=0.3)
        assert figures["normal_front_constant"] == pytest.approx(abs(other), abs=0.3)


def test_normals_beyond_relu_are_right_and_keep_their_gradient() -> None:
    target = both_normals(body())
    raw = torch.where(target > 0, target, torch.tensor(-5.0))
    terms = normal_terms(raw, target, WEIGHTS, 8)
    assert float(terms["normal_background"]) == 0 and float(terms["normal"]) == pytest.approx(0, abs=1e-6)
    dead = torch.full_like(target, -1.0).requires_grad_()
    total(normal_terms(dead, target, WEIGHTS, 8)).backward()
    person = (target[:, 2:3] > 0).expand_as(target)
    assert dead.grad is not None and (dead.grad[person] != 0).float().mean() > 0.9


def test_samples_count_equally() -> None:
    """Each sample is averaged by itself, so a mean over processes is that of the whole batch."""
    value, mask = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    mask[1, :, 1:] = 0
    assert float(masked_mean(value, mask)) == 2


def test_depth_figures() -> None:
    depth = body()[0]
    person = depth[0] > 0
    found = depth_figures(depth + 0.2 * person, person, depth)
    assert found["offset"] == pytest.approx(0.2 * CM_PER_NU, rel=1e-3) and found["depth_front"] == pytest.approx(0, abs=1e-3)
    assert found["iou"] == 1 and pytest.approx(512 * 170 / 1568) == CM_PER_NU


def coarse(depth: torch.Tensor) -> torch.Tensor:
    """What the trunk reads: every eighth pixel, front behind back outside the person."""
    low = depth[..., 3::8, 3::8].clone()
    low[:, 0][low[:, 0] == 0] = METHOD.front_background
    return low


def test_the_trunk_is_not_asked_to_mend_the_low_resolution_depth() -> None:
    depth = body(256)
    person = depth[:, :1].expand_as(depth) > 0
    # Right up to an offset of its own on each side: the target is the truth with these offsets.
    low = coarse(depth)
    inside = depth[..., 3::8, 3::8] > 0
    low[inside] += torch.tensor([0.1, -0.05])[None, :, None, None].expand_as(low)[inside]
    bent = bent_depth(depth, low)
    error = (bent - depth - torch.tensor([0.1, -0.05])[None, :, None, None])[person]
    assert float(error.abs().max()) < 1e-5
    assert not bent[~person].any()
    terms = trunk_terms(raw_of(bent), depth, low, WEIGHTS)
    assert {name: round(float(value), 2) for name, value in terms.items()} == dict.fromkeys(terms, 0.0)


def test_relief_that_the_low_resolution_depth_lacks_is_asked_for() -> None:
    depth = body(256)
    smooth = depth.clone()
    ripples = 0.3 / CM_PER_NU * torch.sin(torch.arange(256) * 2 * math.pi / 24)
    depth = torch.where(depth > 0, depth + ripples, depth)
    bent = bent_depth(depth, coarse(smooth))
    middle = np.s_[..., 96:160, 96:160]
    asked = (bent - smooth)[middle]
    # A Gaussian of 20 pixels leaves nothing of waves of 24.
    torch.testing.assert_close(asked, ripples[96:160].expand_as(asked), atol=0.02 * float(ripples.max()), rtol=0)
    terms = trunk_terms(raw_of(smooth), depth, coarse(smooth), WEIGHTS)
    mean = float(ripples.abs().mean())
    assert WEIGHTS.trunk_depth * 0.5 * mean < float(terms["depth"]) < WEIGHTS.trunk_depth * mean


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
def test_compiled_losses_are_the_same() -> None:
    value = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    person = (body(32)[:, :1] > 0).float()
    fused = compiled(masked_mean, TrainingConfig(run=RunConfig(compile=True)))
    assert fused is not masked_mean
    torch.testing.assert_close(fused(value, person), masked_mean(value, person))
    assert compiled(masked_mean, TrainingConfig()) is masked_mean
