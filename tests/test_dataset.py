"""The dataset folder: what is written comes back, whole or not at all, whoever writes it and however often."""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import data_samples
import numpy as np
import pytest
from data_samples import MESH, SIZE, contents, description, make_dataset, rendering, start_making

from h2k_rt.data.dataset import Dataset, DatasetWriter, Description
from h2k_rt.data.produce import produce
from h2k_rt.errors import DataError, OutputError


def test_a_sample_comes_back(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "set", 2, mesh=True)
    given, sample = rendering(1), dataset.read("000001")
    assert dataset.ids == ("000000", "000001") and dataset.size == sample.size == SIZE
    np.testing.assert_array_equal(sample.rgb, given.rgb)
    np.testing.assert_array_equal(sample.albedo, given.albedo)
    np.testing.assert_array_equal(sample.mask, given.mask)
    np.testing.assert_array_equal(sample.joints, given.joints)
    assert sample.depth.dtype == np.float32
    assert np.abs(sample.depth - given.depth).max() <= 0.5 / 16384 + 1e-6
    np.testing.assert_array_equal(sample.depth > 0, given.depth > 0)
    assert np.abs(sample.normals - given.normals).max() <= 0.5 / 127.5 + 1e-6
    assert sample.camera == {"fov": 50.0, "yaw": 1} and sample.about == {"number": 1}


def test_the_files_are_what_the_format_says(tmp_path: Path) -> None:
    make_dataset(tmp_path / "set", 1)
    folder, given = tmp_path / "set/samples/000000", rendering(0)
    steps = cv2.imread(str(folder / "depth_front.png"), cv2.IMREAD_UNCHANGED)
    assert steps.dtype == np.uint16
    np.testing.assert_array_equal(steps, np.round(given.depth[0].astype(np.float64) * 16384))
    coded = cv2.imread(str(folder / "normal_back.png"))[..., ::-1]
    inside = given.mask > 0
    assert np.abs(coded[inside] - (np.array([0.6, 0.0, -0.8]) + 1) * 127.5).max() < 0.501 and not coded[~inside].any()
    raw = json.loads((tmp_path / "set/dataset.json").read_text())
    assert (raw["format"], raw["size"], raw["count"], raw["source"]["seed"]) == (1, SIZE, 1, 7)


def test_the_mesh_can_be_read_by_a_library(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    path = make_dataset(tmp_path / "set", 1, mesh=True).read("000000").mesh_path
    mesh = trimesh.load(path)
    assert mesh.is_watertight and mesh.volume == pytest.approx(1 / 6)


def test_only_the_wanted_files_are_opened(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "set", 1)
    for path in (dataset.path("000000")).glob("*.png"):
        if "depth" not in path.name:
            path.unlink()
    sample = dataset.read("000000", {"depth"})
    assert sample.depth is not None and sample.rgb is None and sample.mask is None
    assert dataset.read("000000", ()).joints.shape == (31, 3)


def test_maps_that_are_not_there_are_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "set", 1, maps=("color", "mask"))
    assert sorted(path.name for path in dataset.path("000000").iterdir()) == ["color.png", "mask.png", "sample.json"]
    assert dataset.read("000000").depth is None
    with pytest.raises(DataError, match="has no depth, only color, mask"):
        dataset.read("000000", {"depth"})
    with pytest.raises(DataError, match="no map 'colour'"):
        dataset.read("000000", {"colour"})


def test_a_growing_set_is_seen(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, description(5))
    dataset = Dataset(tmp_path)
    assert len(dataset) == 0
    writer.write(3, rendering(3))
    assert dataset.ids == ()
    dataset.refresh()
    assert dataset.ids == ("000003",)


@pytest.mark.parametrize("fault", ["missing", "cut short", "turned byte", "other size", "8 bits"])
def test_a_bad_file_is_named(tmp_path: Path, fault: str) -> None:
    dataset = make_dataset(tmp_path, 1)
    path = dataset.path("000000") / "depth_back.png"
    data = path.read_bytes()
    if fault == "missing":
        path.unlink()
    elif fault == "cut short":
        path.write_bytes(data[: len(data) // 2])
    elif fault == "turned byte":
        path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :])
    else:
        picture = np.zeros((8, 8), np.uint16) if fault == "other size" else np.zeros((SIZE, SIZE), np.uint8)
        cv2.imwrite(str(path), picture)
    with pytest.raises(DataError, match=r"000000/depth_back\.png: "):
        dataset.read("000000")
    assert dataset.read("000000", {"color"}).rgb is not None


@pytest.mark.parametrize(
    ("text", "what"),
    [(None, "not a dataset"), ("{", "not valid JSON"), ('{"format": 9}', "format 9"), ('{"format": 1, "size": 64}', "malformed")],
)
def test_what_is_no_dataset_is_refused(tmp_path: Path, text: str | None, what: str) -> None:
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=what):
        Dataset(tmp_path)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    make_dataset(tmp_path / "set", 2)
    before = contents(tmp_path)
    for changes, words in (
        ({"size": 128}, f"made with size {SIZE}, but 128 is asked for"),
        ({"source": {"kind": "test", "seed": 8}}, "made with seed 7, but 8 is asked for"),
        ({"source": {"kind": "test"}}, "made with seed 7, but None is asked for"),
        ({"source": {"kind": "test", "seed": 7, "split": "holdout"}}, "made with split None, but holdout is asked for"),
        ({"mesh": True}, "made with mesh False, but True is asked for"),
    ):
        with pytest.raises(DataError, match=words):
            DatasetWriter(tmp_path / "set", description(2, **changes))
    assert contents(tmp_path) == before


