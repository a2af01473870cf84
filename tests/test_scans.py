"""Scans: found in each layout, upright and in metres, and rendered with the depth, views and joints of the published program."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import scan_folders
from cli_runner import Cli, in_process
from scan_folders import AXES, body_joints, ellipsoid, published_2k2k, renderpeople, thuman2, turned

pytest.importorskip("numba")
pytest.importorskip("trimesh")

from h2k_rt.data.published import PublishedDataset, open_dataset
from h2k_rt.data.scans.figure import Corrections, load_figure
from h2k_rt.data.scans.joints3d import PUBLISHED_ROWS, read_joints
from h2k_rt.data.scans.layouts import find_scans
from h2k_rt.data.scans.make import PUBLISHED_YAWS, ScanJob, render_scan, render_scans
from h2k_rt.data.scans.smplx_fit import read_body_fit
from h2k_rt.errors import DataError

SIZE = 128
FOCAL = 1024 / np.tan(np.radians(25))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    renderpeople(tmp_path)
    thuman2(tmp_path)
    published_2k2k(tmp_path)
    return tmp_path


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return in_process(capfd)


def test_scans_of_all_layouts_are_found(data: Path) -> None:
    found = find_scans(data)
    assert [(scan.kind, scan.name) for scan in found] == [("2K2K", "00003"), ("RP", "rp_anna_posed_001"), ("THuman2", "0007")]
    ply, rp, thuman = found
    assert ply.mesh.name == "00003.ply" and ply.smplx is None
    assert rp.mesh.name == "rp_anna_posed_001_100k.obj" and rp.texture.name == "rp_anna_posed_001_dif_8k.png"
    assert thuman.mesh.name == "0007.obj" and thuman.smplx.name == "smplx_param.pkl"
    assert all(scan.joints.name == f"{scan.name}.json" for scan in found)
    assert find_scans(data / "obj") == found
    for scan in found:
        assert find_scans(data / "obj" / scan.kind) == [scan]
        assert find_scans(data, scan.kind) == [scan]


def test_the_kind_is_told_by_the_contents(data: Path, tmp_path: Path) -> None:
    for kind in ("RP", "THuman2", "2K2K"):
        (data / "obj" / kind).rename(tmp_path / f"unpacked {kind}")
    for kind in ("RP", "THuman2", "2K2K"):
        (scan,) = find_scans(tmp_path / f"unpacked {kind}")
        assert scan.kind == kind
        (scan,) = find_scans(tmp_path / f"unpacked {kind}", joints=tmp_path / "Joint3D")
        assert scan.joints is not None


def test_folders_without_scans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_scans(tmp_path / "nothing")
    with pytest.raises(DataError, match="--kind"):
        find_scans(tmp_path)
    with pytest.raises(DataError, match="no scans found"):
        find_scans(tmp_path, "RP")


@pytest.mark.parametrize("kind", ["RP", "THuman2", "2K2K"])
def test_every_layout_gives_the_same_person(data: Path, kind: str) -> None:
    """Centimetres, a turned scan in units of its own, and a PLY: the same body upright, facing +z, in metres."""
    (scan,) = find_scans(data, kind)
    figure = load_figure(scan)
    surface = figure.surfaces[0]
    expected = np.unique(ellipsoid()[0].round(6), axis=0)
    got = np.unique(surface.vertices.astype(np.float64).round(6), axis=0)
    assert np.abs(np.sort(got, axis=0) - np.sort(expected, axis=0)).max() < 2e-6
    assert len(surface.vertices) < len(ellipsoid()[0])  # the seam is closed
    np.testing.assert_allclose(figure.joints, body_joints()[scan_folders.JOINT_ROWS], atol=1e-6)
    assert figure.about["scan"] == scan.name


def test_scans_in_units_of_their_own_get_a_height(tmp_path: Path) -> None:
    scan_folders.write_obj(tmp_path / "rp_a_OBJ/a.obj", ellipsoid()[0] * 17)
    scan_folders.write_texture(tmp_path / "rp_a_OBJ/a.png")
    figure = load_figure(find_scans(tmp_path)[0])
    assert np.ptp(figure.surfaces[0].vertices[:, 1]) == pytest.approx(1.7)
    assert "assumed" in figure.about["size_known_by"] and np.isnan(figure.joints).all()


def test_a_scan_is_turned_as_asked(data: Path) -> None:
    (scan,) = find_scans(data, "RP")
    (data / "fix.toml").write_text("[turn]\nrp_anna_posed_001 = -90\n[shrink]\nrp_anna_posed_001 = 0.9\n")
    figure = load_figure(scan, Corrections.load(data / "fix.toml"))
    np.testing.assert_allclose(figure.joints, turned(body_joints()[scan_folders.JOINT_ROWS], -90), atol=1e-6)
    assert np.ptp(figure.surfaces[0].vertices, axis=0) == pytest.approx(2 * AXES[[2, 1, 0]], abs=1e-5)


@pytest.mark.parametrize("text", ["[turns]\na = 1", "turn = 3", "[turn]\na = 'left'", "[shrink]\na = 0", "[turn"])
def test_corrections_that_make_no_sense_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "fix.toml").write_text(text)
    with pytest.raises(DataError, match=r"fix\.toml"):
        Corrections.load(tmp_path / "fix.toml")


def test_missing_joints(tmp_path: Path) -> None:
    """A missing heel is put at the ankle, one missing toe at the other; two missing toes and others stay missing."""
    points = body_joints()
    scan_folders.write_joints(tmp_path / "j.json", points, hidden=(0, 17, 19, 20, 21, 97))
    joints = read_joints(tmp_path / "j.json")
    np.testing.assert_array_equal(joints[17], points[18])  # left big toe <- small toe
    np.testing.assert_array_equal(joints[19], points[15])  # left heel <- ankle
    assert np.isnan(joints[[0, 20, 21, 23]]).all() and np.isfinite(np.delete(joints, [0, 20, 21, 23], axis=0)).all()
    np.testing.assert_array_equal(read_joints(tmp_path / "j.json", PUBLISHED_ROWS)[23:], points[scan_folders.KNUCKLE_ROWS])


@pytest.mark.parametrize("text", ["{", "{}", '{"joint3d": [[1, 2]], "visible": []}', '{"joint3d": [[1, 2, 3]], "visible": [1]}'])
def test_joint_files_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "j.json").write_text(text)
    with pytest.raises(DataError, match=r"j\.json"):
        read_joints(tmp_path / "j.json")


class _Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("content", [_Harm(), {"global_orient": _Harm()}, {"scale": 1.0}, [1]])
def test_a_pickle_can_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fit.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"fit\.pkl: no body fit"):
        read_body_fit(tmp_path / "fit.pkl")
    assert not (tmp_path / "harm").exists()


def test_scans_that_lack_something_are_refused(data: Path, cli: Cli) -> None:
    (data / "obj/THuman2/smplx/0007/smplx_param.pkl").unlink()
    with pytest.raises(DataError, match=r"0007\.obj: .* no smplx/0007/smplx_param\.pkl"):
        load_figure(find_scans(data, "THuman2")[0])
    (data / "obj/RP/rp_anna_posed_001_OBJ/tex/rp_anna_posed_001_dif_8k.png").unlink()
    (data / "obj/RP/rp_anna_posed_001_OBJ/tex/rp_anna_posed_001_norm_8k.png").unlink()
    with pytest.raises(DataError, match="its texture is not there"):
        load_figure(find_scans(data, "RP")[0])
    (data / "obj/2K2K/00003/00003.ply").write_bytes(b"ply\nformat nonsense\n")
    with pytest.raises(DataError, match="cannot be read as a mesh"):
        load_figure(find_scans(data, "2K2K")[0])
    (data / "Joint3D/2K2K/00003.json").unlink()
    run = cli("data", "scans", data, "--kind", "2K2K", "-o", data / "out")
    assert run.code == 10 and "1 of 1 scans have no Joint3D file, the first is 2K2K/00003" in run.sentence
    assert not (data / "out").exists()


def _cast(points: np.ndarray, faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the nearest and farthest hit of each pixel's ray from (0, 0, 1), by Moeller and Trumbore; nan where none."""
    tangent = np.tan(np.radians(25)) * (1 - 1 / size)
    x, y = np.meshgrid(np.linspace(-tangent, tangent, size), np.linspace(tangent, -tangent, size))
    rays = np.stack((x, y, -np.ones_like(x)), -1).reshape(-1, 3)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    near, far = np.full(len(rays), np.inf), np.full(len(rays), -np.inf)
    for a, b, c in points[faces]:
        p = np.cross(rays, c - a)
        determinant = p @ (b - a)
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.array((0, 0, 1)) - a
            u = (p @ s) / determinant
            q = np.cross(s, b - a)
            v = (rays @ q) / determinant
            t = (q @ (c - a)) / determinant
        hit = (np.abs(determinant) > 1e-14) & (u >= 0) & (v >= 0) & (u + v <= 1)
        near, far = np.where(hit, np.minimum(near, t), near), np.where(hit, np.maximum(far, t), far)
    near[np.isinf(near)] = far[np.isinf(far)] = np.nan
    return near.reshape(size, size), far.reshape(size, size)


