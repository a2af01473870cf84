"""The one thing needed of THuman2.0's body fits: how far the scan is turned, and its scale."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from h2k_rt.errors import DataError

#: What numpy arrays need to come out of a pickle; nothing else is let in, for a pickle may run any program.
_ALLOWED = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in ((f"{package}.multiarray", "_reconstruct"), (f"{package}.multiarray", "scalar"))
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module, name)


@dataclass(frozen=True)
class BodyFit:
    """Of a fitted SMPL-X body: its rotation vector's y component in radians, and scan units to the metre."""

    turn: float
    scale: float


def read_body_fit(path: Path) -> BodyFit:
    """Read ``smplx_param.pkl``; only arrays and plain values are accepted from it.

    Raises:
        DataError: not such a file.
    """
    try:
        raw = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        turn = float(np.asarray(raw["global_orient"], np.float64).reshape(-1)[1])
        scale = float(np.asarray(raw.get("scale", 1.0), np.float64).reshape(-1)[0])
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:
        # A damaged pickle raises nearly anything.
        raise DataError(f"{path}: no body fit of THuman2.0 ({type(error).__name__}: {error})") from error
    if not (np.isfinite(turn) and np.isfinite(scale) and scale > 0):
        raise DataError(f"{path}: turn {turn} and scale {scale} of the body fit make no sense")
    return BodyFit(turn, scale)
