"""The low-resolution networks: normals and depth of the 256 x 256 picture, trained together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from h2k_rt.constants import METHOD
from h2k_rt.data.dataset import Sample
from h2k_rt.training import sheets
from h2k_rt.training.augment import NetworkPicture, mirrored_joints, network_picture
from h2k_rt.training.compiled import compiled
from h2k_rt.training.config import LossConfig, TrainingConfig
from h2k_rt.training.data import Collate, ExampleMaker, Source, check_sample
from h2k_rt.training.figures import depth_figures, normal_figures
from h2k_rt.training.losses import normal_from_depth
from h2k_rt.training.nets import LOW_NAMES
from h2k_rt.training.objective import depth_terms, normal_terms
from h2k_rt.training.state import Networks
from h2k_rt.training.update import Update

#: Canvas pixels of a low-resolution pixel.
_FACTOR = METHOD.size // METHOD.low_size


@dataclass(frozen=True)
class LowExamples:
    """Makes a window of the low-resolution picture with its depth: ``picture`` (3, h, w) and ``depth`` (2, h, w)."""

    config: TrainingConfig
    augmented: bool = True

    def __call__(self, source: Source, index: int, rng: np.random.Generator) -> dict[str, Any]:
        sample = source.read(index)
        check_sample(sample, source.name(index))
        low = self.config.low
        if self.augmented and rng.random() < low.flip:
            sample = mirrored(sample)
        picture, depth = low_maps(sample, self.config, rng, self.augmented)
        if self.augmented:
            rows, columns = person_window(depth[0] > 0, low.window, low.window_jitter, rng)
            picture, depth = picture[:, rows, columns], depth[:, rows, columns]
        return {"picture": torch.from_numpy(picture.copy()), "depth": torch.from_numpy(depth.copy())}


def low_maps(
    sample: Sample, config: TrainingConfig, rng: np.random.Generator, augmented: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Low-resolution picture (3, n, n) and depth (2, n, n) of a sample of any size that is a multiple of n = 256."""
    assert sample.rgb is not None and sample.mask is not None and sample.depth is not None
    augment = config.augment if augmented else None
    picture = network_picture(sample.rgb, sample.mask, config.model.background_value, augment, rng)
    return reduced_picture(picture), reduced_depth(sample.depth)


