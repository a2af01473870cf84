"""Files appear whole or not at all, and a refusal is one sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from h2k_rt.errors import OutputError
from h2k_rt.output import replace_file


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.glb"
    with replace_file(target) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".glb" and temporary != target
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_permissions_are_the_usual_ones(tmp_path: Path) -> None:
    with replace_file(tmp_path / "a.ply") as temporary:
        temporary.write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert (tmp_path / "a.ply").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bug")])
def test_a_failure_leaves_the_old_file_and_no_trace(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.glb"
    target.write_bytes(b"old")
    with pytest.raises(type(error)), replace_file(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.glb: cannot be written: the disk is full"), replace_file(tmp_path / "a.glb"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_really_full_device(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"), replace_file(tmp_path / "a.bin"), Path("/dev/full").open("wb") as full:
        full.write(b"x" * 100000)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_and_a_file_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder does not exist"), replace_file(tmp_path / "no" / "a.glb"):
        pytest.fail("must not start")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="is a file, not a folder"), replace_file(tmp_path / "file" / "a.glb"):
        pytest.fail("must not start")
    (tmp_path / "a.glb").mkdir()
    with pytest.raises(OutputError, match="in the way"), replace_file(tmp_path / "a.glb") as temporary:
        temporary.write_bytes(b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.glb", "file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="may not be written to"), replace_file(tmp_path / "a.glb"):
            pytest.fail("must not start")
    finally:
        tmp_path.chmod(0o700)
