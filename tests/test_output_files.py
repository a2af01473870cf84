"""Mesh and map files, read back by other programs or by a reader written from the format's text."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from surface_bodies import person

from h2k_rt.errors import OutputError
from h2k_rt.output import write_glb, write_mesh, write_obj, write_ply
from h2k_rt.output.maps import write_maps, write_png
from h2k_rt.surface.clean import clean_depth
from h2k_rt.surface.grid_mesh import grid_mesh
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.normals import normal_from_depth
from h2k_rt.surface.placement import Placement, place

COMPONENTS = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


@pytest.fixture(scope="module")
def placed() -> tuple[Mesh, Placement]:
    colors = np.random.default_rng(2).integers(0, 256, (2, 128, 128, 3)).astype(np.uint8)
    return place(grid_mesh(clean_depth(*person(128)), colors[0], colors[1]), 1.75)


@pytest.fixture(scope="module")
def mesh(placed: tuple[Mesh, Placement]) -> Mesh:
    return placed[0]


def read_glb(path: Path) -> tuple[dict, bytes]:
    """Container of glTF 2.0, section 4.4, every length checked."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    document = json.loads(data[20 : 20 + size])
    at = 20 + size
    binary, kind = struct.unpack_from("<I4s", data, at)
    assert kind == b"BIN\0" and binary % 4 == 0 and at + 8 + binary == len(data)
    assert document["buffers"][0]["byteLength"] <= binary <= document["buffers"][0]["byteLength"] + 3
    return document, data[at + 8 :]


def accessor(document: dict, binary: bytes, index: int) -> np.ndarray:
    """Values of an accessor; alignment and bounds are checked on the way."""
    spec = document["accessors"][index]
    view = document["bufferViews"][spec["bufferView"]]
    dtype, width = np.dtype(COMPONENTS[spec["componentType"]]), WIDTHS[spec["type"]]
    offset = view.get("byteOffset", 0) + spec.get("byteOffset", 0)
    assert offset % dtype.itemsize == 0 and offset % 4 == 0 and (dtype.itemsize * width) % 4 == 0
    assert spec["count"] * width * dtype.itemsize <= view["byteLength"]
    assert view.get("byteOffset", 0) + view["byteLength"] <= document["buffers"][0]["byteLength"]
    values = np.frombuffer(binary, dtype, spec["count"] * width, offset).reshape(-1, width)
    if "min" in spec:
        assert spec["min"] == values.min(0).astype(float).tolist() and spec["max"] == values.max(0).astype(float).tolist()
    return values


