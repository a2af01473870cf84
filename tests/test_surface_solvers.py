"""Poisson surface and decimation: optional packages, closed results, known volume."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from mesh_checks import edge_faults, face_areas, volume
from surface_bodies import bulge, person

from h2k_rt.errors import MissingPackageError, PersonError
from h2k_rt.surface.clean import clean_depth
from h2k_rt.surface.decimate import decimate
from h2k_rt.surface.grid_mesh import grid_mesh
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.points import point_cloud
from h2k_rt.surface.poisson import poisson_mesh
from h2k_rt.surface.topology import is_closed, keep_vertices, pieces, vertex_normals


def painted(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Front red above and blue below; back green."""
    front = np.zeros((size, size, 3), np.uint8)
    front[: size // 2, :, 0] = front[size // 2 :, :, 2] = 200
    back = np.zeros_like(front)
    back[..., 1] = 180
    return front, back


@pytest.fixture(scope="module")
def grid() -> Mesh:
    return grid_mesh(clean_depth(*person(256)), *painted(256))


def test_poisson_of_the_reference_body() -> None:
    pytest.importorskip("open3d")
    front, back = bulge(256)
    red, green = painted(256)
    cloud = point_cloud(front, back, red, back_rgb=green)
    mesh = poisson_mesh(cloud, depth=6, neighbours=20)
    assert edge_faults(mesh.faces) == []
    whole = grid_mesh(clean_depth(front, back), red, green)
    assert volume(mesh.vertices, mesh.faces) == pytest.approx(volume(whole.vertices, whole.faces), rel=0.02)
    assert face_areas(mesh.vertices, mesh.faces).sum() == pytest.approx(face_areas(whole.vertices, whole.faces).sum(), rel=0.03)
    ahead = mesh.vertices[:, 2] > 0.03
    assert mesh.colors[ahead & (mesh.vertices[:, 1] > 0.05), 0].mean() > 180
    assert mesh.colors[ahead & (mesh.vertices[:, 1] < -0.05), 2].mean() > 180
    assert mesh.colors[mesh.vertices[:, 2] < -0.03, 1].mean() > 160
    middle = ahead & (np.abs(mesh.vertices[:, :2]) < (0.03, 0.1)).all(axis=1)
    assert mesh.normals[middle, 2].min() > 0.3


def test_poisson_needs_points() -> None:
    pytest.importorskip("open3d")
    few = Mesh(np.zeros((5, 3), np.float32), np.zeros((0, 3), np.int32), np.ones((5, 3), np.float32), np.zeros((5, 3), np.uint8))
    with pytest.raises(PersonError, match="too few"):
        poisson_mesh(few)


@pytest.mark.parametrize("faces", [20000, 2000])
def test_decimated_mesh_is_closed_and_alike(grid: Mesh, faces: int) -> None:
    pytest.importorskip("fast_simplification")
    small = decimate(grid, faces)
    assert len(small.faces) <= faces * 1.3
    assert edge_faults(small.faces) == []
    assert face_areas(small.vertices, small.faces).min() > 0
    assert volume(small.vertices, small.faces) == pytest.approx(volume(grid.vertices, grid.faces), rel=0.02)
    np.testing.assert_allclose(small.vertices.min(0), grid.vertices.min(0), atol=4e-3)
    np.testing.assert_allclose(small.vertices.max(0), grid.vertices.max(0), atol=4e-3)
    assert small.colors.dtype == np.uint8 and small.vertices.dtype == np.float32 and small.faces.dtype == np.int32
    np.testing.assert_array_equal(np.unique(small.faces), np.arange(len(small.vertices)))
    front = (small.normals[:, 2] > 0.8) & (small.vertices[:, 1] > 0.05)
    assert np.median(small.colors[front], axis=0).tolist() == [200, 0, 0]


def test_decimation_to_more_faces_changes_nothing(grid: Mesh) -> None:
    assert decimate(grid, len(grid.faces)) is grid
    with pytest.raises(ValueError, match="at least 4"):
        decimate(grid, 3)


@pytest.mark.parametrize(("module", "extra"), [("open3d", "mesh"), ("fast_simplification", "simplify")])
def test_a_missing_package_is_named_with_its_install_command(monkeypatch, grid: Mesh, module: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=rf'pip install "h2k-rt\[{extra}\]"'):
        poisson_mesh(grid) if extra == "mesh" else decimate(grid, 100)


def test_is_closed_sees_every_fault() -> None:
    tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int32)
    assert is_closed(tetrahedron)
    assert not is_closed(tetrahedron[:3])
    flipped = tetrahedron.copy()
    flipped[0] = flipped[0, ::-1]
    assert not is_closed(flipped)
    assert not is_closed(np.concatenate((tetrahedron, tetrahedron)))
    assert not is_closed(tetrahedron[:0])
    two = np.concatenate((tetrahedron, tetrahedron + 4))
    assert is_closed(two)
    assert pieces(two, 8).tolist() == [0] * 4 + [4] * 4
    np.testing.assert_array_equal(keep_vertices(two, np.arange(8) >= 4), tetrahedron)


def test_normals_of_an_octahedron() -> None:
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    faces = [[4, 0, 2], [4, 2, 1], [4, 1, 3], [4, 3, 0], [5, 2, 0], [5, 1, 2], [5, 3, 1], [5, 0, 3]]
    np.testing.assert_allclose(vertex_normals(points, np.array(faces, np.int32)), points, atol=1e-6)
