"""What there is to wear, and which of it is kept for the held-out people. The only place where the two splits are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

Split = Literal["train", "holdout"]
Item = TypeVar("Item")

#: Outfits of MakeHuman: role of a part -> its islands in the texture, numbered in the order of the file's first texture place.
#: The parts are recoloured one by one. "bottom" and "top" can be worn apart, "shirt" and "jacket" belong together.
SUITS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "female_casualsuit01": {"top": (0, 1, 2, 3), "bottom": (4, 5)},
    "female_casualsuit02": {"bottom": (0, 1, 2, 3, 4), "top": (5, 6, 7, 8)},
    "female_elegantsuit01": {"bottom": (0,), "top": tuple(range(1, 10))},
    "female_sportsuit01": {"top": (0, 1, 2, 3), "bottom": (4, 5)},
    "male_casualsuit01": {"top": (0, 1, 4, 5), "bottom": (2, 3)},
    "male_casualsuit02": {"bottom": (0, 1), "top": (2, 3, 4, 5)},
    "male_casualsuit03": {"top": tuple(range(9)), "bottom": (9, 10)},
    "male_casualsuit04": {"top": (0, 1, 2, 3), "bottom": (4, 5)},
    "male_casualsuit05": {"jacket": tuple(range(15)), "shirt": (15, 16, 17, 18), "bottom": (19, 20)},
    "male_casualsuit06": {"top": (0, 1, 2, 3), "bottom": (4, 5)},
    "male_elegantsuit01": {
        "bottom": (0, 1),
        "shirt": (3, 6, 17, 18, 19, 20),
        "jacket": (2, 4, 5, *range(7, 17), 21, 22),
    },
    "male_worksuit01": {"shirt": (0, 1), "overall": tuple(range(2, 11))},
}
SHOES = ("shoes01", "shoes02", "shoes03", "shoes04", "shoes05", "shoes06")
HAIR = ("bob02", "braid01", "long01", "ponytail01", "short01", "short02", "short03", "short04")
BROWS = tuple(f"eyebrow{number:03}" for number in range(1, 13))
LASHES = ("eyelashes01", "eyelashes02", "eyelashes03", "eyelashes04")
IRISES = ("blue", "bluegreen", "brown", "brownlight", "deepblue", "green", "grey", "ice", "lightblue")
SKINS = (
    "middleage_darkskinned_female_diffuse", "middleage_darkskinned_male_diffuse", "middleage_lightskinned_female_diffuse2",
    "middleage_lightskinned_male_diffuse", "middleage_lightskinned_male_diffuse2", "old_darkskinned_female_diffuse",
    "old_darkskinned_male_diffuse", "old_lightskinned_male_diffuse2", "young_darkskinned_male_diffuse",
    "young_lightskinned_female_diffuse2", "young_lightskinned_female_diffuse3", "young_lightskinned_male_diffuse",
    "young_lightskinned_male_diffuse2", "young_lightskinned_male_diffuse3",
)  # fmt: skip

#: Kept for the held-out people: never drawn for training, and the held-out people wear nothing else of these kinds.
HOLDOUT: Mapping[str, frozenset[str]] = {
    "suit": frozenset({"female_elegantsuit01", "male_casualsuit05"}),
    "shoes": frozenset({"shoes02", "shoes05"}),
    "hair": frozenset({"bob02", "short02"}),
    "skin": frozenset(
        {
            "old_darkskinned_female_diffuse", "young_lightskinned_female_diffuse3",
            "middleage_darkskinned_male_diffuse", "young_lightskinned_male_diffuse2",
        }
    ),
    "brows": frozenset({"eyebrow005", "eyebrow011"}),
    "iris": frozenset({"brownlight", "bluegreen"}),
    "style": frozenset({"v_neck", "blouse", "culottes", "flared", "pleated", "vest", "coat"}),
    "fabric": frozenset({"gingham", "houndstooth", "floral"}),
}  # fmt: skip
#: Kinds of fabric that both splits share: without them held-out people would not look like people in the street.
SHARED_FABRICS = frozenset({"plain", "denim", "melange"})


def available(kind: str, items: Sequence[str], split: Split) -> tuple[str, ...]:
    """Those of ``items`` that a split may draw."""
    reserved = HOLDOUT.get(kind, frozenset())
    if split == "train":
        return tuple(item for item in items if item not in reserved)
    shared = SHARED_FABRICS if kind == "fabric" else frozenset()
    return tuple(item for item in items if item in reserved or item in shared)