def reduced_picture(picture: NetworkPicture) -> NDArray[np.float32]:
    """``picture.low_picture`` of a picture that is known where the person is: (3, n, n) float32."""
    n = METHOD.low_size
    factor = picture.size // n
    out = np.full((3, n, n), picture.outside, np.float32)
    x0, y0, x1, y1 = picture.box
    # The box in whole cells; the part that sticks out is background.
    left, top = x0 // factor, y0 // factor
    right, bottom = -(-x1 // factor), -(-y1 // factor)
    cells = np.full(((bottom - top) * factor, (right - left) * factor, 3), picture.outside, np.float32)
    cells[y0 - top * factor : y1 - top * factor, x0 - left * factor : x1 - left * factor] = picture.values
    if factor > 1:
        near, far = factor // 2 - 1, factor // 2
        total = cells[near::factor, near::factor] + cells[near::factor, far::factor]
        total += cells[far::factor, near::factor]
        total += cells[far::factor, far::factor]
        cells = total * np.float32(0.25)
    out[:, top:bottom, left:right] = cells.transpose(2, 0, 1)
    return out


def reduced_depth(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depth (2, S, S) sub-sampled to (2, n, n), ``[3::8, 3::8]`` at 2048 (SPEC 9)."""
    factor = depth.shape[-1] // METHOD.low_size
    first = max(0, factor // 2 - 1)
    return np.ascontiguousarray(depth[:, first::factor, first::factor])


def person_window(person: NDArray[np.bool_], window: tuple[int, int], jitter: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a window around the person, displaced by up to ``jitter`` pixels; anywhere along it if it is larger."""
    slices = []
    for axis, length in enumerate(window):
        size = person.shape[axis]
        there = np.flatnonzero(person.any(1 - axis))
        first, last = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, size)
        middle = (first + last - length) / 2
        reach = max(jitter, (last - first - length) / 2)
        start = round(middle + rng.uniform(-reach, reach))
        start = min(max(0, start), size - length)
        slices.append(slice(start, start + length))
    return slices[0], slices[1]


def mirrored(sample: Sample) -> Sample:
    """The sample seen in a mirror."""

    def flip(value: NDArray[Any] | None, axis: int) -> Any:
        return None if value is None else np.ascontiguousarray(np.flip(value, axis))

    return replace(
        sample,
        rgb=flip(sample.rgb, 1),
        mask=flip(sample.mask, 1),
        depth=flip(sample.depth, 2),
        joints=mirrored_joints(sample.joints, sample.size),
    )


def both_normals(depth: Tensor) -> Tensor:
    """Encoded normals (B, 6, H, W) of front and back depth (B, 2, H, W)."""
    return torch.cat([normal_from_depth(depth[:, :1]), normal_from_depth(depth[:, 1:])], 1)


def _low_normal_terms(raw: Tensor, depth: Tensor, weights: LossConfig) -> dict[str, Tensor]:
    return normal_terms(raw, both_normals(depth), weights, _FACTOR)


def _low_depth_terms(raw: Tensor, depth: Tensor, weights: LossConfig) -> dict[str, Tensor]:
    return depth_terms(raw, depth, weights, weights.depth_background, _FACTOR)


class LowStage:
    """Steps of the low-resolution networks."""

    name, number = "low", 1
    maker: ExampleMaker
    holdout_maker: ExampleMaker
    collate: Collate

    def __init__(self, config: TrainingConfig, networks: tuple[str, ...], source: Source) -> None:
        self.config, self.source = config, source
        self.networks = tuple(name for name in LOW_NAMES if name in networks)
        self.batch = config.low.batch
        self.maker, self.holdout_maker = LowExamples(config), LowExamples(config, augmented=False)
        self.collate = torch.utils.data.default_collate
        self._normal_terms = compiled(_low_normal_terms, config)
        self._depth_terms = compiled(_low_depth_terms, config)

    def updates(self, batch: dict[str, Tensor], networks: Networks) -> Iterator[Update]:
        """Losses of a batch, network after network."""
        picture, depth = batch["picture"], batch["depth"]
        samples = batch["sample"].tolist()
        if "low_normal" in self.networks:
            raw = networks.raw["low_normal"](picture)
            yield Update(("low_normal",), self._normal_terms(raw, depth, self.config.loss), samples)
            normals = raw.detach().relu()
        else:
            with torch.no_grad():
                normals = networks.averaged_raw("low_normal")(picture).relu()
        if "low_depth" in self.networks:
            raw = networks.raw["low_depth"](picture, normals)
            yield Update(("low_depth",), self._depth_terms(raw, depth, self.config.loss), samples)

    def measure(self, batch: dict[str, Tensor], networks: Networks) -> dict[str, float]:
        """Figures of one held-out sample."""
        normals, raw = self._predictions(batch["picture"], networks)
        depth = batch["depth"].cpu()
        found = {f"low/{name}": v for name, v in normal_figures(normals.cpu(), both_normals(depth), _FACTOR).items()}
        figures = depth_figures(F.relu6(raw[0, :2]).cpu(), raw[0, 2].cpu() > 0, depth[0])
        return found | {f"low/{name}": value for name, value in figures.items()}

    def pictures(self, batch: dict[str, Tensor], networks: Networks) -> Tensor:
        """For each sample: picture, front and back normals with their targets, front and back depth with their targets."""
        normals, raw = self._predictions(batch["picture"][: sheets.ROWS], networks)
        rows = []
        for picture, ours, value, depth in zip(batch["picture"], normals, raw, batch["depth"], strict=False):
            true, person = both_normals(depth[None])[0], depth[0] > 0
            pairs = zip(sheets.encoded(ours), sheets.encoded(true), strict=True)
            reliefs = zip(sheets.relief(value[:2], person), sheets.relief(depth, person), strict=True)
            rows.append([sheets.seen(picture), *(p for pair in pairs for p in pair), *(p for pair in reliefs for p in pair)])
        return sheets.sheet(rows)

    @torch.no_grad()
    def _predictions(self, picture: Tensor, networks: Networks) -> tuple[Tensor, Tensor]:
        normals = networks.averaged_raw("low_normal")(picture).relu()
        return normals, networks.averaged_raw("low_depth")(picture, normals)