def _normalised(degrees: float, shrink: float = 1.0) -> tuple[np.ndarray, np.ndarray, float]:
    """The ellipsoid as SPEC 10 has it: minus the centroid (the origin), over 2.8 times the largest coordinate, then turned."""
    points, _, faces = ellipsoid()
    unit = 2.8 * np.abs(points).max() / shrink
    return turned(points / unit, degrees), faces, unit


@pytest.mark.parametrize("view", [0, 3, 6])
def test_depth_is_that_of_ray_casting(data: Path, view: int) -> None:
    """At most one step of the 16-bit PNG, and the same pixels but for a few on the silhouette."""
    job = ScanJob(tuple(find_scans(data, "RP")), size=SIZE)
    rendering, about = render_scan(job, load_figure(job.scans[0]), view)
    points, faces, _ = _normalised(PUBLISHED_YAWS[view])
    assert about["yaw"] == PUBLISHED_YAWS[view]
    for depth, distance in zip(rendering.depth, _cast(points, faces, SIZE), strict=True):
        hit = np.isfinite(distance)
        both = hit & (depth > 0)
        assert np.count_nonzero(hit != (depth > 0)) <= 3 and np.count_nonzero(both) > 1000
        steps = np.floor(32 * ((distance[both] - 1) * FOCAL + 1024))
        assert np.abs(np.floor(depth[both].astype(np.float64) * 16384) - steps).max() <= 1


