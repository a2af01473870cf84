"""The configuration file: what it holds is documented, what it should not hold is refused by name."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from training_data import tiny_config, toml_of

from h2k_rt.errors import TrainingError
from h2k_rt.training import config as config_module
from h2k_rt.training.config import TrainingConfig, load_config, parse_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def test_every_setting_is_documented() -> None:
    tree = ast.parse(inspect.getsource(config_module))
    for node in ast.walk(tree):
        if not (isinstance(node, ast.ClassDef) and node.name.endswith("Config")):
            continue
        for place, statement in enumerate(node.body):
            plain = isinstance(statement, ast.AnnAssign) and not (
                isinstance(statement.value, ast.Call) and "default_factory" in ast.dump(statement.value)
            )
            if plain:
                following = node.body[place + 1] if place + 1 < len(node.body) else None
                documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                assert documented, f"{node.name}.{ast.unparse(statement.target)}"


def test_shipped_configurations() -> None:
    published = load_config(CONFIGS / "published.toml")
    for name in ("small", "small_parts", "small_trunk"):
        small = load_config(CONFIGS / f"{name}.toml")
        assert (small.model.width, small.model.background_value, small.objective) == (0.25, -2.0, "robust"), name
    assert (small.run.precision, small.run.frozen_statistics) == ("float32", True), "what the trunk needs"
    assert (published.model.width, published.objective, published.parity, published.optimizer.peak) == (
        1.0,
        "published",
        True,
        1e-4,
    )


def test_round_trip(tmp_path: Path) -> None:
    config = tiny_config(run={"seed": 7}, objective="published")
    file = tmp_path / "c.toml"
    file.write_text(toml_of(config))
    assert load_config(file) == config
    assert dataclasses.replace(config, objective="robust") != config


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"optimizer": {"peek": 1e-3}}, ("optimizer.peek", "optimizer.peak")),
        ({"lwo": {}}, ("lwo", "low")),
        ({"zzz": 1}, ("zzz", "objective")),
        ({"low": 3}, ("low must be a table",)),
        ({"low": {"batch": "8"}}, ("low.batch must be a int",)),
        ({"low": {"batch": True}}, ("low.batch",)),
        ({"low": {"window": [224, 140]}}, ("low.window", "16")),
        ({"low": {"window": [224]}}, ("low.window", "2")),
        ({"parts": {"crops": [1, 2]}}, ("parts.crops", "5")),
        ({"optimizer": {"peak": float("nan")}}, ("optimizer.peak", "finite")),
        ({"objective": "mine"}, ("objective", "robust")),
        ({"parity": True}, ("parity",)),
        ({"optimizer": {"accumulate": 0}}, ("optimizer.accumulate",)),
    ],
)
def test_wrong_settings_are_named(raw: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(TrainingError) as error:
        parse_config(raw, "x.toml")
    assert all(word in str(error.value) for word in ("x.toml", *words)), error.value


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no configuration at"):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(TrainingError, match="not valid TOML"):
        load_config(tmp_path / "bad.toml")


def test_defaults_are_valid() -> None:
    assert parse_config({}, "nothing") == TrainingConfig()
