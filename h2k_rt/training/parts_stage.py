"""The five part-normal networks: upright crops of the 2048 x 2048 picture with the low-resolution front normals (SPEC 3, 4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from h2k_kernels.sampling import sample_bilinear, zero_bordered
from numpy.typing import NDArray
from torch import Tensor

from h2k_rt.constants import METHOD, PART_GROUPS, PartGroup
from h2k_rt.parts import fit_parts
from h2k_rt.training import sheets
from h2k_rt.training.augment import Box, network_picture, person_box
from h2k_rt.training.compiled import compiled
from h2k_rt.training.config import TrainingConfig
from h2k_rt.training.data import Collate, ExampleMaker, Source, check_sample
from h2k_rt.training.figures import normal_figures
from h2k_rt.training.low_stage import both_normals, mirrored, person_window, reduced_picture
from h2k_rt.training.nets import PART_NAMES
from h2k_rt.training.objective import normal_terms
from h2k_rt.training.state import Networks
from h2k_rt.training.update import Update

#: A crop of which less is person is left out.
LEAST_PERSON = 0.02
#: A window that holds the person is displaced by up to so many pixels.
WINDOW_JITTER = 16
_GROUPS = {group.name: group for group in PART_GROUPS}


@dataclass(frozen=True)
class PartExamples:
    """Makes the crops of one sample.

    ``low``: (3, 256, 256), the low-resolution picture; ``crops``: for each group with K > 0 usable crops ``picture`` (K, 3, h, w),
    ``target`` (K, 6, h, w) encoded normals of the full-resolution depth, ``to_canvas`` (K, 2, 3), ``corner`` (K, 2) row and
    column of the crop's window in the whole crop.
    """

    config: TrainingConfig
    groups: tuple[str, ...]
    augmented: bool = True

    def __call__(self, source: Source, index: int, rng: np.random.Generator) -> dict[str, Any]:
        sample = source.read(index)
        check_sample(sample, source.name(index))
        if self.augmented and rng.random() < self.config.parts.flip:
            sample = mirrored(sample)
        assert sample.rgb is not None and sample.mask is not None and sample.depth is not None
        augment = self.config.augment if self.augmented else None
        picture = network_picture(sample.rgb, sample.mask, self.config.model.background_value, augment, rng)
        whole = zero_bordered(picture.whole(), 3)
        normals, box = full_normals(sample.depth, sample.mask)
        framed = zero_bordered(normals, 6)
        crops = {}
        for name in self.groups:
            found = []
            for part, matrix in self._transforms(_GROUPS[name], sample.joints, rng):
                target = warped(framed, box[:2], matrix, part)
                person = target[..., 2] > 0
                if person.mean() >= LEAST_PERSON:
                    rows, columns = self._window(person, rng)
                    picture_crop = warped(whole, (0, 0), matrix, part)
                    found.append((picture_crop[rows, columns], target[rows, columns], matrix, (rows.start, columns.start)))
            if found:
                pictures, targets, matrices, corners = zip(*found, strict=True)
                crops[name] = {
                    "picture": stacked(pictures),
                    "target": stacked(targets),
                    "to_canvas": torch.from_numpy(np.stack(matrices)),
                    "corner": torch.tensor(corners),
                }
        return {"low": torch.from_numpy(reduced_picture(picture)), "crops": crops}

    def _window(self, person: NDArray[np.bool_], rng: np.random.Generator) -> tuple[slice, slice]:
        """The window of a crop that is trained on, around the person or somewhere on it; sides are multiples of 16."""
        height, width = person.shape
        share = self.config.parts.window if self.augmented else 1.0
        if share == 1:
            return slice(0, height), slice(0, width)
        sides = (max(16, round(height * share / 16) * 16), max(16, round(width * share / 16) * 16))
        return person_window(person, sides, WINDOW_JITTER, rng)

    def _transforms(
        self, group: PartGroup, joints: NDArray[np.float64], rng: np.random.Generator
    ) -> Iterator[tuple[PartGroup, NDArray[np.float32]]]:
        """Canonical -> canvas for some of a group's parts, drawn; each from its own draw of wrong joints."""
        settings = self.config.parts
        count = settings.crops[PART_NAMES.index(group.name)] if self.augmented else len(group.parts)
        order: list[int] = []
        while len(order) < count:
            order += rng.permutation(group.parts).tolist() if self.augmented else list(group.parts)
        for part in order[:count]:
            moved = joints.copy()
            if self.augmented and settings.joint_jitter:
                there = moved[:, 2] > 0
                moved[there, :2] += rng.normal(0, settings.joint_jitter, (int(there.sum()), 2))
            transforms = fit_parts(moved, METHOD.size)
            if transforms.problems[part] is None:
                yield group, transforms.to_canvas[part]


def full_normals(depth: NDArray[np.float32], mask: NDArray[np.uint8]) -> tuple[NDArray[np.float32], Box]:
    """Encoded normals of the full-resolution depth, (h, w, 6) float32, and where on the canvas they are; 0 elsewhere."""
    box = person_box(((depth[0] > 0) | (mask > 0)).astype(np.uint8), 2)
    x0, y0, x1, y1 = box
    normals = both_normals(torch.from_numpy(depth[None, :, y0:y1, x0:x1].copy()))
    return normals[0].permute(1, 2, 0).contiguous().numpy(), box


