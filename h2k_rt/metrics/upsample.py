"""Maps of a lower resolution read at the pixels of the canvas that they stand for."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def on_canvas(
    values: NDArray[np.float32],
    present: NDArray[np.float32],
    window: tuple[slice, slice],
    size: int,
    offset: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.float32]:
    """Values (n, n) of the whole canvas in a window of it, bilinear among those present; 0 where none is near.

    With k = size / n, pixel i of the map is pixel ``k i + k / 2 - 1`` of the canvas (SPEC 9: low targets are sub-sampled
    ``[3::8]``); for k = 1 pixel i.

    Args:
        present: (n, n) float32, 1 where there is a value, else 0.
        window: rows and columns of the canvas, which is ``size`` pixels wide.
        offset: x and y, in pixels of the map: how far beside its pixel each value was taken.
    """
    rows, columns = window
    factor = size / values.shape[0]
    first = factor / 2 - 1 if factor > 1 else 0.0
    x0, y0 = (columns.start - first) / factor - offset[0], (rows.start - first) / factor - offset[1]
    matrix = np.array([[1 / factor, 0, x0], [0, 1 / factor, y0]])
    shape = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    total = cv2.warpAffine(values * present, matrix, shape, flags=flags)
    weight = cv2.warpAffine(present, matrix, shape, flags=flags)
    return np.where(weight > 1e-3, total / np.maximum(weight, np.float32(1e-3)), np.float32(0)).astype(np.float32)
