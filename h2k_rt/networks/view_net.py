"""The multi-scale, multi-view implicit function (Li, Oskarsson, Heyden, ICPR 2020), with PIFu (Saito et al. 2019) as a case of it.

The paper does not publish channels, merging or widths; these are PIFu's, scaled by a width factor. What differs is where features
come from: PIFu reads those of one scale (its last stage); here each stage works at half the resolution of the one before, and
a point reads the features of all of them, from local to global.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from h2k_rt.networks.hourglass import Hourglass, Residual, group_norm
from h2k_rt.views.network_picture import CHANNELS

MERGES = ("mean", "attention")
#: Channels of an hourglass and of the point network's layers at width 1 (PIFu's).
_BASE, _LAYERS = 256, (1024, 512, 256, 128)
#: Views are merged after so many layers.
_MERGED_AFTER = 3
_LEAST_DEPTH = 1e-6


@dataclass(frozen=True)
class ViewNetShape:
    """What a network's weights fit.

    Attributes:
        width: channels as a share of PIFu's; channels are multiples of 32.
        stages: hourglasses, one behind the other.
        multi_scale: each stage at half the resolution of the one before, and all of them read; off: PIFu.
        merge: one of ``MERGES``: mean over the views, or a mean with learned weights.
        picture: side of the network's picture in pixels.

    Raises:
        ValueError: a number is out of range.
    """

    width: float = 1.0
    stages: int = 4
    multi_scale: bool = True
    merge: str = "mean"
    picture: int = 512

    def __post_init__(self) -> None:
        base = _BASE * self.width
        if not math.isfinite(base) or base < 32 or base % 32:
            raise ValueError(f"width {self.width} gives {base:g} channels; they must be a positive multiple of 32")
        if not 1 <= self.stages <= 6:
            raise ValueError(f"{self.stages} stages: there must be 1 to 6")
        if self.merge not in MERGES:
            raise ValueError(f"merge must be {' or '.join(MERGES)}, not {self.merge!r}")
        if self.picture < 64 or self.picture % self.stride:
            raise ValueError(
                f"a picture of {self.picture} pixels: with {self.stages} stages it must be a multiple of {self.stride}"
            )

    @property
    def base(self) -> int:
        """Channels of an hourglass."""
        return int(_BASE * self.width)

    @property
    def stride(self) -> int:
        """What the picture's side must be a multiple of: the stem divides by 4, each further stage by 2, an hourglass by 4."""
        return 16 << (self.stages - 1 if self.multi_scale else 0)

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of each map that a point reads: half a stage's of every scale; PIFu: those of the last stage."""
        return (self.base // 2,) * self.stages if self.multi_scale else (self.base,)

    @property
    def feature_sizes(self) -> tuple[int, ...]:
        """Side in pixels of each of these maps."""
        first = self.picture // 4
        return tuple(first >> s for s in range(self.stages)) if self.multi_scale else (first,)

    @property
    def point_channels(self) -> int:
        """What the point network reads of one view: all features and the depth."""
        return sum(self.feature_channels) + 1

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class ViewEncoder(nn.Module):
    """Picture (B, 5, S, S) -> for each stage a map (B, C, s, s), all of which training supervises."""

    def __init__(self, shape: ViewNetShape) -> None:
        super().__init__()
        c = shape.base
        self.multi_scale = shape.multi_scale
        self.stem = nn.Sequential(
            nn.Conv2d(CHANNELS, c // 4, 7, stride=2, padding=3),
            group_norm(c // 4),
            nn.ReLU(),
            Residual(c // 4, c // 2),
            nn.AvgPool2d(2),
            Residual(c // 2, c // 2),
            Residual(c // 2, c),
        )
        stages, out = range(shape.stages), shape.feature_channels[0]
        self.hourglasses = nn.ModuleList(nn.Sequential(Hourglass(c), Residual(c, c)) for _ in stages)
        self.heads = nn.ModuleList(nn.Sequential(nn.Conv2d(c, c, 1), group_norm(c), nn.ReLU()) for _ in stages)
        self.features = nn.ModuleList(nn.Conv2d(c, out, 1) for _ in stages)
        self.onward = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in stages[1:])
        self.back = nn.ModuleList(nn.Conv2d(out, c, 1) for _ in stages[1:])

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        x, maps = self.stem(picture), []
        for s, (hourglass, head, features) in enumerate(zip(self.hourglasses, self.heads, self.features, strict=True)):
            value = head(hourglass(x))
            maps.append(features(value))
            if s < len(self.onward):
                x = x + self.onward[s](value) + self.back[s](maps[-1])
                if self.multi_scale:
                    x = F.avg_pool2d(x, 2)
        return tuple(maps)


class PointNet(nn.Module):
    """Features of points in every view -> occupancy. Layers are 1x1 convolutions over (views, channels, 1, points)."""

    def __init__(self, shape: ViewNetShape) -> None:
        super().__init__()
        inputs = shape.point_channels
        widths = [max(8, int(n * shape.width)) for n in _LAYERS]
        before = [inputs, *(n + inputs for n in widths)]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(before, [*widths, 1], strict=True))
        self.score = nn.Conv2d(widths[_MERGED_AFTER - 1], 1, 1) if shape.merge == "attention" else None

    def forward(self, features: Tensor, views: int | None = None) -> Tensor:
        """Occupancy in 0..1.

        Args:
            features: (B V, C, 1, N), the views of a person one after the other.
            views: V; None: all are of one person.

        Returns:
            (B, 1, 1, N).
        """
        value = features
        *hidden, last = self.layers
        for number, layer in enumerate(hidden):
            value = F.relu(layer(value if number == 0 else torch.cat((value, features), 1)))
            if number == _MERGED_AFTER - 1:
                value, features = self._merged(value, features, views)
        with torch.autocast(value.device.type, enabled=False):
            return torch.sigmoid(last(torch.cat((value, features), 1).float()))

    def _merged(self, value: Tensor, features: Tensor, views: int | None) -> tuple[Tensor, Tensor]:
        def split(x: Tensor) -> Tensor:
            return x if views is None else x.unflatten(0, (-1, views))

        axis, keep = (0, True) if views is None else (1, False)
        if self.score is None:
            return split(value).mean(axis, keepdim=keep), split(features).mean(axis, keepdim=keep)
        weights = torch.softmax(split(self.score(value)), axis)
        return (split(value) * weights).sum(axis, keepdim=keep), (split(features) * weights).sum(axis, keepdim=keep)


class ViewNet(nn.Module):
    """Both networks."""

    def __init__(self, shape: ViewNetShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = ViewEncoder(shape)
        self.points = PointNet(shape)

    def forward(self, pictures: Tensor, projections: Tensor, points: Tensor) -> list[Tensor]:
        """Occupancies after each stage, the last one the result; each (B, N).

        Stage k of the multi-scale network reads the scales up to k, those that follow being 0; PIFu's reads the map of stage k.

        Args:
            pictures: (B, V, 5, S, S); projections: (B, V, 3, 4); points: (B, N, 3) in the cube.
        """
        views = pictures.shape[1]
        maps = self.encoder(pictures.flatten(0, 1))
        flat = projections.flatten(0, 1)
        sampled = [sample_maps((m,), flat, points)[:, :-1] for m in maps]
        depth = sample_maps((), flat, points)
        results = []
        for stage in range(len(maps)):
            if self.shape.multi_scale:
                read = [s if i <= stage else torch.zeros_like(s) for i, s in enumerate(sampled)]
            else:
                read = [sampled[stage]]
            results.append(self.points(torch.cat((*read, depth), 1), views)[:, 0, 0])
        return results


def sample_maps(maps: Sequence[Tensor], projections: Tensor, points: Tensor) -> Tensor:
    """What ``h2k_kernels.sample_features`` computes, for training, in full precision: (B V, C, 1, N), the depth last.

    Args:
        maps: (B V, C_s, h_s, w_s); projections: (B V, 3, 4); points: (B, N, 3).
    """
    with torch.autocast(points.device.type, enabled=False):
        return _sample_maps([m.float() for m in maps], projections, points)


def _sample_maps(maps: Sequence[Tensor], projections: Tensor, points: Tensor) -> Tensor:
    views = len(projections) // len(points)
    each = points.repeat_interleave(views, 0)
    u, v, w = (each @ projections[:, :, :3].transpose(1, 2) + projections[:, None, :, 3]).unbind(-1)
    ahead = w > _LEAST_DEPTH
    w_held = torch.where(ahead, w, torch.ones_like(w))
    grid = torch.stack((u / w_held, v / w_held), -1) * 2 - 1
    grid = torch.where(ahead[..., None], grid, torch.full_like(grid, -1e3)).clamp(-1e3, 1e3)[:, None]
    depth = (w - projections[:, 2, 3, None])[:, None, None]
    sampled = [F.grid_sample(m, grid, align_corners=False) for m in maps]
    return torch.cat((*sampled, depth), 1)