def warped(
    framed: NDArray[np.float32], origin: tuple[int, ...], matrix: NDArray[np.float32], group: PartGroup
) -> NDArray[np.float32]:
    """The crop (h, w, c) of a zero-bordered piece of the canvas in a part's frame, as ``h2k_kernels.warp_parts`` makes it."""
    size = METHOD.size
    top, left = size // 2 - group.height // 2, size // 2 - group.width // 2
    out = np.zeros((group.height, group.width, framed.shape[2]), np.float32)
    rows, columns = range(top, top + group.height), range(left, left + group.width)
    sample_bilinear(framed, (origin[0], origin[1]), matrix, size, rows, columns, out)
    return out


def stacked(crops: Sequence[NDArray[np.float32]]) -> Tensor:
    """Crops (h, w, c) as a batch (K, c, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2)))


def collate_parts(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch: crops of all examples group by group, with the place in the batch of the example that each comes from."""
    crops: dict[str, dict[str, Tensor]] = {}
    for name in PART_NAMES:
        found = [(place, example["crops"][name]) for place, example in enumerate(examples) if name in example["crops"]]
        if found:
            crops[name] = {key: torch.cat([crop[key] for _, crop in found]) for key in found[0][1]}
            crops[name]["of"] = torch.cat([torch.full((len(crop["picture"]),), place) for place, crop in found])
    low = torch.stack([example["low"] for example in examples])
    return {"low": low, "crops": crops, "sample": torch.tensor([example["sample"] for example in examples])}


def warp_prior(canvases: Sequence[Tensor], crops: Mapping[str, Tensor], group: PartGroup) -> Tensor:
    """Crops (K, 3, h, w) of the low-resolution front normals: the second half of a part network's input.

    Args:
        canvases: for each sample of the batch (1, 3, N, N), see :func:`upsampled`.
        crops: a group's part of a batch.
    """
    size = METHOD.size
    height, width = crops["picture"].shape[2:]
    top, left = size // 2 - group.height // 2, size // 2 - group.width // 2
    out = []
    for place, matrix, (row, column) in zip(crops["of"].tolist(), crops["to_canvas"], crops["corner"].tolist(), strict=True):
        y = (2 * (torch.arange(height, device=matrix.device) + top + row) + 1) / size - 1
        x = (2 * (torch.arange(width, device=matrix.device) + left + column) + 1) / size - 1
        y, x = torch.meshgrid(y, x, indexing="ij")
        grid = torch.stack([x, y, torch.ones_like(x)], -1) @ matrix.T
        out.append(F.grid_sample(canvases[place], grid[None], mode="bilinear", padding_mode="zeros", align_corners=False))
    return torch.cat(out)


def upsampled(low_normals: Tensor) -> list[Tensor]:
    """Low-resolution normals (B, 3, n, n), upsampled bilinearly to the canvas one by one."""
    size = (METHOD.size, METHOD.size)
    return [F.interpolate(one[None], size=size, mode="bilinear", align_corners=False) for one in low_normals]


class PartsStage:
    """Steps of the part networks: one for each group with crops in the batch."""

    name, number = "parts", 2
    maker: ExampleMaker
    holdout_maker: ExampleMaker
    collate: Collate

    def __init__(self, config: TrainingConfig, networks: tuple[str, ...], source: Source) -> None:
        self.config, self.source = config, source
        counts = dict(zip(PART_NAMES, config.parts.crops, strict=True))
        self.networks = tuple(name for name in PART_NAMES if name in networks and counts[name])
        self.batch = config.parts.batch
        self.maker = PartExamples(config, self.networks)
        self.holdout_maker = PartExamples(config, self.networks, augmented=False)
        self.collate = collate_parts
        self._terms = compiled(normal_terms, config)

    def updates(self, batch: dict[str, Any], networks: Networks) -> Iterator[Update]:
        """Losses of a batch, network after network; the prior comes from the averaged low-resolution network."""
        for name, inputs, target, samples in self._crops(batch, networks):
            raw = networks.raw[name](inputs)
            yield Update((name,), self._terms(raw, target, self.config.loss, 1), samples)

    def measure(self, batch: dict[str, Any], networks: Networks) -> dict[str, float]:
        """Figures of one held-out sample."""
        found: dict[str, float] = {}
        for name, inputs, target, _ in self._crops(batch, networks):
            with torch.no_grad():
                normals = networks.averaged_raw(name)(inputs).relu().cpu()
            found |= {f"{name}/{figure}": value for figure, value in normal_figures(normals, target.cpu(), 1).items()}
        return found

    @torch.no_grad()
    def pictures(self, batch: dict[str, Any], networks: Networks) -> Tensor:
        """For the first crop of each group: picture, prior, front and back normals with their targets."""
        rows = []
        for name, inputs, target, _ in self._crops(batch, networks):
            ours = networks.averaged_raw(name)(inputs[:1]).relu()[0]
            pairs = zip(sheets.encoded(ours), sheets.encoded(target[0]), strict=True)
            prior = inputs[0, 3:].clamp(0, 1)
            rows.append([sheets.seen(inputs[0, :3]), prior, *(picture for pair in pairs for picture in pair)])
        return sheets.sheet(rows)

    def _crops(self, batch: dict[str, Any], networks: Networks) -> Iterator[tuple[str, Tensor, Tensor, list[int]]]:
        """Each group's network with its inputs, targets, and the samples they are of."""
        with torch.no_grad():
            canvases = upsampled(networks.averaged_raw("low_normal")(batch["low"])[:, :3].relu())
        for name in self.networks:
            if name in batch["crops"]:
                crops = batch["crops"][name]
                prior = warp_prior(canvases, crops, _GROUPS[name])
                inputs = torch.cat([crops["picture"], prior], 1)
                yield name, inputs, crops["target"], batch["sample"].cpu()[crops["of"].cpu()].tolist()
