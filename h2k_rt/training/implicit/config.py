"""``[implicit]``: the second method's networks and examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FEATURES = ("multi-scale", "pifu")
MERGES = ("mean", "attention")


@dataclass(frozen=True)
class ImplicitConfig:
    """``[implicit]``: the second method, ``--method implicit``. Where the paper publishes no number, PIFu's is the default."""

    features: str = "multi-scale"
    """"multi-scale": each hourglass at half the resolution of the one before, and all read; "pifu": one scale, the last stage's."""
    width: float = 1.0
    """Channels as a share of PIFu's: hourglasses of 256, a point network of 1024, 512, 256 and 128; multiples of 1/8."""
    stages: int = 4
    """Hourglasses, each supervised."""
    merge: str = "mean"
    """How views are merged after the third layer: "mean", or "attention", a mean with learned weights."""
    picture: int = 512
    """Side of the networks' picture in pixels."""
    local: int = 0
    """Channels of a map at the picture's own resolution, a multiple of 8, which points read besides; 0: none. Multi-scale only."""
    views: int = 4
    """Most views of an example; each example takes the larger of two draws from 1 to so many of a person's."""
    fixed_views: bool = False
    """Always take that many views."""
    batch: int = 1
    """People in a batch of one process; of views each takes as many as the one that has fewest."""
    points: int = 5000
    """Points of a person, half of them inside; drawn from those of the data set (near the surface and anywhere, 16 to 1)."""
    within_outlines: bool = False
    """Only points that all views' outlines, widened as `infer-views` widens them, hold: it asks the networks of no others."""
    depth_weight: float = 0.0
    """Weight of the mean error, in radii of the cube, of the front and back depth that each stage's features tell by a 1x1
    convolution, which only training has; 0: none, as published. A picture has many pixels to learn shape from where points are
    few; in trials of up to 10 minutes at width 0.25 that gained nothing yet. For sets that have depth."""
    mask_shift: int = 2
    """Masks are widened or narrowed by up to so many pixels of the network's picture."""
    brightness: float = 0.2
    """Largest change of a picture's brightness, as a share; contrast half of it."""

    def faults(self) -> Iterator[str]:
        """What is wrong, one sentence each."""
        for name, value, allowed in (("features", self.features, FEATURES), ("merge", self.merge, MERGES)):
            if value not in allowed:
                yield f"{name} must be {' or '.join(allowed)}, not {value!r}"
        for name in ("stages", "views", "batch"):
            if getattr(self, name) < 1:
                yield f"{name} must be at least 1"
        if self.points < 2:
            yield "points must be at least 2"
        if not self.depth_weight >= 0:
            yield "depth_weight must not be negative"
        if self.mask_shift < 0 or not 0 <= self.brightness < 1:
            yield "mask_shift must not be negative, and brightness be in 0..1"
