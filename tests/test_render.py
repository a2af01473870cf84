"""The software renderer against what geometry says about simple bodies."""

from __future__ import annotations

import numpy as np
import pytest
from surface_bodies import person

from h2k_rt.render import render_view, render_views
from h2k_rt.surface.clean import clean_depth
from h2k_rt.surface.grid_mesh import grid_mesh
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.topology import vertex_normals

RED, GREEN = (230, 20, 20), (20, 200, 20)
WHITE = (255, 255, 255)


def box(width: float, height: float, depth: float) -> Mesh:
    """A box with flat faces and one colour per side: +x red, -x blue, +z green, -z yellow, top and bottom grey."""
    corners, faces, normals, colors = [], [], [], []
    half = np.array([width, height, depth]) / 2
    sides = [(0, 1, RED), (0, -1, (20, 20, 230)), (2, 1, GREEN), (2, -1, (220, 220, 20)), (1, 1, (90,) * 3), (1, -1, (90,) * 3)]
    for axis, sign, color in sides:
        u, v = (axis + 1) % 3, (axis + 2) % 3
        start = len(corners)
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            point = np.zeros(3)
            point[axis], point[u], point[v] = sign, a, b
            corners.append(point * half)
            normals.append(np.eye(3)[axis] * sign)
            colors.append(color)
        order = (0, 1, 2, 3) if sign > 0 else (3, 2, 1, 0)
        faces += [[start + order[0], start + order[1], start + order[2]], [start + order[0], start + order[2], start + order[3]]]
    return Mesh(np.array(corners, np.float32), np.array(faces, np.int32), np.array(normals, np.float32), np.array(colors, np.uint8))


def covered(picture: np.ndarray) -> np.ndarray:
    return (picture != 255).any(axis=-1)


@pytest.mark.parametrize(("yaw", "ahead"), [(0, 1), (90, 0), (180, None), (270, 2)])
def test_each_side_of_a_box_is_seen_from_its_side(yaw: float, ahead: int | None) -> None:
    picture = render_view(box(1, 2, 1), yaw, 128)
    middle = picture[64, 64].astype(int)
    if ahead is None:
        assert middle[0] > 2 * middle[2] and middle[1] > 2 * middle[2]  # yellow
    else:
        assert middle[ahead] > 2 * np.delete(middle, ahead).max()


def test_large_faces_have_no_holes_and_the_right_size() -> None:
    for yaw, width in ((0, 0.5), (90, 0.25), (45, 0.75 / np.sqrt(2))):
        seen = covered(render_views(box(0.5, 2, 0.25), (yaw, 0, 45), 200)[0][0])
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        assert seen[rows[0] + 1 : rows[-1], columns[0] + 1 : columns[-1]].all()
        scale = 200 / 2 / 1.04
        assert len(rows) == pytest.approx(2 * scale, abs=2)
        assert len(columns) == pytest.approx(width * scale, abs=2)


def test_nearer_things_hide_farther_ones() -> None:
    near, far = box(1, 1, 0.1), box(2, 2, 0.1)
    near.vertices[:, 2] += 1
    near.colors[:], far.colors[:] = RED, GREEN
    both = Mesh(
        np.concatenate((far.vertices, near.vertices)), np.concatenate((far.faces, near.faces + len(far.vertices))),
        np.concatenate((far.normals, near.normals)), np.concatenate((far.colors, near.colors)),
    )  # fmt: skip
    front, back = render_views(both, (0, 180), 100)[0]
    assert front[50, 50, 0] > 150 and front[50, 50, 1] < 80
    assert front[50, 10, 1] > 130
    assert back[50, 50, 1] > 130 and back[50, 50, 0] < 80


def test_left_of_the_mesh_is_right_in_the_picture() -> None:
    picture = render_view(box(1, 2, 1), 45, 128)
    # Turned to +x by 45 degrees, the +z side lies to the left and the +x side to the right.
    assert picture[64, 45, 1] > 2 * picture[64, 45, 0]
    assert picture[64, 85, 0] > 2 * picture[64, 85, 1]


def test_sphere_is_lit_from_the_viewer_and_round() -> None:
    angle, turn = np.meshgrid(np.linspace(0, np.pi, 60), np.linspace(0, 2 * np.pi, 121)[:-1], indexing="ij")
    points = np.stack((np.sin(angle) * np.sin(turn), np.cos(angle), np.sin(angle) * np.cos(turn)), -1).reshape(-1, 3)
    index = np.arange(60 * 120).reshape(60, 120)
    a, b, c, d = index[:-1], np.roll(index, -1, 1)[:-1], index[1:], np.roll(index, -1, 1)[1:]
    faces = np.concatenate([np.stack((a, c, b), -1).reshape(-1, 3), np.stack((b, c, d), -1).reshape(-1, 3)]).astype(np.int32)
    sphere = Mesh(points.astype(np.float32), faces, points.astype(np.float32), np.full((len(points), 3), 128, np.uint8))
    assert (vertex_normals(sphere.vertices, sphere.faces) * points).sum(-1)[200:-200].min() > 0.99
    clay = render_view(sphere, 30, 256, look="clay", supersample=3)
    seen = covered(clay)
    assert seen.sum() == pytest.approx(np.pi * (128 / 1.04) ** 2, rel=0.02)
    assert clay[128, 128].mean() > 1.3 * clay[128, 250 - 6].mean()  # centre against the edge
    assert clay[60, 80].mean() > 1.2 * clay[200, 180].mean()  # the key light stands above at the left


def test_person_is_covered_from_all_sides_without_holes() -> None:
    colors = np.full((256, 256, 3), 100, np.uint8)
    mesh = grid_mesh(clean_depth(*person(256)), colors, colors)
    for row in render_views(mesh, size=(150, 300), looks=("color", "clay")):
        assert len(row) == 4
        for picture in row:
            assert picture.shape == (300, 150, 3) and picture.dtype == np.uint8
            seen = covered(picture)
            trunk = seen[70:200]
            gaps = [(np.diff(line.astype(int)) == 1).sum() for line in trunk]
            assert max(gaps) <= 4  # at most trunk, two arms, or two legs and hands: no pinholes
            assert seen.any(axis=1).sum() == pytest.approx(300 / 1.04, abs=3)
    front, _, back, _ = render_views(mesh, size=200)[0]
    difference = covered(front) ^ covered(back)[:, ::-1]
    assert difference.sum() < 0.02 * covered(front).sum()


def test_same_picture_each_time_and_background() -> None:
    one, two = (render_view(box(1, 2, 1), 20, 64, background=(1, 2, 3)) for _ in range(2))
    assert one.tobytes() == two.tobytes()
    assert one[0, 0].tolist() == [1, 2, 3]


def test_what_cannot_be_drawn() -> None:
    empty = Mesh(*(np.zeros((0, 3), t) for t in (np.float32, np.int32, np.float32, np.uint8)))
    with pytest.raises(ValueError, match="without vertices"):
        render_view(empty)
    with pytest.raises(ValueError, match="unknown look"):
        render_view(box(1, 1, 1), look="x-ray")
