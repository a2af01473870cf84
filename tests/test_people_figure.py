"""Dressed people: what the files of MakeHuman say, and what a figure must be whoever is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import shared_dir

from h2k_rt.errors import DataError

pytest.importorskip("anny", reason="needs the extra people")
pytest.importorskip("scipy")

from h2k_rt.data.people import wardrobe
from h2k_rt.data.people.accessories import Headwear, backpack, glasses
from h2k_rt.data.people.assets import ENVIRONMENT, QuadMesh, find_assets, read_mhclo, read_obj
from h2k_rt.data.people.body import SKIN_VERTICES, body_model
from h2k_rt.data.people.cut import cut
from h2k_rt.data.people.fabrics import FABRICS, Fabric, paint, sample_fabric
from h2k_rt.data.people.figure import Figure
from h2k_rt.data.people.garments import Piece
from h2k_rt.data.people.person import PersonFactory
from h2k_rt.data.people.procedural import Tailor
from h2k_rt.data.people.subdivide import refine, triangles

ASSETS = shared_dir() / "assets" / "makehuman"
needs_assets = pytest.mark.skipif(not ASSETS.is_dir(), reason=f"no MakeHuman assets in {ASSETS}")
CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)
CUBE_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], np.int32)


# --- files ----------------------------------------------------------------------------------------------------------------------


def test_missing_assets_tell_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(DataError, match=r"--assets or H2K_MAKEHUMAN.*makehumancommunity/makehuman-assets.*CC0|CC0"):
        find_assets()
    (tmp_path / "clothes").mkdir()
    with pytest.raises(DataError, match="without hair, eyebrows, eyelashes, eyes, skins, poses"):
        find_assets(tmp_path)


def test_the_environment_names_the_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("clothes", "hair", "eyebrows", "eyelashes", "eyes", "skins", "poses"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    assert find_assets() == tmp_path


def _write_pair(folder: Path, vertices: np.ndarray, bound: list[str]) -> Path:
    quad = "f 1/1 2/1 3/1 4/1\nf 1/1 2/1 3/1\n"
    lines = [f"v {x} {y} {z}" for x, y, z in vertices]
    (folder / "thing.obj").write_text("\n".join([*lines, "vt 0.5 0.25", quad]))
    head = ["name thing", "obj_file thing.obj", "x_scale 0 1 2.0", "y_scale 0 1 1.0", "z_scale 0 1 4.0", "verts 0"]
    (folder / "thing.mhclo").write_text("\n".join([*head, *bound, "delete_verts", "5 7 - 9"]))
    return folder / "thing.mhclo"


def test_a_binding_reproduces_the_base_mesh_and_adds_scaled_offsets(tmp_path: Path) -> None:
    model = body_model()
    base = model.template_vertices
    # Two copies of base vertices, a mean of three, and a vertex with an offset.
    bound = ["100", "13000", "10 20 30 0.5 0.25 0.25 0 0 0", "40 40 40 1 0 0 0.1 0.2 0.3"]
    path = _write_pair(tmp_path, base[[100, 13000, 10, 40]], bound)
    binding = read_mhclo(path)
    piece = Piece("thing", model, read_obj(binding.mesh_path), binding, 0)
    extent = np.abs(base[0] - base[1])
    expected = [base[100], base[13000], 0.5 * base[10] + 0.25 * base[20] + 0.25 * base[30]]
    expected.append(base[40] + np.array([0.1, 0.2, 0.3]) * extent / [2.0, 1.0, 4.0])
    np.testing.assert_allclose(piece.fit(base), expected, atol=1e-12)
    assert np.flatnonzero(piece.hidden).tolist() == [5, 7, 8, 9]
    # It moves with the bones of the vertices that it hangs on.
    np.testing.assert_allclose(piece.weights[[0]].toarray(), model.skin_weights[[100]].toarray(), atol=1e-12)


@pytest.mark.parametrize("text", ["verts 0\n1 2\n", "obj_file a.obj\nx_scale 1 2\n", "obj_file a.obj\nverts 0\n"])
def test_a_damaged_binding_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.mhclo").write_text(text)
    with pytest.raises(DataError, match=r"bad\.mhclo"):
        read_mhclo(tmp_path / "bad.mhclo")


def test_a_damaged_mesh_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.obj").write_text("v 0 0 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    with pytest.raises(DataError, match=r"bad\.obj.*vertices that are not there"):
        read_obj(tmp_path / "bad.obj")
    (tmp_path / "bad.obj").write_text("v 0 0 0\nvt 0 0\nf 1/1 1/1 1/1 1/1 1/1\n")
    with pytest.raises(DataError, match="5 corners"):
        read_obj(tmp_path / "bad.obj")


# --- meshes ---------------------------------------------------------------------------------------------------------------------


def _as_mesh(quads: np.ndarray, vertices: np.ndarray) -> QuadMesh:
    return QuadMesh(vertices, quads, np.zeros((1, 2), np.float32), np.zeros_like(quads))


def test_catmull_clark_of_a_cube() -> None:
    """Known points of a unit cube, whose corners have valence three: (F + 2 R) / 3."""
    mesh = _as_mesh(CUBE_QUADS, CUBE)
    refined = refine(8, mesh.quads, mesh.uv, mesh.uv_quads, 1)
    points = refined.matrix @ mesh.vertices
    assert refined.quads.shape == (24, 4)
    # Corner (0, 0, 0): mean of the face centres (1/3 each axis), of the edge middles (1/6 each axis), weight of itself 0.
    np.testing.assert_allclose(points[0], np.full(3, (1 / 3 + 2 / 6) / 3), atol=1e-6)
    # An edge's point: mean of its ends and of the two face centres, here of the edge along x at y = z = 0.
    np.testing.assert_allclose(sorted(points[14:], key=lambda p: (p[1] + p[2], p[0]))[0], [0.5, 0.125, 0.125], atol=1e-6)
    np.testing.assert_allclose(np.asarray(refined.matrix.sum(axis=1)).ravel(), 1, atol=1e-6)


def test_subdivision_keeps_the_border_of_a_sheet_and_closes_a_surface() -> None:
    grid = np.array([[i + 4 * j, i + 1 + 4 * j, i + 5 + 4 * j, i + 4 + 4 * j] for j in range(3) for i in range(3)], np.int32)
    points = np.array([[i, j, 0.0] for j in range(4) for i in range(4)])
    refined = refine(16, grid, points[:, :2].astype(np.float32), grid, 1)
    fine = refined.matrix @ points
    assert fine[:, 2].max() == 0
    # The border is a B-spline of itself: straight sides stay straight, corners are rounded as on a cubic curve.
    np.testing.assert_allclose(fine[[0, 3]], [[0.125, 0.125, 0], [2.875, 0.125, 0]], atol=1e-6)
    side = fine[np.abs(fine[:, 1]) < 1e-6]
    np.testing.assert_allclose(np.sort(side[:, 0]), [0.5, 1, 1.5, 2, 2.5], atol=1e-6)
    np.testing.assert_allclose(np.sort(refined.uv[:, 0])[[0, -1]], [0, 3])
    closed = triangles(refine(8, CUBE_QUADS, np.zeros((1, 2), np.float32), np.zeros_like(CUBE_QUADS), 2).quads)
    edges = np.sort(np.concatenate([closed[:, [0, 1]], closed[:, [1, 2]], closed[:, [2, 0]]]), axis=1)
    assert set(np.unique(edges, axis=0, return_counts=True)[1]) == {2}


def test_triangles_and_quads_mix() -> None:
    """A pyramid: four triangles (first corner twice) and a quad."""
    quads = np.array([[0, 1, 4, 0], [1, 2, 4, 1], [2, 3, 4, 2], [3, 0, 4, 3], [3, 2, 1, 0]], np.int32)
    refined = refine(5, quads, np.zeros((1, 2), np.float32), np.zeros_like(quads), 1)
    assert len(refined.quads) == 4 * 3 + 4
    assert len(refined.uv_quads) == len(refined.quads)
    assert np.bincount(refined.source).tolist() == [3, 3, 3, 3, 4]


def test_a_cut_plane_has_the_area_below_the_line() -> None:
    count = 9
    quads = np.array(
        [[i + count * j, i + 1 + count * j, i + 1 + count * (j + 1), i + count * (j + 1)] for j in range(8) for i in range(8)],
        np.int32,
    )
    points = np.array([[i / 8, j / 8, 0.0] for j in range(count) for i in range(count)])
    faces = triangles(quads)
    field = points[:, 0] + 0.5 * points[:, 1] - 0.6  # below: a trapezium of area 0.6 - 0.25
    left = cut(field, faces, faces, len(points))
    kept, uv = left.carry(points), left.carry_uv(points[:, :2].astype(np.float32))
    a, b, c = (kept[left.faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    assert normals[:, 2].min() > -1e-9, "a face was turned over"
    np.testing.assert_allclose(normals[:, 2].sum() / 2, 0.35, atol=1e-6)
    assert (kept[:, 0] + 0.5 * kept[:, 1]).max() < 0.6 + 1e-6
    np.testing.assert_allclose(uv[left.uv_faces], kept[left.faces][..., :2], atol=1e-6)
    assert np.unique(left.faces).size == len(kept)


# --- cloth ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(FABRICS))
def test_a_fabric_is_seamless_in_size_and_seed(kind: str) -> None:
    fabric = sample_fabric(np.random.default_rng(3), (kind,))
    tile = fabric.tile(0.001)
    assert tile.shape == (len(tile), len(tile), 3)
    assert abs(len(tile) - fabric.size / 0.001) <= 1
    assert np.array_equal(tile, fabric.tile(0.001))
    # Across the border colours change no more than inside.
    inside = np.abs(np.diff(tile.astype(int), axis=1)).mean(axis=(0, 2)).max()
    assert np.abs(tile[:, 0].astype(int) - tile[:, -1]).mean() <= inside + 12


def test_paint_keeps_colour_at_middle_grey_and_darkens_seams() -> None:
    light = np.full((8, 8), 120, np.uint8)
    light[2] = 60
    cloth = Fabric("plain", (np.array([0.5, 0.25, 0.75]),), 0.1, 1)
    tile = np.broadcast_to(np.array([100, 50, 200], np.uint8), (3, 3, 3)).copy()
    out = paint(light, 120, tile, (1, 8, 0, 6))
    assert out[4, 4].tolist() == [100, 50, 200]
    assert out[2, 4].tolist() == [50, 25, 100]
    assert out[0].max() == 0 and out[:, 6:].max() == 0
    assert np.abs(cloth.tile(0.001).mean(axis=(0, 1)) / 255 - [0.5, 0.25, 0.75]).max() < 0.05


def test_splits_share_nothing_that_is_reserved() -> None:
    tables = {
        "suit": tuple(wardrobe.SUITS), "shoes": wardrobe.SHOES, "hair": wardrobe.HAIR, "skin": wardrobe.SKINS,
        "brows": wardrobe.BROWS, "iris": wardrobe.IRISES,
    }  # fmt: skip
    for kind, names in tables.items():
        assert wardrobe.HOLDOUT[kind] <= set(names), f"a reserved {kind} that does not exist"
        train, holdout = (set(wardrobe.available(kind, names, split)) for split in ("train", "holdout"))
        assert train and holdout and not train & holdout and train | holdout == set(names)
    fabrics = {split: set(wardrobe.available("fabric", tuple(FABRICS), split)) for split in ("train", "holdout")}
    assert fabrics["train"] & fabrics["holdout"] == wardrobe.SHARED_FABRICS


#: Strips and tubes with open ends, whose volume says nothing.
_OPEN = {"socks", "belt", "across", "backpack", "snood", "scarf"}


# --- figures --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def factory() -> PersonFactory:
    return PersonFactory(ASSETS, "train", detail=0)


@pytest.fixture(scope="module")
def figures(factory: PersonFactory) -> list[Figure]:
    return [factory.sample(np.random.default_rng([5, index])) for index in range(12)]


@needs_assets
def test_the_same_seed_gives_the_same_figure(factory: PersonFactory, figures: list[Figure]) -> None:
    again = PersonFactory(ASSETS, "train", detail=0).sample(np.random.default_rng([5, 7]))
    other = figures[7]
    assert again.about == other.about
    np.testing.assert_array_equal(again.joints, other.joints)
    for one, two in zip(again.surfaces, other.surfaces, strict=True):
        for name in ("vertices", "faces", "uv", "uv_faces", "texture", "tint", "rest", "fold"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=f"{one.name} {name}")
        assert (one.fold_seed, one.specular, one.gloss) == (two.fold_seed, two.specular, two.gloss)
    assert figures[6].about != figures[7].about


@needs_assets
def test_surfaces_are_whole(figures: list[Figure]) -> None:
    for figure in figures:
        assert figure.joints.shape == (31, 3) and np.isfinite(figure.joints).all()
        names = [surface.name for surface in figure.surfaces]
        assert names[0] == "skin" and len(names) >= 5
        for surface in figure.surfaces:
            count = len(surface.vertices)
            assert surface.vertices.dtype == surface.rest.dtype == surface.uv.dtype == np.float32
            assert surface.faces.dtype == surface.uv_faces.dtype == np.int32
            assert surface.rest.shape == (count, 3) and surface.fold.shape == (count,)
            assert surface.faces.shape == surface.uv_faces.shape and len(surface.faces)
            assert surface.faces.min() >= 0 and surface.faces.max() < count
            assert surface.uv_faces.min() >= 0 and surface.uv_faces.max() < len(surface.uv)
            assert np.isfinite(surface.vertices).all() and np.isfinite(surface.rest).all()
            assert surface.uv.min() >= -0.01 and surface.uv.max() <= 1.01, surface.name
            assert surface.fold.min() >= 0 and surface.fold.max() < 0.008
            assert surface.texture.dtype == np.uint8 and surface.texture.shape[2] == 3
            if surface.alpha is not None:
                assert surface.alpha.shape == surface.texture.shape[:2]
        everything = np.concatenate([surface.vertices[surface.faces].reshape(-1, 3) for surface in figure.surfaces])
        height = np.ptp(everything[:, 1])
        assert 1.2 < height < 2.9, f"{height} m: a garment flew off"
        assert np.abs(everything[:, [0, 2]]).max() < 1.8


@needs_assets
def test_faces_look_outward(figures: list[Figure]) -> None:
    """Clothes and skin enclose a positive volume: their faces run counter-clockwise seen from outside."""
    for figure in figures:
        for surface in figure.surfaces:
            if surface.alpha is not None or surface.name.split()[-1] in _OPEN:
                continue
            corners = surface.vertices[surface.faces].astype(np.float64)
            corners -= corners.reshape(-1, 3).mean(0)
            volume = np.einsum("fc,fc->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
            assert volume > 0, surface.name


@needs_assets
def test_clothes_lie_outside_of_the_skin(figures: list[Figure], factory: PersonFactory) -> None:
    """Rest pose: next to a visible point of the skin a garment is on its outer side, but for a few seams."""
    from scipy.spatial import cKDTree

    inside, total = 0, 0
    for figure in figures:
        skin = figure.surfaces[0]
        corners = skin.rest[skin.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        centres = corners.mean(axis=1)
        tree = cKDTree(centres)
        for surface in figure.surfaces:
            if surface.alpha is not None or surface.fold.max() == 0:
                continue
            distance, nearest = tree.query(surface.rest)
            near = distance < 0.02
            out = np.einsum("vc,vc->v", surface.rest - centres[nearest], normals[nearest])
            inside += int((out[near] < -0.003).sum())
            total += int(near.sum())
    assert total > 1000
    assert inside / total < 0.03, f"{inside} of {total} vertices beside bare skin are under it"


@pytest.mark.slow
@needs_assets
def test_holdout_people_wear_what_training_never_shows() -> None:
    seen: dict[str, dict[str, set[str]]] = {}
    for split in ("train", "holdout"):
        people = PersonFactory(ASSETS, split, detail=0)
        drawn: dict[str, set[str]] = {"hair": set(), "skin": set(), "shoes": set(), "garment": set(), "fabric": set()}
        for index in range(20):
            rng = np.random.default_rng([9, index])
            about = people.sample(rng).about
            drawn["hair"].add(str(about["hair"]))
            drawn["skin"].add(about["skin"])
            drawn["shoes"].add(about.get("shoes", "none"))
            drawn["garment"] |= set(about["garments"])
            drawn["fabric"] |= set(about["garments"].values())
        seen[split] = drawn
    common = {kind: seen["train"][kind] & seen["holdout"][kind] for kind in seen["train"]}
    assert common["hair"] <= {"None"} and common["shoes"] <= {"none"}
    assert not common["skin"]
    assert common["fabric"] <= wardrobe.SHARED_FABRICS | {"original"}
    assert not common["garment"], "a garment that both splits wear"


@needs_assets
def test_hidden_skin_is_covered(factory: PersonFactory) -> None:
    """Skin is only left out where clothes are: face and hands are always there."""
    model = factory.model
    head = model.skin_weights[:SKIN_VERTICES, [model.bone_index["head"]]].toarray()[:, 0] > 0.9
    hands = [b for label, b in model.bone_index.items() if label.startswith(("finger", "metacarpal"))]
    hand = np.asarray(model.skin_weights[:SKIN_VERTICES][:, hands].sum(axis=1)).ravel() > 0.9
    kept = head | hand
    whole = kept[triangles(model.quads)].all(axis=1).sum()
    for index in range(4):
        skin = factory.sample(np.random.default_rng([6, index])).surfaces[0]
        faces = skin.faces[(skin.faces < SKIN_VERTICES).all(axis=1)]
        assert kept[faces].all(axis=1).sum() == whole


@needs_assets
def test_accessories_face_outward_and_lie_on_the_person(factory: PersonFactory) -> None:
    model = factory.model
    body = model.sample_shape(np.random.default_rng(2))
    posed = body.pose({})
    tailor = Tailor(model, np.zeros(len(model.template_vertices)), 0)

    def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
        corners = (vertices - vertices.mean(0)).astype(np.float64)[faces]
        return float(np.einsum("fc,fc->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)

    frame, frame_rest, faces = glasses(np.random.default_rng(1), body, posed)
    np.testing.assert_allclose(frame, frame_rest, atol=1e-5)  # the rest pose moves nothing
    assert volume(frame, faces) > 0
    eyes = body.heads[[model.bone_index["eye.L"], model.bone_index["eye.R"]]]
    rims = frame[frame[:, 2] > eyes[:, 2].mean() + 0.015]
    assert np.abs(rims[:, 1] - eyes[:, 1].mean()).max() < 0.04, "rims beside the eyes"
    bag, _, faces, uv = backpack(np.random.default_rng(1), tailor.suit, body, posed, 0.02)
    assert volume(bag, faces) > 0.002 and len(uv) == len(bag)
    skin = body.rest[:SKIN_VERTICES]
    middle = skin[np.abs(skin[:, 1] - bag[:, 1].mean()) < 0.05]
    assert bag[:, 2].max() < np.median(middle[:, 2]), "behind the person"
    cap = Headwear(model, 0).beanie(body, posed, 0.05, 0.012, 0.0)
    crown = skin[skin[:, 1].argmax()]
    assert 0.005 < cap.vertices[:, 1].max() - crown[1] < 0.05
    assert cap.hidden[np.flatnonzero(skin[:, 1] > crown[1] - 0.03)].all()
    for kind in ("belt", "snood", "straps", "across"):
        band = tailor.band(kind, body, posed, tailor.bare)
        assert len(band.faces) > 50 and np.isfinite(band.vertices).all()
