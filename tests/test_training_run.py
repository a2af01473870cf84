"""Whole trainings of tiny networks: going on after kill -9, several processes, errors that name what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file
from training_data import WIDTH, capsule_dataset, tiny_config, toml_of

from h2k_rt.errors import CheckpointError, TrainingError
from h2k_rt.training.checkpoint import KEPT, checkpoints, read_position
from h2k_rt.training.config import TrainingConfig
from h2k_rt.training.distributed import World
from h2k_rt.training.initial import fresh_networks, load_initial
from h2k_rt.training.job import Job, Limit
from h2k_rt.training.nets import MODULES, network, parse_networks
from h2k_rt.training.state import Networks, average, ema_decay
from h2k_rt.training.trainer import Trainer

ONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return capsule_dataset(tmp_path_factory.mktemp("data") / "set", 256, 5)


def job(run: Path, data: Path, config: TrainingConfig | None = None, **settings: Any) -> Job:
    settings = {"limit": Limit(steps=3), "networks": parse_networks("low", 1)} | settings
    return Job(config=config or tiny_config(), phase=1, data=(data,), run=run, **settings)


def tensors(path: Path) -> dict[str, Any]:
    return load_file(path)


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    different = [key for key in ours if not torch.equal(ours[key], theirs[key])]
    assert not different, different[:5]


def command(run: Path, data: Path, config: Path, *words: object) -> list[str]:
    base = [sys.executable, "-m", "h2k_rt", "train", "-o", run, "--data", data, "--model", config, "--networks", "low", *words]
    return [str(word) for word in base]


def test_kill_and_resume_is_as_if_nothing_had_happened(tmp_path: Path, data: Path) -> None:
    config = tiny_config(run={"checkpoint_minutes": 0.0})
    file = tmp_path / "config.toml"
    file.write_text(toml_of(config))
    steps = 24
    killed = tmp_path / "killed"
    process = subprocess.Popen(command(killed, data, file, "--steps", steps), stdout=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while len(checkpoints(killed)) == 0 or read_position(checkpoints(killed)[-1]).step < 4:
        assert process.poll() is None and time.monotonic() < end, "the training ended by itself"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    at = read_position(checkpoints(killed)[-1]).step
    assert 0 < at < steps, "killed too late to show anything"
    # Shorter than the killed one's limit would be another schedule, so both run to the same.
    Trainer(job(killed, data, config, limit=Limit(steps=steps), resume=True), ONE).run()
    Trainer(job(tmp_path / "whole", data, config, limit=Limit(steps=steps)), ONE).run()
    assert_same(killed / "model.safetensors", tmp_path / "whole" / "model.safetensors")
    assert_same(checkpoints(killed)[-1], checkpoints(tmp_path / "whole")[-1])
    assert len(checkpoints(killed)) == KEPT


def test_reader_processes_change_nothing(tmp_path: Path, data: Path) -> None:
    Trainer(job(tmp_path / "none", data), ONE).run()
    Trainer(job(tmp_path / "two", data, tiny_config(run={"workers": 2})), ONE).run()
    assert_same(tmp_path / "none" / "model.safetensors", tmp_path / "two" / "model.safetensors")


def test_training_changes_only_what_it_trains(tmp_path: Path, data: Path) -> None:
    config = tiny_config()
    fresh = fresh_networks(WIDTH, config.run.seed, config.model.start).state_dict()
    result = tensors(Trainer(job(tmp_path / "run", data, networks=("low_depth",)), ONE).run())
    changed = {key.split(".")[0] for key, value in result.items() if not torch.equal(value, fresh[key])}
    assert changed == {MODULES["low_depth"]}


def test_training_learns(tmp_path: Path, data: Path) -> None:
    config = tiny_config(optimizer={"peak": 5e-3, "warm_up": 2, "ema": 0.9}, run={"evaluate_samples": 2, "picture_minutes": 0.0})
    run = tmp_path / "run"
    Trainer(job(run, data, config, limit=Limit(steps=1), holdout=(data,)), ONE).run()
    first = json.loads((run / "figures.jsonl").read_text().splitlines()[-1])
    Trainer(job(run, data, config, limit=Limit(steps=60), holdout=(data,), resume=True), ONE).run()
    last = json.loads((run / "figures.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 60
    assert last["low/normal_front"] < 0.7 * first["low/normal_front"] and last["low/iou"] > max(0.5, first["low/iou"])
    assert last["low/depth_front"] < first["low/depth_front"]


def gradients_of_first_step(run: Path, data: Path, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Gradients of all trained parameters when the first step is made."""
    found = {}

    def keep(networks: Networks, name: str, rate: float) -> float:
        found.update({f"{name}.{key}": p.grad.clone() for key, p in network(networks.live, name).named_parameters()})
        return 0.0

    monkeypatch.setattr(Networks, "step", keep)
    Trainer(job(run, data, config, limit=Limit(steps=1)), ONE).run()
    return found


