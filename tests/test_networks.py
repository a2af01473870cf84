"""The networks: names and shapes of the published checkpoint, and their numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle_rules import unit, wave, weights_from_tsv

from h2k_rt.networks import PART_GROUPS, HumanNet, build_networks

Vectors = Callable[[str], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def rule_weights(vectors_dir: Path, vector_set: dict[str, Any]) -> dict[str, np.ndarray]:
    return weights_from_tsv(vectors_dir / "state_dict_keys.tsv", vector_set["weight_suffix"])


@pytest.fixture(scope="module")
def net(rule_weights: dict[str, np.ndarray]) -> HumanNet:
    module = HumanNet(1.0)
    module.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in rule_weights.items()}, strict=True)
    return module.eval()


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))[None]


def part_input(index: int, height: int, width: int, v: float) -> torch.Tensor:
    return tensor(np.concatenate([wave(3, height, width, index, v), unit(3, height, width, index + 0.5, v)]))


@pytest.mark.parity
def test_state_dict_is_the_published_one(vectors_dir: Path) -> None:
    rows = [line.split("\t") for line in (vectors_dir / "state_dict_keys.tsv").read_text().splitlines()[1:]]
    state = HumanNet(1.0).state_dict()
    assert list(state) == [row[0] for row in rows]
    assert len(state) == 1504
    for key, shape, dtype in rows:
        assert "x".join(map(str, state[key].shape)) == (shape if shape != "scalar" else "")
        assert str(state[key].dtype) == f"torch.{dtype}"
    assert sum(p.numel() for p in HumanNet(1.0).parameters()) == 77_655_212


@pytest.mark.parity
def test_rule_weights_are_the_vectors_ones(load_vectors: Vectors, rule_weights: dict[str, np.ndarray]) -> None:
    data = load_vectors("weights_probe")
    floats = [value for value in rule_weights.values() if value.dtype == np.float32]
    assert sum(v.sum(dtype=np.float64) for v in floats) == pytest.approx(float(data.pop("sum_of_all_float_entries")), rel=1e-6)
    squares = sum(np.square(v, dtype=np.float64).sum() for v in floats)
    assert squares == pytest.approx(float(data.pop("sum_of_squares_of_all_float_entries")), rel=1e-6)
    assert data
    for key, values in data.items():
        np.testing.assert_allclose(rule_weights[key].ravel()[:64], values, rtol=2e-7, atol=1e-9)


@pytest.mark.parity
def test_small_inputs(load_vectors: Vectors, net: HumanNet, wave_offset: float) -> None:
    data, v = load_vectors("nets_small"), wave_offset
    with torch.no_grad():
        for index, group in enumerate(PART_GROUPS):
            check(net.part_net(group)(part_input(index, 64, 48, v))[0], data[f"part_{group}_64x48"], 1e-4)
        check(net.img2normal_down(tensor(wave(3, 64, 96, v=v)))[0], data["low_normal_64x96"], 1e-4)
        check(net.ImgNorm_to_Dep(tensor(wave(3, 64, 96, v=v)), tensor(unit(6, 64, 96, v=v)))[0], data["low_depth_raw_64x96"], 1e-4)
        raw = net.refine(tensor(1 + 2 * unit(2, 16, 16, v=v)), tensor(unit(6, 128, 128, v=v)))[0]
        check(raw, data["refine_trunk_raw_128"], 1e-4)
        face = net.part_net("face")
        gated = face.Att4(tensor(unit(256, 12, 10, 0.5, v)), tensor(unit(256, 12, 10, 0.25, v)))[0, ::4]
        check(gated, data["block_attention_Att4_12x10"], 1e-4)
        check(face.Up4(tensor(unit(512, 12, 10, 0.5, v)))[0, ::8], data["block_up_Up4_12x10"], 1e-4)
        check(face.Conv2(tensor(unit(64, 12, 10, v=v)))[0, ::4], data["block_double_conv_Conv2_12x10"], 1e-4)


@pytest.mark.parity
def test_every_stage(load_vectors: Vectors, net: HumanNet, wave_offset: float) -> None:
    """Mean, deviation and size of every named stage's output, so that an error is found where it is made."""
    data, v = load_vectors("nets_small"), wave_offset
    runs: dict[str, tuple[torch.nn.Module, tuple[torch.Tensor, ...]]] = {
        "part_face": (net.part_net("face"), (part_input(0, 64, 48, v),)),
        "low_normal": (net.img2normal_down, (tensor(wave(3, 64, 96, v=v)),)),
        "low_depth": (net.ImgNorm_to_Dep, (tensor(wave(3, 64, 96, v=v)), tensor(unit(6, 64, 96, v=v)))),
        "refine": (net.refine, (tensor(1 + 2 * unit(2, 16, 16, v=v)), tensor(unit(6, 128, 128, v=v)))),
    }
    found: dict[str, list[np.ndarray]] = {}
    for run, (module, inputs) in runs.items():
        hooks = []
        for child_name, child in module.named_children():
            calls = found.setdefault(f"{run}/{child_name}", [])
            # Kept as numbers at once: later layers write into some outputs in place.
            hooks.append(child.register_forward_hook(lambda _m, _i, out, calls=calls: calls.append(statistics(out))))
        with torch.no_grad():
            module(*inputs)
        for hook in hooks:
            hook.remove()
    assert len(data["stage_names"]) > 60
    for name, wanted in zip(data["stage_names"], data["stage_mean_std_absmax_c_h_w"], strict=True):
        # A module that is called several times (pooling): in which order the encoders run is no part of the method.
        stage = str(name).partition("#")[0]
        ours = min(found[stage], key=lambda row, wanted=wanted: float(np.abs(row - wanted).max()))
        np.testing.assert_array_equal(ours[3:], wanted[3:], err_msg=str(name))
        np.testing.assert_allclose(ours[:3], wanted[:3], atol=1e-4 * max(1.0, wanted[2]), err_msg=str(name))


