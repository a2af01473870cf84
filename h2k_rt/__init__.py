"""h2k-rt: one photo of a person in, a closed, coloured 3D mesh out.

    from h2k_rt import Reconstructor, load_photo

    reconstruction = Reconstructor("small").reconstruct(load_photo("me.jpg"))
    reconstruction.save("me.glb")

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from h2k_rt.bundle import Bundle, list_bundles
    from h2k_rt.errors import H2KError
    from h2k_rt.joints import load_openpose
    from h2k_rt.photo import Photo, find_photos, load_mask, load_photo
    from h2k_rt.reconstruct import Reconstruction, Reconstructor
    from h2k_rt.surface.mesh import Mesh

_HOMES = {
    "Bundle": "bundle",
    "H2KError": "errors",
    "Mesh": "surface.mesh",
    "Photo": "photo",
    "Reconstruction": "reconstruct",
    "Reconstructor": "reconstruct",
    "find_photos": "photo",
    "list_bundles": "bundle",
    "load_mask": "photo",
    "load_openpose": "joints",
    "load_photo": "photo",
}

__all__ = [
    "Bundle",
    "H2KError",
    "Mesh",
    "Photo",
    "Reconstruction",
    "Reconstructor",
    "__version__",
    "find_photos",
    "list_bundles",
    "load_mask",
    "load_openpose",
    "load_photo",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
