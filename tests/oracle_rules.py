"""The rules by which the parity vectors' weights and inputs are made (VECTORS.md), and bundles of such weights.

Nothing here is learned: the rules give lively values through every layer, the same on every machine. As a program,
``python tests/oracle_rules.py 0.25 OUT`` writes a model bundle of rule weights.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray]
SUFFIX = "#d1"


def rule_tensor(key: str, shape: tuple[int, ...], suffix: str = SUFFIX) -> NDArray:
    """One entry of the state dict: float32, or int64 for ``num_batches_tracked``."""
    if key.endswith("num_batches_tracked"):
        return np.ones(shape, np.int64)
    n = np.random.default_rng(zlib.crc32((key + suffix).encode())).standard_normal(shape)
    head = ".Conv_1x1." in key or ".merge3_2." in key
    if key.endswith("running_mean"):
        value = 0.1 * n
    elif key.endswith("running_var"):
        value = 1 + 0.2 * np.tanh(n)
    elif len(shape) == 4:
        if head:
            n = (0.5 if shape[0] == 6 else 1.0) * (n - n.mean(axis=(1, 2, 3), keepdims=True))
        value = np.sqrt(2 / (shape[1] * shape[2] * shape[3])) * n
    elif head:
        value = (np.array((1.8, 2.2, 0.1)) if shape[0] == 3 else 0.6) + 0.02 * n
    elif key.endswith(".weight"):
        value = 1 + 0.1 * n
    else:
        value = 0.1 * n
    return np.asarray(value, np.float32)


def weights_from_tsv(keys_tsv: str | Path, suffix: str = SUFFIX) -> State:
    """State dict of rule weights for the keys and shapes of ``state_dict_keys.tsv``, in its order."""
    state: State = {}
    for line in Path(keys_tsv).read_text().splitlines()[1:]:
        key, shape, _ = line.split("\t")
        state[key] = rule_tensor(key, tuple(int(n) for n in shape.split("x")) if shape not in ("", "scalar", "()") else (), suffix)
    return state


def weights(suffix: str = SUFFIX, width: float = 1.0) -> State:
    """The same for networks of any width; needs torch for the shapes."""
    import torch

    from h2k_rt.networks import HumanNet

    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in HumanNet(width).state_dict().items()}
    return {key: rule_tensor(key, shape, suffix) for key, shape in shapes.items()}


def wave(c: int, h: int, w: int, a: float = 0.0, v: float = 0.0) -> NDArray[np.float32]:
    """(c, h, w) waves in [-1, 1]."""
    k = np.arange(c, dtype=np.float64)[:, None, None]
    y = (np.arange(h)[None, :, None] + 0.5) / h
    x = (np.arange(w)[None, None, :] + 0.5) / w
    kx, ky, phase = 3 + k + 0.25 * a + v, 2 + 2 * k - 0.25 * a, 0.7 * k + 0.3 * a + 0.2 * v
    return np.sin(2 * np.pi * (kx * x + ky * y) + phase).astype(np.float32)


def unit(c: int, h: int, w: int, a: float = 0.0, v: float = 0.0) -> NDArray[np.float32]:
    """(c, h, w) waves in [0, 1]."""
    k = np.float32(0.5)
    return k + k * wave(c, h, w, a, v)


def bulge(n: int, v: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Front and back depth (n, n) in network units of a body-like bulge, 0 outside."""
    axis = ((np.arange(n) + 0.5) / n - 0.5) * 2
    x, y = axis[None, :], axis[:, None]
    q = 1 - (x / (0.28 + 0.04 * v)) ** 2 - (y / (0.62 - 0.05 * v)) ** 2
    s = np.sqrt(np.maximum(q, 0))
    ripple = 0.01 * np.sin(2 * np.pi * (9 + v) * x) * np.cos(2 * np.pi * 7 * y)
    return np.where(q > 0, 2 - 0.30 * s + ripple, 0.0), np.where(q > 0, 2 + 0.25 * s + 0.5 * ripple, 0.0)


def test_picture(h: int, w: int, v: float = 0.0) -> NDArray[np.uint8]:
    """(h, w, 3) uint8, R, G, B."""
    return np.ascontiguousarray(np.floor(255 * unit(3, h, w, 2, v) + 0.5).astype(np.uint8).transpose(1, 2, 0))


test_picture.__test__ = False  # type: ignore[attr-defined]  # not a test


def ellipse_mask(n: int = 2048) -> NDArray[np.bool_]:
    """(n, n) mask rule "ellipse"."""
    axis = np.arange(n) + 0.5 - n / 2
    return (axis[None, :] / (0.36 * n)) ** 2 + (axis[:, None] / (0.49 * n)) ** 2 <= 1


def nonblack_mask(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W) mask rule "nonblack": any channel above 0."""
    return (rgb > 0).any(axis=2)


def rule_bundle(out: str | Path, width: float = 0.25, precision: str = "both", suffix: str = SUFFIX) -> Path:
    """Write a model bundle of rule weights; returns its path."""
    from h2k_export import export_bundle

    report = export_bundle(
        weights(suffix, width),
        out,
        name=Path(out).stem,
        licence="Apache-2.0",
        trained_on="nothing: weights by rule, for tests",
        precision=precision,
        progress=lambda done, total, what: print(f"{done}/{total} {what}", flush=True),
    )
    for row in report.rows:
        print(row)
    return report.bundle


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), *(str(root / part) for part in ("export", "engines", "kernels"))]
    rule_bundle(sys.argv[2], float(sys.argv[1]))
