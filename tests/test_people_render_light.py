"""Colour, light and surroundings of rendered people: known colours, shadows where they must fall, backgrounds that repeat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")

from people_bodies import card, ellipsoid, figure

from h2k_rt.data.people.background import PictureBackground, PlainBackground, list_pictures
from h2k_rt.data.people.lights import Light
from h2k_rt.data.people.outdoors import OutdoorBackground
from h2k_rt.data.people.render import Rendering, plain_surface, render
from h2k_rt.data.people.rooms import RoomBackground
from h2k_rt.data.people.scene import Scene, sample_scene
from h2k_rt.data.people.view import PUBLISHED_VIEW, View, camera_from_dict
from h2k_rt.errors import DataError

SIZE = 160
DARK = Scene(sky=(0, 0, 0), ground=(0, 0, 0), lights=())
HEADLIGHT = Light((0.0, 0.0, 1.0), (1.0, 1.0, 1.0))


def srgb(linear: float) -> float:
    """IEC 61966-2-1, 0..255."""
    return 255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055)


def linear(value: float) -> float:
    value /= 255
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def at_world(drawn: Rendering, picture: np.ndarray, point: tuple[float, float, float]) -> np.ndarray:
    """The picture's value where a world point is seen."""
    column, row = camera_from_dict(drawn.camera).project(np.array(point))
    return picture[int(row), int(column)].astype(float)


def test_albedo_is_texture_times_tint_without_light() -> None:
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32], texture[32:] = (200, 100, 50), (20, 220, 120)
    tint = np.array([0.5, 1.0, 0.25], np.float32)
    drawn = render(figure(card(-0.3, 0.3, 0, 1, 0, texture=texture, tint=tint)), PUBLISHED_VIEW, DARK, SIZE)
    for y, colour in ((0.75, texture[0, 0]), (0.25, texture[-1, 0])):  # the texture's first row is the upper edge
        expected = [srgb(linear(value) * factor) for value, factor in zip(colour, tint, strict=True)]
        np.testing.assert_allclose(at_world(drawn, drawn.albedo, (0.1, y, 0)), expected, atol=1.5)
    assert not drawn.albedo[drawn.mask == 0].any()
    assert not drawn.rgb[drawn.mask > 0].any()


def test_vertex_colours_are_interpolated() -> None:
    vertices = np.array([[-0.3, 0, 0], [0.3, 0, 0], [0.3, 1, 0], [-0.3, 1, 0]], np.float32)
    colours = np.array([[0, 0, 0], [255, 0, 0], [255, 0, 0], [0, 0, 0]], np.uint8)
    surface = plain_surface(vertices, np.array([[0, 1, 2], [0, 2, 3]]), colours=colours)
    drawn = render(figure(surface), PUBLISHED_VIEW, DARK, SIZE, smooth=False)
    for x in (-0.15, 0.0, 0.2):
        np.testing.assert_allclose(at_world(drawn, drawn.albedo, (x, 0.5, 0)), [srgb((x + 0.3) / 0.6), 0, 0], atol=3)


def test_a_matt_surface_follows_the_cosine_of_the_light() -> None:
    matt = card(-0.3, 0.3, 0, 1, 0, specular=0.0)
    base = linear(128)
    for tilt in (0.0, 40.0, 65.0):
        toward = (float(np.sin(np.radians(tilt))), 0.0, float(np.cos(np.radians(tilt))))
        scene = replace(DARK, lights=(Light(toward, (0.8, 0.4, 0.2)),))
        drawn = render(figure(matt), PUBLISHED_VIEW, scene, SIZE)
        expected = [srgb(base * value * toward[2]) for value in (0.8, 0.4, 0.2)]
        np.testing.assert_allclose(at_world(drawn, drawn.rgb, (0, 0.5, 0)), expected, atol=4)


