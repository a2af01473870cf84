"""The second method's networks: photos' pictures to feature maps, points to occupancy; here on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from h2k_engines import Engine, EngineFailure
from h2k_engines.engine import TensorSpec
from h2k_kernels import sample_features
from numpy.typing import NDArray

from h2k_rt.errors import EngineError
from h2k_rt.views.chunks import Chunks, chunk_size, free_memory
from h2k_rt.views.octree import Occupancy


class ViewNetworks(Protocol):
    """Both networks, wherever they run. For one person at a time."""

    @property
    def providers(self) -> dict[str, str]:
        """What runs each network."""
        ...

    @property
    def picture_size(self) -> int:
        """Side in pixels of the pictures that the encoder takes."""
        ...

    def encode(self, pictures: NDArray[np.float32], projections: NDArray[np.float32]) -> Occupancy:
        """The occupancy of the person in these views; valid until the next call.

        Args:
            pictures: (V, 5, S, S) float32; projections: (V, 3, 4) float32, see ``network_picture``.

        Raises:
            EngineError: a network fails; so does what is returned.
        """
        ...

    def take_notes(self) -> list[str]:
        """Sentences for the user, each given once."""
        ...


class HostNetworks:
    """The networks on the CPU.

    Args:
        engines: "encoder" and "points"; model: for messages.
    """

    def __init__(self, engines: Mapping[str, Engine], model: str, threads: int) -> None:
        self.engines, self._model, self._threads = engines, model, threads

    @property
    def providers(self) -> dict[str, str]:
        return {name: engine.provider for name, engine in self.engines.items()}

    @property
    def picture_size(self) -> int:
        return side_of(self.engines["encoder"].inputs)

    def take_notes(self) -> list[str]:
        return []

    def encode(self, pictures: NDArray[np.float32], projections: NDArray[np.float32]) -> Occupancy:
        encoder = self.engines["encoder"]
        try:
            found = [encoder.run({"picture": picture[None]}) for picture in pictures]
        except EngineFailure as error:
            raise EngineError(f"model {self._model}: {error}") from error
        maps = [np.concatenate([one[name] for one in found]) for name in encoder.outputs]
        return Implicit(self.engines["points"], maps, projections, self._threads)


class Implicit:
    """The occupancy that the point network gives to features sampled on the CPU."""

    def __init__(self, engine: Engine, maps: Sequence[NDArray[np.float32]], projections: NDArray[np.float32], threads: int) -> None:
        self._engine, self._maps, self._projections, self._threads = engine, maps, projections, threads
        channels = sum(m.shape[3] for m in maps) + 1
        self.chunks = Chunks(self._network, chunk_size(free_memory(), bytes_per_point(len(projections), channels)))

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, 3) cube coordinates -> (N,) occupancy.

        Raises:
            EngineError: the network fails.
        """
        try:
            return self.chunks(points)
        except EngineFailure as error:
            raise EngineError(str(error)) from error

    def _network(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        features = sample_features(self._maps, self._projections, points, self._threads)
        return self._engine.run({"features": features[:, :, None]})["occupancy"].reshape(-1)


def carved(function: Occupancy, hull: Occupancy) -> Occupancy:
    """The function where the hull is, 0 elsewhere; it is asked only there."""

    def occupancy(points: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.zeros(len(points), np.float32)
        inside = np.flatnonzero(hull(points) > 0.5)
        if len(inside):
            out[inside] = function(points[inside])
        return out

    return occupancy


def side_of(inputs: Mapping[str, TensorSpec]) -> int:
    """Side of the encoder's picture.

    Raises:
        EngineError: it takes none of a fixed size.
    """
    side = inputs["picture"].shape[2] if "picture" in inputs else None
    if not isinstance(side, int):
        raise EngineError("encoder: it takes no picture of a fixed size; export the model again")
    return side


def bytes_per_point(views: int, channels: int) -> int:
    """Of the features, their parts while they are made, and the layers of the point network, which are about as wide again."""
    return 4 * views * channels * 8
