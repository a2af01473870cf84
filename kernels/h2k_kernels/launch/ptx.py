"""PTX that old drivers understand: the text that a wheel carries for machines without a compiler."""

from __future__ import annotations

import re

#: Made for the oldest supported GPU; the driver translates it for any newer one.
ARCHITECTURE = "compute_75"
#: PTX of CUDA 12.0, the oldest driver that is supported (release 525). nvcc writes its own version, which older drivers refuse.
VERSION = "8.0"

_VERSION_LINE = re.compile(rb"^\.version [0-9.]+$", re.MULTILINE)
#: A hint for tools, of a later version of PTX.
_HINT = re.compile(rb'^[ \t]*\.pragma "used_bytes_mask [^"]*";\r?\n', re.MULTILINE)


def portable(text: bytes) -> bytes:
    """The same code in :data:`VERSION` of PTX. That it holds nothing newer, ptxas tells (:func:`prebuild.check`)."""
    lowered, count = _VERSION_LINE.subn(b".version " + VERSION.encode(), text)
    if count != 1:
        raise ValueError(f"PTX names its version {count} times")
    return _HINT.sub(b"", lowered)


def mark(key: str) -> bytes:
    """A comment to begin with: the digest of what the text was made from."""
    return f"// h2k-rt {key}\n".encode()
