"""The published training (SPEC 9): its sample preparation, its joint step of phase 1, and its phase 2 with drifting statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from h2k_export.wrappers import exported_modules
from h2k_kernels.sampling import zero_bordered
from numpy.typing import NDArray
from torch import Tensor, nn

from h2k_rt.constants import METHOD, PART_GROUPS
from h2k_rt.data.dataset import Sample
from h2k_rt.inference import fused_normals
from h2k_rt.networks import HumanNet
from h2k_rt.parts import PartTransforms, fit_parts_published
from h2k_rt.picture import apply_colour_factors, cut_out, low_picture, normalise
from h2k_rt.training import sheets
from h2k_rt.training.config import TrainingConfig
from h2k_rt.training.data import Collate, ExampleMaker, Source, check_sample
from h2k_rt.training.losses import Losses, phase1_losses, phase2_losses
from h2k_rt.training.low_stage import LowStage, both_normals, reduced_depth
from h2k_rt.training.nets import LOW_NAMES, PART_NAMES
from h2k_rt.training.parts_stage import (
    PartExamples,
    PartsStage,
    collate_parts,
    full_normals,
    stacked,
    upsampled,
    warp_prior,
    warped,
)
from h2k_rt.training.phase2 import TrunkStage
from h2k_rt.training.state import Networks
from h2k_rt.training.update import Update

#: Share of samples whose background is black; the others keep theirs.
BLACK_SHARE = 0.1
#: Where the blurred mask lies between these, the composite is smoothed.
EDGE = (0.2, 0.8)


def published_picture(sample: Sample, config: TrainingConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """The networks' picture (S, S, 3) as the published training prepares it: coloured person over its background, edge softened."""
    assert sample.rgb is not None and sample.mask is not None
    low, high = config.augment.factors
    draws = rng.uniform(low, high, 3)
    order = rng.permutation(3) if config.augment.random_order else np.arange(3)
    factors = (float(draws[0]), float(draws[1]), float(draws[2]))
    picture = apply_colour_factors(cut_out(sample.rgb, sample.mask), factors, order.tolist())
    inside = sample.mask > 0
    background = np.zeros_like(sample.rgb) if rng.random() < BLACK_SHARE else sample.rgb
    picture = np.where(inside[..., None], picture, background)
    soft = cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0)
    smooth = cv2.GaussianBlur(cv2.medianBlur(picture, 3), (5, 5), 0)
    edge = (soft > EDGE[0]) & (soft < EDGE[1])
    return normalise(np.where(edge[..., None], smooth, picture))


def published_transforms(sample: Sample) -> PartTransforms:
    """Part transforms as in the published training: missing joints stay in the corner (quirk Q7)."""
    return fit_parts_published(2 * sample.joints[:, :2] / sample.size - 1)


@dataclass(frozen=True)
class Phase1Examples:
    """Makes all that phase 1 needs of one sample of 2048 x 2048: see ``parts_stage.PartExamples``, and ``depth`` (2, 256, 256)."""

    config: TrainingConfig

    def __call__(self, source: Source, index: int, rng: np.random.Generator) -> dict[str, Any]:
        sample = source.read(index)
        check_sample(sample, source.name(index))
        assert sample.depth is not None and sample.mask is not None
        picture = published_picture(sample, self.config, rng)
        matrices = published_transforms(sample).to_canvas
        normals, box = full_normals(sample.depth, sample.mask)
        whole, framed = zero_bordered(picture, 3), zero_bordered(normals, 6)
        crops = {}
        for group in PART_GROUPS:
            parts = [matrices[part] for part in group.parts]
            crops[group.name] = {
                "picture": stacked([warped(whole, (0, 0), matrix, group) for matrix in parts]),
                "target": stacked([warped(framed, box[:2], matrix, group) for matrix in parts]),
                "to_canvas": torch.from_numpy(np.stack(parts)),
                "corner": torch.zeros(len(parts), 2, dtype=torch.int64),
            }
        low = torch.from_numpy(low_picture(picture, METHOD.low_size)[0])
        return {"low": low, "crops": crops, "depth": torch.from_numpy(reduced_depth(sample.depth))}


