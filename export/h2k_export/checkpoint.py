"""The published checkpoint (``ckpt_bg_mask.pth.tar``) -> model bundle. The user brings the file: a pickle, not to be trusted."""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2k_export.errors import missing
from h2k_export.export import ExportReport, Progress, export_bundle
from h2k_export.weights import net_of_state
from h2k_rt.constants import METHOD, PUBLISHED_WORLD_SCALE
from h2k_rt.errors import CheckpointError, MissingPackageError

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED_LICENCE = "CC BY-NC (published 2K2K weights)"
PUBLISHED_TRAINING = "the scans that the authors of 2K2K (CVPR 2023) used"
#: The published weights were made from scans 2.8 / 2.7 times larger than the published renderer makes them (SPEC quirk Q5),
#: so they expect larger people, and what they give is divided by the same factor.
PUBLISHED_CONSTANTS: dict[str, float | tuple[float, ...]] = {
    "person_height_px": round(METHOD.person_height_px * PUBLISHED_WORLD_SCALE, 1),
    "world_scale": PUBLISHED_WORLD_SCALE,
}
#: The published file with its optimizer state is about 0.9 GB.
MAX_BYTES = 4 << 30
#: From this version on ``torch.load(weights_only=True)`` cannot be made to run code (CVE-2025-32434).
_SAFE_TORCH = (2, 6)


def import_checkpoint(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str = "2k2k",
    precision: str = "both",
    keep_weights: bool = False,
    licence: str = PUBLISHED_LICENCE,
    trained_on: str = PUBLISHED_TRAINING,
    progress: Progress | None = None,
    replace: bool = False,
) -> ExportReport:
    """Make a model bundle of a checkpoint in the published format; no code in it is run.

    Args:
        file: the checkpoint; of phase 2 of the training, any width.
        out: the bundle to make: a folder, or a .zip.
        keep_weights: put ``weights.safetensors`` into the bundle, for training on and for the PyTorch engine.
        licence: licence of the weights; the published ones are not free for commercial use.
        progress: see ``export_bundle``; so is the rest.

    Raises:
        CheckpointError: the file is not such a checkpoint, holds more than weights, or wrong weights.
        OutputError: ``out`` exists or cannot be written.
        MissingPackageError: torch (2.6 or newer), onnx, onnxslim or onnxruntime is not installed.
    """
    if progress is not None:
        progress(0, 8, "reading the checkpoint")
    net = net_of_state(read_checkpoint(file), str(file))
    return export_bundle(
        net,
        out,
        name=name,
        licence=licence,
        trained_on=trained_on,
        precision=precision,
        keep_weights=keep_weights,
        # Another width was not published: somebody's own training, with the data of this program.
        constants=PUBLISHED_CONSTANTS if net.width == 1.0 else None,
        progress=progress,
        replace=replace,
    )


def read_checkpoint(file: str | os.PathLike[str]) -> dict[str, Tensor]:
    """State dict of a checkpoint, every ``module.`` taken out of its keys; names and shapes are not checked yet.

    Raises:
        CheckpointError: the file is not a checkpoint, or holds more than weights and plain values.
    """
    try:
        import torch
    except ImportError as error:
        raise missing(error) from error
    if tuple(int(n) for n in torch.__version__.split(".")[:2]) < _SAFE_TORCH:
        raise MissingPackageError(
            f"torch {torch.__version__} cannot read a checkpoint safely (CVE-2025-32434); run: pip install --upgrade torch"
        )
    path = Path(file)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(f"{path} has {size / 1e9:.1f} GB; that is not the published checkpoint")
        with _plain_values(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Mapped, not read: the optimizer's state, two thirds of the file, is never touched.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} is not a checkpoint of weights only, it is refused unopened: {_reason(error)}") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged or hostile pickle can make the reader fail in any way
        raise CheckpointError(f"{path} is not a PyTorch checkpoint, or it is damaged: {_reason(error)}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a checkpoint")
    state = content.get("model_state_dict")
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} is not a checkpoint of the published format: it has no model_state_dict")
    return _plain_keys(state, path)


def _plain_keys(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    import torch

    plain: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError(f"{path}: entry {str(key)[:80]!r} of model_state_dict is not a tensor")
        if value.layout != torch.strided or value.is_complex() or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(f"{path}: {key[:80]} is not a plain tensor")
        name = key.replace("module.", "")
        if name in plain:
            raise CheckpointError(f"{path} holds {name[:80]} twice, with and without module.")
        plain[name] = value
    return plain


@contextlib.contextmanager
def _plain_values() -> Iterator[None]:
    """Let a NumPy number pass as well: the best loss of a training may be one."""
    import numpy as np
    import torch

    scalar = type(np.float64(0)).__reduce__(np.float64(0))[0]
    allowed: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype]
    allowed += [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    with torch.serialization.safe_globals(allowed):
        yield


def _reason(error: BaseException) -> str:
    """The part of torch's long message that says what was found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if "Unsupported" in line or "GLOBAL" in line:
            return line.removeprefix("WeightsUnpickler error: ").split(". ")[0][:200]
    return f"{type(error).__name__} {lines[0] if lines else ''}".strip()[:200]
