"""Synthetic people made while they are trained on, without a disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from h2k_rt.data.dataset import Sample
from h2k_rt.data.people.generate import make_sample, open_factory
from h2k_rt.errors import H2KError, TrainingError


@dataclass
class PeopleSource:
    """Samples by number from the generator of people, each made when it is read.

    Args:
        size: side of the pictures in pixels; count: samples of an epoch, after which the same come again.
        assets: folder of MakeHuman's assets; None: as the generator finds it.
        backgrounds: picture files to stand in front of.
    """

    size: int
    count: int
    seed: int
    assets: Path | None = None
    backgrounds: tuple[Path, ...] = ()
    _factory: Any = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_factory": None}

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"person {index} of seed {self.seed}"

    def read(self, index: int) -> Sample:
        if self._factory is None:
            self._factory = open_factory(self.assets, "train", self.size)
        try:
            _, made = make_sample(self._factory, self.seed, index, self.size, backgrounds=self.backgrounds)
        except H2KError:
            raise
        except Exception as error:
            raise TrainingError(f"{self.name(index)} cannot be made: {type(error).__name__}: {error}") from error
        return Sample(str(index), self.size, made.joints, made.rgb, None, made.mask, made.depth, None)
