"""A model measured on every sample of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from h2k_rt.data.dataset import Dataset
from h2k_rt.data.published import open_dataset
from h2k_rt.errors import DataError, PersonError
from h2k_rt.metrics.model import NEEDED_MAPS, measure_sample
from h2k_rt.metrics.table import Row, Table
from h2k_rt.reconstruct import Reconstructor


def measure_model(
    folder: Path,
    model: str = "small",
    *,
    count: int | None = None,
    use_finder: bool = False,
    with_mesh: bool = True,
    threads: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
    failed: Callable[[str, str], None] = lambda name, sentence: None,
) -> Table:
    """Reconstruct the samples of a dataset, the first ``count``, and measure each.

    A picture in which nobody is found is a failure of the model: it is told by ``failed`` and kept in the table.

    Raises:
        DataError: no dataset, no samples, or maps are lacking.
        BundleError, EngineError: the model cannot be loaded.
    """
    dataset = open_dataset(folder)
    names = dataset.ids[:count]
    if not names:
        raise DataError(f"{folder}: the dataset holds no samples yet")
    maps: tuple[str, ...] = NEEDED_MAPS
    if isinstance(dataset, Dataset) and "normals" in dataset.description.maps:
        maps = (*NEEDED_MAPS, "normals")
    reconstructor = Reconstructor(model, threads=threads)
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for done, name in enumerate(names):
        progress(done, len(names), name)
        try:
            sample = dataset.read(name, maps)
            found = measure_sample(reconstructor, sample, use_finder=use_finder, with_mesh=with_mesh, threads=threads)
        except PersonError as error:
            failures[name] = str(error)
            failed(name, str(error))
        else:
            rows.append({"name": name, **found})
    settings = {
        "model": str(model),
        "data": folder.name,
        "samples": len(names),
        "mask_and_joints": "person finder" if use_finder else "true",
    }
    return Table(rows, settings, failures)
