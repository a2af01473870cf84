"""The versions that are supported, for the doctor's comparisons."""

from __future__ import annotations

import re

PYTHON_OLDEST, PYTHON_NEWEST = (3, 10), (3, 13)
TENSORRT_OLDEST = (10, 13)
#: As h2k_engines.tensorrt_rtx.OLDEST_ONNXRUNTIME.
ONNXRUNTIME_FOR_RTX = (1, 25)
#: CUDA 12.0, what driver release 525 supports: the oldest with all the calls that are made.
CUDA_OLDEST = (12, 0)
#: Turing.
CAPABILITY_OLDEST = (7, 5)


def numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
