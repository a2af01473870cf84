"""Every bad input of the command line: one clear sentence, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import math
import os
import stat
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from cli_runner import Cli, in_process, in_subprocess
from PIL import Image

import h2k_rt.photo
from h2k_rt.cli.batch import Job, output_stems
from h2k_rt.cli.common import EXIT_CODES
from h2k_rt.errors import H2KError, PhotoError


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return in_process(capfd)


def noise(height: int = 120, width: int = 90) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def openpose(x: float = 40.0, people: int = 1) -> dict:
    person = {"pose_keypoints_2d": [x, 50.0, 0.9] * 25, "hand_left_keypoints_2d": [], "hand_right_keypoints_2d": []}
    return {"version": 1.3, "people": [person] * people}


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_bad_photos(folder: Path) -> None:
    (folder / "text.jpg").write_text("not a photo\n" * 50)
    (folder / "empty.png").touch()
    noise().save(folder / "whole.jpg")
    data = (folder / "whole.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "whole.jpg").unlink()
    rows = png_chunk(b"IDAT", zlib.compress(bytes(120_001)))
    size = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + size + rows + png_chunk(b"IEND", b""))
    Image.new("RGB", (1, 1)).save(folder / "tiny.png")
    (folder / "nothing").mkdir()


BAD_PHOTOS = {
    "text.jpg": "not a picture",
    "empty.png": "empty",
    "truncated.jpg": "damaged or cut off",
    "bomb.png": "more than 100 million pixels",
    "tiny.png": "1 x 1 pixels",
    "missing.jpg": "no such file",
    "nothing": "no photos",
    "/dev/null": "pipe or device",
}


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_bad_photos(cli: Cli, tmp_path: Path, name: str) -> None:
    write_bad_photos(tmp_path)
    run = cli("infer", name)
    assert run.code == 3
    assert BAD_PHOTOS[name] in run.sentence and name in run.sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["text.jpg", "bomb.png"])
def test_bad_photos_of_the_real_program(tmp_path: Path, name: str) -> None:
    write_bad_photos(tmp_path)
    run = in_subprocess("infer", name, cwd=tmp_path)
    assert run.code == 3 and BAD_PHOTOS[name] in run.sentence


def test_batch_goes_on_and_lists_failures(cli: Cli, tmp_path: Path) -> None:
    write_bad_photos(tmp_path)
    run = cli("infer", "text.jpg", "tiny.png", "missing.jpg")
    lines = run.err.splitlines()
    assert run.code == 3 and len(lines) == 4
    for name, line in zip(("text.jpg", "tiny.png", "missing.jpg"), lines, strict=False):
        assert line.startswith(f"error: {name}: ")
    assert lines[3] == "0 of 3 photos done; failed: text.jpg, tiny.png, missing.jpg"


def test_failures_as_json(cli: Cli, tmp_path: Path) -> None:
    write_bad_photos(tmp_path)
    run = cli("infer", "text.jpg", "tiny.png", "--json")
    document = json.loads(run.out)
    assert document["results"] == []
    assert [(f["photo"], f["error"], f["exit_code"]) for f in document["failures"]] == [
        ("text.jpg", "PhotoError", 3),
        ("tiny.png", "PhotoError", 3),
    ]
    assert run.code == 3


def test_json_is_alone_on_stdout(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Native libraries write there past Python."""

    def chatter(path: Path) -> None:
        os.write(1, b"[WARNING] from a library\n")
        raise PhotoError(f"{path}: bad")

    monkeypatch.setattr(h2k_rt.photo, "load_photo", chatter)
    run = cli("infer", "a.png", "--json")
    assert json.loads(run.out)["failures"][0]["message"] == "a.png: bad"
    assert run.err == "[WARNING] from a library\nerror: a.png: bad\n"


