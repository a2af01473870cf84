"""First weights: from a bundle's graphs (the same numbers as ONNX Runtime), and those that pass the low resolution through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from h2k_export.wrappers import LowDepthGraph
from torch import Tensor
from training_data import WIDTH

from h2k_rt.bundle import Bundle
from h2k_rt.errors import CheckpointError
from h2k_rt.networks import HighDepthNet, HumanNet, NormalNet
from h2k_rt.training.initial import calibrate, fresh_networks, needs_calibration, networks_of_bundle
from h2k_rt.training.nets import RawNet, network


@pytest.fixture(scope="module")
def small() -> HumanNet:
    return networks_of_bundle(Path("small"))


def onnx_outputs(name: str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    graph = Bundle.open("small").network(name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def noise(*shape: int, low: float = -1.0) -> np.ndarray:
    return np.random.default_rng(3).uniform(low, 1, shape).astype(np.float32)


def close(ours: Tensor, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=2e-5 * np.abs(theirs).max())


def test_a_bundle_gives_the_networks_of_its_graphs(small: HumanNet) -> None:
    picture, crops = noise(1, 3, 256, 256), noise(2, 6, 176, 128)
    (normals,) = onnx_outputs("low_normal", {"picture": picture})
    close(network(small, "low_normal").eval()(torch.from_numpy(picture)), normals)
    (part,) = onnx_outputs("shoe", {"crops": crops})
    close(network(small, "shoe").eval()(torch.from_numpy(crops)), part)
    depth, mask = onnx_outputs("low_depth", {"picture": picture, "normals": normals})
    ours = LowDepthGraph(small.ImgNorm_to_Dep).eval()(torch.from_numpy(picture), torch.from_numpy(normals))
    close(ours[1], mask)
    decided = np.broadcast_to(np.abs(mask - 0.5) > 1e-3, depth.shape)
    np.testing.assert_allclose(ours[0].detach().numpy()[decided], depth[decided], atol=1e-4)
    low, fine = noise(1, 2, 16, 16, low=1.0), noise(1, 6, 128, 128, low=0.0)
    found, _ = onnx_outputs("high_depth", {"low_depth": low, "normals": fine})
    close(F.relu6(small.refine.eval()(torch.from_numpy(low), torch.from_numpy(fine))[:, :2]), found)


def test_another_width_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"has width 0\.25, not 0\.5"):
        networks_of_bundle(Path("small"), 0.5)


def test_calibrated_batch_norms_change_nothing_and_fit_a_batch(small: HumanNet) -> None:
    net = network(small, "low_normal")
    assert needs_calibration(net)
    batch = torch.from_numpy(noise(4, 3, 64, 64))
    net.eval()
    with torch.no_grad():
        before = net(batch)
    calibrate([net], lambda: net(batch))
    with torch.no_grad():
        assert not needs_calibration(net) and not net.training
        torch.testing.assert_close(net(batch), before, atol=2e-5, rtol=1e-4)
        # On the very samples that were measured, a batch's own statistics are the stored ones.
        torch.testing.assert_close(net.train()(batch), before, atol=2e-3, rtol=1e-2)


def test_networks_with_random_weights_need_no_calibration() -> None:
    net = fresh_networks(WIDTH, 1, "random")
    assert not any(needs_calibration(network(net, name)) for name in ("low_normal", "face", "high_depth"))


def test_the_trunk_begins_with_the_upsampled_low_depth() -> None:
    net = network(fresh_networks(WIDTH, 1, "pass-through"), "high_depth").eval()
    assert isinstance(net, HighDepthNet) and needs_calibration(net)
    depth = torch.full((1, 2, 8, 8), 6.0)
    depth[:, 1] = 0
    depth[:, 0, 2:6, 2:6], depth[:, 1, 2:6, 2:6] = 1.8, 2.3
    with torch.no_grad():
        raw = net(depth, torch.zeros(1, 6, 64, 64))
    expected = depth
    for _ in range(3):
        expected = torch.nn.functional.interpolate(expected, scale_factor=2, mode="bilinear")
    # Convolutions pad with 0, so the picture's edge differs.
    raw, expected = raw[..., 8:-8, 8:-8], expected[..., 8:-8, 8:-8]
    torch.testing.assert_close(raw[:, :2], expected, atol=1e-3, rtol=1e-3)
    thickness = expected[:, 1] - expected[:, 0]
    clear = thickness.abs() > 0.3
    assert ((raw[:, 2] > 0) == (thickness > 0))[clear].all()


def test_part_networks_begin_with_the_low_front_normals() -> None:
    net = network(fresh_networks(WIDTH, 1, "pass-through"), "arm").eval()
    assert isinstance(net, NormalNet)
    crops = torch.from_numpy(noise(1, 6, 32, 32))
    crops[:, 3:].abs_()
    with torch.no_grad():
        front = net(crops)[:, :3]
    error = (front - crops[:, 3:]).abs().max()
    # The gate lets 98 % through, give or take what the random features open or close.
    assert error < 0.05 * crops[:, 3:].max()


def test_random_weights_follow_from_the_seed() -> None:
    one, again, other = (fresh_networks(WIDTH, seed, "random").state_dict() for seed in (1, 1, 2))
    key = "img2normal_face.Conv1.conv.0.weight"
    assert torch.equal(one[key], again[key]) and not torch.equal(one[key], other[key])


def test_raw_networks_end_before_the_last_activation() -> None:
    net = fresh_networks(WIDTH, 1, "random")
    crops = torch.from_numpy(noise(1, 6, 32, 32))
    part = network(net, "face").eval()
    raw = RawNet(part, "float32", channels_last=True)(crops).detach()
    torch.testing.assert_close(raw.relu(), part(crops).detach())
    assert (raw < 0).any() and raw.dtype == torch.float32
    mixed = RawNet(part, "bfloat16", channels_last=True)(crops).detach()
    assert mixed.dtype == torch.float32 and not torch.equal(mixed, raw)
    torch.testing.assert_close(mixed, raw, atol=0.1 * float(raw.abs().max()), rtol=0.1)
