"""``h2k-rt train``: one phase after the other, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import Cli, in_process
from h2k_export import load_human_net
from training_data import WIDTH, capsule_dataset, tiny_config, toml_of

from h2k_rt.constants import METHOD


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return in_process(capfd)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(toml_of(tiny_config(parts={"crops": [0, 0, 0, 0, 1]}, low={"batch": 1})))
    return file


def test_wrong_use(cli: Cli, tmp_path: Path, config: Path) -> None:
    run = tmp_path / "run"
    start = ("train", "-o", run, "--model", config)
    assert cli(*start).code == 2, "no limit"
    assert cli(*start, "--steps", 1, "--phase", 3).code == 2
    cases = {
        "give --data with a dataset folder": ("--steps", 1),
        "exclude each other": ("--steps", 1, "--data", tmp_path, "--people", 5),
        "there is no network 'foot'": ("--steps", 1, "--data", tmp_path, "--networks", "foot"),
        "there is no device 'tpu'": ("--steps", 1, "--data", tmp_path, "--device", "tpu"),
        "there are no weights at": ("--steps", 1, "--data", tmp_path, "--init", tmp_path / "absent.safetensors"),
    }
    for words, options in cases.items():
        found = cli(*start, *options)
        assert found.code in (6, 11) and words in found.sentence, (words, found.err)
    found = cli("train", "-o", run, "--model", tmp_path / "absent.toml", "--steps", 1)
    assert found.code == 11 and "configs/small.toml" in found.sentence
    found = cli(*start, "--steps", 1, "--data", tmp_path)
    assert found.code == 10 and "not a dataset" in found.sentence
    assert not run.exists(), "nothing is left of what could not be started"


@pytest.mark.slow
def test_one_phase_after_the_other(cli: Cli, tmp_path: Path, config: Path) -> None:
    data = capsule_dataset(tmp_path / "data", METHOD.size, 1)
    start = ("train", "--model", config, "--data", data, "--steps", 1)
    low, parts, trunk = (tmp_path / name for name in ("low", "parts", "trunk"))
    assert cli(*start, "-o", low, "--networks", "low").code == 0
    assert cli(*start, "-o", parts, "--networks", "shoe", "--init", low).code == 0
    assert cli(*start, "--phase", 2, "-o", trunk, "--init", low, "--init", parts, "--holdout", data).code == 0
    again = cli(*start, "--phase", 2, "-o", trunk, "--init", low, "--init", parts)
    assert again.code == 11 and "--resume goes on" in again.sentence
    resumed = cli(*start[:-1], 2, "--phase", 2, "-o", trunk, "--init", low, "--init", parts, "--resume")
    assert resumed.code == 0 and f"wrote {trunk / 'model.safetensors'}" in resumed.out
    whole = tmp_path / "whole"
    merge = ("train", "--model", config, "--steps", 0, "-o", whole, "--init", low, "--init", parts, "--init", trunk)
    assert cli(*merge).code == 0
    net = load_human_net(whole / "model.safetensors", WIDTH).state_dict()
    for folder, key in ((low, "ImgNorm_to_Dep"), (parts, "img2normal_shoe"), (trunk, "refine")):
        source = load_human_net(folder / "model.safetensors").state_dict()
        mine = [name for name in net if name.startswith(key)]
        assert mine and all((net[name] == source[name]).all() for name in mine), key
