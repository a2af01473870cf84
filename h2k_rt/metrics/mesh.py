"""Distances between two surfaces, and the overlap of what they enclose.

Distances and ray hits are Open3D's ``RaycastingScene`` (Embree): a million triangles take a second to build and a hundred thousand
queries less; trimesh's own tree is a hundred times slower. Points on surfaces are drawn by trimesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_rt.metrics.shape import Shape, need

#: Points drawn on each surface: the standard error of a mean distance is then about 0.6 % of the distances' spread.
SAMPLES = 30_000
#: Points at which occupancy is asked: one in each cell of a grid over both meshes.
VOLUME_POINTS = 200_000
#: Directions in general position, so that rays hardly ever run along an edge or through a vertex.
_DIRECTIONS = ((0.3691, 0.8127, 0.4509), (-0.7193, 0.2411, 0.6515), (0.1873, -0.5399, 0.8206))


@dataclass(frozen=True)
class MeshErrors:
    """How far two meshes are apart. Distances in cm, squares in cm^2.

    Attributes:
        p2s: mean distance of points of the predicted surface to the true surface ("point to surface", accuracy).
        truth_to_prediction: mean distance of points of the true surface to the predicted one (completeness).
        chamfer: mean of the two.
        chamfer_squared: 0.5 mean d^2 of the one direction + 0.5 mean d^2 of the other, as in the ICPR 2020 paper.
        iou: volume inside both over volume inside either, 0..1.
        p2s_std_error, iou_std_error: standard errors from drawing points; the IoU's is an upper bound.
    """

    p2s: float
    truth_to_prediction: float
    chamfer: float
    chamfer_squared: float
    iou: float
    p2s_std_error: float
    iou_std_error: float


def compare_meshes(
    prediction: Shape,
    truth: Shape,
    *,
    cm_per_unit: float = 100.0,
    samples: int = SAMPLES,
    volume_points: int = VOLUME_POINTS,
    seed: int = 0,
    threads: int | None = None,
) -> MeshErrors:
    """All mesh metrics of one pair; align them first (:mod:`h2k_rt.metrics.alignment`). The same seed gives the same numbers.

    Args:
        cm_per_unit: of the meshes' coordinates; both in the same unit.
        samples: points drawn on each surface.
        volume_points: about so many points for the IoU.
        threads: for the queries; None: all cores.

    Raises:
        MissingPackageError: Open3D or trimesh is not installed.
    """
    random = np.random.default_rng(seed)
    # One origin for both, so that float32 keeps its digits for scans that lie far off.
    origin = -(truth.bounds[0] + truth.bounds[1]) / 2
    prediction, truth = prediction.moved(shift=origin), truth.moved(shift=origin)
    predicted, true = _Surface(prediction, threads), _Surface(truth, threads)
    to_truth = true.distance(sample_points(prediction, samples, random)) * cm_per_unit
    to_prediction = predicted.distance(sample_points(truth, samples, random)) * cm_per_unit
    iou, iou_std_error = _overlap(predicted, true, volume_points, random)
    p2s, completeness = float(to_truth.mean()), float(to_prediction.mean())
    return MeshErrors(
        p2s=p2s,
        truth_to_prediction=completeness,
        chamfer=(p2s + completeness) / 2,
        chamfer_squared=float(0.5 * (to_prediction**2).mean() + 0.5 * (to_truth**2).mean()),
        iou=iou,
        p2s_std_error=float(to_truth.std() / np.sqrt(samples)),
        iou_std_error=iou_std_error,
    )


def sample_points(shape: Shape, count: int, random: np.random.Generator) -> NDArray[np.float32]:
    """(count, 3) points, evenly distributed over the surface."""
    trimesh = need("trimesh")
    mesh = trimesh.Trimesh(shape.vertices, shape.faces, process=False)
    points, _ = trimesh.sample.sample_surface(mesh, count, face_weight=shape.areas, seed=random)
    return np.asarray(points, np.float32)


def encloses(shape: Shape, points: NDArray[np.float32], threads: int | None = None) -> NDArray[np.bool_]:
    """(P,) whether each point is inside a closed mesh.

    Raises:
        MissingPackageError: Open3D is not installed.
    """
    return _Surface(shape, threads).encloses(points)


class _Surface:
    """A mesh with the tree that answers questions about it."""

    def __init__(self, shape: Shape, threads: int | None) -> None:
        self._o3d: Any = need("open3d")
        self.shape = shape
        self._threads = threads or 0
        self._scene = self._o3d.t.geometry.RaycastingScene(nthreads=self._threads)
        self._scene.add_triangles(self._o3d.core.Tensor(shape.vertices), self._o3d.core.Tensor(shape.faces.astype(np.uint32)))

    def distance(self, points: NDArray[np.float32]) -> NDArray[np.float64]:
        """(P,) distance of each point to the nearest point of the surface."""
        return self._scene.compute_distance(self._o3d.core.Tensor(points), nthreads=self._threads).numpy().astype(np.float64)

    def encloses(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(P,) whether each point is inside.

        A ray from inside leaves the surface once more than it enters, however many closed pieces overlap (a body inside its
        clothes, where counting odd and even would fail). Two of three rays decide, so that small holes and a ray along an edge
        do no harm.
        """
        votes = np.zeros(len(points), np.int8)
        for direction in _DIRECTIONS:
            towards = np.asarray(direction, np.float32)
            towards /= np.linalg.norm(towards)
            rays = np.concatenate((points, np.broadcast_to(towards, points.shape)), axis=1)
            hits = self._scene.list_intersections(self._o3d.core.Tensor(rays), nthreads=self._threads)
            faces = hits["primitive_ids"].numpy()
            leaving = np.where(self.shape.crosses[faces] @ towards > 0, 1, -1)
            surplus = np.bincount(hits["ray_ids"].numpy(), weights=leaving, minlength=len(points))
            votes += np.abs(surplus) > 0.5  # not "> 0.5": a mesh may be turned inside out as a whole
        return votes >= 2


def _overlap(one: _Surface, other: _Surface, count: int, random: np.random.Generator) -> tuple[float, float]:
    """Intersection over union of the enclosed volumes, and an upper bound of its standard error."""
    bounds = [surface.shape.bounds for surface in (one, other)]
    low, high = np.minimum(bounds[0][0], bounds[1][0]), np.maximum(bounds[0][1], bounds[1][1])
    extent = np.maximum(high - low, 1e-6 * (high - low).max())
    cells = np.maximum(np.rint(extent * np.cbrt(count / extent.prod())), 1).astype(int)
    corner = np.stack(np.meshgrid(*(np.arange(n) for n in cells), indexing="ij"), axis=-1).reshape(-1, 3)
    # A random point in each cell: as unbiased as points drawn anywhere, with a fraction of their scatter.
    points = (low + (corner + random.random(corner.shape)) * extent / cells).astype(np.float32)
    in_one, in_other = one.encloses(points), other.encloses(points)
    union = int((in_one | in_other).sum())
    if not union:
        return float("nan"), float("nan")
    iou = float((in_one & in_other).sum()) / union
    return iou, float(np.sqrt(iou * (1 - iou) / union))