def test_gloss_shines_where_the_light_is_mirrored() -> None:
    ball = ellipsoid(axes=(0.5, 0.5, 0.5), specular=0.2, gloss=60.0)
    side = np.radians(50)
    scene = replace(DARK, lights=(Light((float(np.sin(side)), 0.0, float(np.cos(side))), (0.6, 0.6, 0.6)),))
    glossy = render(figure(ball), View(fov=15), scene, SIZE).rgb.astype(int)
    matt = render(figure(replace(ball, specular=0.0)), View(fov=15), scene, SIZE).rgb.astype(int)
    shine = (glossy - matt).sum(-1)[SIZE // 2]
    radius = 1568 / 2048 * SIZE / 2
    # The mirror's normal halves the angle between viewer and light.
    assert (int(shine.argmax()) + 0.5 - SIZE / 2) / radius == pytest.approx(np.sin(side / 2), abs=0.05)


@pytest.mark.parametrize("distance", [None, 4.0])
def test_shadows_fall_where_the_light_is_blocked(distance: float | None) -> None:
    """A small ball before a wall; the light comes from the upper left, so the shadow lies to the lower right of the ball."""
    wall = card(-0.6, 0.6, 0.0, 1.2, 0.0, specular=0.0)
    ball = ellipsoid(centre=(0.0, 0.8, 0.2), axes=(0.08, 0.08, 0.08))
    toward = np.array([-1.0, 1.0, 1.5]) / np.linalg.norm([-1.0, 1.0, 1.5])
    lamp = Light(tuple(toward.tolist()), (0.9, 0.9, 0.9), distance, softness=0.02)
    scene = replace(DARK, lights=(lamp,))
    drawn = render(figure(wall, ball), PUBLISHED_VIEW, scene, 320)
    # Lamps are placed from the middle of the figure, which is the camera's centre.
    middle = camera_from_dict(drawn.camera).centre
    way = toward if distance is None else middle + distance * toward - (0.0, 0.8, 0.2)
    shadow = np.array([0.0, 0.8, 0.2]) - way * 0.2 / way[2]
    dark, bright = (at_world(drawn, drawn.rgb, tuple(p)).mean() for p in (shadow, shadow * (-1, 1, 1)))
    assert dark < 5
    assert bright > 80
    for step in ((0.13, 0, 0), (-0.13, 0, 0), (0, 0.13, 0), (0, -0.13, 0)):
        if distance is None:
            assert at_world(drawn, drawn.rgb, tuple(shadow + step)).mean() > 80, step
    unblocked = replace(scene, lights=(replace(lamp, softness=None),))
    assert at_world(drawn, render(figure(wall, ball), PUBLISHED_VIEW, unblocked, 320).rgb, tuple(shadow)).mean() > 80


def test_corners_are_darker_than_open_places() -> None:
    wall = card(-0.6, 0.6, 0.0, 1.2, 0.0, specular=0.0)
    ledge = ellipsoid(centre=(0.0, 0.6, 0.0), axes=(0.6, 0.05, 0.15))
    scene = replace(DARK, sky=(0.8, 0.8, 0.8), ground=(0.8, 0.8, 0.8))
    drawn = render(figure(wall, ledge), PUBLISHED_VIEW, scene, 320)
    below, away = (at_world(drawn, drawn.rgb, (0.1, y, 0)).mean() for y in (0.535, 0.15))
    assert below < away - 12


@pytest.mark.parametrize("background", [RoomBackground(3), OutdoorBackground(3), PlainBackground(3)])
def test_backgrounds_repeat_and_differ_by_seed(background: RoomBackground | OutdoorBackground | PlainBackground) -> None:
    body = figure(ellipsoid())
    view = View(pitch=4, roll=2)
    pictures = [
        render(body, view, replace(Scene(), background=b), SIZE) for b in (background, background, replace(background, seed=4))
    ]
    outside = pictures[0].mask == 0
    np.testing.assert_array_equal(pictures[0].rgb, pictures[1].rgb)
    assert np.abs(pictures[0].rgb.astype(int) - pictures[2].rgb)[outside].mean() > 2
    np.testing.assert_array_equal(pictures[0].depth, pictures[2].depth)


def test_the_figure_shades_the_floor() -> None:
    """Without blur and pattern it would be one colour; the light from the left darkens the floor to the figure's right."""
    body = figure(ellipsoid())
    toward = (-0.7, 0.714, 0.0)
    seed = 11
    pictures = []
    for softness in (None, 0.03):
        scene = Scene(lights=(Light(toward, (1.2, 1.2, 1.2), softness=softness),), background=OutdoorBackground(seed))
        pictures.append(render(body, View(pitch=8), scene, SIZE))
    darker = pictures[0].rgb.astype(int).sum(-1) - pictures[1].rgb.astype(int).sum(-1)
    darker[pictures[0].mask > 0] = 0
    rows, columns = np.nonzero(darker > 60)
    feet = pictures[0].mask.any(1).nonzero()[0][-1]
    assert len(rows) > 50
    assert columns.mean() > SIZE / 2 + 5
    assert rows.min() > feet - 45


def test_decals_colour_what_they_lie_on_and_are_no_shape() -> None:
    skin = card(-0.3, 0.3, 0, 1, 0, texture=np.full((8, 8, 3), 200, np.uint8))
    half = np.full((8, 8), 128, np.uint8)
    black = np.zeros((8, 8, 3), np.uint8)
    brow = card(-0.1, 0.1, 0.4, 0.6, 0.004, texture=black, alpha=half, decal=True)
    far = card(-0.1, 0.1, 0.7, 0.9, 0.1, texture=black, alpha=half, decal=True)
    scene = replace(DARK, lights=(Light((0.0, 0.0, 1.0), (0.4, 0.4, 0.4)),))
    plain, drawn = (render(figure(skin, *more), PUBLISHED_VIEW, scene, SIZE) for more in ((), (brow, far)))
    np.testing.assert_array_equal(plain.depth, drawn.depth)
    np.testing.assert_array_equal(plain.mask, drawn.mask)
    share = 1 - 128 / 255
    for picture, before in ((drawn.rgb, plain.rgb), (drawn.albedo, plain.albedo)):
        expected = [srgb(linear(value) * share) for value in at_world(plain, before, (0, 0.5, 0))]
        np.testing.assert_allclose(at_world(drawn, picture, (0, 0.5, 0)), expected, atol=2)
        np.testing.assert_array_equal(at_world(drawn, picture, (0, 0.8, 0)), at_world(plain, before, (0, 0.8, 0)))


def test_faint_ends_of_strands_are_blended() -> None:
    """Alpha below the cut is mixed over the background and changes neither mask nor depth."""
    alpha = np.full((8, 8), 90, np.uint8)
    skin = card(-0.3, 0.3, 0, 1, 0, texture=np.full((8, 8, 3), 200, np.uint8))
    strands = card(-0.3, 0.3, 0.3, 0.7, 0.1, texture=np.zeros((8, 8, 3), np.uint8), alpha=alpha)
    scene = replace(DARK, lights=(HEADLIGHT,))
    plain, drawn = (render(figure(skin, *more), PUBLISHED_VIEW, scene, SIZE) for more in ((), (strands,)))
    np.testing.assert_array_equal(plain.depth, drawn.depth)
    expected = [srgb(linear(value) * (1 - 90 / 255)) for value in at_world(plain, plain.rgb, (0, 0.5, 0))]
    np.testing.assert_allclose(at_world(drawn, drawn.rgb, (0, 0.5, 0)), expected, atol=2)


def test_given_pictures_are_used(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    cv2.imwrite(str(tmp_path / "sub" / "red.png"), np.full((90, 130, 3), (10, 20, 230), np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    paths = list_pictures([tmp_path])
    assert [path.name for path in paths] == ["red.png"]
    drawn = render(figure(ellipsoid()), PUBLISHED_VIEW, replace(Scene(), background=PictureBackground(paths[0], 1)), SIZE)
    np.testing.assert_array_equal(drawn.rgb[5, 5], (230, 20, 10))
    kinds = {type(sample_scene(np.random.default_rng(seed), paths).background) for seed in range(40)}
    assert kinds == {PictureBackground, RoomBackground, OutdoorBackground, PlainBackground}


def test_bad_background_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list_pictures([tmp_path / "absent"])
    with pytest.raises(DataError, match="holds no picture"):
        list_pictures([tmp_path])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        render(figure(ellipsoid()), PUBLISHED_VIEW, replace(Scene(), background=PictureBackground(tmp_path / "broken.png", 1)), 64)


def test_sampled_scenes_expose_the_figure_well() -> None:
    """A grey body under random light: neither night nor burnt out, and not always the same."""
    means = []
    for seed in range(24):
        drawn = render(
            figure(ellipsoid(texture=np.full((8, 8, 3), 150, np.uint8))),
            PUBLISHED_VIEW,
            sample_scene(np.random.default_rng(seed)),
            96,
        )
        means.append(drawn.rgb[drawn.mask > 0].mean())
    assert min(means) > 40
    assert max(means) < 225
    assert np.std(means) > 8


def test_same_seed_same_picture() -> None:
    def draw() -> Rendering:
        rng = np.random.default_rng(np.random.SeedSequence([5, 9]))
        return render(figure(ellipsoid(fold=0.004)), PUBLISHED_VIEW, sample_scene(rng), 96)

    np.testing.assert_array_equal(draw().rgb, draw().rgb)
