"""The second method measured on a set of several views: the table of the ICPR 2020 paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from h2k_rt.data.views.viewset import ViewSet, ViewSets, spread_views
from h2k_rt.errors import CameraError, DataError, PersonError
from h2k_rt.metrics.mesh import MeshErrors, compare_meshes
from h2k_rt.metrics.shape import Shape, load_shape
from h2k_rt.metrics.table import Row, Table
from h2k_rt.photo import Photo
from h2k_rt.views.reconstruct import ViewReconstruction, ViewReconstructor


def measure_views(
    folder: Path,
    model: str = "views-small",
    *,
    views: int = 4,
    count: int | None = None,
    resolution: int = 256,
    use_finder: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
    failed: Callable[[str, str], None] = lambda name, sentence: None,
    reconstructor: ViewReconstructor | None = None,
) -> Table:
    """Reconstruct the people of a set, the first ``count``, from ``views`` of their photos each, and measure the meshes.

    Meshes are compared where the cameras put them, without alignment. A person who comes to nothing is told by ``failed``.

    Args:
        model: as for ``ViewReconstructor``; "hull" is the visual hull. use_finder: masks from the person finder, not the true ones.
        reconstructor: instead of one of ``model``.

    Raises:
        DataError: no set, nobody in it, or fewer photos of a person than ``views``.
        BundleError, EngineError: the model cannot be loaded.
    """
    sets = ViewSets(folder)
    names = sets.ids[:count]
    if not names:
        raise DataError(f"{folder}: the set holds no people yet")
    reconstructor = reconstructor or ViewReconstructor(model, threads=threads)
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for done, name in enumerate(names):
        progress(done, len(names), name)
        person = sets.read(name)
        try:
            made = reconstruct_person(reconstructor, person, views, resolution=resolution, use_finder=use_finder)
        except (PersonError, CameraError) as error:
            failures[name] = str(error)
            failed(name, str(error))
            continue
        found = compare_with_truth(made, person, threads)
        seconds = sum(made.timings.values())
        rows.append({"name": name, **paper_figures(found), "seconds": seconds, "evaluations": made.evaluations})
    settings = {
        "model": str(model),
        "data": folder.name,
        "people": len(names),
        "views": views,
        "resolution": resolution,
        "masks": "person finder" if use_finder else "true",
    }
    return Table(rows, settings, failures)


def reconstruct_person(
    reconstructor: ViewReconstructor,
    person: ViewSet,
    views: int,
    *,
    resolution: int = 256,
    use_finder: bool = False,
    dense: bool = False,
) -> ViewReconstruction:
    """A person from ``views`` photos, as far apart as they can be, the front one among them.

    Raises:
        DataError: there are fewer.
    """
    if views > len(person.cameras):
        raise DataError(f"{person.folder}: has {len(person.cameras)} photos, {views} are asked for")
    chosen = spread_views(len(person.cameras), views)
    photos = [Photo(person.rgb(i), person.photo_path(i).name) for i in chosen]
    masks = None if use_finder else [person.mask(i) for i in chosen]
    cameras = [person.cameras[i] for i in chosen]
    return reconstructor.reconstruct(photos, cameras, masks=masks, resolution=resolution, dense=dense)


def compare_with_truth(made: ViewReconstruction, person: ViewSet, threads: int | None = None) -> MeshErrors:
    """The mesh in the cameras' world against the true one; the world is in metres."""
    return compare_meshes(Shape(made.world.astype("float32"), made.world_faces), load_shape(person.mesh_path), threads=threads)


def paper_figures(found: MeshErrors) -> dict[str, float]:
    """The paper's three figures; distances in cm."""
    return {"p2s_cm": found.p2s, "chamfer_l2_cm2": found.chamfer_squared, "iou": found.iou}
