"""Closing surfaces: known shapes with inner shells, holes and overlaps, and a posed body."""

from __future__ import annotations

import numpy as np
import pytest
from mesh_checks import edge_faults, piece_count, pinched_vertices, volume
from people_bodies import ellipsoid, figure

pytest.importorskip("skimage")
pytest.importorskip("open3d")

from h2k_rt.data.people.closed import closed_mesh, closed_surface
from h2k_rt.errors import DataError

RADIUS = 0.3


def sphere(radius: float, centre: tuple[float, float, float] = (0, 0, 0)) -> tuple[np.ndarray, np.ndarray]:
    surface = ellipsoid(centre, (radius, radius, radius), rings=48)
    return surface.vertices, surface.faces


def joined(*meshes: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in meshes])
    faces = [faces + start for (_, faces), start in zip(meshes, starts, strict=False)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(faces)


def check_watertight(faces: np.ndarray) -> None:
    assert edge_faults(faces) == []
    assert pinched_vertices(faces) == []
    assert piece_count(faces) == 1


@pytest.mark.parametrize("inner", ["none", "inward", "outward"])
def test_inner_shells_vanish(inner: str) -> None:
    vertices, faces = sphere(RADIUS)
    if inner != "none":
        shell, shell_faces = sphere(RADIUS - 0.06)
        vertices, faces = joined((vertices, faces), (shell, shell_faces[:, ::-1] if inner == "inward" else shell_faces))
    closed = closed_mesh(vertices, faces, 0.012)
    check_watertight(closed.faces)
    assert np.abs(np.linalg.norm(closed.vertices, axis=1) - RADIUS).max() < 0.0012
    assert abs(volume(closed.vertices, closed.faces) / (4 / 3 * np.pi * RADIUS**3) - 1) < 0.01  # positive: faces outward


def test_a_hole_is_closed() -> None:
    vertices, faces = sphere(RADIUS)
    open_faces = faces[vertices[faces].mean(axis=1)[:, 1] > -0.8 * RADIUS]
    closed = closed_mesh(vertices, open_faces, 0.012)
    check_watertight(closed.faces)
    # The cap that is missing is cut off somewhere between its rim and its pole, the rest keeps its place.
    kept = closed.vertices[closed.vertices[:, 1] > -0.7 * RADIUS]
    assert np.abs(np.linalg.norm(kept, axis=1) - RADIUS).max() < 0.0012
    assert 0.9 < volume(closed.vertices, closed.faces) / (4 / 3 * np.pi * RADIUS**3) < 1.01


def test_overlapping_shells_become_their_union() -> None:
    half = 0.1  # distance of the centres from the middle plane
    closed = closed_mesh(*joined(sphere(RADIUS, (-half, 0, 0)), sphere(RADIUS, (half, 0, 0))), 0.012)
    check_watertight(closed.faces)
    lens = 2 * np.pi * (RADIUS - half) ** 2 * (3 * RADIUS - (RADIUS - half)) / 3  # two caps
    assert abs(volume(closed.vertices, closed.faces) / (2 * 4 / 3 * np.pi * RADIUS**3 - lens) - 1) < 0.01


def test_small_pieces_are_dropped() -> None:
    closed = closed_mesh(*joined(sphere(RADIUS), sphere(0.05, (0.6, 0, 0))), 0.012)
    check_watertight(closed.faces)
    assert closed.vertices[:, 0].max() < 0.31


def test_surfaces_of_a_figure_are_joined() -> None:
    closed = closed_surface(figure(ellipsoid((0, 0.9, 0)), ellipsoid((0, 1.7, 0), (0.12, 0.2, 0.12))), 0.02)
    check_watertight(closed.faces)
    assert closed.vertices[:, 1].max() > 1.88 and closed.vertices[:, 1].min() < 0.07


def test_a_posed_body_is_closed() -> None:
    pytest.importorskip("anny")
    from h2k_rt.data.people.body import SKIN_VERTICES, body_model

    body = body_model().sample_shape(np.random.default_rng(2))
    quads = body.model.quads
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    skin = body.rest[:SKIN_VERTICES]
    closed = closed_mesh(skin, faces, 0.008)
    check_watertight(closed.faces)
    for axis in range(3):
        np.testing.assert_allclose(closed.vertices[:, axis].min(), skin[:, axis].min(), atol=0.008)
        np.testing.assert_allclose(closed.vertices[:, axis].max(), skin[:, axis].max(), atol=0.008)
    assert 0.03 < volume(closed.vertices, closed.faces) < 0.15


def test_nothing_to_close() -> None:
    vertices, faces = sphere(RADIUS)
    with pytest.raises(DataError, match="inside out"):
        closed_mesh(vertices, faces[:, ::-1], 0.02)
    with pytest.raises(DataError, match="no numbers"):
        closed_mesh(np.full((3, 3), np.nan), np.array([[0, 1, 2]]), 0.02)