def statistics(out: torch.Tensor) -> np.ndarray:
    value = out.double()
    return np.array([value.mean(), value.std(unbiased=False), value.abs().max(), *out.shape[1:]])


@pytest.mark.parity
@pytest.mark.slow
def test_real_sizes(load_vectors: Vectors, net: HumanNet, wave_offset: float) -> None:
    from h2k_rt.constants import PART_GROUPS as GROUPS

    data, v = load_vectors("nets_full"), wave_offset
    with torch.no_grad():
        for index, group in enumerate(GROUPS):
            out = net.part_net(group.name)(part_input(index, group.height, group.width, v))
            check(out[0, :, ::4, ::4], data[f"part_{group.name}_stride4"], 2e-4)
            check_statistics(out, data[f"part_{group.name}_stats"])
        out = net.img2normal_down(tensor(wave(3, 256, 256, v=v)))
        check(out[0, :, ::3, ::3], data["low_normal_stride3"], 2e-4)
        check_statistics(out, data["low_normal_stats"])
        out = net.ImgNorm_to_Dep(tensor(wave(3, 256, 256, v=v)), tensor(unit(6, 256, 256, v=v)))
        check(out[0, :, ::3, ::3], data["low_depth_raw_stride3"], 2e-4)
        check_statistics(out, data["low_depth_raw_stats"])


def check(ours: torch.Tensor, theirs: np.ndarray, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    assert float(np.abs(ours.numpy() - theirs).max()) <= tolerance


def check_statistics(out: torch.Tensor, theirs: np.ndarray) -> None:
    value = out.double().numpy().transpose(1, 0, 2, 3).reshape(out.shape[1], -1)
    ours = np.stack([value.mean(1), value.std(1), value.min(1), value.max(1)], 1)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_width_scales_every_layer() -> None:
    """A quarter of the width is a sixteenth of the weights but for the ends of the networks."""
    small = sum(p.numel() for p in build_networks(0.25).parameters())
    assert small == pytest.approx(77_655_212 / 16, rel=0.01)
    with pytest.raises(ValueError, match="width"):
        build_networks(0.26)
    with pytest.raises(ValueError, match="width"):
        build_networks(float("nan"))


def test_trunk_sees_no_further_than_its_stated_radius() -> None:
    from h2k_rt.high_depth import HALO

    net = build_networks(0.125).eval()
    depth, normals = torch.rand(1, 2, 16, 16), torch.rand(1, 6, 128, 128)
    with torch.no_grad():
        base = net.refine(depth, normals)
        normals[..., 64, 64] += 1.0
        changed = (net.refine(depth, normals) - base).abs().amax((0, 1)) > 0
        depth[..., 8, 8] += 1.0
        deep = (net.refine(depth, normals) - base).abs().amax((0, 1)) > 0
    rows = torch.nonzero(changed | deep)
    # One cell of the low depth covers canvas pixels 64..71.
    reach = int(torch.maximum((64 - rows).amax(), (rows - 71).amax()))
    assert 0 < reach <= net.refine.RECEPTIVE_RADIUS + 8
    assert reach <= HALO
