"""Pictures for TensorBoard: rows of what a network sees, gives and should give."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: Rows of a sheet, and pixels of the longer side of one of its pictures.
ROWS, SIDE = 4, 192


def seen(picture: Tensor) -> Tensor:
    """A normalised picture (3, h, w) as colours in 0..1."""
    return ((picture + 1) / 2).clamp(0, 1)


def encoded(normals: Tensor) -> list[Tensor]:
    """Front and back of encoded normals (6, h, w)."""
    return [normals[:3].clamp(0, 1), normals[3:].clamp(0, 1)]


def relief(depth: Tensor, person: Tensor) -> list[Tensor]:
    """Front and back of a depth (2, h, w) in grey, from its nearest to its farthest on the person; black elsewhere."""
    if not person.any():
        return [torch.zeros(3, *depth.shape[1:])] * 2
    on = depth[:, person]
    low, high = on.min(), on.max()
    grey = ((high - depth) / (high - low).clamp_min(1e-3)).clamp(0, 1) * person
    return [side.expand(3, -1, -1) for side in grey]


def sheet(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Pictures (3, h, w) of any sizes in rows, (3, H, W)."""
    lines = []
    for row in rows[:ROWS]:
        shrunk = []
        for picture in row:
            share = SIDE / max(picture.shape[1:])
            size = (max(1, round(picture.shape[1] * share)), max(1, round(picture.shape[2] * share)))
            small = F.interpolate(picture[None].float().cpu(), size=size, mode="area")[0]
            shrunk.append(F.pad(small, (0, SIDE - size[1], 0, SIDE - size[0])))
        lines.append(torch.cat(shrunk, 2))
    width = max(line.shape[2] for line in lines)
    return torch.cat([F.pad(line, (0, width - line.shape[2])) for line in lines], 1)
