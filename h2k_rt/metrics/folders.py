"""Which prediction belongs to which truth, and the comparison of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from h2k_rt.errors import DataError
from h2k_rt.metrics.alignment import Alignment, at_height, shift_between
from h2k_rt.metrics.mesh import SAMPLES, compare_meshes
from h2k_rt.metrics.shape import SHAPE_SUFFIXES, load_shape

Pair = tuple[str, Path, Path]


def find_pairs(prediction: Path, truth: Path) -> list[Pair]:
    """(name, prediction, truth) of two files, or of the meshes with the same stem in two folders.

    Raises:
        DataError: something is missing, one is a file and the other a folder, or two meshes of a folder share a stem.
    """
    for path in (prediction, truth):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
    if prediction.is_dir() != truth.is_dir():
        raise DataError(f"{prediction} and {truth}: give two mesh files or two folders of them")
    if not truth.is_dir():
        return [(prediction.stem, prediction, truth)]
    predicted, true = _by_stem(prediction), _by_stem(truth)
    for lacking, folder in ((true.keys() - predicted.keys(), prediction), (predicted.keys() - true.keys(), truth)):
        if lacking:
            names = sorted(lacking)
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise DataError(f"{folder}: has no mesh {', '.join(names[:5])}{more}; each needs its counterpart of the same name")
    return [(stem, predicted[stem], true[stem]) for stem in sorted(true)]


def _by_stem(folder: Path) -> Mapping[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SHAPE_SUFFIXES:
            if path.stem in found:
                raise DataError(f"{folder}: {found[path.stem].name} and {path.name} share a name; keep one of them")
            found[path.stem] = path
    if not found:
        raise DataError(f"{folder}: holds no meshes ({', '.join(SHAPE_SUFFIXES)})")
    return found


def measure_pairs(
    pairs: list[Pair],
    *,
    alignment: Alignment = "none",
    height: float | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> list[dict[str, float | str]]:
    """Compare each pair of mesh files in metres; one row each, see :class:`h2k_rt.metrics.mesh.MeshErrors`.

    Args:
        height: bring both meshes to this height in metres, feet on the floor, before the alignment.

    Raises:
        DataError: a file is no mesh that can be measured.
    """
    rows: list[dict[str, float | str]] = []
    for done, (name, predicted, true) in enumerate(pairs):
        progress(done, len(pairs), name)
        prediction, truth = load_shape(predicted), load_shape(true)
        if height is not None:
            prediction, truth = at_height(prediction, height), at_height(truth, height)
        shift = shift_between(prediction, truth, alignment)
        found = compare_meshes(prediction.moved(shift=shift), truth, samples=samples, seed=seed, threads=threads)
        row: dict[str, float | str] = {
            "name": name,
            "p2s_cm": found.p2s,
            "truth_to_prediction_cm": found.truth_to_prediction,
            "chamfer_cm": found.chamfer,
            "chamfer_squared_cm2": found.chamfer_squared,
            "volume_iou": found.iou,
            "p2s_std_error_cm": found.p2s_std_error,
            "volume_iou_std_error": found.iou_std_error,
        }
        if alignment != "none":
            row |= {f"moved_{axis}_cm": float(100 * s) for axis, s in zip("xyz", shift, strict=True)}
        rows.append(row)
    return rows
