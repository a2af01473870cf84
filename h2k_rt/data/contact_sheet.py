"""Some samples of a dataset side by side in one picture, to be looked at."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import PARTS
from h2k_rt.data.dataset import Sample, SampleSource
from h2k_rt.errors import DataError
from h2k_rt.parts import fit_parts

_GAP, _LABEL = 6, 18
_PAGE = 245
_PART_COLOURS = ((255, 90, 90), (255, 200, 60), (90, 200, 90), (80, 160, 255), (200, 110, 255))
_GROUPS = tuple(dict.fromkeys(part.group for part in PARTS))


def contact_sheet(source: SampleSource, *, samples: int = 12, tile: int = 256) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: a row for each of ``samples`` samples, spread evenly over the set, with all their maps.

    The first picture shows the joints and where the parts' upright frames lie. A sample that cannot be read is a grey row.
    """
    picked = [source.ids[i] for i in np.unique(np.linspace(0, len(source) - 1, min(samples, len(source))).round().astype(int))]
    rows = [_row(source, id, tile) for id in picked]
    if not rows:
        raise DataError(f"{source.folder}: there is no sample to be shown")
    width = max(row.shape[1] for row in rows)
    sheet = np.full((sum(row.shape[0] for row in rows), width, 3), _PAGE, np.uint8)
    top = 0
    for row in rows:
        sheet[top : top + row.shape[0], : row.shape[1]] = row
        top += row.shape[0]
    return sheet


def _row(source: SampleSource, id: str, tile: int) -> NDArray[np.uint8]:
    try:
        tiles = _tiles(source.read(id), tile)
        label = id
    except DataError:
        tiles, label = [np.full((tile, tile, 3), 128, np.uint8)], f"{id}: cannot be read"
    row = np.full((tile + _LABEL + _GAP, len(tiles) * (tile + _GAP) + _GAP, 3), _PAGE, np.uint8)
    for place, picture in enumerate(tiles):
        left = _GAP + place * (tile + _GAP)
        row[_LABEL : _LABEL + tile, left : left + tile] = picture
    cv2.putText(row, label, (_GAP, _LABEL - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return row


def _tiles(sample: Sample, tile: int) -> list[NDArray[np.uint8]]:
    tiles = []
    for picture in (sample.rgb, sample.albedo, sample.mask):
        if picture is not None:
            coloured = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
            tiles.append(_small(coloured, tile))
    if tiles:
        tiles[0] = _with_joints(tiles[0], sample)
    for layer in () if sample.depth is None else sample.depth:
        tiles.append(_small(_depth_picture(layer), tile))
    for layer in () if sample.normals is None else sample.normals:
        shown = np.where(layer.any(-1, keepdims=True), layer * 127.5 + 127.5, 0)
        tiles.append(_small(shown.astype(np.uint8), tile))
    return tiles


def _small(picture: NDArray[Any], tile: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (tile, tile), interpolation=cv2.INTER_AREA), np.uint8)


def _depth_picture(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Near is bright; the sample's own range."""
    there = depth > 0
    if not there.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    low, high = depth[there].min(), depth[there].max()
    grey = np.where(there, 255 - 200 * (depth - low) / max(float(high - low), 1e-6), 0)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _with_joints(picture: NDArray[np.uint8], sample: Sample) -> NDArray[np.uint8]:
    """Joints as dots; each part's upright frame as a cross at its middle with the long arm up."""
    drawn = picture.copy()
    scale = drawn.shape[0] / sample.size
    if not np.isfinite(sample.joints).all():
        return drawn
    parts = fit_parts(sample.joints, sample.size)
    for part, matrix, usable in zip(PARTS, parts.to_canvas, parts.usable, strict=True):
        if usable:
            corners = np.array([[-0.02, 0, 1], [0.02, 0, 1], [0, 0, 1], [0, -0.06, 1]]) @ matrix.T
            left, right, middle, up = ((corners + 1) / 2 * drawn.shape[0]).round().astype(int).tolist()
            colour = _PART_COLOURS[_GROUPS.index(part.group)]
            cv2.line(drawn, left, right, colour, 1, cv2.LINE_AA)
            cv2.line(drawn, middle, up, colour, 1, cv2.LINE_AA)
    for x, y, present in sample.joints:
        if present:
            cv2.circle(drawn, (round(x * scale), round(y * scale)), 2, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(drawn, (round(x * scale), round(y * scale)), 1, (0, 0, 0), -1, cv2.LINE_AA)
    return drawn
