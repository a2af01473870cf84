"""What a set of synthetic people follows from: the options of ``h2k-rt data people``, or a TOML file with the same names."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from h2k_rt.data.dataset import MAP_NAMES, check_maps
from h2k_rt.errors import DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: People that training may learn from, and those kept apart with their own outfits, hair, skins and poses.
Split = Literal["train", "holdout"]
SPLITS: tuple[Split, ...] = get_args(Split)

#: The entries of a recipe.
_KINDS = {"count": int, "seed": int, "size": int, "views": int, "split": str, "maps": list, "mesh": bool}


@dataclass(frozen=True)
class PeopleRecipe:
    """A set of synthetic people, but for the assets and the background pictures, which are on the user's disk.

    Attributes:
        count: samples; seed: everything random follows from it and the sample's number.
        size: side of the pictures in pixels; views: pictures of each person, sample = person * views + view.
        split: one of ``SPLITS``; maps: which of ``MAP_NAMES`` to write; mesh: also write the closed mesh.
    """

    count: int
    seed: int = 0
    size: int = 512
    views: int = 1
    split: Split = "train"
    maps: tuple[str, ...] = MAP_NAMES
    mesh: bool = False

    def __post_init__(self) -> None:
        check_maps(self.maps)
        if self.split not in SPLITS:
            raise DataError(f"there is no split {self.split!r}, only {' and '.join(SPLITS)}")
        for name, least in (("count", 1), ("seed", 0), ("size", 64), ("views", 1)):
            if getattr(self, name) < least:
                raise DataError(f"{name} must be at least {least}, not {getattr(self, name)}")

    @staticmethod
    def load(path: Path) -> PeopleRecipe:
        """Read a recipe.

        Raises:
            DataError: missing, no TOML, or with an unknown name or a wrong kind of value.
        """
        raw = read_toml(path)
        for name, value in raw.items():
            if name not in _KINDS:
                raise DataError(f"{path}: unknown entry {name!r}; a recipe has {', '.join(_KINDS)}")
            if type(value) is not _KINDS[name]:
                raise DataError(f"{path}: {name} must be a {_KINDS[name].__name__}, not {value!r}")
        if "count" not in raw:
            raise DataError(f"{path}: a recipe must give count")
        try:
            return PeopleRecipe(**(raw | {"maps": tuple(raw.get("maps", MAP_NAMES))}))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's values.

    Raises:
        DataError: missing or no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid TOML ({error})") from error