def test_a_set_can_be_extended(tmp_path: Path) -> None:
    make_dataset(tmp_path, 2)
    assert DatasetWriter(tmp_path, description(5)).description.count == 5
    assert DatasetWriter(tmp_path, description(3)).description.count == 5
    assert Dataset(tmp_path).description.count == 5


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="is not empty and not a dataset"):
        DatasetWriter(tmp_path, description(1))
    with pytest.raises(DataError, match="is not empty and not a dataset"):
        DatasetWriter(tmp_path / "letter.txt", description(1))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_full_disk_leaves_no_part_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = DatasetWriter(tmp_path, description(1))
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "depth_back.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="000000: cannot be written: the disk is full"):
        writer.write(0, rendering())
    assert not any((tmp_path / "samples").iterdir()) and not writer.has(0)
    monkeypatch.undo()
    writer.write(0, rendering())
    assert Dataset(tmp_path).read("000000").depth is not None


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "a", description(1))
    left = tmp_path / "a/samples/.000000.part"
    left.mkdir()
    (left / "color.png").write_bytes(b"half")
    (left / "other.txt").write_bytes(b"half")
    assert Dataset(tmp_path / "a").ids == ()
    writer.write(0, rendering(), {"number": 0})
    make_dataset(tmp_path / "b", 1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_wrong_renderings_are_refused(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, description(1, mesh=True))
    with pytest.raises(ValueError, match="has no mesh"):
        writer.write(0, rendering())
    with pytest.raises(ValueError, match="shape"):
        writer.write(0, rendering(size=64), mesh=MESH)
    bad = rendering()
    bad.joints[3, 0] = np.nan
    with pytest.raises(ValueError, match="JSON"):
        writer.write(0, bad, mesh=MESH)
    assert not any((tmp_path / "samples").iterdir())


def _produce(folder: Path, count: int, start=start_making, **options) -> int:
    writer = DatasetWriter(folder, description(count, mesh=True))
    return produce(writer, [[2 * i, 2 * i + 1] for i in range(count // 2)], start, **options)


def test_workers_make_the_same_files(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    assert _produce(tmp_path / "one", 6) == 6
    assert _produce(tmp_path / "two", 6, workers=2, progress=lambda done, total, _: told.append((done, total))) == 6
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 1 + 6 * 9
    assert told == [(0, 6), (2, 6), (4, 6), (6, 6)]
    shutil.rmtree(tmp_path / "two/samples/000003")
    assert _produce(tmp_path / "two", 6) == 1
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert _produce(tmp_path / "two", 6, start=functools.partial(start_making, fail_at=0)) == 0


def test_a_failing_worker_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sample 2 cannot be made"):
        _produce(tmp_path, 6, start=functools.partial(start_making, fail_at=2, error=DataError))
    assert "000000" in Dataset(tmp_path).ids and "000002" not in Dataset(tmp_path).ids
    with pytest.raises(DataError, match=r"ended from outside.*fewer --workers"):
        _produce(tmp_path, 6, start=functools.partial(start_making, exit_at=3))
    _produce(tmp_path, 6)
    assert len(Dataset(tmp_path)) == 6


def _run_in_background(folder: Path, count: int) -> subprocess.Popen[str]:
    """``_produce`` with two workers in a process group of its own; returns when the first samples are there."""
    script = folder / "run.py"
    script.write_text(
        "import sys, pathlib, test_dataset\n"
        "if __name__ == '__main__':\n"
        f"    try: test_dataset._produce(pathlib.Path(sys.argv[1]), {count}, workers=2)\n"
        "    except KeyboardInterrupt: sys.exit(130)\n"
    )
    tests = str(Path(data_samples.__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((tests, os.environ.get("PYTHONPATH", "")))}
    words = [sys.executable, script, folder / "set"]
    # A test run started in the background passes on an ignored SIGINT.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    run = subprocess.Popen(words, env=environment, start_new_session=True, preexec_fn=heed, stderr=subprocess.PIPE, text=True)
    samples = folder / "set/samples"
    _until(lambda: samples.is_dir() and len(list(samples.iterdir())) >= 5)
    return run


def test_a_killed_run_is_continued(tmp_path: Path) -> None:
    """The process is killed while it works; its workers end by themselves, and the next run completes the same set."""
    count = 150
    run = _run_in_background(tmp_path, count)
    run.kill()
    run.wait()
    _until(lambda: not _running(run.pid))
    done = len(Dataset(tmp_path / "set"))
    assert 0 < done < count
    assert _produce(tmp_path / "set", count, workers=2) == count - done
    assert not list((tmp_path / "set/samples").glob(".*"))
    for index in (0, done, count - 1):
        np.testing.assert_array_equal(Dataset(tmp_path / "set").read(f"{index:06d}").rgb, rendering(index).rgb)


def test_ctrl_c_ends_all_processes_quietly(tmp_path: Path) -> None:
    run = _run_in_background(tmp_path, 4000)
    os.killpg(run.pid, signal.SIGINT)
    assert (run.communicate(timeout=60)[1], run.returncode) == ("", 130)
    _until(lambda: not _running(run.pid))
    assert not list((tmp_path / "set/samples").glob(".*")) and len(Dataset(tmp_path / "set")) < 4000


def _running(session: int) -> bool:
    """Whether any process of the session is there."""
    try:
        os.killpg(session, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return True


def _until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def test_a_description_must_make_sense() -> None:
    with pytest.raises(DataError, match="no map 'colour'"):
        Description(64, 1, maps=("colour",))
    with pytest.raises(DataError, match="of 0 pixels"):
        Description(0, 1)
