"""What each exported graph takes and gives: tensor names, shapes, value ranges, and the sizes it is checked at."""

from __future__ import annotations

from dataclasses import dataclass, field

from h2k_rt.bundle import NETWORKS
from h2k_rt.constants import METHOD, PART_GROUPS

Shape = tuple[int | str, ...]

#: Opset of every graph: taken by TensorRT 10 and 11 and by ONNX Runtime from 1.14 on.
OPSET = 18
#: IR version that goes with it; newer ones are refused by the older runtimes.
IR_VERSION = 8


@dataclass(frozen=True)
class GraphSpec:
    """One exported graph.

    Attributes:
        inputs: name -> shape; a string is a free dimension.
        outputs: the same.
        ranges: name of an input -> the values it takes.
        free: size of each free dimension where the graph is checked.
        profile: smallest, usual and largest size of each free dimension, for engines that are built for a range.
        keep_head: keep the last convolution and all behind it in FP32 where the rest is FP16. Depths need it: one step of
            FP16 at 2 network units is a whole pixel of depth.
        keep_operators: operators that stay in FP32 too, for example normalisations, whose sums FP16 does not bear.
        fixed: trace with the very shapes above (free dimensions at ``free``), because sizes in between follow from them.
    """

    name: str
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    ranges: dict[str, tuple[float, float]]
    free: dict[str, int] = field(default_factory=dict)
    profile: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    keep_head: bool = False
    keep_operators: tuple[str, ...] = ()
    fixed: bool = False


def _graph_specs() -> dict[str, GraphSpec]:
    n = METHOD.low_size
    ratio = METHOD.size // METHOD.low_size
    picture: dict[str, Shape] = {"picture": (1, 3, n, n)}
    normals: dict[str, Shape] = {"normals": (1, 6, n, n)}
    signed, unit = (-1.0, 1.0), (0.0, 1.0)
    specs = {"low_normal": GraphSpec("low_normal", picture, normals, {"picture": signed})}
    for group in PART_GROUPS:
        shape = (len(group.parts), 6, group.height, group.width)
        specs[group.name] = GraphSpec(group.name, {"crops": shape}, {"normals": shape}, {"crops": signed})
    specs["low_depth"] = GraphSpec(
        "low_depth",
        {**picture, **normals},
        {"depth": (1, 2, n, n), "mask": (1, 1, n, n)},
        {"picture": signed, "normals": unit},
        keep_head=True,
    )
    low = {"height": (16, 208, n), "width": (16, 112, n)}
    high = {f"{name}{ratio}": (a * ratio, b * ratio, c * ratio) for name, (a, b, c) in low.items()}
    free = {"height": 24, "width": 32}
    specs["high_depth"] = GraphSpec(
        "high_depth",
        {"low_depth": (1, 2, "height", "width"), "normals": (1, 6, f"height{ratio}", f"width{ratio}")},
        {"depth": (1, 2, f"height{ratio}", f"width{ratio}"), "mask": (1, 1, f"height{ratio}", f"width{ratio}")},
        {"low_depth": (1.0, 3.0), "normals": unit},
        free | {f"{name}{ratio}": size * ratio for name, size in free.items()},
        low | high,
        keep_head=True,
    )
    return {name: specs[name] for name in NETWORKS}


GRAPHS = _graph_specs()
