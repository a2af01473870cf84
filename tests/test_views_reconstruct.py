"""Several photos to a mesh: the pipeline with engines that repeat the masks, its command line, and its errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import trimesh
from cli_runner import Cli, in_process
from conftest import REPOSITORY
from h2k_engines import TensorSpec
from numpy.typing import NDArray
from view_people import ball_people
from view_scenes import occupied

from h2k_rt.data.views.viewset import ViewSet, ViewSets
from h2k_rt.errors import BundleError, CameraError
from h2k_rt.photo import Photo, load_photo
from h2k_rt.surface.topology import is_closed
from h2k_rt.views.camera_files import load_cameras
from h2k_rt.views.networks import Implicit, carved
from h2k_rt.views.reconstruct import DEFAULT_MODEL, ViewReconstructor

PICTURE, CHANNELS = 128, 3


class RepeatingEncoder:
    """Gives the picture's colours and mask back at a quarter of the size, channels last."""

    name = provider = "repeats"
    inputs: ClassVar = {"picture": TensorSpec("picture", np.dtype(np.float32), (1, 5, PICTURE, PICTURE))}
    outputs: ClassVar = {"features1": TensorSpec("features1", np.dtype(np.float32), (1, PICTURE // 4, PICTURE // 4, CHANNELS))}

    def run(self, feeds: dict[str, NDArray]) -> dict[str, NDArray]:
        small = cv2.resize(feeds["picture"][0].transpose(1, 2, 0), (PICTURE // 4, PICTURE // 4), interpolation=cv2.INTER_AREA)
        return {"features1": np.ascontiguousarray(small[None, :, :, 1:4])}


class LeastOfAllViews:
    """Occupancy is the least mask share of all views."""

    name = provider = "least"
    inputs: ClassVar[dict[str, Any]] = {}
    outputs: ClassVar[dict[str, Any]] = {}

    def run(self, feeds: dict[str, NDArray]) -> dict[str, NDArray]:
        assert feeds["features"].shape[1:3] == (CHANNELS + 1, 1)
        return {"occupancy": feeds["features"][:, CHANNELS - 1].min(axis=0)[None, None]}


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> ViewSet:
    return ViewSets(ball_people(tmp_path_factory.mktemp("views") / "set", 1, 6)).read("000000")


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return in_process(capfd)


def photos(person: ViewSet) -> tuple[list[Photo], list[NDArray[np.uint8]]]:
    views = range(len(person.cameras))
    return [Photo(person.rgb(i), f"{i:02d}.png") for i in views], [person.mask(i) for i in views]


def test_engines_and_hull_agree(person: ViewSet) -> None:
    shots, masks = photos(person)
    engines: Any = {"encoder": RepeatingEncoder(), "points": LeastOfAllViews()}
    made = ViewReconstructor("given", threads=1, engines=engines).reconstruct(shots, person.cameras, masks=masks, resolution=64)
    hull = ViewReconstructor("hull", threads=1).reconstruct(shots, person.cameras, masks=masks, resolution=64)
    for result in (made, hull):
        assert is_closed(result.mesh.faces)
        low, high = result.mesh.bounds()
        assert low[1] == pytest.approx(0, abs=1e-5) and 1.5 < high[1] < 1.85  # the cameras' unit is a metre
        away = np.abs(occupied(result.world))
        assert np.median(away) < 0.03 and np.quantile(away, 0.9) < 0.12
        assert result.evaluations < result.nodes
        # Every photo shows red about 167, green 0 and blue 90 where the person is.
        assert np.abs(np.median(result.mesh.colors, axis=0) - (167, 0, 90)).max() < 12
    assert list(made.timings) == ["cameras", "hull", "encode", "surface", "mesh"]
    # y is up, and +z looks towards the first camera.
    assert result.mesh.vertices[:, 1].max() == pytest.approx(np.ptp(result.world[:, 1]), abs=1e-4)
    assert made.preview().shape[1] == 2000


def test_dense_and_coarse_to_fine_give_one_mesh(person: ViewSet) -> None:
    shots, masks = photos(person)
    hull = ViewReconstructor("hull", threads=1)
    fine, dense = (hull.reconstruct(shots, person.cameras, masks=masks, resolution=64, dense=d) for d in (False, True))
    np.testing.assert_array_equal(fine.mesh.vertices, dense.mesh.vertices)
    np.testing.assert_array_equal(fine.mesh.faces, dense.mesh.faces)
    assert fine.evaluations < dense.evaluations == dense.nodes


def test_the_network_is_asked_only_where_somebody_may_be() -> None:
    asked = []

    class Counting(LeastOfAllViews):
        def run(self, feeds: dict[str, NDArray]) -> dict[str, NDArray]:
            asked.append(feeds["features"].shape[3])
            return super().run(feeds)

    maps = [np.ones((1, 8, 8, CHANNELS), np.float32)]
    projection = np.array([[[0.5, 0, 0, 1.0], [0, -0.5, 0, 1.0], [0, 0, 0, 2.0]]], np.float32)
    function = carved(Implicit(Counting(), maps, projection, 1), lambda q: (q[:, 0] > 0).astype(np.float32))
    q = np.random.default_rng(0).uniform(-0.5, 0.5, (500, 3)).astype(np.float32)
    np.testing.assert_allclose(function(q), q[:, 0] > 0)
    assert sum(asked) == (q[:, 0] > 0).sum()


def test_the_shipped_model_carves_the_hull() -> None:
    """`views-small` on the example: most of the hull, which is boxes where a body is round, and nothing outside of it."""
    folder = REPOSITORY / "examples" / "views"
    shots = [load_photo(path) for path in sorted(folder.glob("*.jpg"))]
    cameras = load_cameras(folder / "cameras.json")
    made = {}
    for model in (DEFAULT_MODEL, "hull"):
        found = ViewReconstructor(model, threads=1).reconstruct(shots, cameras, resolution=128)
        assert is_closed(found.mesh.faces)
        made[model] = trimesh.Trimesh(found.mesh.vertices, found.mesh.faces, process=False)
    ours, hull = made[DEFAULT_MODEL], made["hull"]
    assert 0.6 < ours.volume / hull.volume < 0.97
    # A person of 1.7 m, of which the network must not cut off a limb: as tall, as wide and nearly as deep as the outlines say.
    assert (ours.extents > 0.9 * hull.extents).all() and (ours.extents < 1.03 * hull.extents).all()


def test_few_photos_are_told(person: ViewSet) -> None:
    shots, masks = photos(person)
    hull = ViewReconstructor("hull", threads=1)
    for count in (2, 3):
        made = hull.reconstruct(shots[:count], person.cameras[:count], masks=masks[:count], resolution=64)
        assert any("fewer than 3 photos" in note for note in made.notes) == (count == 2)


def test_what_does_not_go_together_is_told(person: ViewSet) -> None:
    with pytest.raises(BundleError, match="single photos"):
        ViewReconstructor("small")
    with pytest.raises(BundleError, match="no model bundle named 'views-other'"):
        ViewReconstructor("views-other")
    shots, masks = photos(person)
    hull = ViewReconstructor("hull", threads=1)
    with pytest.raises(CameraError, match="6 photos, 5 cameras"):
        hull.reconstruct(shots, person.cameras[:5], masks=masks)
    with pytest.raises(CameraError, match="need cameras"):
        hull.reconstruct(shots, masks=masks)
    with pytest.raises(CameraError, match="1 to 16"):
        hull.reconstruct([], person.cameras, masks=[])


def test_the_command_line(cli: Cli, person: ViewSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    start = ("infer-views", person.folder, "--cameras", person.folder / "cameras.json", "--masks", person.folder, "--model", "hull")
    rest = ("-o", out, "--resolution", 128, "--threads", 1)
    found = cli(*start, *rest, "--json", "--format", "ply", "--format", "glb")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert {Path(file).name for file in document["results"][0]["files"]} == {"person.ply", "person.glb", "person_preview.png"}
    assert sorted(path.name for path in out.iterdir()) == ["person.glb", "person.ply", "person_preview.png"]
    assert {"read files", "surface", "write files"} <= document["results"][0]["timings"].keys()
    # The first two photos alone have no camera file's order to go by: names decide, and a stranger is refused.
    stranger = tmp_path / "stranger.png"
    stranger.write_bytes(person.photo_path(0).read_bytes())
    found = cli("infer-views", stranger, person.photo_path(1), *start[2:], "-o", tmp_path / "none")
    assert found.code == 12 and "stranger" in found.sentence and not (tmp_path / "none").exists()
    assert cli("infer-views", stranger).code == 2, "no cameras"
    found = cli("infer-views", stranger, *start[2:4], "--model", "small", "-o", tmp_path / "none")
    assert found.code in (6, 12)


def test_turntable_from_the_command_line(cli: Cli, person: ViewSet, tmp_path: Path) -> None:
    fov = float(np.degrees(2 * np.arctan(160 / 2 / 402)))
    found = cli(
        "infer-views", person.folder, "--turntable", 6, "--fov", fov, "--masks", person.folder, "--model", "hull",
        "-o", tmp_path, "--resolution", 128, "--threads", 1, "--height", 1.7, "--no-preview",
    )  # fmt: skip
    assert found.code == 0, found.err
    assert (tmp_path / "person.glb").stat().st_size > 10_000
    found = cli("infer-views", person.folder, "--turntable", 4, "--masks", person.folder, "--model", "hull", "-o", tmp_path / "no")
    assert found.code == 12 and "needs 4 photos" in found.sentence
