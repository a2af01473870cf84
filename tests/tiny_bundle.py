"""A model bundle of rule weights at a sixteenth of the width, made once for all tests that need one."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import oracle_rules
import pytest

WIDTH = 1 / 16


@functools.cache
def tiny_state() -> oracle_rules.State:
    """State dict of rule weights at ``WIDTH``."""
    return oracle_rules.weights(width=WIDTH)


def published(state: dict[str, Any], prefix: str = "", **more: Any) -> dict[str, Any]:
    """A checkpoint as the published training writes it (SPEC 11)."""
    import torch

    tensors = {prefix + key: torch.from_numpy(np.array(value)) for key, value in state.items()}
    moments = {i: {"step": 7, "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)} for i in range(2)}
    groups = [{"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "params": [0, 1]}]
    return {
        "epoch": 12,
        "model": "Model",
        "best_loss": 0.25,
        "model_state_dict": tensors,
        "optimizer_state_dict": {"state": moments, "param_groups": groups},
        **more,
    }


@functools.cache
def tiny_bundle() -> Path:
    """The bundle's folder, not to be changed; holds FP32 and FP16 graphs and the weights."""
    for package in ("torch", "onnx", "onnxslim", "onnxruntime", "safetensors"):
        pytest.importorskip(package)
    import torch
    from h2k_export import import_checkpoint

    torch.set_num_threads(1)  # many threads on tiny pictures only wait for each other
    folder = Path(tempfile.mkdtemp(prefix="h2k-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # By way of a checkpoint in the published format: the longest way there is, walked once.
    checkpoint = folder / "ckpt_bg_mask.pth.tar"
    torch.save(published(tiny_state(), "module."), checkpoint)
    report = import_checkpoint(checkpoint, folder / "tiny", name="tiny", keep_weights=True)
    return report.bundle


def copy_of_tiny_bundle(target: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_bundle(), target))
