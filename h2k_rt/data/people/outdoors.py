from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people.background import Background, PlainBackground, Stage


@dataclass(frozen=True)
class OutdoorBackground(Background):
    seed: int

    def draw(self, size: int, stage: Stage) -> NDArray[np.uint8]:
        return PlainBackground(self.seed).draw(size, stage)
