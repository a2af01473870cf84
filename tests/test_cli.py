"""The command line with a model: a batch from photos to files, bad bundles, a full disk, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cli_runner import Cli, Run, in_process, in_subprocess
from PIL import Image

from h2k_rt.bundle import list_bundles
from h2k_rt.joints import load_openpose
from h2k_rt.photo import load_photo

SCALE = 0.25
STAGES = {
    "read files",
    "load model",
    "find person",
    "frame",
    "low normals",
    "low depth",
    "fuse parts",
    "high depth",
    "surface",
    "write files",
}


@pytest.fixture(scope="module")
def model() -> Path:
    """A model bundle that can be used: the one of the package, or else any that is installed."""
    bundles = {found.name: found.location for found in list_bundles() if found.bundle is not None}
    if not bundles:
        pytest.skip("no model bundle is installed; see H2K_MODELS")
    return bundles.get("small", next(iter(bundles.values())))


@pytest.fixture(scope="module")
def person(photos_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small photo of a person, two keypoint files and two masks, named as a batch needs them."""
    folder = tmp_path_factory.mktemp("person")
    rgb = load_photo(photos_dir / "000060.jpg").rgb
    small = cv2.resize(rgb, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    (folder / "photos").mkdir()
    (folder / "more").mkdir()
    (folder / "files").mkdir()
    Image.fromarray(small).save(folder / "photos" / "one.png")
    Image.fromarray(small[:, ::-1]).save(folder / "photos" / "two.jpg")
    (folder / "photos" / "bad.jpg").write_text("not a photo")
    Image.fromarray(small).save(folder / "more" / "One.jpg", quality=95)
    document = json.loads((photos_dir / "000060_keypoints.json").read_text())
    fields = document["people"][0]
    for name in ("pose_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"):
        points = np.array(fields[name]).reshape(-1, 3) * (SCALE, SCALE, 1)
        fields[name] = points.reshape(-1).tolist()
    for stem in ("one", "One"):
        (folder / "files" / f"{stem}_keypoints.json").write_text(json.dumps(document))
    joints = load_openpose(folder / "files" / "one_keypoints.json")
    # A narrow strip from head to feet: with untrained weights too, the mesh stays small and the tests quick.
    nose, ankle = joints[0, :2].astype(int).tolist(), joints[15, :2].astype(int).tolist()
    mask = cv2.line(np.zeros(small.shape[:2], np.uint8), nose, ankle, 255, thickness=14)
    for stem in ("one", "One"):
        Image.fromarray(mask).save(folder / "files" / f"{stem}.png")
    return folder


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    return in_process(capfd)


# --- a batch ---


@pytest.fixture(scope="module")
def batch(model: Path, person: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """Two photos of one stem (but for its case) and a bad one between them, with keypoints and masks, by the real program."""
    folder = tmp_path_factory.mktemp("batch")
    files = person / "files"
    photos = [person / "photos" / "one.png", person / "photos" / "bad.jpg", person / "more" / "One.jpg"]
    options = ["--keypoints", files, "--mask", files, "-f", "glb", "-f", "ply", "--save-maps", "--json", "--height", "1.8"]
    return in_subprocess("infer", *photos, "--model", model, *options, cwd=folder), folder / "out"


def test_batch_goes_on_after_a_bad_photo(batch: tuple[Run, Path]) -> None:
    run, _ = batch
    assert run.code == 3, run.err
    document = json.loads(run.out)
    assert [Path(result["photo"]).name for result in document["results"]] == ["one.png", "One.jpg"]
    assert [Path(failure["photo"]).name for failure in document["failures"]] == ["bad.jpg"]
    errors = [line for line in run.err.splitlines() if "note: " not in line]
    assert len(errors) == 2
    assert errors[0].startswith("error: ") and "not a picture" in errors[0]
    assert errors[1].startswith("2 of 3 photos done; failed: ") and errors[1].endswith("bad.jpg")


def test_batch_writes_every_file_once(batch: tuple[Run, Path]) -> None:
    run, out = batch
    files = [Path(file) for result in json.loads(run.out)["results"] for file in result["files"]]
    names = [file.name for file in files]
    assert {"one.glb", "one.ply", "one_preview.png", "One_2.glb", "One_2.ply", "One_2_preview.png"} <= set(names)
    assert len({name.casefold() for name in names}) == len(names)
    assert {file.name for file in out.iterdir()} == set(names)  # all that was told, and nothing left over
    assert len(names) > 6  # the maps
    for name in ("one_preview.png", "One_2_preview.png"):
        with Image.open(out / name) as preview:
            assert preview.mode == "RGB" and min(preview.size) >= 256


def test_batch_meshes_are_whole(batch: tuple[Run, Path]) -> None:
    trimesh = pytest.importorskip("trimesh")
    run, out = batch
    for result, stem in zip(json.loads(run.out)["results"], ("one", "One_2"), strict=True):
        mesh = trimesh.load(out / f"{stem}.glb", force="mesh", process=False)
        assert len(mesh.vertices) == result["vertices"] > 100
        assert len(mesh.faces) == result["faces"] > 100


def test_batch_tells_the_time_of_every_stage(batch: tuple[Run, Path]) -> None:
    for result in json.loads(batch[0].out)["results"]:
        assert set(result["timings"]) >= STAGES
        assert result["seconds"] == pytest.approx(sum(result["timings"].values()))
        assert all(seconds >= 0 for seconds in result["timings"].values())
        assert set(result["providers"]) >= {"low_normal", "high_depth"}


def test_one_photo_without_preview(cli: Cli, model: Path, person: Path, tmp_path: Path) -> None:
    """Output for people: the file, and a table of the stages."""
    files = person / "files"
    words = ["infer", person / "photos" / "one.png", "-m", model, "-o", "a/b", "--no-preview", "-f", "obj", "--threads", "2"]
    run = cli(*words, "--keypoints", files / "one_keypoints.json", "--mask", files / "one.png")
    assert run.code == 0, run.err
    assert {file.name for file in (tmp_path / "a" / "b").iterdir()} <= {"one.obj", "one.mtl"}
    lines = run.out.splitlines()
    assert lines[0].startswith(f"{Path('a', 'b', 'one.obj')} (") and "triangles" in lines[0]
    assert {" ".join(line.split()[:-1]) for line in lines[1:]} >= STAGES | {"stage", "total"}


# --- what can go wrong ---


def test_no_person(cli: Cli, model: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((300, 200, 3), (90, 120, 140), np.uint8)).save(tmp_path / "wall.png")
    run = cli("infer", "wall.png", "-m", model)
    assert run.code == 5 and "wall.png" in run.sentence
    assert not (tmp_path / "out").exists()


def test_wrong_bundles(cli: Cli, person: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "model.toml").write_text("not = [toml")
    (tmp_path / "archive.zip").write_bytes(b"PK\x03\x04 no archive")
    for name in ("absent", "empty", "text", "archive.zip"):
        run = cli("infer", person / "photos" / "one.png", person / "more" / "One.jpg", "-m", name)
        assert run.code == 6
        errors = run.err.splitlines()
        assert len(errors) == 2 and name in errors[0]  # the second photo is not tried
        assert "0 of 2 photos done, 1 not tried" in errors[1]
        assert not (tmp_path / "out").exists()


def test_bundle_with_a_changed_file(cli: Cli, model: Path, person: Path, tmp_path: Path) -> None:
    if model.suffix == ".zip":
        pytest.skip("the bundle is an archive")
    changed = tmp_path / "changed"
    shutil.copytree(model, changed)
    graph = next(file for file in sorted(changed.rglob("*.onnx")) if "fp16" not in file.name)
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    run = cli("infer", person / "photos" / "one.png", "-m", changed)
    assert run.code == 6 and graph.name in run.sentence and "changed" in run.sentence
    assert not (tmp_path / "out").exists()


@contextlib.contextmanager
def tiny_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own on ``folder``; skips where that is not allowed."""
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True).returncode
    ):
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def quick(person: Path, model: Path) -> list[object]:
    """Words for a run with everything given."""
    files = person / "files"
    given = ["--keypoints", files / "one_keypoints.json", "--mask", files / "one.png"]
    return ["infer", person / "photos" / "one.png", "-m", model, *given, "--no-preview"]


def test_full_disk(cli: Cli, model: Path, person: Path, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", "16k"):
        run = cli(*quick(person, model), "-o", "disk/out")
        assert run.code == 8
        error = next(line for line in run.err.splitlines() if line.startswith("error: "))
        assert "full" in error and "one.glb" in error and "Traceback" not in run.err
        assert list((tmp_path / "disk").rglob("*")) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_FSIZE")
def test_file_size_limit(model: Path, person: Path, tmp_path: Path) -> None:
    run = in_subprocess(*quick(person, model), cwd=tmp_path, limit_file_bytes=16_384)
    assert run.code == 8
    errors = [line for line in run.err.splitlines() if "note: " not in line]
    assert len(errors) == 1 and "one.glb" in errors[0] and "Traceback" not in run.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_while_working(model: Path, person: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "h2k_rt", *map(str, quick(person, model))]
    options: dict[str, Any] = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A test run started in the background passes on an ignored SIGINT.
    with subprocess.Popen(words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options) as program:
        limit = time.monotonic() + 60
        while not (tmp_path / "out").exists():  # made before the model is loaded
            assert program.poll() is None and time.monotonic() < limit
            time.sleep(0.02)
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err) == (130, "", "stopped\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_swallowed_by_a_library(model: Path, person: Path, tmp_path: Path) -> None:
    """One that was lost in a callback ends the work at its next stage."""
    code = (
        "import contextlib, os, signal, sys\n"
        "import h2k_rt.cli, h2k_rt.reconstruct\n"
        "make = h2k_rt.reconstruct.Reconstructor.__init__\n"
        "def swallowing(*args, **options):\n"
        "    with contextlib.suppress(KeyboardInterrupt):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        signal.pause()\n"
        "    make(*args, **options)\n"
        "h2k_rt.reconstruct.Reconstructor.__init__ = swallowing\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "h2k_rt.cli.main()\n"
    )
    words = [sys.executable, "-c", code, *map(str, quick(person, model))]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "stopped\n")
    assert list(tmp_path.iterdir()) == []


# --- models ---


def test_models_lists_good_and_bad_bundles(cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundles" / "broken").mkdir(parents=True)
    (tmp_path / "bundles" / "broken" / "model.toml").write_text("x = 1")
    (tmp_path / "bundles" / "good").symlink_to(model)
    with_card = tmp_path / "bundles" / "told"
    with_card.mkdir()
    (with_card / "model.toml").write_text("x = 1")
    (with_card / "card.md").write_text("# told")
    monkeypatch.setenv("H2K_MODELS", str(tmp_path / "bundles"))
    run = cli("models")
    assert run.code == 0 and run.err == ""
    for word in ("broken", "cannot be used: ", "good", "licence ", "trained on ", " MB"):
        assert word in run.out
    rows = {row["name"]: row for row in json.loads(cli("models", "--json").out)}
    assert rows["told"]["card"] == str(with_card / "card.md") and rows["broken"]["card"] is None
    assert rows["broken"]["problem"] and not rows["good"]["problem"]
    stored = sum(file.stat().st_size for file in model.rglob("*.onnx")) if model.is_dir() else None
    assert stored is None or rows["good"]["size_bytes"] == stored
    assert rows["good"]["licence"] and rows["good"]["trained_on"] and rows["good"]["method"] == "2k2k"


def test_no_models(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("h2k_rt.bundle.bundle_folders", lambda: [tmp_path / "nowhere"])
    run = cli("models")
    assert run.code == 0 and "no model bundles" in run.out and "nowhere" in run.out


# --- export ---


def test_export_of_what_is_no_weights(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "w.safetensors").write_text("no weights")
    (tmp_path / "c.pth.tar").write_text("no checkpoint")
    for words in (("export", "w.safetensors"), ("export", "absent.safetensors"), ("import-checkpoint", "c.pth.tar")):
        run = cli(*words, "-o", "bundle")
        assert run.code == 6 and words[1] in run.sentence
        assert not (tmp_path / "bundle").exists()
