"""The stage that trains the implicit function: points of a person, seen in some of the views, against inside and outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from h2k_rt.data.views.viewset import ViewSet, ViewSets, spread_views
from h2k_rt.errors import DataError
from h2k_rt.training.config import TrainingConfig
from h2k_rt.training.implicit.config import ImplicitConfig
from h2k_rt.training.implicit.networks import NAMES, ViewNetworks
from h2k_rt.training.objective import masked_mean
from h2k_rt.training.state import Networks
from h2k_rt.training.update import Update
from h2k_rt.views.cameras import CalibratedCamera
from h2k_rt.views.network_picture import CARVING_MARGIN, REACH, NetworkView, crop_of, network_view, outline_distance, stacked
from h2k_rt.views.subject import Cube, find_cube

#: Points are drawn so many times over, to have enough within the outlines.
_DRAWN_POINTS = 4
#: People of a batch that are drawn for TensorBoard.
_DRAWN = 4


class ViewSetSource:
    """The people of one or more folders of view sets.

    Raises:
        DataError: a folder is none, or holds nobody.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        sets = [ViewSets(folder) for folder in folders]
        for one in sets:
            if not len(one):
                raise DataError(f"{one.folder}: the data set has no people yet")
        self._items = [(one, id) for one in sets for id in one.ids]

    def __len__(self) -> int:
        return len(self._items)

    def read(self, index: int) -> ViewSet:
        folder, id = self._items[index]
        return folder.read(id)

    def name(self, index: int) -> str:
        folder, id = self._items[index]
        return str(folder.path(id))