def collate_phase1(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch of examples."""
    return collate_parts(examples) | {"depth": torch.stack([example["depth"] for example in examples])}


class PublishedPhase1:
    """Steps of all seven networks of phase 1 with one loss."""

    name, number = "phase1", 1
    networks: tuple[str, ...] = (*LOW_NAMES, *PART_NAMES)
    maker: ExampleMaker
    holdout_maker: ExampleMaker
    collate: Collate

    def __init__(self, config: TrainingConfig, source: Source) -> None:
        self.config, self.source = config, source
        self.batch = config.low.batch
        self.maker, self.collate = Phase1Examples(config), collate_phase1
        self._low, self._parts = LowStage(config, LOW_NAMES, source), PartsStage(config, PART_NAMES, source)
        self.holdout_maker = _WithDepth(PartExamples(config, PART_NAMES, augmented=False))

    def updates(self, batch: dict[str, Any], networks: Networks) -> Iterator[Update]:
        """The one loss of a batch."""
        normals = {"low": networks.raw["low_normal"](batch["low"]).relu()}
        depth = batch["depth"]
        targets = {"low": both_normals(depth)}
        with torch.no_grad():
            canvases = upsampled(normals["low"][:, :3])
        for group in PART_GROUPS:
            crops = batch["crops"][group.name]
            with torch.no_grad():
                prior = warp_prior(canvases, crops, group)
            normals[group.name] = networks.raw[group.name](torch.cat([crops["picture"], prior], 1)).relu()
            targets[group.name] = crops["target"]
        raw = networks.raw["low_depth"](batch["low"], normals["low"])
        found = phase1_losses(normals, targets, F.relu6(raw[:, :2]), mask_input(raw, self.config), depth)
        yield Update(self.networks, terms_of(found), batch["sample"].tolist())

    def measure(self, batch: dict[str, Any], networks: Networks) -> dict[str, float]:
        """Figures of one held-out sample."""
        low = {"picture": batch["low"], "depth": batch["depth"]}
        return self._low.measure(low, networks) | self._parts.measure(batch, networks)

    def pictures(self, batch: dict[str, Any], networks: Networks) -> Tensor:
        """Sheet of the part networks."""
        return self._parts.pictures(batch, networks)


@dataclass(frozen=True)
class _WithDepth:
    """Adds the low-resolution depth to the examples of another maker that does not mirror them."""

    maker: ExampleMaker

    def __call__(self, source: Source, index: int, rng: np.random.Generator) -> dict[str, Any]:
        depth = source.read(index).depth
        assert depth is not None
        return self.maker(source, index, rng) | {"depth": torch.from_numpy(reduced_depth(depth))}


class PublishedPhase2(TrunkStage):
    """Steps of the trunk with the published loss, on inputs of frozen networks as in our phase 2."""

    def updates(self, batch: dict[str, Tensor], networks: Networks) -> Iterator[Update]:
        """The loss of a batch."""
        raw = networks.raw["high_depth"](batch["low_depth"], batch["normals"])
        found = phase2_losses(F.relu6(raw[:, :2]), mask_input(raw, self.config), batch["depth"])
        yield Update(self.networks, terms_of(found), batch["sample"].tolist())


@dataclass(frozen=True)
class CanvasExamples:
    """Makes the whole canvas of one sample: ``picture`` (N, N, 3), ``depth`` (2, N, N), ``to_part``, ``to_canvas`` (12, 2, 3)."""

    config: TrainingConfig

    def __call__(self, source: Source, index: int, rng: np.random.Generator) -> dict[str, Any]:
        sample = source.read(index)
        check_sample(sample, source.name(index))
        assert sample.depth is not None
        transforms = published_transforms(sample)
        return {
            "picture": torch.from_numpy(published_picture(sample, self.config, rng)),
            "depth": torch.from_numpy(sample.depth),
            "to_part": torch.from_numpy(transforms.to_part),
            "to_canvas": torch.from_numpy(transforms.to_canvas),
        }


class ParityPhase2(PublishedPhase2):
    """Phase 2 to the letter: whole canvases, and frozen networks in training mode, so that their statistics drift (quirk Q10)."""

    def __init__(self, config: TrainingConfig, source: Source, networks: Networks, cache: Path) -> None:
        super().__init__(config, source, networks, cache)
        self.maker = CanvasExamples(config)
        self.collate = torch.utils.data.default_collate

    def updates(self, batch: dict[str, Tensor], networks: Networks) -> Iterator[Update]:
        """The loss of a batch; moves the frozen networks' statistics."""
        engines = drifting_engines(networks.live)
        low, normals = [], []
        for place in range(len(batch["picture"])):
            transforms = PartTransforms(
                batch["to_part"][place].cpu().numpy(),
                batch["to_canvas"][place].cpu().numpy(),
                (None,) * len(batch["to_part"][place]),
            )
            maps = fused_normals(
                engines, batch["picture"][place].cpu().numpy(), transforms, METHOD, threads=torch.get_num_threads()
            )
            low.append(torch.from_numpy(maps.low_depth))
            normals.append(torch.from_numpy(maps.normals))
        device = networks.device
        prepared = {"low_depth": torch.stack(low).to(device), "normals": torch.stack(normals).to(device)}
        yield from super().updates(batch | prepared, networks)

    def pictures(self, batch: dict[str, Tensor], networks: Networks) -> Tensor:
        """The canvases as the networks see them."""
        return sheets.sheet([[sheets.seen(picture.permute(2, 0, 1))] for picture in batch["picture"]])


class _DriftingEngine:
    """A module as an engine, without gradients but in training mode."""

    def __init__(self, module: nn.Module, outputs: tuple[str, ...]) -> None:
        self._module, self._outputs = module.train(), outputs

    @torch.no_grad()
    def run(self, feeds: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        device = next(self._module.parameters()).device
        result = self._module(*(torch.from_numpy(value).to(device) for value in feeds.values()))
        values = result if isinstance(result, tuple) else (result,)
        return {name: value.cpu().numpy() for name, value in zip(self._outputs, values, strict=True)}


def drifting_engines(net: HumanNet) -> Any:
    """The networks of phase 1 in training mode, by name."""
    modules = exported_modules(net)
    return {
        name: _DriftingEngine(module, ("depth", "mask") if name == "low_depth" else ("normals",))
        for name, module in modules.items()
        if name != "high_depth"
    }


def mask_input(raw: Tensor, config: TrainingConfig) -> Tensor:
    """What the mask loss is fed: logits, in parity the probability (quirk Q8)."""
    return raw[:, 2:3].sigmoid() if config.parity else raw[:, 2:3]


def terms_of(losses: Losses) -> dict[str, Tensor]:
    """The terms by name."""
    return {"normals": losses.normals, "depth": losses.depth, "consistency": losses.consistency, "mask": losses.mask}