def test_glb_holds_the_mesh(placed, tmp_path: Path) -> None:
    mesh, placement = placed
    path = tmp_path / "a.glb"
    write_glb(mesh, path, camera=placement.camera(), extras={"height": 1.75})
    document, binary = read_glb(path)
    primitive = document["meshes"][0]["primitives"][0]
    assert primitive["mode"] == 4 and set(primitive["attributes"]) == {"POSITION", "NORMAL", "COLOR_0"}
    positions = accessor(document, binary, primitive["attributes"]["POSITION"])
    np.testing.assert_array_equal(positions, mesh.vertices)
    assert "min" in document["accessors"][primitive["attributes"]["POSITION"]]
    normals = accessor(document, binary, primitive["attributes"]["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    indices = accessor(document, binary, primitive["indices"])
    assert document["accessors"][primitive["indices"]]["componentType"] == 5125
    np.testing.assert_array_equal(indices.reshape(-1, 3), mesh.faces)
    colors = accessor(document, binary, primitive["attributes"]["COLOR_0"])
    assert document["accessors"][primitive["attributes"]["COLOR_0"]]["normalized"] is True
    srgb = mesh.colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(colors[:, :3] / 65535, linear, atol=1 / 65535)
    assert (colors[:, 3] == 65535).all()
    material = document["materials"][primitive["material"]]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0 and material["doubleSided"] is False
    assert document["asset"]["generator"].startswith("h2k-rt ")
    assert document["asset"]["extras"] == {"height": 1.75}
    node = document["nodes"][document["scenes"][0]["nodes"][1]]
    np.testing.assert_allclose(np.reshape(node["matrix"], (4, 4)).T, placement.camera().matrix)
    lens = document["cameras"][node["camera"]]["perspective"]
    assert np.degrees(lens["yfov"]) == pytest.approx(50) and lens["aspectRatio"] == 1


def test_glb_and_ply_load_elsewhere(mesh: Mesh, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    for suffix in ("glb", "ply"):
        write_mesh(mesh, tmp_path / f"a.{suffix}")
        loaded = trimesh.load(tmp_path / f"a.{suffix}", process=False, force="mesh")
        np.testing.assert_allclose(loaded.vertices, mesh.vertices, atol=1e-6)
        np.testing.assert_array_equal(loaded.faces, mesh.faces)
        assert loaded.is_watertight and loaded.is_winding_consistent and loaded.volume > 0
    np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], mesh.colors)


def test_obj_read_line_by_line(mesh: Mesh, tmp_path: Path) -> None:
    write_obj(mesh, tmp_path / "a.obj")
    rows: dict[str, list[list[str]]] = {"v": [], "vn": [], "f": [], "#": [], "o": []}
    for line in (tmp_path / "a.obj").read_text("ascii").splitlines():
        assert line == line.strip() and "  " not in line
        word, *rest = line.split(" ")
        rows[word].append(rest)
    values = np.array(rows["v"], float)
    np.testing.assert_allclose(values[:, :3], mesh.vertices, atol=6e-6)
    np.testing.assert_allclose(values[:, 3:], mesh.colors / 255, atol=6e-5)
    np.testing.assert_array_equal(np.rint(values[:, 3:] * 255), mesh.colors)
    np.testing.assert_allclose(np.array(rows["vn"], float), mesh.normals, atol=6e-5)
    corners = [[corner.split("//") for corner in face] for face in rows["f"]]
    assert all(a == b for face in corners for a, b in face)
    np.testing.assert_array_equal(np.array([[int(a) for a, _ in face] for face in corners]) - 1, mesh.faces)


def test_obj_numbers_of_every_kind(tmp_path: Path) -> None:
    values = np.array(
        [[0, -0.0, 1e-7], [-1e-7, 12.345678, -0.5], [-1234.5, 9999.0, 0.99999999], [0.000005, -0.00001, 3]], np.float32
    )
    points = Mesh(values, np.zeros((0, 3), np.int32), np.tile(np.array([0, 0, -1], np.float32), (4, 1)), np.zeros((4, 3), np.uint8))
    write_obj(points, tmp_path / "a.obj")
    text = (tmp_path / "a.obj").read_text()
    assert "-0.00000 " not in text
    lines = [line.split()[1:4] for line in text.splitlines() if line.startswith("v ")]
    np.testing.assert_allclose(np.array(lines, float), values, atol=6e-6, rtol=1e-7)
    points.vertices[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        write_obj(points, tmp_path / "b.obj")
    assert [p.name for p in tmp_path.iterdir()] == ["a.obj"]


def test_point_cloud_files(mesh: Mesh, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    cloud = Mesh(mesh.vertices, np.zeros((0, 3), np.int32), mesh.normals, mesh.colors)
    write_ply(cloud, tmp_path / "a.ply")
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header")[0].decode()
    assert "element face" not in header and f"element vertex {len(mesh.vertices)}" in header
    loaded = trimesh.load(tmp_path / "a.ply")
    np.testing.assert_allclose(loaded.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(loaded.colors[:, :3], mesh.colors)
    write_glb(cloud, tmp_path / "a.glb")
    document, _ = read_glb(tmp_path / "a.glb")
    assert document["meshes"][0]["primitives"][0]["mode"] == 0
    assert "indices" not in document["meshes"][0]["primitives"][0]


def test_bad_meshes_are_refused(mesh: Mesh, tmp_path: Path) -> None:
    broken = Mesh(mesh.vertices.copy(), mesh.faces, mesh.normals, mesh.colors)
    broken.vertices[3, 1] = np.inf
    with pytest.raises(ValueError, match="finite"):
        write_glb(broken, tmp_path / "a.glb")
    empty = Mesh(*(np.zeros((0, 3), t) for t in (np.float32, np.int32, np.float32, np.uint8)))
    with pytest.raises(ValueError, match="without vertices"):
        write_glb(empty, tmp_path / "a.glb")
    with pytest.raises(OutputError, match=r"unknown mesh format .stl.*\.glb, \.obj, \.ply"):
        write_mesh(mesh, tmp_path / "a.stl")
    assert list(tmp_path.iterdir()) == []


def test_maps_are_read_back(tmp_path: Path) -> None:
    clean = clean_depth(*person(128))
    normals = np.concatenate([normal_from_depth(clean.front), normal_from_depth(clean.back)])
    paths = write_maps(tmp_path, "me", normals, clean.front, clean.back, clean.mask)
    assert sorted(p.name for p in paths) == sorted(p.name for p in tmp_path.iterdir())
    assert {p.name for p in paths} == {
        *(f"me_{what}_{side}.png" for what in ("normal", "depth") for side in ("front", "back")), "me_mask.png", "me_maps.npz",
    }  # fmt: skip
    depth = cv2.imread(str(tmp_path / "me_depth_front.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    np.testing.assert_array_equal(depth, np.floor(clean.front * 16384).astype(np.uint16))
    shown = cv2.imread(str(tmp_path / "me_normal_back.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_allclose(shown, np.moveaxis(normals[3:], 0, -1) * 255, atol=1)
    assert (cv2.imread(str(tmp_path / "me_mask.png"), 0) == clean.mask * 255).all()
    with np.load(tmp_path / "me_maps.npz", allow_pickle=False) as data:
        np.testing.assert_array_equal(data["front"], clean.front)
        np.testing.assert_array_equal(data["mask"], clean.mask)
        np.testing.assert_allclose(data["normals"], normals, atol=1e-3)
    with pytest.raises(ValueError, match="picture"):
        write_png(tmp_path / "x.png", np.zeros((4, 4), np.float32))  # type: ignore[arg-type]
