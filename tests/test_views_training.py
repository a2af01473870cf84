"""Training the implicit function in the trainer's loop, from view sets to a bundle that measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runner import Cli, in_process
from safetensors.torch import load_file
from view_people import ball_people

from h2k_rt.data.views.viewset import Drawing, OccupancySamples, SetDescription, ViewSets, ViewSetWriter
from h2k_rt.errors import DataError, TrainingError
from h2k_rt.training.config import TrainingConfig, parse_config
from h2k_rt.training.implicit.networks import ViewNetworks, fresh_view_net
from h2k_rt.training.implicit.stage import ImplicitStage, ViewExamples, ViewSetSource, collate_views, depth_error, depth_target
from h2k_rt.training.implicit.trainer import ImplicitTrainer
from h2k_rt.training.job import Job, Limit
from h2k_rt.training.rates import rate_at
from h2k_rt.views.network_picture import NetworkView, crop_of, projection_of
from h2k_rt.views.subject import find_cube


def tiny(**implicit: object) -> TrainingConfig:
    wanted = {"width": 0.125, "stages": 2, "picture": 64, "views": 3, "points": 300, "batch": 2} | implicit
    raw = {
        "optimizer": {"kind": "rmsprop", "schedule": "steps", "warm_up": 2, "weight_decay": 0.0, "ema": 0.5},
        "run": {"workers": 0, "precision": "float32", "checkpoint_minutes": 1000.0, "log_seconds": 1000.0},
        "implicit": wanted,
    }
    return parse_config(raw, "test")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ball_people(tmp_path_factory.mktemp("views") / "set")


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return in_process(capfd)


def test_examples(people: Path) -> None:
    source = ViewSetSource([people])
    config = tiny().implicit
    plain = ViewExamples(config, augmented=False)(source, 0, np.random.default_rng(0))
    assert plain["pictures"].shape == (3, 5, 64, 64) and plain["projections"].shape == (3, 3, 4)
    assert plain["points"].shape == (300, 3) and plain["inside"].sum() == 150
    assert plain["points"].abs().max() < 1.5
    # What is inside is seen as the person's in every view.
    q = torch.cat((plain["points"], torch.ones(300, 1)), 1)
    for picture, projection in zip(plain["pictures"], plain["projections"], strict=True):
        u, v, w = (q @ projection.T).T
        at = ((v / w).clamp(0, 0.999) * 64).long(), ((u / w).clamp(0, 0.999) * 64).long()
        assert picture[3][at][plain["inside"] > 0].mean() > 0.95
    counts = {len(ViewExamples(config)(source, 0, np.random.default_rng(k))["pictures"]) for k in range(12)}
    assert counts == {1, 2, 3}
    batch = collate_views([ViewExamples(config)(source, k % 2, np.random.default_rng(k)) for k in range(4)])
    assert batch["pictures"].shape[:2] == (4, batch["projections"].shape[1])


def test_points_within_the_outlines(people: Path) -> None:
    """As many inside as outside, all seen near the person in every view; unrestricted ones are not."""
    source = ViewSetSource([people])
    near = {}
    for within in (False, True):
        config = replace(tiny().implicit, within_outlines=within, fixed_views=True, points=301)
        made = ViewExamples(config, augmented=False)(source, 0, np.random.default_rng(0))
        assert made["points"].shape == (301, 3) and made["inside"].sum() == 150
        q = torch.cat((made["points"], torch.ones(301, 1)), 1)
        seen = []
        for picture, projection in zip(made["pictures"], made["projections"], strict=True):
            u, v, w = (q @ projection.T).T
            at = ((v / w).clamp(0, 0.999) * 64).long(), ((u / w).clamp(0, 0.999) * 64).long()
            seen.append(picture[4][at] > -0.16 - 1e-6)  # 2 % of the side, in eighths of it
        near[within] = torch.stack(seen).all(0).float().mean()
    assert near[True] == 1 and near[False] < 0.9


def test_augmented_pictures_stay_pictures(people: Path) -> None:
    from h2k_rt.training.implicit.stage import _augmented

    view = NetworkView(np.zeros((5, 64, 64), np.float32), np.zeros((3, 4), np.float32))
    view.picture[3, 20:40, 20:40] = 1
    view.picture[:3, 20:40, 20:40] = 0.3
    for seed in range(5):
        picture = _augmented(view, tiny().implicit, np.random.default_rng(seed)).picture
        assert picture.dtype == np.float32 and np.abs(picture[:3]).max() <= 1
        assert not picture[:3][:, picture[3] == 0].any()
        assert 250 < picture[3].sum() < 600


def test_the_rate_drops_twice() -> None:
    config = tiny().optimizer
    rates = [rate_at(config, 10, progress, 0.0) for progress in (0.0, 0.59, 0.6, 0.79, 0.8, 1.0)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_wrong_configurations() -> None:
    for table, words in (({"features": "mono"}, "features"), ({"points": 1}, "points"), ({"views": 0}, "views")):
        with pytest.raises(TrainingError, match=words):
            parse_config({"implicit": table}, "test")
    with pytest.raises(TrainingError, match="width"):
        fresh_view_net(tiny(width=0.2))


@pytest.mark.parametrize("features", ["multi-scale", "pifu"])
def test_the_loss_falls(people: Path, features: str) -> None:
    config = tiny(features=features, fixed_views=True)
    stage = ImplicitStage(config, ViewSetSource([people]))
    networks = ViewNetworks(fresh_view_net(config), config, torch.device("cpu"))
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(25):
        batch = stage.collate([{**stage.holdout_maker(stage.source, k, rng), "sample": k} for k in (0, 1)])
        (update,) = stage.updates(batch, networks)
        assert update.networks == ("encoder", "points") and set(update.terms) == {"stage1", "stage2"}
        update.loss.backward()
        for name in networks.names:
            networks.step(name, 1e-3)
        losses.append(float(update.loss))
    assert losses[0] > 0.4 and min(losses[-5:]) < 0.6 * losses[0]
    figures = stage.measure(stage.collate([{**stage.holdout_maker(stage.source, 0, rng), "sample": 0}]), networks)
    assert figures["implicit/points_iou"] > 55
    assert stage.pictures(batch, networks).shape == (3, 128, 192)


def test_resumed_training_gives_the_same_bits(people: Path, tmp_path: Path) -> None:
    def train(run: Path, steps: int, resume: bool = False) -> dict[str, torch.Tensor]:
        job = Job(tiny(), 1, ("encoder", "points"), (people,), run, Limit(steps), holdout=(people,), resume=resume)
        return load_file(ImplicitTrainer(job).run())

    whole = train(tmp_path / "whole", 4)
    # The limit changes the schedule's progress: warm-up and first rate only, the same for both.
    train(tmp_path / "parts", 2)
    parts = train(tmp_path / "parts", 4, resume=True)
    assert whole.keys() == parts.keys()
    drift = max(float((whole[key] - parts[key]).abs().max()) for key in whole)
    assert drift < 2e-3  # the learning rate of step 2 differed, as it was the last of its run
    again = train(tmp_path / "again", 4)
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_each_method_refuses_the_others_data(cli: Cli, people: Path, tmp_path: Path) -> None:
    from data_samples import make_dataset
    from training_data import toml_of

    config, single = tmp_path / "tiny.toml", make_dataset(tmp_path / "single", 1).folder
    config.write_text(toml_of(tiny()))
    start = ("train", "--model", config, "-o", tmp_path / "run", "--steps", 1)
    ours = (*start, "--method", "implicit")
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, told in (
        ((*ours, "--data", single), "holds single pictures of people, for the first method"),
        ((*ours, "--data", people, "--holdout", single), "holds single pictures of people, for the first method"),
        ((*ours, "--data", people, "--data", empty), "no set of several views, it has no viewsets.json"),
        ((*ours, "--data", tmp_path / "absent"), "no set of several views"),
        ((*start, "--data", people), "holds view sets, for the second method (h2k-rt train --method implicit)"),
        (("data", "check", people), "holds view sets, for the second method"),
    ):
        found = cli(*words)
        assert found.code == 10 and told in found.sentence, (words, found.err)
    found = cli(*ours, "--people", 5)
    assert found.code == 11 and "make view sets with h2k-rt data people --rig" in found.sentence
    found = cli(*start, "--method", "both", "--data", people)
    assert found.code == 2
    assert not (tmp_path / "run").exists(), "nothing is left of what could not be started"


@pytest.mark.slow
def test_from_training_to_the_papers_table(cli: Cli, people: Path, tmp_path: Path) -> None:
    pytest.importorskip("open3d")
    from training_data import toml_of

    config = tmp_path / "tiny.toml"
    config.write_text(toml_of(tiny()))
    run = tmp_path / "run"
    start = ("train", "--method", "implicit", "--model", config, "--data", people, "-o", run)
    assert cli(*start, "--steps", 12).code == 0
    assert cli(*start, "--steps", 1, "--phase", 2).code == 2
    card = tmp_path / "about.md"
    card.write_text("# Tiny")
    found = cli("export", run / "model.safetensors", "-o", tmp_path / "bundle", "--precision", "fp32", "--card", card)
    assert found.code == 0 and "points" in found.out
    assert (tmp_path / "bundle" / "card.md").read_text() == "# Tiny"
    found = cli("eval", "--data", people, "--model", tmp_path / "bundle", "--views", 3, "--count", 1, "--threads", 1)
    assert found.code == 0, found.err
    assert "p2s_cm" in found.out and "iou" in found.out
    found = cli("eval", "--data", people, "--model", "hull", "--views", 9, "--count", 1)
    assert found.code == 10 and "9 are asked for" in found.sentence


def test_depth_targets_lie_on_the_surface() -> None:
    """Lifted back along the camera's rays, they are on the body, and of the points' own depth."""
    pytest.importorskip("numba")
    from people_bodies import ellipsoid, figure

    from h2k_rt.data.people.closed import closed_mesh
    from h2k_rt.data.views.rig import draw_rig

    body = ellipsoid(rings=48)
    axes, middle = np.array((0.3, 0.85, 0.25)), np.array((0, 0.9, 0))
    drawing = draw_rig(figure(body), closed_mesh(body.vertices, body.faces, 0.04), np.random.default_rng(3), 3, 160)
    cube = find_cube(drawing.cameras, drawing.masks)
    for camera, depth, mask in zip(drawing.cameras, drawing.depths, drawing.masks, strict=True):
        target = depth_target(depth, camera, cube, 32)
        projection = projection_of(camera, cube).astype(np.float64)
        known = target[2] > 0
        assert known.sum() > 50 and not target[:2, ~known].any()
        assert abs(known.mean() * (crop_of(camera, cube)[2] / 160) ** 2 / (mask > 0).mean() - 1) < 0.1
        v, u = (np.argwhere(known).T + 0.5) / 32
        for side in target[:2]:
            w = side[known] + projection[2, 3]
            q = np.linalg.solve(projection[:, :3], np.stack((u * w, v * w, w)) - projection[:, 3:]).T
            on = np.linalg.norm((q * cube.radius + cube.centre - middle) / axes, axis=1)
            # The picture's pixel that a target comes from is up to half a pixel, a centimetre, beside the ray.
            assert np.abs(np.median(on) - 1) < 0.02 and (np.abs(on - 1) < 0.15).mean() > 0.9
        assert (target[1] - target[0])[known].mean() > 0.3
    found = torch.tensor([[0.5, -0.25]]).reshape(1, 1, 2, 1, 1).expand(1, 1, 2, 16, 16)
    goal = torch.from_numpy(target)[None, None]
    expected = np.abs(np.array([[[0.5]], [[-0.25]]]) - target[:2, 1::2, 1::2])[:, target[2, 1::2, 1::2] > 0].mean()
    assert float(depth_error(found, goal)) == pytest.approx(expected, rel=1e-5)


def test_depth_is_learnt_too(tmp_path: Path) -> None:
    """Of flat boards whose depth the colour tells; the occupancy's terms stay, and a set without depth is told."""
    source = ViewSets(ball_people(tmp_path / "plain", 2))
    with pytest.raises(DataError, match=r"has no depth \(0\d_front.png\).*depth_weight = 0"):
        ViewExamples(tiny(depth_weight=1.0).implicit)(ViewSetSource([tmp_path / "plain"]), 0, np.random.default_rng(0))
    writer = ViewSetWriter(tmp_path / "set", SetDescription(2, 4, {"kind": "deep"}, "a test", "CC0"))
    for index, name in enumerate(source.ids):
        person = source.read(name)
        photos, masks = [person.rgb(k) for k in range(4)], [person.mask(k) for k in range(4)]
        depths = [np.where(mask > 0, np.float32([[[5.0]], [[5.5]]]), 0).astype(np.float32) for mask in masks]
        samples: OccupancySamples = person.occupancy()
        mesh = (np.zeros((3, 3), np.float32), np.zeros((1, 3), np.int32))
        writer.write(index, Drawing(photos, masks, person.cameras, samples, depths), {}, mesh)
    written = ViewSets(tmp_path / "set").read("000000")
    assert set(np.unique(written.depth(1))) == {np.float32(0), np.float32(5.0), np.float32(5.5)}
    config = tiny(depth_weight=1.0, fixed_views=True)
    networks = ViewNetworks(fresh_view_net(config), config, torch.device("cpu"))
    stage = ImplicitStage(config, ViewSetSource([tmp_path / "set"]))
    example = stage.collate([stage.maker(stage.source, k, np.random.default_rng(k)) for k in range(2)])
    example["sample"] = torch.arange(2)
    errors = []
    for _ in range(30):
        (update,) = stage.updates(example, networks)
        assert list(update.terms) == ["stage1", "stage2", "depth1", "depth2"]
        errors.append(float(update.terms["depth2"]))
        update.loss.backward()
        for name in update.networks:
            networks.step(name, 3e-3)
    assert errors[-1] < 0.5 * errors[0]
    assert stage.measure(example, networks)["implicit/depth_error"] > 0
