"""``h2k-rt eval``: tables, files and what is told when something is wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import Cli, in_process

from h2k_rt.data.dataset import DatasetWriter, Description, Sample
from h2k_rt.errors import PersonError
from h2k_rt.metrics.table import Table

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("open3d")


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return in_process(capfd)


def write_ball(path: Path, radius: float, at: tuple[float, float, float] = (0, 0, 0)) -> Path:
    path.parent.mkdir(exist_ok=True)
    trimesh.creation.icosphere(subdivisions=4, radius=radius).apply_translation(at).export(path)
    return path


QUICK = ("--samples", 500, "--threads", 1)


def test_two_meshes(cli: Cli, tmp_path: Path) -> None:
    one, other = write_ball(tmp_path / "one.ply", 0.9), write_ball(tmp_path / "other.obj", 1.0)
    run = cli("eval", one, other, *QUICK)
    assert run.code == 0 and run.err == ""
    shown = {words[0]: words[1:] for words in map(str.split, run.out.splitlines())}
    assert shown["metric"] == ["value"]
    assert float(shown["p2s_cm"][0]) == pytest.approx(10, abs=0.2)
    assert float(shown["chamfer_squared_cm2"][0]) == pytest.approx(100, abs=4)
    assert float(shown["volume_iou"][0]) == pytest.approx(0.729, abs=0.01)


def test_alignment_and_height(cli: Cli, tmp_path: Path) -> None:
    one, other = write_ball(tmp_path / "one.ply", 1, (0, 0, 0.4)), write_ball(tmp_path / "other.ply", 1)

    def p2s(*options: object) -> dict[str, Any]:
        return json.loads(cli("eval", one, other, "--json", *QUICK, *options).out)["rows"][0]

    assert p2s()["p2s_cm"] > 10
    aligned = p2s("--align", "z")
    assert aligned["p2s_cm"] < 0.1 and aligned["moved_z_cm"] == pytest.approx(-40, abs=0.01) and aligned["moved_x_cm"] == 0
    assert p2s("--height", 1.7)["p2s_cm"] < 0.1  # stands on the floor in the middle
    small = write_ball(tmp_path / "one.ply", 0.5)
    assert json.loads(cli("eval", small, other, "--json", "--height", 1.7, *QUICK).out)["rows"][0]["volume_iou"] > 0.99


def test_folders_and_files(cli: Cli, tmp_path: Path) -> None:
    for name, radius in (("a", 0.9), ("b", 0.8)):
        write_ball(tmp_path / "pred" / f"{name}.glb", radius)
        write_ball(tmp_path / "gt" / f"{name}.ply", 1)
    (tmp_path / "pred" / "a_preview.png").write_bytes(b"no mesh, not looked at")
    files = [tmp_path / f"table.{kind}" for kind in ("json", "csv", "md")]
    run = cli("eval", tmp_path / "pred", tmp_path / "gt", *QUICK, *(word for file in files for word in ("-o", file)))
    assert run.code == 0 and run.out.splitlines()[0].split() == ["metric", "mean", "median", "min", "max"]
    document = json.loads(files[0].read_text())
    assert [row["name"] for row in document["rows"]] == ["a", "b"]
    mean = document["summary"]["p2s_cm"]["mean"]
    assert mean == pytest.approx(15, abs=0.2) and document["summary"]["p2s_cm"]["count"] == 2
    rows = list(csv.DictReader(files[1].open()))
    assert float(rows[1]["p2s_cm"]) == pytest.approx(20, abs=0.2)
    line = next(line for line in files[2].read_text().splitlines() if line.startswith("| p2s_cm"))
    assert float(line.split("|")[2]) == pytest.approx(mean, rel=0.01)


def test_same_command_same_numbers(cli: Cli, tmp_path: Path) -> None:
    one, other = write_ball(tmp_path / "one.ply", 0.9), write_ball(tmp_path / "other.ply", 1)
    first, again, another = (cli("eval", one, other, "--json", *QUICK, "--seed", seed).out for seed in (1, 1, 2))
    assert first == again != another


def test_errors_are_one_sentence(cli: Cli, tmp_path: Path) -> None:
    mesh = write_ball(tmp_path / "a.ply", 1)
    broken = tmp_path / "broken.ply"
    broken.write_bytes(mesh.read_bytes()[:500])
    for words, code, part in (
        ((tmp_path / "none.ply", mesh), 10, "none.ply: no such file"),
        ((broken, mesh), 10, "broken.ply: "),
        ((mesh, tmp_path), 10, "two mesh files or two folders"),
        (("--data", tmp_path), 10, "not a dataset"),
        ((mesh, mesh, "-o", tmp_path / "table.xls"), 8, "unknown table format .xls"),
        ((mesh, mesh, "-o", tmp_path / "no" / "table.md"), 8, "does not exist"),
    ):
        run = cli("eval", *words)
        assert run.code == code and part in run.sentence, words
    assert not list(tmp_path.glob("*.md"))


def test_folders_must_match(cli: Cli, tmp_path: Path) -> None:
    for folder, names in (("pred", "ab"), ("gt", "abc")):
        for name in names:
            write_ball(tmp_path / folder / f"{name}.ply", 1)
    assert "pred: has no mesh c;" in cli("eval", tmp_path / "pred", tmp_path / "gt").sentence
    assert "pred: has no mesh c;" in cli("eval", tmp_path / "gt", tmp_path / "pred").sentence
    write_ball(tmp_path / "pred" / "a.obj", 1)
    assert "share a name" in cli("eval", tmp_path / "pred", tmp_path / "gt").sentence
    (tmp_path / "empty").mkdir()
    assert "holds no meshes" in cli("eval", tmp_path / "empty", tmp_path / "gt").sentence


@pytest.mark.parametrize("words", [(), ("one.ply",), ("a.ply", "b.ply", "--data", "d")])
def test_wrong_usage(cli: Cli, words: tuple[str, ...]) -> None:
    run = cli("eval", *words)
    assert run.code == 2 and "give two meshes or folders" in run.err.replace("\n", " ").replace("│", "")


class _Views:
    """Three flat pictures."""

    def __init__(self, size: int) -> None:
        self.rgb = self.albedo = np.zeros((size, size, 3), np.uint8)
        self.mask = np.full((size, size), 255, np.uint8)
        self.depth = np.full((2, size, size), 2, np.float32)
        self.normals = np.zeros((2, size, size, 3), np.float32)
        self.joints = np.ones((31, 3))
        self.camera: dict[str, Any] = {}


def test_model_over_a_dataset(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sample is measured; a picture in which nobody is found is told, kept in the table, and makes the command fail."""
    writer = DatasetWriter(tmp_path / "set", Description(32, 3))
    for index in range(3):
        writer.write(index, _Views(32))
    opened: list[Any] = []

    def measure(reconstructor: Any, sample: Sample, **options: Any) -> dict[str, float]:
        assert sample.rgb is not None and sample.normals is not None and options["use_finder"]
        if sample.id == "000001":
            raise PersonError("no person found")
        return {"mask_iou": 0.5 + 0.1 * int(sample.id), "normal_hands_front_low": float("nan")}

    monkeypatch.setattr("h2k_rt.metrics.dataset.Reconstructor", lambda *words, **options: opened.append((words, options)))
    monkeypatch.setattr("h2k_rt.metrics.dataset.measure_sample", measure)
    file = tmp_path / "table.json"
    run = cli("eval", "--data", tmp_path / "set", "--model", "mine", "--finder", "--threads", 1, "-o", file)
    assert opened == [(("mine",), {"threads": 1})]
    assert run.code == 5 and "sample 000001: no person found" in run.err and "1 of 3 failed" in run.err
    document = json.loads(file.read_text())
    assert document["summary"] == {"mask_iou": {"mean": 0.6, "median": 0.6, "min": 0.5, "max": 0.7, "count": 2}}
    assert document["failures"] == {"000001": "no person found"} and document["rows"][0]["normal_hands_front_low"] is None
    run = cli("eval", "--data", tmp_path / "set", "--finder", "--count", 1, "--json")
    assert run.code == 0 and json.loads(run.out)["settings"]["samples"] == 1


def test_empty_dataset(cli: Cli, tmp_path: Path) -> None:
    DatasetWriter(tmp_path / "set", Description(32, 3))
    assert "holds no samples yet" in cli("eval", "--data", tmp_path / "set").sentence


def test_table_of_rows_with_different_metrics() -> None:
    table = Table([{"name": "a", "x_cm": 1.0}, {"name": "b", "x_cm": 3.0, "y": float("nan")}], failures={"c": "lost"})
    assert table.metrics == ("x_cm", "y")
    assert table.summary()["x_cm"]["mean"] == 2 and "y" not in table.summary()
    assert table.to_csv().splitlines() == ["name,x_cm,y", "a,1,", "b,3,"]
    assert "- failed: c: lost" in table.to_markdown()