@pytest.mark.parametrize("parity", [False, True])
def test_joints_fall_where_the_published_projection_puts_them(data: Path, parity: bool) -> None:
    scan_folders.write_joints(data / "Joint3D/RP/rp_anna_posed_001.json", body_joints() * 100, hidden=(0,))
    job = ScanJob(tuple(find_scans(data, "RP")), size=SIZE, parity=parity)
    rendering, _ = render_scan(job, load_figure(job.scans[0], published_joints=parity), 1)
    rows = [*range(23), *scan_folders.KNUCKLE_ROWS] if parity else scan_folders.JOINT_ROWS
    at = turned(body_joints()[rows] / _normalised(0)[2], -20) * (1.037 if parity else 1.0)
    pixels = np.stack((FOCAL * at[:, 0] / (1 - at[:, 2]) + 1024, -FOCAL * at[:, 1] / (1 - at[:, 2]) + 1024), 1) * SIZE / 2048
    np.testing.assert_allclose(rendering.joints[1:, :2], pixels[1:], atol=1e-3)
    assert (rendering.joints[1:, 2] == 1).all() and not rendering.joints[0].any()


def test_shrunk_scans_are_smaller(data: Path) -> None:
    job = ScanJob(tuple(find_scans(data, "RP")), size=SIZE, corrections=Corrections(shrink={"rp_anna_posed_001": 0.9}))
    rendering, _ = render_scan(job, load_figure(job.scans[0]), 3)
    near, _ = _cast(*_normalised(0, 0.9)[:2], SIZE)
    assert np.count_nonzero(np.isfinite(near) != (rendering.depth[0] > 0)) <= 3


@pytest.mark.parametrize("kind", ["RP", "THuman2", "2K2K"])
def test_colours_are_those_of_the_front(data: Path, kind: str) -> None:
    job = ScanJob(tuple(find_scans(data, kind)), size=SIZE)
    rendering, _ = render_scan(job, load_figure(job.scans[0]), 3)
    inner = cv2.erode(rendering.mask, np.ones((7, 7), np.uint8)) > 0
    assert np.abs(rendering.albedo[inner].astype(int) - (220, 30, 40)).max() <= 3


