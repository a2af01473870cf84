"""The pose detector: an SSD with one box and four alignment points for each anchor.

Anchors, decoding and suppression follow MediaPipe's pose detection graph (Apache-2.0): input 224 x 224 in [-1, 1], strides
8, 16, 32, 32, 32 with two anchors of fixed size at each cell and layer, scores through a sigmoid, weighted suppression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from h2k_engines import Engine
from numpy.typing import NDArray

from h2k_rt.person.crop import Pyramid, Roi, roi_matrix, transform

SIDE = 224
#: (cells a side, anchors a cell): stride 8; stride 16; the three layers of stride 32 together.
_LAYERS = ((28, 2), (14, 2), (7, 6))
_OVERLAP = 0.3
_ROI_SCALE = 1.25


@dataclass(frozen=True)
class Detection:
    """score 0..1; box (4,) x0, y0, x1, y1 of the face-and-torso box and points (4, 2), photo pixels. Points 0 and 1: middle of
    the hips, and a point on the circle around the whole body."""

    score: float
    box: NDArray[np.float64]
    points: NDArray[np.float64]

    @property
    def roi(self) -> Roi:
        """The upright window around the whole body."""
        return circle_roi(self.points[0], self.points[1])


def circle_roi(centre: NDArray, rim: NDArray) -> Roi:
    """Window of the circle given by its centre and its topmost point (both (2,)), enlarged by a quarter; up is towards ``rim``."""
    dx, dy = rim - centre
    return Roi(float(centre[0]), float(centre[1]), 2 * _ROI_SCALE * math.hypot(dx, dy), math.atan2(dx, -dy))


def anchors() -> NDArray[np.float32]:
    """(2254, 2) centres x, y in crop pixels, in the network's order (row by row, the anchors of a cell together)."""
    layers = []
    for cells, repeat in _LAYERS:
        centre = (np.arange(cells) + 0.5) * (SIDE / cells)
        grid = np.stack(np.meshgrid(centre, centre), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(grid, repeat, axis=0))
    return np.concatenate(layers).astype(np.float32)


_ANCHORS = anchors()


def detect(engine: Engine, photo: Pyramid, view: Roi, threshold: float = 0.5) -> list[Detection]:
    """People in one window of the photo, best score first."""
    picture = photo.crop(view, SIDE)
    feed = picture[None].astype(np.float32) * np.float32(2 / 255) - np.float32(1)
    out = engine.run({"input_1": feed})
    logits = np.clip(out["Identity_1"][0, :, 0].astype(np.float64), -100, 100)
    scores = 1 / (1 + np.exp(-logits))
    chosen = np.flatnonzero(scores >= threshold)
    boxes, points = decode(out["Identity"][0, chosen], _ANCHORS[chosen])
    matrix = roi_matrix(view, SIDE)
    found = []
    for score, box, four in suppress(scores[chosen], boxes, points):
        corners = transform(matrix, box[[[0, 1], [2, 1], [2, 3], [0, 3]]])
        found.append(Detection(score, np.concatenate([corners.min(axis=0), corners.max(axis=0)]), transform(matrix, four)))
    return found


def decode(raw: NDArray[np.float32], centres: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(K, 12) network rows with their anchor centres (K, 2) -> boxes (K, 4) x0, y0, x1, y1 and points (K, 4, 2), crop pixels."""
    rows = raw.astype(np.float64)
    middle, half = rows[:, :2] + centres, rows[:, 2:4] / 2
    points = rows[:, 4:].reshape(-1, 4, 2) + centres[:, None]
    return np.concatenate([middle - half, middle + half], axis=1), points


def suppress(
    scores: NDArray[np.float64], boxes: NDArray[np.float64], points: NDArray[np.float64]
) -> list[tuple[float, NDArray[np.float64], NDArray[np.float64]]]:
    """Weighted non-maximum suppression: boxes overlapping the best one (IoU > 0.3) become their score-weighted mean."""
    left = np.argsort(-scores, kind="stable")
    result = []
    while left.size:
        near = overlap(boxes[left[0]], boxes[left]) > _OVERLAP
        near[0] = True  # a box of no area overlaps nothing, not even itself
        group = left[near]
        weight = scores[group] / scores[group].sum()
        result.append((float(scores[left[0]]), weight @ boxes[group], np.tensordot(weight, points[group], axes=1)))
        left = left[~near]
    return result


def overlap(box: NDArray, boxes: NDArray) -> NDArray[np.float64]:
    """Intersection over union of one box (4,) with boxes (K, 4)."""
    size = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None)
    inside = size[:, 0] * size[:, 1]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    own = (box[2] - box[0]) * (box[3] - box[1])
    return inside / np.maximum(area + own - inside, 1e-9)
