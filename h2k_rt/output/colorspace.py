"""sRGB to linear light (IEC 61966-2-1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _linear_table() -> NDArray[np.float64]:
    encoded = np.arange(256) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


#: (256,) linear light of each 8-bit sRGB level.
LINEAR = _linear_table()
#: The same in 16 bits: 8 bits of linear light would swallow the dark levels.
LINEAR_U16 = np.rint(LINEAR * 65535).astype(np.uint16)
