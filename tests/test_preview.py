"""The preview page: everything is on it, whatever is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from surface_bodies import person, person_joints

from h2k_rt.errors import OutputError
from h2k_rt.output.preview import preview, write_preview
from h2k_rt.surface.clean import CleanDepth, clean_depth
from h2k_rt.surface.grid_mesh import grid_mesh
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.normals import normal_from_depth

SIZE = 256


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, CleanDepth, np.ndarray, Mesh]:
    clean = clean_depth(*person(SIZE))
    rgb = np.full((SIZE, SIZE, 3), (180, 40, 40), np.uint8)
    normals = np.concatenate([normal_from_depth(clean.front), normal_from_depth(clean.back)])
    return rgb, clean, normals, grid_mesh(clean, rgb, np.full_like(rgb, (40, 40, 180)))


def test_page_has_photo_joints_maps_and_four_sides(scene) -> None:
    rgb, clean, normals, mesh = scene
    joints = person_joints(SIZE)
    page = preview(rgb, clean.mask, joints, normals, clean.front, clean.back, mesh)
    assert page.shape[1:] == (2000, 3) and page.dtype == np.uint8
    bare = preview(rgb, clean.mask, None, normals, clean.front, clean.back, mesh)
    changed = np.argwhere((page != bare).any(axis=-1))
    assert len(changed) > 500 and changed[:, 1].max() < 345  # the joints are drawn in the first panel only
    red = (page[..., 0].astype(int) - page[..., 2]) > 60
    blue = (page[..., 2].astype(int) - page[..., 0]) > 60
    middle = page.shape[0] // 2
    row = np.s_[middle - 200 : middle + 200]
    assert red[row, :500].sum() > 5000 and blue[row, :500].sum() < 500  # front view
    assert blue[row, 1000:1490].sum() > 5000 and red[row, 1000:1490].sum() < 500  # back view


def test_joint_lines_lie_on_the_joints(scene) -> None:
    rgb, clean, normals, mesh = scene
    joints = np.zeros((31, 3))
    joints[0] = (SIZE / 2, SIZE / 2, 1)
    page = preview(rgb, clean.mask, joints, normals, clean.front, clean.back, mesh)
    bare = preview(rgb, clean.mask, None, normals, clean.front, clean.back, mesh)
    changed = np.argwhere((page != bare).any(axis=-1))
    # The canvas centre, in the panel that shows the mask's window.
    rows, columns = np.nonzero(clean.mask)
    width, height = 316, 470
    tall = 1.06 * max(np.ptp(rows) + 1, (np.ptp(columns) + 1) * height / width)
    middle = ((rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2)
    expected = [20 + height / 2 + (SIZE / 2 - middle[0]) * height / tall, 20 + width / 2 + (SIZE / 2 - middle[1]) * height / tall]
    np.testing.assert_allclose(changed.mean(axis=0), expected, atol=3)


@pytest.mark.parametrize("what", ["no normals", "alpha mask", "joints outside", "empty mask"])
def test_odd_input_is_drawn(scene, what: str) -> None:
    rgb, clean, normals, mesh = scene
    joints, mask = person_joints(SIZE), clean.mask
    front, back = clean.front, clean.back
    if what == "joints outside":
        joints[9] = (-1e7, 4000, 1)
        joints[10] = (5e9, -5e9, 1)
    if what == "alpha mask":
        mask = np.where(clean.mask, 255, 20).astype(np.uint8)
    if what == "empty mask":
        mask, front, back = np.zeros_like(mask), np.zeros_like(front), np.zeros_like(back)
    page = preview(rgb, mask, joints, None if what == "no normals" else normals, front, back, mesh)
    assert page.shape[1] == 2000


def test_preview_is_written_as_png(scene, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    write_preview(tmp_path / "p.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "p.png")), picture)
    with pytest.raises(OutputError, match="does not exist"):
        write_preview(tmp_path / "no" / "p.png", picture)
