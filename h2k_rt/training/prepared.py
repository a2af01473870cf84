"""Inputs of the trunk: what the other networks make of a sample, computed as in use and kept on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from h2k_export import torch_engines
from numpy.typing import NDArray
from safetensors.torch import load, save

from h2k_rt.constants import METHOD, Method
from h2k_rt.data.dataset import Sample
from h2k_rt.inference import fused_normals
from h2k_rt.networks import HumanNet, build_networks
from h2k_rt.output.atomic import replace_file
from h2k_rt.parts import fit_parts
from h2k_rt.training.augment import Box, network_picture, person_box
from h2k_rt.training.config import TrainingConfig

#: Pixels around the person that are kept; crops reach into them.
MARGIN = 96
#: Boxes are on multiples of it, so that the sub-sampled normals keep their phase.
ALIGN = 8


@dataclass(frozen=True)
class Prepared:
    """The trunk's input and target around the person, on the canvas.

    Attributes:
        box: (x0, y0, x1, y1), multiples of 8.
        normals: (6, h, w) float16, fused.
        depth: (2, h, w) float32 nu, ground truth, 0 outside the person.
        low_depth: (2, h / 8, w / 8) float32, the low-resolution network's, masked.
    """

    box: Box
    normals: NDArray[np.float16]
    depth: NDArray[np.float32]
    low_depth: NDArray[np.float32]


@dataclass
class FrozenNetworks:
    """Phase 1 networks in evaluation mode that prepare samples; made in each process when they are first needed."""

    net: HumanNet
    method: Method
    _engines: Any = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # As bytes: tensors would be sent to the other process as one open file each, which are too many.
        return {"width": self.net.width, "weights": save(_contiguous(self.net)), "method": self.method}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.net = build_networks(state["width"]).eval().requires_grad_(False)
        self.net.load_state_dict(load(state["weights"]))
        self.method, self._engines = state["method"], None

    def digest(self) -> str:
        """Of all weights but the trunk's."""
        found = hashlib.sha256()
        for key, value in _contiguous(self.net).items():
            if not key.startswith("refine."):
                found.update(value.numpy().tobytes())
        return found.hexdigest()[:16]

    def prepare(self, sample: Sample, config: TrainingConfig, rng: np.random.Generator, augmented: bool) -> Prepared:
        """Run the networks on a sample of 2048 x 2048, with a picture and joints that are as imperfect as in use."""
        assert sample.rgb is not None and sample.mask is not None and sample.depth is not None
        if self._engines is None:
            self._engines = torch_engines(self.net, fold=True)
        augment = config.augment if augmented else None
        picture = network_picture(sample.rgb, sample.mask, config.model.background_value, augment, rng)
        joints = sample.joints.copy()
        if augmented and config.parts.joint_jitter:
            there = joints[:, 2] > 0
            joints[there, :2] += rng.normal(0, config.parts.joint_jitter, (int(there.sum()), 2))
        transforms = fit_parts(joints, METHOD.size)
        with torch.inference_mode():
            maps = fused_normals(self._engines, picture.whole(), transforms, self.method, person=picture.whole_mask(), threads=1)
        whole = min(config.trunk.crop) >= METHOD.size
        box = person_box(((sample.mask > 0) | (picture.whole_mask() > 0)).astype(np.uint8), METHOD.size if whole else MARGIN, ALIGN)
        x0, y0, x1, y1 = box
        factor = METHOD.size // METHOD.low_size
        return Prepared(
            box,
            maps.normals[:, y0:y1, x0:x1].astype(np.float16),
            np.ascontiguousarray(sample.depth[:, y0:y1, x0:x1]),
            np.ascontiguousarray(maps.low_depth[:, y0 // factor : y1 // factor, x0 // factor : x1 // factor]),
        )


def _contiguous(net: HumanNet) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}


def save_prepared(path: Path, prepared: Prepared) -> None:
    """Write one file: a header line, then the three arrays one after the other.

    Raises:
        OutputError: the disk is full or the folder cannot be written.
    """
    arrays = (prepared.normals, prepared.depth, prepared.low_depth)
    header = json.dumps({"box": prepared.box, "shapes": [a.shape for a in arrays], "types": [a.dtype.str for a in arrays]})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary, temporary.open("wb") as file:
        file.write(header.encode().ljust(_HEADER))
        for array in arrays:
            file.write(np.ascontiguousarray(array).tobytes())


_HEADER = 1024


def load_prepared(path: Path) -> Prepared:
    """Map what :func:`save_prepared` wrote: only the crops that are read come from the disk."""
    with path.open("rb") as file:
        header = json.loads(file.read(_HEADER))
    offset, arrays = _HEADER, []
    for shape, kind in zip(header["shapes"], header["types"], strict=True):
        arrays.append(np.memmap(path, kind, "r", offset, tuple(shape)))
        offset += arrays[-1].nbytes
    box = header["box"]
    return Prepared((box[0], box[1], box[2], box[3]), *arrays)
