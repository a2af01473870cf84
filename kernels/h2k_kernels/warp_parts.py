"""Warp every part's crop of the picture and of the low front normal upright (CPU twin).

Computes only the crops' own pixels; there is no full-size warped picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_kernels.sampling import pixel_affine, run_parallel, sample_bilinear, zero_bordered


@dataclass(frozen=True)
class Crops:
    """The crops that one network reads: which parts (rows of the transform array), and their size in pixels."""

    parts: tuple[int, ...]
    height: int
    width: int


def warp_parts(
    picture: NDArray[np.float32],
    low_normals: NDArray[np.float32],
    to_canvas: NDArray[np.float32],
    groups: Sequence[Crops],
    threads: int = 1,
) -> list[NDArray[np.float32]]:
    """Crops of picture and upsampled low normal, in each part's canonical frame (SPEC 3 and 4.1).

    Bilinear, zero padding, half-pixel centres; the crop is the centred window of a canonical canvas as large as the picture.

    Args:
        picture: (N, N, 3) float32, normalised to [-1, 1].
        low_normals: (3, n, n) float32, encoded front normals; upsampled bilinearly to N.
        to_canvas: (P, 2, 3) float32, canonical -> canvas in normalised coordinates.
        groups: the networks' crops.

    Returns:
        For each group (B, 6, h, w) float32: picture in channels 0..2, normals in 3..5.
    """
    size = picture.shape[0]
    normals = cv2.resize(np.ascontiguousarray(low_normals.transpose(1, 2, 0)), (size, size), interpolation=cv2.INTER_LINEAR)
    outputs = [np.empty((len(g.parts), 6, g.height, g.width), np.float32) for g in groups]

    def warp(job: tuple[int, int]) -> None:
        group_index, slot = job
        group = groups[group_index]
        matrix = to_canvas[group.parts[slot]]
        top, left = size // 2 - group.height // 2, size // 2 - group.width // 2
        rows, columns = range(top, top + group.height), range(left, left + group.width)
        x0, y0, x1, y1 = _reach(matrix, rows, columns, size)
        crop = np.zeros((group.height, group.width, 6), np.float32)
        if x1 > x0 and y1 > y0:
            region = zero_bordered(np.concatenate([picture[y0:y1, x0:x1], normals[y0:y1, x0:x1]], axis=2), 6)
            sample_bilinear(region, (x0, y0), matrix, size, rows, columns, crop)
        outputs[group_index][slot] = crop.transpose(2, 0, 1)

    jobs = [(g, s) for g, group in enumerate(groups) for s in range(len(group.parts))]
    run_parallel(warp, jobs, threads)
    return outputs


def _reach(matrix: NDArray[np.float32], rows: range, columns: range, size: int) -> tuple[int, int, int, int]:
    """Bounding box on the canvas (x0, y0, x1, y1) of all pixels that bilinear sampling of the window can read."""
    corners = np.array([[x, y, 1] for x in (columns[0], columns[-1]) for y in (rows[0], rows[-1])])
    xy = corners @ pixel_affine(matrix, size).T
    # One pixel of slack on each side for rounding.
    low, high = np.floor(xy.min(0)).astype(int) - 1, np.floor(xy.max(0)).astype(int) + 3
    x0, y0 = np.clip(low, 0, size)
    x1, y1 = np.clip(high, 0, size)
    return int(x0), int(y0), int(x1), int(y1)
