"""The body landmark network: 33 landmarks, how sure it is of each, and the person's mask, from a window around the person."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from h2k_engines import Engine
from numpy.typing import NDArray

from h2k_rt.person.crop import Pyramid, Roi, roi_matrix, transform
from h2k_rt.person.detector import circle_roi

SIDE = 256
#: Landmark index after mirroring: left and right change places (nose, eyes, ears, mouth, then pairs).
_MIRRORED = (
    0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20,
    19, 22, 21, 24, 23, 26, 25, 28, 27, 30, 29, 32, 31, 33, 34, 35, 36, 37, 38,
)  # fmt: skip
#: Grey level -> 0..1 with dark tones lifted.
_LIFTED = (np.arange(256, dtype=np.float32) / 255) ** np.float32(0.7)
_CENTRE, _RIM = 33, 34


@dataclass(frozen=True)
class Body:
    """What the network saw of one person.

    Attributes:
        points: (39, 3) float64: photo x, y and depth z, all in photo pixels (z towards the scene, hips at 0).
        visible: (39,) 0..1: not hidden; present: (39,) 0..1: inside the window.
        score: 0..1, that there is a person at all.
        mask: (256, 256) float32, probability that a pixel of the window ``roi`` is the person.
    """

    points: NDArray[np.float64]
    visible: NDArray[np.float64]
    present: NDArray[np.float64]
    score: float
    mask: NDArray[np.float32]
    roi: Roi

    @property
    def confidence(self) -> NDArray[np.float64]:
        """(39,) visible and present."""
        return self.visible * self.present

    @property
    def next_roi(self) -> Roi:
        """The window that the landmarks themselves ask for."""
        return circle_roi(self.points[_CENTRE, :2], self.points[_RIM, :2])


def look(engine: Engine, photo: Pyramid, roi: Roi, mirror: bool = False, lift: bool = False) -> Body:
    """Run once in the window ``roi``.

    ``mirror``: show the network the mirrored window and mirror its answer back; ``lift``: show dark tones lighter.
    """
    picture = photo.crop(roi, SIDE)
    if mirror:
        picture = picture[:, ::-1]
    tones = _LIFTED[picture] if lift else picture.astype(np.float32) * np.float32(1 / 255)
    out = engine.run({"input_1": np.ascontiguousarray(tones[None])})
    rows = out["Identity"].reshape(39, 5).astype(np.float64)
    # The logits run into the hundreds: only their sigmoids can be averaged.
    mask = np.asarray(_sigmoid(out["Identity_2"][0, :, :, 0]), np.float32)
    if mirror:
        rows[:, 0] = SIDE - rows[:, 0]
        rows = rows[list(_MIRRORED)]
        mask = mask[:, ::-1]
    xy = transform(roi_matrix(roi, SIDE), rows[:, :2])
    points = np.column_stack([xy, rows[:, 2] * (roi.size / SIDE)])
    score = float(out["Identity_1"].reshape(-1)[0])
    return Body(points, _sigmoid(rows[:, 3]), _sigmoid(rows[:, 4]), score, np.ascontiguousarray(mask), roi)


def track(engine: Engine, photo: Pyramid, roi: Roi, steps: int = 3) -> Body:
    """Look, move the window to where the landmarks ask for it, and look again until it stands still (``steps`` looks at most)."""
    body = look(engine, photo, roi)
    for _ in range(steps - 1):
        after = body.next_roi
        moved = math.hypot(after.x - body.roi.x, after.y - body.roi.y) / max(body.roi.size, 1e-9)
        resized = abs(math.log(max(after.size, 1e-9) / max(body.roi.size, 1e-9)))
        turned = abs(math.remainder(after.angle - body.roi.angle, 2 * math.pi))
        if body.score < 0.05 or after.size < 2 or max(moved, resized, turned) < 0.01:
            break
        body = look(engine, photo, after)
    return body


def both_sides(engine: Engine, photo: Pyramid, body: Body) -> Body:
    """Mean of ``body`` and of a look at the mirrored window, its dark tones lifted: the network's left-right bias cancels."""
    other = look(engine, photo, body.roi, mirror=True, lift=True)
    return Body(
        (body.points + other.points) / 2,
        (body.visible + other.visible) / 2,
        (body.present + other.present) / 2,
        max(body.score, other.score),
        np.asarray((body.mask + other.mask) / 2, np.float32),
        body.roi,
    )


def _sigmoid(x: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))
