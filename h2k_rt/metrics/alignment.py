"""What may move before two meshes are compared. Never a fit of the surfaces to each other (ICP): it hides errors of pose."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from h2k_rt.metrics.shape import Shape

#: "none"; "z": along the camera's axis, which one picture says least about; "centroid": along all three axes.
Alignment = Literal["none", "z", "centroid"]


def shift_between(prediction: Shape, truth: Shape, alignment: Alignment) -> NDArray[np.float64]:
    """(3,) what to add to the prediction: the difference of the surfaces' area centroids along the axes that may move."""
    if alignment == "none":
        return np.zeros(3)
    shift = truth.centroid - prediction.centroid
    if alignment == "z":
        shift[:2] = 0
    return shift


def at_height(shape: Shape, height: float) -> Shape:
    """The mesh scaled about its middle in x and z, feet on y = 0, so that it is ``height`` tall.

    Raises:
        ValueError: the mesh is flat in y.
    """
    if not shape.height > 0:
        raise ValueError(f"{shape.name}: has no height, so it cannot be brought to {height:g} m")
    low, high = shape.bounds
    scale = height / shape.height
    foot = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return shape.moved(scale, -scale * foot)
