"""Phase 2: the high-resolution trunk on crops of the canvas, the other networks frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from h2k_rt.constants import METHOD
from h2k_rt.training import sheets
from h2k_rt.training.compiled import compiled
from h2k_rt.training.config import TrainingConfig
from h2k_rt.training.data import Collate, ExampleMaker, Source, check_sample
from h2k_rt.training.figures import depth_figures
from h2k_rt.training.objective import trunk_terms
from h2k_rt.training.prepared import FrozenNetworks, Prepared, load_prepared, save_prepared
from h2k_rt.training.state import Networks
from h2k_rt.training.update import Update

#: A crop of which less is person is drawn again, this often.
LEAST_PERSON, TRIES = 0.05, 8
_MAPS = ("low_depth", "normals", "depth")


@dataclass(frozen=True)
class TrunkExamples:
    """Makes crops of one sample: ``low_depth`` (K, 2, h / 8, w / 8), ``normals`` (K, 6, h, w), ``depth`` (K, 2, h, w).

    Args:
        frozen: the networks of phase 1; cache: folder of prepared samples; key: begins their names.
        augmented: False: one crop, all that is around the person.
    """

    config: TrainingConfig
    frozen: FrozenNetworks
    cache: Path
    key: str
    augmented: bool = True

    def __call__(self, source: Source, index: int, rng: np.random.Generator) -> dict[str, Any]:
        settings = self.config.trunk
        if not self.augmented:
            whole = self._make(source, index, rng)
            return {name: torch.from_numpy(getattr(whole, name).astype(np.float32)[None]) for name in _MAPS}
        prepared = self._prepared(source, index, rng)
        crops = [random_crop(prepared, settings.crop, rng) for _ in range(settings.crops)]
        return {name: torch.from_numpy(np.stack([crop[place] for crop in crops])) for place, name in enumerate(_MAPS)}

    def _prepared(self, source: Source, index: int, rng: np.random.Generator) -> Prepared:
        count = self.config.trunk.prepared
        if not count:
            return self._make(source, index, rng)
        index %= count
        path = self.cache / f"{self.key}-{index:06d}.bin"
        if not path.is_file():
            # The draw's own generator must not decide what all later draws of this sample read.
            save_prepared(path, self._make(source, index, np.random.default_rng([self.config.run.seed, index])))
        return load_prepared(path)

    def _make(self, source: Source, index: int, rng: np.random.Generator) -> Prepared:
        sample = source.read(index)
        check_sample(sample, source.name(index))
        return self.frozen.prepare(sample, self.config, rng, self.augmented)


def random_crop(prepared: Prepared, crop: tuple[int, int], rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Low depth, normals and depth of a window on whole low-resolution pixels, mostly on the person; background around it."""
    factor = METHOD.size // METHOD.low_size
    height, width = prepared.depth.shape[1:]
    rows, columns = min(crop[0], height), min(crop[1], width)
    top = left = 0
    for _ in range(TRIES):
        top = int(rng.integers((height - rows) // factor + 1)) * factor
        left = int(rng.integers((width - columns) // factor + 1)) * factor
        if (prepared.depth[0, top : top + rows : 8, left : left + columns : 8] > 0).mean() >= LEAST_PERSON:
            break
    fine = np.s_[:, top : top + rows, left : left + columns]
    coarse = np.s_[:, top // factor : (top + rows) // factor, left // factor : (left + columns) // factor]
    low = np.empty((2, crop[0] // factor, crop[1] // factor), np.float32)
    low[0], low[1] = METHOD.front_background, METHOD.back_background
    normals, depth = np.zeros((6, *crop), np.float32), np.zeros((2, *crop), np.float32)
    low[:, : rows // factor, : columns // factor] = prepared.low_depth[coarse]
    normals[:, :rows, :columns] = prepared.normals[fine]
    depth[:, :rows, :columns] = prepared.depth[fine]
    return low, normals, depth


def collate_crops(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """A batch of all crops of the examples."""
    batch = {name: torch.cat([example[name] for example in examples]) for name in _MAPS}
    batch["sample"] = torch.tensor([example["sample"] for example in examples])
    return batch


class TrunkStage:
    """Steps of the trunk."""

    name, number = "trunk", 3
    networks: tuple[str, ...] = ("high_depth",)
    maker: ExampleMaker
    holdout_maker: ExampleMaker
    collate: Collate

    def __init__(self, config: TrainingConfig, source: Source, networks: Networks, cache: Path) -> None:
        self.config, self.source = config, source
        self.batch = config.trunk.batch
        method = replace(METHOD, background_value=config.model.background_value)
        frozen = FrozenNetworks(networks.averaged, method)
        self.maker = TrunkExamples(config, frozen, cache, _cache_key(config, source, frozen))
        self.holdout_maker = TrunkExamples(config, frozen, cache, "", augmented=False)
        self.collate = collate_crops
        self._terms = compiled(trunk_terms, config)

    def updates(self, batch: dict[str, Tensor], networks: Networks) -> Iterator[Update]:
        """The loss of a batch."""
        raw = networks.raw["high_depth"](batch["low_depth"], batch["normals"])
        terms = self._terms(raw, batch["depth"], batch["low_depth"], self.config.loss)
        yield Update(self.networks, terms, batch["sample"].tolist())

    def measure(self, batch: dict[str, Tensor], networks: Networks) -> dict[str, float]:
        """Figures of one held-out sample."""
        depth = self._depth(batch, networks)[0].cpu()
        found = depth_figures(depth, depth[0] <= depth[1], batch["depth"][0].cpu())
        return {f"high/{name}": value for name, value in found.items()}

    def pictures(self, batch: dict[str, Tensor], networks: Networks) -> Tensor:
        """For each crop: normals, low-resolution depth, depth with its target, front and back."""
        batch = {name: batch[name][: sheets.ROWS] for name in _MAPS}
        rows = []
        for low, normals, ours, true in zip(
            batch["low_depth"], batch["normals"], self._depth(batch, networks), batch["depth"], strict=True
        ):
            person, coarse = true[0] > 0, low[0] <= low[1]
            sides = zip(
                sheets.encoded(normals),
                sheets.relief(low, coarse),
                sheets.relief(ours, person),
                sheets.relief(true, person),
                strict=True,
            )
            rows.append([picture for side in sides for picture in side])
        return sheets.sheet(rows)

    @torch.no_grad()
    def _depth(self, batch: dict[str, Tensor], networks: Networks) -> Tensor:
        return F.relu6(networks.averaged_raw("high_depth")(batch["low_depth"], batch["normals"])[:, :2])


def _cache_key(config: TrainingConfig, source: Source, frozen: FrozenNetworks) -> str:
    """Names everything that prepared samples depend on, but for the pictures themselves."""
    parts = {
        "networks": frozen.digest(),
        "augment": asdict(config.augment),
        "jitter": config.parts.joint_jitter,
        "seed": config.run.seed,
        "background": config.model.background_value,
        "first": source.name(0),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
