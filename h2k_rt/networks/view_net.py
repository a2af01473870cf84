"""The multi-scale, multi-view implicit function (Li, Oskarsson, Heyden, ICPR 2020), with PIFu (Saito et al. 2019) as a case of it.

The paper does not publish channels, merging or widths; these are PIFu's, scaled by a width factor. What differs is where features
come from: PIFu reads those of one scale (its last stage); here each stage works at half the resolution of the one before, and
a point reads the features of all of them, from local to global. The most local may be the picture itself,
filtered once: our choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

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
        local: channels of a map at the picture's own resolution, which every stage reads too; 0: none, as PIFu.

    Raises:
        ValueError: a number is out of range.
    """

    width: float = 1.0
    stages: int = 4
    multi_scale: bool = True
    merge: str = "mean"
    picture: int = 512
    local: int = 0

    def __post_init__(self) -> None:
        base = _BASE * self.width
        if not math.isfinite(base) or base < 32 or base % 32:
            raise ValueError(f"width {self.width} gives {base:g} channels; they must be a positive multiple of 32")
        if not 1 <= self.stages <= 6:
            raise ValueError(f"{self.stages} stages: there must be 1 to 6")
        if self.local < 0 or self.local % 8 or (self.local and not self.multi_scale):
            raise ValueError(f"{self.local} local channels: they must be a multiple of 8, and 0 with a single scale")
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
        """Channels of each map that a point reads: half a stage's of every scale, after the local ones; PIFu: the last stage's."""
        return self._local(self.local) + (self.base // 2,) * self.stages if self.multi_scale else (self.base,)

    @property
    def feature_sizes(self) -> tuple[int, ...]:
        """Side in pixels of each of these maps."""
        first = self.picture // 4
        return self._local(self.picture) + tuple(first >> s for s in range(self.stages)) if self.multi_scale else (first,)

    def _local(self, value: int) -> tuple[int, ...]:
        return (value,) if self.local else ()

    @property
    def point_channels(self) -> int:
        """What the point network reads of one view: all features and the depth."""
        return sum(self.feature_channels) + 1

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class ViewEncoder(nn.Module):
    """Picture (B, 5, S, S) -> the local map if there is one, and for each stage a map (B, C, s, s), which training supervises."""

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
        stages, out = range(shape.stages), shape.feature_channels[-1]
        self.local = nn.Conv2d(CHANNELS, shape.local, 3, padding=1) if shape.local else None
        self.hourglasses = nn.ModuleList(nn.Sequential(Hourglass(c), Residual(c, c)) for _ in stages)
        self.heads = nn.ModuleList(nn.Sequential(nn.Conv2d(c, c, 1), group_norm(c), nn.ReLU()) for _ in stages)
        self.features = nn.ModuleList(nn.Conv2d(c, out, 1) for _ in stages)
        # For training only: front and back depth, so that features know the shape that they are to tell points of.
        self.depths = nn.ModuleList(nn.Conv2d(out, 2, 1) for _ in stages)
        self.onward = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in stages[1:])
        self.back = nn.ModuleList(nn.Conv2d(out, c, 1) for _ in stages[1:])

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        maps = [] if self.local is None else [self.local(picture)]
        x = self.stem(picture)
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

    def forward(self, features: Tensor) -> Tensor:
        """Occupancy in 0..1; the exported graph.

        Args:
            features: (V, C, 1, N), the views of one person.

        Returns:
            (1, 1, 1, N).
        """
        value = features
        *hidden, last = self.layers
        for number, layer in enumerate(hidden):
            value = F.relu(layer(value if number == 0 else torch.cat((value, features), 1)))
            if number == _MERGED_AFTER - 1:
                score = None if self.score is None else self.score(value)
                value, features = (_merged(x, score, 0) for x in (value, features))
        with torch.autocast(value.device.type, enabled=False):
            return torch.sigmoid(last(torch.cat((value, features), 1).float()))

    def rows(self, features: Tensor, read: Sequence[int] | None = None) -> Tensor:
        """The same for training, as matrix products over rows: no joined inputs are copied, and unread channels cost nothing.

        Args:
            features: (B, V, N, R), the V views of each person.
            read: which of the C channels the R are, the others being 0; None: all.

        Returns:
            (B, N).
        """
        first, *hidden, last = self.layers
        value = F.relu(_joined(first, features[..., :0], features, read))
        for number, layer in enumerate(hidden, 1):
            if number == _MERGED_AFTER:
                score = None if self.score is None else F.linear(value, self.score.weight[:, :, 0, 0], self.score.bias)
                value, features = (_merged(x, score, 1)[:, 0] for x in (value, features))
            value = F.relu(_joined(layer, value, features, read))
        with torch.autocast(value.device.type, enabled=False):
            return torch.sigmoid(_joined(last, value.float(), features.float(), read))[..., 0]