@dataclass(frozen=True)
class ViewExamples:
    """Makes pictures, projections and points of a person.

    ``pictures`` (v, 5, S, S), ``projections`` (v, 3, 4), ``points`` (N, 3) in the cube, ``inside`` (N,) 0 or 1; with
    ``depth_weight`` also ``depths`` (v, 3, S / 4, S / 4): front and back in radii of the cube from its middle, and 1 where they are
    known. All float32.
    """

    config: ImplicitConfig
    augmented: bool = True

    def __call__(self, source: ViewSetSource, index: int, rng: np.random.Generator) -> dict[str, Any]:
        person, wanted = source.read(index), self.config
        most = min(wanted.views, len(person.cameras))
        count = int(rng.integers(1, most + 1, 2).max()) if self.augmented and not wanted.fixed_views else most
        chosen = spread_views(len(person.cameras), count, int(rng.integers(len(person.cameras))) if self.augmented else 0)
        cameras, masks = [person.cameras[i] for i in chosen], [person.mask(i) for i in chosen]
        cube = find_cube(cameras, masks)
        views = [
            network_view(camera, person.rgb(i), mask, cube, wanted.picture)
            for camera, mask, i in zip(cameras, masks, chosen, strict=True)
        ]
        if self.augmented:
            views = [_augmented(view, wanted, rng) for view in views]
        pictures, projections = stacked(views)
        known = {}
        if wanted.depth_weight:
            seen = [
                depth_target(person.depth(i), camera, cube, wanted.picture // 4) for camera, i in zip(cameras, chosen, strict=True)
            ]
            known["depths"] = torch.from_numpy(np.stack(seen))
        if wanted.within_outlines:
            points, inside = person.draw_points(rng, _DRAWN_POINTS * wanted.points)
            q = ((points - cube.centre) / cube.radius).astype(np.float32)
            kept = _drawn_within(q, inside, pictures, projections, wanted.points, rng)
            q, inside = q[kept], inside[kept]
        else:
            points, inside = person.draw_points(rng, wanted.points)
            q = ((points - cube.centre) / cube.radius).astype(np.float32)
        return {
            "pictures": torch.from_numpy(pictures),
            "projections": torch.from_numpy(projections),
            "points": torch.from_numpy(q),
            "inside": torch.from_numpy(inside.astype(np.float32)),
            **known,
        }


def depth_target(depth: NDArray[np.float32], camera: CalibratedCamera, cube: Cube, size: int) -> NDArray[np.float32]:
    """Depth as the features are to tell it: (3, size, size) over the network's picture, see :class:`ViewExamples`.

    Args:
        depth: (2, H, W) metres along the camera's axis, 0 where unknown.
    """
    x0, y0, side = crop_of(camera, cube)
    steps = np.floor((np.arange(size) + 0.5) * (side / size)).astype(np.int64)
    x, y = x0 + steps, y0 + steps
    within = ((y >= 0) & (y < camera.height))[:, None] & ((x >= 0) & (x < camera.width))
    found = depth[:, np.clip(y, 0, camera.height - 1)[:, None], np.clip(x, 0, camera.width - 1)]
    known = within & (found[0] > 0)
    middle = float(camera.to_camera(cube.centre)[2])
    return np.concatenate((np.where(known, (found - middle) / cube.radius, 0), known[None])).astype(np.float32)


def depth_error(found: Tensor, target: Tensor) -> Tensor:
    """Mean error of (B, V, 2, s, s) against a target (B, V, 3, S, S) of :func:`depth_target`, at the map's own resolution."""
    step = target.shape[-1] // found.shape[-1]
    at = target[..., step // 2 :: step, step // 2 :: step].flatten(0, 1)
    return masked_mean((found.flatten(0, 1) - at[:, :2]).abs(), at[:, 2:])


def _drawn_within(
    points: NDArray[np.float32],
    inside: NDArray[np.bool_],
    pictures: NDArray[np.float32],
    projections: NDArray[np.float32],
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Indices of points that all outlines hold, half of them inside the person as far as there are such; (count,)."""
    held = np.ones(len(points), bool)
    size = pictures.shape[-1]
    homogeneous = np.column_stack((points, np.ones(len(points), np.float32)))
    for picture, projection in zip(pictures, projections, strict=True):
        u, v, w = projection @ homogeneous.T
        x, y = (np.clip(np.floor(size * a / np.maximum(w, 1e-6)), 0, size - 1).astype(np.int64) for a in (u, v))
        held &= picture[4][y, x] > -CARVING_MARGIN / REACH
    kinds = [np.flatnonzero(held & kind) for kind in (inside, ~inside)]
    wanted = (count // 2, count - count // 2)
    drawn = [rng.choice(kind, n, replace=len(kind) < n) for kind, n in zip(kinds, wanted, strict=True) if len(kind)]
    found = np.concatenate(drawn) if drawn else np.arange(len(points))
    return found if len(found) == count else rng.choice(found, count)


def collate_views(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each person as many views as the one with the fewest has."""
    views = min(len(example["pictures"]) for example in examples)
    fewer = [
        {k: v[:views] if k in ("pictures", "projections", "depths") else v for k, v in example.items()} for example in examples
    ]
    return torch.utils.data.default_collate(fewer)


def _augmented(view: NetworkView, config: ImplicitConfig, rng: np.random.Generator) -> NetworkView:
    """Other light, and a mask as finders err: a little too wide or too narrow."""
    picture = view.picture.copy()
    shift = int(rng.integers(-config.mask_shift, config.mask_shift + 1))
    if shift:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(shift) + 1,) * 2)
        share = np.asarray((cv2.dilate if shift > 0 else cv2.erode)(picture[3], kernel), np.float32)
        # What a wider mask adds shows the background: any colour.
        added = np.maximum(share - picture[3], 0)
        picture[:3] = np.where(shift > 0, picture[:3] + added * rng.uniform(-1, 1, (3, 1, 1)), picture[:3] * share)
        picture[3] = share
    brightness, contrast = 1 + config.brightness * rng.uniform(-1, 1), 1 + config.brightness / 2 * rng.uniform(-1, 1)
    colour = (picture[:3] * contrast + picture[3]) * brightness - picture[3]  # -1 is black
    picture[:3] = np.clip(colour, -picture[3], picture[3])
    picture[4] = outline_distance(picture[3])
    return NetworkView(picture.astype(np.float32), view.projection)


class ImplicitStage:
    """Steps of the two networks: squared error of the occupancy, and error of the depth if asked for, summed over the stages."""

    name, number = "implicit", 4
    networks = NAMES

    def __init__(self, config: TrainingConfig, source: ViewSetSource) -> None:
        self.config, self.source = config, source
        self.batch = config.implicit.batch
        self.maker, self.holdout_maker = ViewExamples(config.implicit), ViewExamples(config.implicit, augmented=False)
        self.collate = collate_views

    def updates(self, batch: dict[str, Tensor], networks: Networks) -> Iterator[Update]:
        """The loss of a batch."""
        assert isinstance(networks, ViewNetworks)
        seen, weight = networks.seen(batch), self.config.implicit.depth_weight
        terms = {f"stage{n}": (value - batch["inside"]).square().mean() for n, value in enumerate(seen.occupancies, 1)}
        if weight:
            terms |= {f"depth{n}": weight * depth_error(value, batch["depths"]) for n, value in enumerate(seen.depths, 1)}
        yield Update(NAMES, terms, batch["sample"].tolist())

    @torch.no_grad()
    def measure(self, batch: dict[str, Tensor], networks: Networks) -> dict[str, float]:
        """Squared error, and overlap in percent among the drawn points (most of them near the surface) of a held-out person."""
        assert isinstance(networks, ViewNetworks)
        seen = networks.seen(batch, averaged=True)
        value, inside = seen.occupancies[-1], batch["inside"] > 0.5
        found = value > 0.5
        overlap = (found & inside).sum() / (found | inside).sum().clamp(min=1)
        return {
            "implicit/squared_error": float((value - batch["inside"]).square().mean()),
            "implicit/points_iou": 100 * float(overlap),
            **({"implicit/depth_error": float(depth_error(seen.depths[0], batch["depths"]))} if "depths" in batch else {}),
        }

    def pictures(self, batch: dict[str, Tensor], networks: Networks) -> Tensor:
        """What the networks see: a row for each person, a column for each view."""
        shown = batch["pictures"][:_DRAWN, :, :3]
        rows = [torch.cat(list(person), dim=2) for person in shown]
        return (torch.cat(rows, dim=1).float().cpu() + 1) / 2
