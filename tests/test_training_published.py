"""The published objective: its steps give the numbers of the published losses, and parity its quirks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training_data import WIDTH, capsule_dataset, tiny_config

from h2k_rt.constants import METHOD, PART_GROUPS
from h2k_rt.errors import TrainingError
from h2k_rt.training.data import FolderSource
from h2k_rt.training.initial import fresh_networks
from h2k_rt.training.losses import phase1_losses, phase2_losses
from h2k_rt.training.low_stage import both_normals
from h2k_rt.training.nets import LOW_NAMES, PART_NAMES, network
from h2k_rt.training.parts_stage import upsampled, warp_prior
from h2k_rt.training.published import ParityPhase2, PublishedPhase1, published_picture
from h2k_rt.training.rates import rate_at
from h2k_rt.training.schedule import learning_rate
from h2k_rt.training.stages import make_stages
from h2k_rt.training.state import Networks

SEVEN = (*LOW_NAMES, *PART_NAMES)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    return FolderSource([capsule_dataset(tmp_path_factory.mktemp("data") / "set", METHOD.size, 1)])


def published_config(parity: bool = True, **tables: object):
    run = {"workers": 0, "precision": "float32"}
    model = {"width": WIDTH, "start": "random"}
    return tiny_config(objective="published", parity=parity, run=run, model=model, **tables)


@pytest.mark.slow
@pytest.mark.parametrize("parity", [True, False])
def test_phase_1_is_the_published_loss(source: FolderSource, parity: bool) -> None:
    config = published_config(parity)
    networks = Networks(fresh_networks(WIDTH, 1, "random"), SEVEN, config, CPU)
    (stage,) = make_stages(config, SEVEN, lambda size: source, networks, Path())
    assert isinstance(stage, PublishedPhase1)
    batch = stage.collate([stage.maker(source, 0, np.random.default_rng(0)) | {"sample": 0}])
    (update,) = stage.updates(batch, networks)
    assert update.networks == SEVEN
    live = networks.live
    with torch.no_grad():
        normals = {"low": network(live, "low_normal")(batch["low"])}
        for group in PART_GROUPS:
            crops = batch["crops"][group.name]
            prior = warp_prior(upsampled(normals["low"][:, :3]), crops, group)
            normals[group.name] = network(live, group.name)(torch.cat([crops["picture"], prior], 1))
        raw = network(live, "low_depth")(batch["low"], normals["low"])
        mask = raw[:, 2:].sigmoid() if parity else raw[:, 2:]
        targets = {"low": both_normals(batch["depth"])} | {name: crops["target"] for name, crops in batch["crops"].items()}
        expected = phase1_losses(normals, targets, F.relu6(raw[:, :2]), mask, batch["depth"])
    assert float(update.loss.detach()) == pytest.approx(float(expected.total), rel=1e-5)
    assert float(update.terms["normals"].detach()) == pytest.approx(float(expected.normals), rel=1e-5)


def test_phase_1_trains_all_seven(source: FolderSource) -> None:
    config = published_config()
    networks = Networks(fresh_networks(WIDTH, 1, "random"), ("face",), config, CPU)
    with pytest.raises(TrainingError, match=r"all seven networks together.*lacks low_normal"):
        make_stages(config, ("face",), lambda size: source, networks, Path())


@pytest.mark.slow
def test_parity_phase_2_drifts_and_is_the_published_loss(source: FolderSource) -> None:
    config = published_config(trunk={"crop": [2048, 2048], "crops": 1, "batch": 1})
    networks = Networks(fresh_networks(WIDTH, 1, "random"), ("high_depth",), config, CPU)
    stage = ParityPhase2(config, source, networks, Path())
    batch = stage.collate([stage.maker(source, 0, np.random.default_rng(0)) | {"sample": 0}])
    seen = {}

    def spy(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen["raw"], seen["shapes"] = output.detach(), [tuple(value.shape) for value in inputs]

    networks.raw["high_depth"].register_forward_hook(spy)
    before = {key: value.clone() for key, value in networks.live.state_dict().items()}
    (update,) = stage.updates(batch, networks)
    assert seen["shapes"] == [(1, 2, 256, 256), (1, 6, 2048, 2048)]
    expected = phase2_losses(F.relu6(seen["raw"][:, :2]), seen["raw"][:, 2:].sigmoid(), batch["depth"])
    assert float(update.loss.detach()) == pytest.approx(float(expected.total), rel=1e-5)
    assert update.networks == ("high_depth",)
    moved = {key for key, value in networks.live.state_dict().items() if not torch.equal(value, before[key])}
    frozen = {key for key in moved if not key.startswith("refine.")}
    assert frozen and all("running" in key or "num_batches" in key for key in frozen)
    assert "img2normal_face.Conv1.conv.1.running_mean" in frozen and "ImgNorm_to_Dep.Conv1_1.conv.1.running_var" in frozen


def test_the_published_picture(source: FolderSource) -> None:
    sample = source.read(0)
    assert sample.rgb is not None and sample.mask is not None
    config = published_config(augment={"factors": [1.0, 1.0]})
    blacks = 0
    for seed in range(30):
        picture = published_picture(sample, config, np.random.default_rng(seed))
        plain = (sample.rgb.astype(np.float32) / 255 - 0.5) / 0.5
        blacks += bool((picture[:8, :8] == -1).all())
        if seed == 0:
            import cv2

            inside = cv2.erode(sample.mask, np.ones((9, 9), np.uint8)) > 0
            np.testing.assert_allclose(picture[inside], plain[inside], atol=1e-6)
        if seed > 2 and blacks:
            break
    assert blacks, "one background in ten is black"


def test_schedules() -> None:
    published, ours = published_config(optimizer={"peak": 1e-4, "schedule": "published"}), tiny_config()
    assert rate_at(published.optimizer, 9, 0.5, 6.25) == learning_rate(6.25, 1e-4)
    peak, floor = ours.optimizer.peak, ours.optimizer.floor
    assert rate_at(ours.optimizer, 0, 0.0, 0.0) == pytest.approx(peak / 2)  # the first of two warm-up steps
    assert rate_at(ours.optimizer, 50, 0.5, 0.0) == pytest.approx(peak * (1 + floor) / 2)
    assert rate_at(ours.optimizer, 99, 1.0, 0.0) == pytest.approx(peak * floor)