def test_accumulated_batches_are_one_large_batch(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without each batch's own statistics, the gradient of two batches of one is that of a batch of two."""
    settings = {"frozen_statistics": True, "precision": "float32"}
    low = {"batch": 2, "window": [48, 48]}
    large = gradients_of_first_step(tmp_path / "a", data, tiny_config(run=settings, low=low), monkeypatch)
    config = tiny_config(run=settings, low=low | {"batch": 1}, optimizer={"accumulate": 2})
    accumulated = gradients_of_first_step(tmp_path / "b", data, config, monkeypatch)
    assert large.keys() == accumulated.keys() and len(large) > 100
    for key, value in large.items():
        assert (accumulated[key] - value).norm() <= 1e-3 * value.norm() + 1e-7, key


@pytest.mark.slow
def test_two_processes_are_one_with_the_double_batch(tmp_path: Path, data: Path) -> None:
    """Started by torchrun, on the CPU."""
    settings = {"frozen_statistics": True, "precision": "float32"}
    low = {"batch": 1, "window": [48, 48]}
    file = tmp_path / "config.toml"
    file.write_text(toml_of(tiny_config(run=settings, low=low)))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    words = command(tmp_path / "two", data, file, "--steps", 3)[2:]
    done = subprocess.run([*launcher, *words], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1, "only one process writes"
    config = tiny_config(run=settings, low=low | {"batch": 2})
    first = fresh_networks(WIDTH, config.run.seed, config.model.start).state_dict()
    one = tensors(Trainer(job(tmp_path / "one", data, config), ONE).run())
    two = tensors(tmp_path / "two" / "model.safetensors")
    # The first steps of Adam follow the sign of a gradient, so that where it is next to 0 rounding shows; on the whole it must not.
    moved = sum(float((one[key] - first[key]).abs().sum()) for key in one)
    apart = sum(float((one[key] - two[key]).abs().sum()) for key in one)
    assert moved > 1 and apart < 0.01 * moved


def _average_in_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    nets = [torch.nn.Linear(2, 1, bias=False) for _ in range(3)]
    for net in nets[: 1 + rank]:
        net.weight.grad = torch.full((1, 2), float(2 + 4 * rank))
    world = World(rank, 2, torch.device("cpu"))
    touched = world.average(nets, [rank >= place for place in range(3)])
    gradients = [None if net.weight.grad is None else net.weight.grad.tolist() for net in nets]
    (Path(folder) / f"{rank}.json").write_text(json.dumps([touched, gradients, world.agree(float(rank + 5))]))
    dist.destroy_process_group()


@pytest.mark.slow
def test_gradients_of_processes_are_averaged(tmp_path: Path) -> None:
    """The second network has a gradient in one process only, the third in none."""
    torch.multiprocessing.spawn(_average_in_process, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        touched, gradients, agreed = json.loads((tmp_path / f"{rank}.json").read_text())
        assert touched == [True, True, False] and gradients == [[[4.0, 4.0]], [[3.0, 3.0]], None] and agreed == 5.0


def test_a_loss_that_is_no_number_stops_with_the_sample_named(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from h2k_rt.training import low_stage

    made = low_stage.low_maps

    def poisoned(sample: Any, *rest: Any) -> Any:
        picture, depth = made(sample, *rest)
        return (np.full_like(picture, np.nan) if sample.id == "000003" else picture), depth

    monkeypatch.setattr(low_stage, "low_maps", poisoned)
    run = tmp_path / "run"
    with pytest.raises(TrainingError) as error:
        Trainer(job(run, data, limit=Limit(steps=20)), ONE).run()
    assert "samples/000003" in str(error.value) and "low_normal" in str(error.value) and "not a number" in str(error.value)
    assert not (run / "model.safetensors").exists()


def test_what_cannot_be_started(tmp_path: Path, data: Path) -> None:
    run = tmp_path / "run"
    result = Trainer(job(run, data, limit=Limit(steps=1)), ONE).run()
    with pytest.raises(TrainingError, match="--resume goes on"):
        Trainer(job(run, data), ONE)
    with pytest.raises(CheckpointError, match="the same --phase and --networks"):
        Trainer(job(run, data, networks=("low_depth",), resume=True), ONE)
    with pytest.raises(CheckpointError, match="another width"):
        Trainer(job(run, data, tiny_config(model={"width": 1 / 8}), resume=True), ONE)
    with pytest.raises(CheckpointError, match=r"has width 0\.0625, not 0\.125"):
        Trainer(job(tmp_path / "b", data, tiny_config(model={"width": 1 / 8}), initial=(result,)), ONE)
    with pytest.raises(TrainingError, match="phase 2 needs the networks of phase 1"):
        Trainer(replace(job(tmp_path / "c", data, networks=("high_depth",)), phase=2), ONE)
    damaged = checkpoints(run)[-1]
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="is damaged"):
        Trainer(job(run, data, resume=True), ONE)


def test_names_of_networks() -> None:
    assert parse_networks("low", 1) == ("low_normal", "low_depth")
    assert parse_networks("shoe,face", 1) == ("face", "shoe")
    assert len(parse_networks(None, 1)) == 7 and parse_networks(None, 2) == ("high_depth",)
    with pytest.raises(TrainingError, match="no network 'foot'"):
        parse_networks("foot", 1)
    with pytest.raises(TrainingError, match="phase 2"):
        parse_networks("high_depth", 1)


def test_merging_takes_what_was_trained(tmp_path: Path, data: Path) -> None:
    first = Trainer(job(tmp_path / "n", data, networks=("low_normal",), limit=Limit(steps=1)), ONE).run()
    second = Trainer(job(tmp_path / "d", data, networks=("low_depth",), limit=Limit(steps=1)), ONE).run()
    merged = load_initial([first, second.parent], WIDTH)
    for name, source in (("low_normal", first), ("low_depth", second), ("face", first)):
        wanted = network(load_initial([source], WIDTH), name).state_dict()
        assert all(torch.equal(value, wanted[key]) for key, value in network(merged, name).state_dict().items()), name


def test_the_result_says_how_it_was_made(tmp_path: Path, data: Path) -> None:
    with safe_open(Trainer(job(tmp_path / "run", data), ONE).run(), "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["constants"]) == {"background_value": -2.0}
    assert json.loads(metadata["trained"]) == ["low_normal", "low_depth"]
    assert json.loads(metadata["recipe"])["model"]["width"] == WIDTH and json.loads(metadata["about"])["steps"] == 3


def test_average() -> None:
    """The formula, by hand, over three steps with the warm-up."""
    net = fresh_networks(WIDTH, 1, "random")
    networks = Networks(net, ("low_normal",), tiny_config(optimizer={"ema": 0.3}), torch.device("cpu"))
    live, averaged = network(networks.live, "low_normal"), network(networks.averaged, "low_normal")
    weight = next(live.parameters())
    expected = weight.detach().clone()
    for step in range(3):
        with torch.no_grad():
            weight += 1
        decay = ema_decay(0.3, step)
        assert decay == min(0.3, (1 + step) / (10 + step))
        average(averaged, live, decay)
        expected = decay * expected + (1 - decay) * weight.detach()
    torch.testing.assert_close(next(averaged.parameters()), expected)


def test_restarted_networks_begin_anew_and_the_others_do_not(tmp_path: Path, data: Path) -> None:
    first = Trainer(job(tmp_path / "one", data)).run()
    net = Trainer(job(tmp_path / "two", data, initial=(first,), restart=("low_depth",))).networks.live
    before, fresh = load_initial([first], WIDTH), fresh_networks(WIDTH, tiny_config().run.seed, tiny_config().model.start)
    for name, source in (("low_depth", fresh), ("low_normal", before)):
        ours, theirs = network(net, name).state_dict(), network(source, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    changed = network(before, "low_depth").state_dict()
    assert any(not torch.equal(value, network(fresh, "low_depth").state_dict()[key]) for key, value in changed.items())