def _joined(layer: nn.Module, value: Tensor, features: Tensor, read: Sequence[int] | None) -> Tensor:
    """The 1x1 convolution of ``value`` and ``features``, joined; ``read`` as in :meth:`PointNet.rows`."""
    assert isinstance(layer, nn.Conv2d)
    own, weight = value.shape[-1], layer.weight[:, :, 0, 0]
    known = weight[:, own:] if read is None else weight[:, own:][:, list(read)]
    out = F.linear(features, known, layer.bias)
    return out + F.linear(value, weight[:, :own]) if own else out


def _merged(x: Tensor, score: Tensor | None, axis: int) -> Tensor:
    """Mean over an axis, weighted by the scores' softmax if there are any."""
    return x.mean(axis, keepdim=True) if score is None else (x * torch.softmax(score, axis)).sum(axis, keepdim=True)


class Seen(NamedTuple):
    """What the networks say of a batch, after each stage.

    Attributes:
        occupancies: (B, N) each, the last one the result.
        depths: (B, V, 2, s, s) each, of the stage's map: nearest and farthest surface along each camera's axis, in radii of the
            cube from its middle, as the points' depth is.
    """

    occupancies: list[Tensor]
    depths: list[Tensor]


class ViewNet(nn.Module):
    """Both networks."""

    def __init__(self, shape: ViewNetShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = ViewEncoder(shape)
        self.points = PointNet(shape)

    def forward(self, pictures: Tensor, projections: Tensor, points: Tensor) -> Seen:
        """Occupancies and depths after each stage.

        Stage k of the multi-scale network reads the scales up to k, those that follow being 0; PIFu's reads the map of stage k.

        Args:
            pictures: (B, V, 5, S, S); projections: (B, V, 3, 4); points: (B, N, 3) in the cube.
        """
        shape, views = self.shape, pictures.shape[1]
        maps = self.encoder(pictures.flatten(0, 1))
        flat = projections.flatten(0, 1)
        sampled = [_rows(sample_maps((m,), flat, points)[:, :-1], views) for m in maps]
        depth = _rows(sample_maps((), flat, points), views)
        results, depths = [], []
        for stage, head in enumerate(self.encoder.depths):
            with torch.autocast(points.device.type, enabled=False):
                depths.append(head(maps[stage - shape.stages].float()).unflatten(0, (-1, views)))
            if shape.multi_scale:
                known = len(maps) - shape.stages + stage + 1
                count = sum(shape.feature_channels[:known])
                read = [*range(count), shape.point_channels - 1]
                results.append(self.points.rows(torch.cat((*sampled[:known], depth), -1), read))
            else:
                results.append(self.points.rows(torch.cat((sampled[stage], depth), -1)))
        return Seen(results, depths)


def _rows(features: Tensor, views: int) -> Tensor:
    """(B V, C, 1, N) -> (B, V, N, C)."""
    return features[:, :, 0].transpose(1, 2).unflatten(0, (-1, views))


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
