"""One picture that shows what went in, what the networks saw and what came out."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from h2k_rt.constants import JOINT_NAMES, METHOD, Method
from h2k_rt.output.maps import write_png
from h2k_rt.render import render_views
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.normals import normals_to_u8

_WIDTH, _EDGE, _GAP, _LABEL = 2000, 20, 12, 34
_MAP_HEIGHT, _VIEW_HEIGHT = 470, 600
_PAGE, _PANEL, _TEXT = (255, 255, 255), (243, 243, 243), (60, 60, 60)
_SIDES = (("front", 0.0), ("left side", 90.0), ("back", 180.0), ("right side", 270.0))

#: Bones to be drawn, as pairs of joint names; the last word tells the colour.
_BONES = (
    ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"), ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
    ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"),
    *((f"{s}_{a}", f"{s}_{b}") for s in ("left", "right") for a, b in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("ankle", "heel"), ("ankle", "big_toe"),
        ("big_toe", "small_toe"), ("wrist", "index"), ("wrist", "middle"), ("wrist", "ring"), ("wrist", "pinky"))),
)  # fmt: skip
_LEFT, _RIGHT, _MIDDLE = (255, 140, 0), (0, 150, 255), (60, 200, 90)


def preview(
    rgb: NDArray[np.uint8],
    mask: NDArray[np.uint8] | NDArray[np.bool_],
    joints: NDArray[np.floating] | None,
    normals: NDArray[np.float32] | None,
    front: NDArray[np.float32],
    back: NDArray[np.float32],
    mesh: Mesh,
    *,
    method: Method = METHOD,
) -> NDArray[np.uint8]:
    """Photo with joints, mask, normals and depth above; the mesh from four sides, coloured and as clay, below.

    Args:
        rgb: (N, N, 3) uint8 canvas picture.
        mask: (N, N) bool or uint8 alpha.
        joints: (31, 3) canvas pixels, (0, 0, 0) where missing; or None.
        normals: (6, N, N) encoded normals, front then back; or None.
        front, back: (N, N) nu, 0 outside.
        mesh: y up, facing +z; drawn with at most the size of the page.

    Returns:
        (H, 2000, 3) uint8 RGB.
    """
    count = 4 if normals is None else 6
    width = (_WIDTH - 2 * _EDGE - (count - 1) * _GAP) // count
    solid = (mask if mask.dtype == np.bool_ else mask >= 128).astype(bool)
    left, top, height = _window(solid | (front > 0), width / _MAP_HEIGHT)
    # Only what is shown is worked on.
    y0, x0 = max(int(top), 0), max(int(left), 0)
    part = np.s_[y0 : max(int(top + height) + 2, 1), x0 : max(int(left + height * width / _MAP_HEIGHT) + 2, 1)]
    near, far = front[part], back[part]
    shown = (near > 0) & (near < method.front_background) & (far > 0)
    points = None
    if joints is not None:
        present = (joints[:, 0] != 0) | (joints[:, 1] != 0)
        points = np.where(present[:, None], joints[:, :2] - (x0, y0), np.nan)
    maps = [("photo and joints", _with_joints(rgb[part], points, rgb.shape[0])), ("mask", _grey(mask[part]))]
    if normals is not None:
        maps.append(("front normals", _on_panel(normals_to_u8(normals[(slice(0, 3), *part)]), shown)))
        maps.append(("back normals", _on_panel(normals_to_u8(normals[(slice(3, 6), *part)]), shown)))
    maps += zip(("front depth, bright is near", "back depth, bright is near"), _depth_pictures(near, far, shown), strict=True)
    window = (left - x0, top - y0, height)
    rows = [[(label, _crop(picture, window, (width, _MAP_HEIGHT))) for label, picture in maps]]
    return _page([*rows, *_mesh_rows(mesh)])


def views_preview(photos: Sequence[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]], mesh: Mesh) -> NDArray[np.uint8]:
    """Several photos with their masks above, in rows of four; the mesh from four sides, coloured and as clay, below.

    Args:
        photos: name, (H, W, 3) uint8 and (H, W) uint8 mask of each.
        mesh: as for :func:`preview`.

    Returns:
        (H, 2000, 3) uint8 RGB.
    """
    width = (_WIDTH - 2 * _EDGE - 3 * _GAP) // 4
    cells = []
    for name, rgb, mask in photos:
        window = _window(mask >= 128, width / _MAP_HEIGHT)
        dimmed = np.where(mask[..., None] >= 128, rgb, (rgb // 3 + 150).astype(np.uint8))
        cells.append((name, _crop(dimmed, window, (width, _MAP_HEIGHT))))
    return _page([*(cells[i : i + 4] for i in range(0, len(cells), 4)), *_mesh_rows(mesh)])


def _mesh_rows(mesh: Mesh) -> list[list[tuple[str, NDArray[np.uint8]]]]:
    """The mesh from four sides, coloured and as clay."""
    width = (_WIDTH - 2 * _EDGE - 3 * _GAP) // 4
    looks = render_views(mesh, [yaw for _, yaw in _SIDES], (width, _VIEW_HEIGHT), looks=("color", "clay"), background=_PANEL)
    return [
        [(name + what, picture) for (name, _), picture in zip(_SIDES, pictures, strict=True)]
        for pictures, what in zip(looks, ("", ", shape only"), strict=True)
    ]


def write_preview(path: str | os.PathLike[str], picture: NDArray[np.uint8]) -> None:
    """Write the preview as PNG.

    Raises:
        OutputError: the file cannot be written.
    """
    write_png(path, picture)


def _page(rows: list[list[tuple[str, NDArray[np.uint8]]]]) -> NDArray[np.uint8]:
    height = 2 * _EDGE + sum(row[0][1].shape[0] + _LABEL for row in rows) + (len(rows) - 1) * _GAP
    page = np.empty((height, _WIDTH, 3), np.uint8)
    page[:] = _PAGE
    labels = []
    y = _EDGE
    for row in rows:
        x = _EDGE
        for label, picture in row:
            page[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
            labels.append((x + picture.shape[1] // 2, y + picture.shape[0] + 5, label))
            x += picture.shape[1] + _GAP
        y += row[0][1].shape[0] + _LABEL + _GAP
    image = Image.fromarray(page)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(20)
    for x, y, label in labels:
        draw.text((x, y), label, fill=_TEXT, font=font, anchor="ma")
    return np.asarray(image)


def _window(mask: NDArray[np.bool_], aspect: float) -> tuple[float, float, float]:
    """Left, top and height of the window of that width / height around the mask, with a little margin; pixels."""
    if not mask.any():
        return 0.0, 0.0, float(mask.shape[0])
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    tall, wide = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    height = 1.06 * max(float(tall), float(wide) / aspect)
    return (columns[0] + wide / 2 - height * aspect / 2, rows[0] + tall / 2 - height / 2, height)


def _crop(picture: NDArray[np.uint8], window: tuple[float, float, float], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The window of the picture at the given size (width, height); grey where it reaches beyond the picture."""
    left, top, height = window
    scale = height / size[1]
    # Reduced by areas first, so that thin lines and noise do not alias.
    factor = max(int(scale), 1)
    rows, columns = (side // factor * factor for side in picture.shape[:2])
    small = cv2.resize(picture[:rows, :columns], (columns // factor, rows // factor), interpolation=cv2.INTER_AREA)
    step = scale / factor
    # Pixel centres: the centre of target pixel 0 lies half a step inside the window.
    offset = [(start / factor) + 0.5 * step - 0.5 for start in (left, top)]
    matrix = np.array([[step, 0, offset[0]], [0, step, offset[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(small, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=_PANEL)
    return out.astype(np.uint8)


def _with_joints(rgb: NDArray[np.uint8], points: NDArray[np.floating] | None, canvas: int) -> NDArray[np.uint8]:
    """The picture with bones and joints; ``points`` (31, 2) px, NaN where missing."""
    out = rgb.copy()
    if points is None:
        return out
    line = max(round(canvas / 400), 1)

    def at(index: int) -> tuple[int, int] | None:
        x, y = (float(v) for v in points[index])
        # cv2 draws with 16-bit coordinates in places; what lies far outside is not seen anyway.
        return (round(x - 0.5), round(y - 0.5)) if abs(x) < 4 * canvas and abs(y) < 4 * canvas else None

    def color(*names: str) -> tuple[int, int, int]:
        if all(name.startswith("left") for name in names):
            return _LEFT
        return _RIGHT if all(name.startswith("right") for name in names) else _MIDDLE

    for first, second in _BONES:
        a, b = at(JOINT_NAMES.index(first)), at(JOINT_NAMES.index(second))
        if a is not None and b is not None:
            cv2.line(out, a, b, color(first, second), line, cv2.LINE_AA)
    for index, name in enumerate(JOINT_NAMES):
        point = at(index)
        if point is not None:
            cv2.circle(out, point, 2 * line, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(out, point, round(1.5 * line), color(name), -1, cv2.LINE_AA)
    return out


def _grey(mask: NDArray[np.uint8] | NDArray[np.bool_]) -> NDArray[np.uint8]:
    values = np.where(mask, 255, 0).astype(np.uint8) if mask.dtype == np.bool_ else mask.astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2)


def _on_panel(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(mask[..., None], picture, np.array(_PANEL, np.uint8))


def _depth_pictures(
    front: NDArray[np.float32], back: NDArray[np.float32], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both depth maps in colours, each over its own range, near bright."""
    if not inside.any():
        blank = np.full((*front.shape, 3), _PANEL, np.uint8)
        return blank, blank

    def draw(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
        low, high = (float(q) for q in np.quantile(depth[inside][::16], (0.005, 0.995)))
        share = np.clip((high - depth) * np.float32(1 / max(high - low, 1e-6)), 0, 1)
        return _on_panel(cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1], inside)

    return draw(front), draw(back)
