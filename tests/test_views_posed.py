"""Frames of posed vertices, as CAPE ships them: read with a template's faces, made into view sets, refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_runner import Cli, in_process

pytest.importorskip("numba")

from people_bodies import ellipsoid

from h2k_rt.data.views.posed import find_posed, load_posed, load_template
from h2k_rt.data.views.viewset import ViewSets
from h2k_rt.errors import DataError
from h2k_rt.metrics.shape import load_shape
from h2k_rt.output.ply import write_shape

BODY = ellipsoid(rings=12)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return in_process(capfd)


def posed(turn: float) -> np.ndarray:
    """The body turned about its long axis, somewhere else."""
    c, s = np.cos(turn), np.sin(turn)
    return (BODY.vertices @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + (1.5, 0.2, -2.0)).astype(np.float64)


def frames(folder: Path, count: int = 2) -> Path:
    """A sequence in CAPE's layout."""
    sequence = folder / "sequences" / "00032" / "shortlong_hips"
    sequence.mkdir(parents=True)
    for k in range(count):
        known = {"v_cano": BODY.vertices, "transl": np.array((1.5, 0.2, -2.0)), "pose": np.zeros(72)}
        np.savez(sequence / f"shortlong_hips.{k:06d}.npz", v_posed=posed(0.3 * k), **known)
    return folder


def template(path: Path) -> Path:
    """A mesh of the same vertices in another pose, with the faces."""
    write_shape(BODY.vertices * np.float32(0.5), BODY.faces, path)
    return path


def test_a_templates_vertices_keep_their_order_beside_seams(tmp_path: Path) -> None:
    """A quad whose two triangles disagree about the texture at the corners that they share."""
    file = tmp_path / "quad.obj"
    corners = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvt .5 .5\n"
    file.write_text(corners + "f 1/1 2/2 3/3\nf 1/5 3/3 4/4\n")
    assert len(load_shape(file).vertices) == 5, "what happens otherwise"
    found = load_template(file)
    np.testing.assert_array_equal(found.vertices, [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)])
    assert found.faces.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_frames_get_the_templates_faces(tmp_path: Path) -> None:
    mesh = template(tmp_path / "smpl.ply")
    found = find_posed(frames(tmp_path / "cape", 3), mesh)
    assert [path.name for path in found] == [f"shortlong_hips.{k:06d}.npz" for k in range(3)]
    shape = load_posed(found[2], load_template(mesh))
    np.testing.assert_allclose(shape.vertices, posed(0.6), atol=1e-6)
    np.testing.assert_array_equal(shape.faces, BODY.faces)


@pytest.mark.slow
def test_view_sets_of_frames(cli: Cli, tmp_path: Path) -> None:
    mesh, source = template(tmp_path / "smpl.ply"), frames(tmp_path / "cape", 1)
    words = ("data", "views", source, "-o", tmp_path / "sets", "--rig", 2, "--size", 64, "--workers", 1)
    found = cli(*words, "--template", mesh)
    assert found.code == 0 and "1 samples made" in found.out, found.err
    person = ViewSets(tmp_path / "sets").read("000000")
    made = load_shape(person.mesh_path)
    for have, want in zip(made.bounds, (posed(0).min(axis=0), posed(0).max(axis=0)), strict=True):
        np.testing.assert_allclose(have, want, atol=0.02)
    for k, camera in enumerate(person.cameras):
        at = np.floor(camera.project(posed(0) * 0.96 + 0.04 * posed(0).mean(axis=0))).astype(int)
        assert (person.mask(k)[at[:, 1], at[:, 0]] > 0).mean() > 0.98


def test_what_does_not_go_together_is_told(cli: Cli, tmp_path: Path) -> None:
    mesh, source = template(tmp_path / "smpl.ply"), frames(tmp_path / "cape", 1)
    words = ("data", "views", source, "-o", tmp_path / "sets", "--workers", 1)
    found = cli(*words)
    assert found.code == 10 and "vertices alone are no surface: give the faces with --template" in found.sentence
    found = cli(*words, "--template", tmp_path / "absent.obj")
    assert found.code == 10 and "absent.obj: no such file" in found.sentence
    other = ellipsoid(rings=8)
    write_shape(other.vertices, other.faces, tmp_path / "other.ply")
    found = cli(*words, "--template", tmp_path / "other.ply")
    told = f"has {len(BODY.vertices)} vertices, the template {tmp_path / 'other.ply'} has {len(other.vertices)}; give the mesh"
    assert found.code == 10 and told in found.sentence
    empty = tmp_path / "empty"
    empty.mkdir()
    found = cli(*words[:2], empty, *words[3:], "--template", mesh)
    assert found.code == 10 and "no frames of posed vertices" in found.sentence
    assert not (tmp_path / "sets").exists()
    faces = load_template(mesh)
    np.savez(tmp_path / "a.npz", v_cano=BODY.vertices)
    np.savez(tmp_path / "b.npz", v_posed=BODY.vertices[None])
    np.savez(tmp_path / "c.npz", v_posed=np.full_like(BODY.vertices, np.nan))
    np.savez(tmp_path / "d.npz", v_posed=np.array([{"no": "array"}]))
    (tmp_path / "e.npz").write_bytes(b"PK no archive")
    for name, words_ in {
        "a": "holds no v_posed .posed vertices., but v_cano",
        "b": r"v_posed must be \(vertices, 3\), not \(1, ",
        "c": "a vertex is not a finite number",
        "d": "cannot be read as frame",
        "e": "cannot be read as frame",
        "f": "cannot be read as frame",
    }.items():
        with pytest.raises(DataError, match=rf"{name}\.npz: {words_}"):
            load_posed(tmp_path / f"{name}.npz", faces)