def test_random_views_are_framed_like_people_and_follow_from_the_seed(data: Path) -> None:
    job = ScanJob(tuple(find_scans(data, "RP")), size=SIZE, random_views=2, seed=5)
    figure = load_figure(job.scans[0])
    first, again, second = (render_scan(job, figure, index)[0] for index in (0, 0, 1))
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert not np.array_equal(first.mask, second.mask)
    rows = np.flatnonzero(second.mask.any(1))
    assert 0.9 * 1568 / 2048 < len(rows) / SIZE < 1.1 * 1568 / 2048


def test_the_published_tree_is_written_and_read(data: Path, cli: Cli) -> None:
    """All three kinds through the command line; the tree, its lists, and what reading it gives."""
    out = data / "tree"
    words = ("data", "scans", data, "-o", out, "--layout", "2k2k", "--workers", 1, "--size", 64)
    run = cli(*words)
    assert (run.code, run.err) == (0, "") and "21 samples made" in run.out
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    expected = {"dataset.json"}
    for kind, item in (("RP", "rp_anna_posed_001"), ("THuman2", "0007"), ("2K2K", "00003")):
        expected.add(f"list/{kind}_all.txt")
        for yaw in (-30, -20, -10, 0, 10, 20, 30):
            view = f"{kind}_0_y_{yaw}_x"
            expected |= {f"PERS/{base}/{view}/{item}_front.png" for base in ("COLOR/SHADED", "COLOR/NOSHADING", "DEPTH")}
            expected |= {f"PERS/DEPTH/{view}/{item}_back.png", f"PERS/keypoint/{view}/{item}_front.npy"}
    assert names == expected
    line = (out / "list/RP_all.txt").read_text().splitlines()[0].split(" ")
    assert len(line) == 3 and all((out / path).is_file() for path in line) and "DEPTH" in line[2]

    job = ScanJob(tuple(find_scans(data)), size=64, published_layout=True)
    rendering, _ = render_scan(job, load_figure(job.scans[1]), 7 + 4)
    sample = open_dataset(out).read("RP_0_y_10_x/rp_anna_posed_001")
    steps = cv2.imread(str(out / "PERS/DEPTH/RP_0_y_10_x/rp_anna_posed_001_back.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(steps, np.floor(rendering.depth[1].astype(np.float64) * 512 * 32))
    np.testing.assert_array_equal(sample.depth, np.floor(rendering.depth.astype(np.float64) * 16384).astype(np.float32) / 16384)
    np.testing.assert_array_equal(sample.mask, rendering.mask)
    np.testing.assert_array_equal(sample.albedo, rendering.albedo)
    np.testing.assert_array_equal(sample.rgb, np.where(rendering.mask[..., None] > 0, rendering.rgb, 0))
    np.testing.assert_array_equal(sample.joints, rendering.joints)
    assert sample.camera["yaw"] == 10 and sample.size == 64 and len(open_dataset(out)) == 21
    assert "0 samples made, 21 were there" in cli(*words).out
    assert "made with size 64, but 96 is asked for" in cli(*words[:-1], 96).sentence
    assert cli("data", "check", out, "--workers", 1).code == 0


def test_our_layout_with_meshes(data: Path) -> None:
    job = ScanJob(tuple(find_scans(data, "2K2K")), size=64, mesh=True, maps=("color", "depth"))
    assert render_scans(data / "set", job) == 7
    dataset = open_dataset(data / "set")
    import trimesh

    mesh = trimesh.load(dataset.read("000003").mesh_path)
    assert mesh.is_watertight
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx(2 * AXES, rel=0.05)
    assert dataset.read("000003", {"depth"}).about["yaw"] == 0


def test_a_tree_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "PERS").mkdir()
    with pytest.raises(DataError, match="not in the published layout"):
        open_dataset(tmp_path)
    (tmp_path / "PERS/DEPTH").mkdir()
    with pytest.raises(DataError, match="no samples"):
        PublishedDataset(tmp_path)
