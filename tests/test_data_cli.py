"""``h2k-rt data``: what a check finds, what is refused in one sentence, and people made by worker processes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_runner import Cli, in_process, in_subprocess
from conftest import REPOSITORY, shared_dir
from data_samples import SIZE, contents, make_dataset, rendering

from h2k_rt.data.check import check_dataset
from h2k_rt.data.contact_sheet import contact_sheet
from h2k_rt.data.dataset import Dataset
from h2k_rt.data.recipe import PeopleRecipe
from h2k_rt.errors import DataError


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return in_process(capfd)


@pytest.fixture(scope="module")
def assets() -> Path:
    pytest.importorskip("anny")
    pytest.importorskip("numba")
    folder = shared_dir() / "assets" / "makehuman"
    if not folder.is_dir():
        pytest.skip(f"no MakeHuman assets in {folder}; set H2K_SHARED")
    return folder


# --- check -----------------------------------------------------------------------------------------------------------------------


def test_a_good_set_passes(tmp_path: Path, cli: Cli) -> None:
    make_dataset(tmp_path / "set", 3, mesh=True)
    run = cli("data", "check", tmp_path / "set", "--json", "--workers", 2)
    report = json.loads(run.out)
    assert run.code == 0 and report["good"] and report["faults"] == [] and report["parts"] == []
    assert (report["expected"], report["present"]) == (3, 3)
    depth = np.stack([rendering(index).depth[0] for index in range(3)])
    assert report["ranges"]["depth front"] == pytest.approx([depth[depth > 0].min(), depth.max()], abs=1e-4)
    assert report["ranges"]["mask"] == [0, 255]
    assert cv2.imread(report["sheet"]).shape[0] > 3 * 256


def _edit_png(name: str, change: Callable[[np.ndarray], None]) -> Callable[[Path], None]:
    def edit(sample: Path) -> None:
        picture = cv2.imread(str(sample / name), cv2.IMREAD_UNCHANGED)
        change(picture)
        cv2.imwrite(str(sample / name), picture)

    return edit


def _edit_joints(change: Callable[[list[list[float]]], None]) -> Callable[[Path], None]:
    def edit(sample: Path) -> None:
        raw = json.loads((sample / "sample.json").read_text())
        change(raw["joints"])
        (sample / "sample.json").write_text(json.dumps(raw))

    return edit


def _cut(sample: Path) -> None:
    path = sample / "color.png"
    path.write_bytes(path.read_bytes()[:-40])


def _swap(sample: Path) -> None:
    (sample / "depth_front.png").rename(sample / "x")
    (sample / "depth_back.png").rename(sample / "depth_front.png")
    (sample / "x").rename(sample / "depth_back.png")


def _put(row: int, column: int, value: object) -> Callable[[np.ndarray], None]:
    return lambda picture: picture.__setitem__((row, column), value)


def _flatten(sample: Path) -> None:
    shutil.copy(sample / "depth_front.png", sample / "depth_back.png")


_MIDDLE = SIZE // 2
_FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing file": (lambda sample: (sample / "albedo.png").unlink(), r"000001/albedo\.png: missing"),
    "damaged file": (_cut, r"000001/color\.png: damaged"),
    "no mesh": (lambda sample: (sample / "mesh.ply").unlink(), r"000001/mesh\.ply: cannot be read"),
    "no PLY": (lambda sample: (sample / "mesh.ply").write_text("solid"), r"000001/mesh\.ply: is no PLY"),
    "no JSON": (lambda sample: (sample / "sample.json").write_text("{"), r"000001/sample\.json: not valid JSON"),
    "too few joints": (_edit_joints(lambda joints: joints.pop()), r"000001/sample\.json: joints are missing or not 31"),
    "grey mask": (_edit_png("mask.png", _put(_MIDDLE, _MIDDLE, 128)), "other than 0 and 255"),
    "empty mask": (_edit_png("mask.png", lambda mask: mask.fill(0)), "the mask is empty"),
    "mask beside depth": (_edit_png("mask.png", _put(0, 0, 255)), r"the mask is not where the depth is \(1 pixels differ\)"),
    "depth with a hole": (_edit_png("depth_back.png", _put(_MIDDLE, _MIDDLE, 0)), r"cover different pixels \(1 of them\)"),
    "front behind back": (_swap, "front depth is behind back depth"),
    "open surface": (_flatten, "the same at .* an open surface"),
    "too near": (_edit_png("depth_front.png", _put(_MIDDLE, _MIDDLE, 90)), "outside of 0.2 to 4.000 nu at 1 pixels"),
    "too far": (_edit_png("depth_back.png", _put(_MIDDLE, _MIDDLE, 65535)), "outside of 0.2 to 4.000 nu at 1 pixels"),
    "long normals": (_edit_png("normal_front.png", _put(_MIDDLE, _MIDDLE, 255)), "front normals are not of unit length"),
    "turned normals": (
        lambda sample: shutil.copy(sample / "normal_front.png", sample / "normal_back.png"),
        "back normals point to the camera",
    ),
    "normals beside mask": (_edit_png("normal_back.png", _put(0, 0, (0, 128, 128))), "back normals are not where the mask is"),
    "joint outside": (_edit_joints(lambda joints: joints[7].__setitem__(0, SIZE + 1.0)), "outside the picture: left elbow"),
    "joint not finite": (_edit_joints(lambda joints: joints[0].__setitem__(1, float("nan"))), "not finite: nose"),
}


@pytest.mark.parametrize("fault", _FAULTS)
def test_every_fault_is_found_and_named(tmp_path: Path, fault: str) -> None:
    dataset = make_dataset(tmp_path, 3, mesh=True)
    plant, words = _FAULTS[fault]
    plant(dataset.path("000001"))
    report = check_dataset(Dataset(tmp_path))
    assert not report.good and {found.id for found in report.faults} == {"000001"}
    assert any(__import__("re").search(words, found.what) for found in report.faults), report.faults
    assert contact_sheet(Dataset(tmp_path), samples=3, tile=32).shape[0] > 3 * 32


def test_what_is_missing_or_stray_is_found(tmp_path: Path, cli: Cli) -> None:
    dataset = make_dataset(tmp_path / "set", 3)
    shutil.rmtree(dataset.path("000001"))
    (tmp_path / "set/samples/.000001.part").mkdir()
    (tmp_path / "set/samples/notes.txt").write_text("hello")
    (dataset.path("000002") / "mask.png").unlink()
    run = cli("data", "check", tmp_path / "set", "--samples", 0)
    assert run.code == 10
    assert [line.split(": ", 1)[-1].split(";")[0] for line in run.err.splitlines()] == [
        "left by a run that was killed (or is at work)",
        "is no sample",
        "1 of 3 samples are missing",
        f"{dataset.path('000002') / 'mask.png'}: missing",
    ]
    assert "samples     2 of 3, 1 with faults" in run.out and not (tmp_path / "set/contact_sheet.png").exists()


def test_parts_without_a_transform_are_listed_with_reasons(tmp_path: Path) -> None:
    """No fault: scans lack joints, and training leaves the part out."""
    dataset = make_dataset(tmp_path, 2)

    def spoil(joints: list[list[float]]) -> None:
        joints[13] = [0.0, 0.0, 0.0]  # left knee not there
        joints[8] = list(joints[6])  # right elbow on the shoulder
        for finger in range(23, 27):
            joints[finger] = [0.0, 0.0, 0.0]

    _edit_joints(spoil)(dataset.path("000001"))
    report = check_dataset(Dataset(tmp_path))
    assert report.good
    assert report.parts == [
        ("000001", "right upper arm: its joints fall on one point"),
        ("000001", "left thigh: left knee not found"),
        ("000001", "left shin: left knee not found"),
    ]
    assert report.incomplete == dict.fromkeys(("left_knee", "left_index", "left_middle", "left_ring", "left_pinky"), 1)


def test_the_sheet_shows_the_maps_side_by_side(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, 5, maps=("color", "mask", "depth"))
    sheet = contact_sheet(dataset, samples=3, tile=SIZE)
    row = sheet.shape[0] // 3
    assert sheet.shape[1] == 4 * (SIZE + 6) + 6
    for place, index in enumerate((0, 2, 4)):
        tile = sheet[place * row + 18 : place * row + 18 + SIZE]
        mask = tile[:, 6 + SIZE + 6 : 6 + SIZE + 6 + SIZE]
        np.testing.assert_array_equal(mask[..., 0], rendering(index).mask)
        colour = tile[:8, 6 : 6 + SIZE]
        np.testing.assert_array_equal(colour, rendering(index).rgb[:8])


# --- what is refused -------------------------------------------------------------------------------------------------------------


def test_wrong_options_are_told(tmp_path: Path, cli: Cli) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("count = 2\n")
    out = ("-o", tmp_path / "out")
    for words, told in (
        (("people", *out), "--count, or a --recipe"),
        (("people", *out, "--recipe", recipe, "--seed", 1), "--seed cannot be given together with --recipe"),
        (("people", *out, "--recipe", recipe, "--maps", "all"), "--maps cannot be given together with --recipe"),
        (("people", *out, "--count", 1, "--layout", "2k2k", "--mesh"), "leave out --maps and --mesh"),
        (("scans", tmp_path, *out, "--views", "many"), "a number from 1 to 1000"),
        (("scans", tmp_path, *out, "--views", "0"), "a number from 1 to 1000"),
    ):
        run = cli("data", *words)
        assert run.code == 2 and told in " ".join(run.err.replace("│", " ").split()), run.err
    for words, told in (
        (("people", *out, "--count", 1, "--maps", "colour"), "there is no map 'colour'"),
        (("people", *out, "--recipe", tmp_path / "none.toml"), "none.toml: cannot be read"),
        (("check", tmp_path / "none"), "not a dataset"),
        (("scans", tmp_path / "none", *out), "there is no such folder"),
    ):
        run = cli("data", *words)
        assert run.code == 10 and told in run.sentence
    assert not (tmp_path / "out").exists()


def test_wrong_use_of_rig_is_told(tmp_path: Path, cli: Cli) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("count = 2\n")
    start = ("data", "people", "--rig", 4, "-o", tmp_path / "out")
    for words, told in (
        ((), "--rig needs --count"),
        (("--recipe", recipe), "--rig needs --count"),
        (("--count", 2, "--recipe", recipe), "leave out --recipe"),
        (("--count", 2, "--views", 3), "leave out --views"),
        (("--count", 2, "--maps", "all"), "leave out --maps"),
        (("--count", 2, "--mesh"), "leave out --mesh"),
        (("--count", 2, "--no-mesh"), "leave out --mesh"),
        (("--count", 2, "--layout", "2k2k"), "leave out --layout"),
        (("--count", 0), "Invalid value for '--count'"),
        (("--count", "two"), "Invalid value for '--count'"),
        (("--count", 2, "--rig", 0), "Invalid value for '--rig'"),
        (("--count", 2, "--rig", 65), "Invalid value for '--rig'"),
        (("--count", 2, "--size", 63), "Invalid value for '--size'"),
        (("--count", 2, "--seed", -1), "Invalid value for '--seed'"),
        (("--count", 2, "--workers", 0), "Invalid value for '--workers'"),
        (("--count", 2, "--split", "test"), "Invalid value for '--split'"),
    ):
        run = cli(*start, *words)
        assert run.code == 2 and told in " ".join(run.err.replace("│", " ").split()), run.err
    assert not (tmp_path / "out").exists()


def test_a_rig_is_not_put_into_another_set(tmp_path: Path, cli: Cli, assets: Path) -> None:
    make_dataset(tmp_path / "single", 1)
    start = ("data", "people", "--count", 1, "--assets", assets)
    before = contents(tmp_path / "single")
    run = cli(*start, "--rig", 2, "-o", tmp_path / "single")
    assert run.code == 10 and "holds something else than a set of several views" in run.sentence
    assert contents(tmp_path / "single") == before
    run = cli(*start[:-1], tmp_path, "--rig", 2, "-o", tmp_path / "out")
    assert run.code == 10 and "not a folder of MakeHuman's assets" in run.sentence and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("count = ", "not valid TOML"),
        ("seed = 1", "must give count"),
        ("count = 1\nseeds = 2", "unknown entry 'seeds'"),
        ("count = '1'", "count must be a int"),
        ("count = true", "count must be a int"),
        ("count = 0", "count must be at least 1"),
        ("count = 1\nsplit = 'test'", "no split 'test'"),
        ("count = 1\nmaps = ['colour']", "no map 'colour'"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(DataError, match=told) as refused:
        PeopleRecipe.load(tmp_path / "r.toml")
    assert str(refused.value).startswith(str(tmp_path / "r.toml"))


def test_the_holdout_recipe() -> None:
    recipe = PeopleRecipe.load(REPOSITORY / "configs/holdout.toml")
    assert (recipe.count, recipe.size, recipe.split, recipe.mesh, recipe.views) == (50, 2048, "holdout", True, 1)
    assert set(recipe.maps) == {"color", "albedo", "mask", "depth", "normals"}


def test_a_missing_package_is_told(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "h2k_rt.data.people.generate", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    run = cli("data", "people", "-o", tmp_path / "out", "--count", 1, "--assets", tmp_path)
    assert run.code == 9 and run.sentence == 'torch is not installed; run: pip install "h2k-rt[people]"'


def test_missing_assets_and_foreign_folders_are_told(tmp_path: Path, cli: Cli, assets: Path) -> None:
    run = cli("data", "people", "-o", tmp_path / "out", "--count", 1, "--assets", tmp_path)
    assert run.code == 10 and "not a folder of MakeHuman's assets" in run.sentence
    (tmp_path / "letter.txt").write_text("dear")
    run = cli("data", "people", "-o", tmp_path, "--count", 1, "--assets", assets)
    assert run.code == 10 and "is not empty and not a dataset" in run.sentence
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


# --- people ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_people_do_not_depend_on_the_workers(tmp_path: Path, assets: Path) -> None:
    """Two views of two people by one worker and by two; continued; and the same as drawn for training without a disk."""
    words = ("data", "people", "--count", 3, "--views", 2, "--seed", 5, "--size", 96, "--assets", assets)
    one = in_subprocess(*words, "-o", tmp_path / "one", "--workers", 1, cwd=tmp_path)
    assert (one.code, one.err) == (0, "") and "3 samples made" in one.out
    assert in_subprocess(*words, "-o", tmp_path / "two", "--workers", 2, cwd=tmp_path).code == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    dataset = Dataset(tmp_path / "one")
    people = [dataset.read(id).about["person"] for id in dataset.ids]
    assert people == [0, 0, 1] and check_dataset(dataset).good

    shutil.rmtree(dataset.path("000001"))
    again = in_subprocess(*words, "-o", tmp_path / "one", "--workers", 1, cwd=tmp_path)
    assert "1 samples made, 2 were there" in again.out and contents(tmp_path / "one") == contents(tmp_path / "two")
    other = in_subprocess(*words[:-3], 128, *words[-2:], "-o", tmp_path / "one", cwd=tmp_path)
    assert other.code == 10 and "made with size 96, but 128 is asked for" in other.sentence

    from h2k_rt.data.people.generate import make_sample, open_factory

    figure, drawn = make_sample(open_factory(assets, "train", 96), 5, 1, 96, views=2)
    sample = dataset.read("000001")
    np.testing.assert_array_equal(sample.rgb, drawn.rgb)
    np.testing.assert_allclose(sample.joints, drawn.joints)
    assert sample.about["split"] == figure.about["split"] == "train"