def test_a_line_break_in_a_file_name_stays_in_one_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a\nb\x1b[31m.jpg").write_text("no photo")
    run = cli("infer", "a\nb\x1b[31m.jpg")
    assert run.code == 3 and r"a\nb\x1b[31m.jpg" in run.sentence


# --- keypoints and masks ---

BAD_KEYPOINTS = {
    "text": ("hello", "not JSON"),
    "nobody": (json.dumps({"people": []}), "holds no person"),
    "shape": (json.dumps([1, 2]), "people"),
    "short": (json.dumps({"people": [{"pose_keypoints_2d": [1, 2, 3]}]}), "3 numbers, not 75"),
    "nan": (json.dumps(openpose(math.nan)), "impossible coordinate"),
    "infinity": (json.dumps(openpose(math.inf)), "impossible coordinate"),
    "text number": (json.dumps(openpose()).replace("40.0", '"40"', 1), "no number"),
    "huge": (json.dumps(openpose(1e30)), "impossible coordinate"),
    "deep": ("[" * 200_000, "nested too deeply|not JSON"),
    "large": (" " * (5 << 20), "too many"),
    "other picture": (json.dumps(openpose(4000.0)), "outside the photo of 90 x 120"),
}


@pytest.mark.parametrize("name", BAD_KEYPOINTS)
def test_bad_keypoints(cli: Cli, tmp_path: Path, name: str) -> None:
    content, words = BAD_KEYPOINTS[name]
    noise().save(tmp_path / "a.png")
    (tmp_path / "bad.json").write_text(content)
    run = cli("infer", "a.png", "--keypoints", "bad.json")
    assert run.code == 4
    assert any(word in run.sentence for word in words.split("|")) and "bad.json" in run.sentence
    assert not (tmp_path / "out").exists()


def test_missing_keypoints_and_person(cli: Cli, tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    (tmp_path / "a_keypoints.json").write_text(json.dumps(openpose()))
    assert "no such file" in cli("infer", "a.png", "--keypoints", "other.json").sentence
    run = cli("infer", "a.png", "--keypoints", ".", "--person", "2")
    assert run.code == 4 and "has no person 2" in run.sentence


def test_bad_masks(cli: Cli, tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    Image.new("L", (120, 90), 255).save(tmp_path / "turned.png")
    Image.new("L", (90, 120), 0).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no mask")
    for name, words in {
        "turned": "must be equal",
        "black": "0 everywhere",
        "text": "not a picture",
        "absent": "no such file",
    }.items():
        run = cli("infer", "a.png", "--mask", f"{name}.png")
        assert run.code == 4 and words in run.sentence and f"{name}.png" in run.sentence
    assert not (tmp_path / "out").exists()


# --- output ---


def test_output_below_a_file(cli: Cli, tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    (tmp_path / "file").write_text("keep me")
    for folder in ("file", "file/below"):
        run = cli("infer", "a.png", "-o", folder)
        assert run.code == 8 and "cannot be written" in run.sentence
    assert (tmp_path / "file").read_text() == "keep me"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_output_where_nobody_may_write(cli: Cli, tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    run = cli("infer", "a.png", "-o", "/proc/h2k/out")
    assert run.code == 8 and "/proc/h2k/out" in run.sentence


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users here")
def test_read_only_output_folder(capfd: pytest.CaptureFixture[str]) -> None:
    """As a user without privileges; their photo is readable, the folder is not theirs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noise().save(folder / "a.png")
        (folder / "locked").mkdir()
        (folder / "locked").chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
        folder.chmod(0o755)
        superuser = os.geteuid() == 0
        if superuser:
            os.seteuid(65534)
        try:
            run = in_process(capfd)("infer", folder / "a.png", "-o", folder / "locked")
        finally:
            if superuser:
                os.seteuid(0)
        assert run.code == 8 and "Permission denied" in run.sentence
        assert list((folder / "locked").iterdir()) == []


def test_input_is_never_overwritten(cli: Cli, tmp_path: Path) -> None:
    noise().save(tmp_path / "a_preview.png")
    noise().save(tmp_path / "a.jpg")
    before = (tmp_path / "a_preview.png").read_bytes()
    run = cli("infer", "a.jpg", "a_preview.png", "-o", ".")
    assert run.code == 8 and "would replace an input" in run.err.splitlines()[0]
    assert (tmp_path / "a_preview.png").read_bytes() == before


# --- usage ---


@pytest.mark.parametrize(
    "words",
    [
        ("infer",),
        ("infer", "a.png", "--height", "nan"),
        ("infer", "a.png", "--height", "0"),
        ("infer", "a.png", "--height", "-1.7"),
        ("infer", "a.png", "--height", "tall"),
        ("infer", "a.png", "--person", "0"),
        ("infer", "a.png", "--threads", "0"),
        ("infer", "a.png", "--faces", "-5"),
        ("infer", "a.png", "--format", "stl"),
        ("infer", "a.png", "--mesh", "marching"),
        ("infer", "a.png", "b.png", "--keypoints", "one.json"),
        ("infer", "a.png", "b.png", "--mask", "one.png"),
        ("infer", "a.png", "--no-such-option"),
        ("export", "weights.safetensors"),
        ("no-such-command",),
    ],
)
def test_wrong_usage(cli: Cli, tmp_path: Path, words: tuple[str, ...]) -> None:
    run = cli(*words)
    assert run.code == 2 and "Usage" in run.err and "Traceback" not in run.err
    assert list(tmp_path.iterdir()) == []


# --- errors that nobody foresaw, and Ctrl-C ---


def test_unexpected_errors_are_one_line_and_debug_shows_more(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise ZeroDivisionError("something\nbroke")

    monkeypatch.setattr(h2k_rt.photo, "load_photo", fail)
    run = cli("infer", "a.png", "--no-preview")
    assert run.code == 1
    assert r"unexpected error: ZeroDivisionError: something\nbroke" in run.sentence and "--debug" in run.sentence
    run = cli("infer", "a.png", "--debug")
    assert run.code == 1 and "Traceback" in run.err and "in fail" in run.err


def test_ctrl_c_while_reading(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(h2k_rt.photo, "load_photo", interrupt)
    run = cli("infer", "a.png", "b.png")
    assert (run.code, run.out, run.err) == (130, "", "stopped\n")


def test_help_tells_every_exit_code(cli: Cli) -> None:
    codes = {0, 1, 2, 130} | {kind.exit_code for kind in H2KError.__subclasses__()}
    for code in codes:
        assert f" {code} " in EXIT_CODES
    for words in (("--help",), ("infer", "--help")):
        assert "130 stopped" in " ".join(cli(*words).out.split())


# --- names of outputs ---


def test_photos_of_one_stem_get_names_of_their_own() -> None:
    names = ["x/a.jpg", "y/a.png", "A.tif", "b.jpg", "a_2.jpg", "z/b.jpg", "y/a.gif"]
    stems = output_stems([Path(name) for name in names])
    assert stems == ["a", "a_3", "A_4", "b", "a_2", "b_2", "a_5"]
    assert len({stem.casefold() for stem in stems}) == len(names)


def test_inputs_of_a_job() -> None:
    assert Job(Path("a.png"), "a", mask=Path("m.png")).inputs == (Path("a.png"), Path("m.png"))
