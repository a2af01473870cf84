"""Every number of the 2K2K method, once, with its source.

"SPEC n" is section n of the description of the published program that the parity tests follow.
Normalised coordinates of a picture of N pixels: ``n = 2 p / N - 1`` with p a pixel *edge* coordinate (SPEC 3, quirk Q13).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

#: Joint sets of this module index the (31, 3) array of SPEC 2.
JOINT_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
    "left_index", "left_middle", "left_ring", "left_pinky", "right_index", "right_middle", "right_ring", "right_pinky",
)  # fmt: skip

#: Output joint -> OpenPose BODY_25 index, for joints 0..22 (SPEC 2).
OPENPOSE_BODY = (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11, 19, 20, 21, 22, 23, 24)
#: The ears' stand-ins (body indices) where the ear is missing: left ear -> left eye, right ear -> right eye.
OPENPOSE_EAR_FALLBACK = {3: 16, 4: 15}
#: Finger joints of one hand in OpenPose's 21: the joints next to the knuckles, index to little finger.
OPENPOSE_FINGERS = (6, 10, 14, 18)


@dataclass(frozen=True)
class Part:
    """One body part: which joints are brought to which canonical points, and the crop around them.

    Attributes:
        group: the network that reads it.
        joints: for each point of the fit the joint index, or a tuple of indices to be averaged (the fingers).
        targets: the canonical point of each, normalised coordinates.
        limit: below this distance of first and last point (normalised) the targets shrink with it; None: no limit.
    """

    name: str
    group: str
    joints: tuple[int | tuple[int, ...], ...]
    targets: tuple[tuple[float, float], ...]
    limit: float | None


def _limb(side: float, top: float, bottom: float) -> tuple[tuple[float, float], ...]:
    return ((side, top), (side, bottom))


_FOREARM = ((0.0, -2 / 9), (0.0, 0.0), (0.0, 1 / 18))
_FOOT = ((0.0, 1 / 24), (0.0, 1 / 24), (0.0, -1 / 24), (0.0, -1 / 24))
_SIDE = 3 / 128  # sideways offset of thighs and shins

#: The 12 parts in their fixed order (SPEC 3).
PARTS = (
    Part("face", "face", (4, 3), ((-1 / 12, 1 / 24), (1 / 12, 1 / 24)), 1 / 6),
    Part("upper body", "upper", (6, 5, 12, 11), ((-1 / 9, -1 / 6), (1 / 9, -1 / 6), (-1 / 12, 1 / 6), (1 / 12, 1 / 6)), None),
    Part("left upper arm", "arm", (5, 7), _limb(0.0, -3 / 16, 1 / 16), 1 / 4),
    Part("left forearm and hand", "arm", (7, 9, (23, 24, 25, 26)), _FOREARM, 5 / 18),
    Part("right upper arm", "arm", (6, 8), _limb(0.0, -3 / 16, 1 / 16), 1 / 4),
    Part("right forearm and hand", "arm", (8, 10, (27, 28, 29, 30)), _FOREARM, 5 / 18),
    Part("left thigh", "leg", (11, 13), _limb(-_SIDE, -5 / 32, 3 / 32), 1 / 4),
    Part("left shin", "leg", (13, 15), _limb(-_SIDE, -9 / 64, 9 / 64), 9 / 32),
    Part("right thigh", "leg", (12, 14), _limb(_SIDE, -5 / 32, 3 / 32), 1 / 4),
    Part("right shin", "leg", (14, 16), _limb(_SIDE, -9 / 64, 9 / 64), 9 / 32),
    Part("left foot", "shoe", (17, 18, 19, 15), _FOOT, None),
    Part("right foot", "shoe", (20, 21, 22, 16), _FOOT, None),
)


@dataclass(frozen=True)
class PartGroup:
    """The parts that one network reads: their place in ``PARTS`` and their crop in pixels (multiples of 16)."""

    name: str
    parts: tuple[int, ...]
    height: int
    width: int


#: SPEC 3, "Crop sizes".
PART_GROUPS = (
    PartGroup("face", (0,), 368, 320),
    PartGroup("upper", (1,), 528, 336),
    PartGroup("arm", (2, 3, 4, 5), 352, 224),
    PartGroup("leg", (6, 7, 8, 9), 272, 256),
    PartGroup("shoe", (10, 11), 176, 128),
)


@dataclass(frozen=True)
class Method:
    """Numbers of the 2K2K method. A model bundle may state others only where a field says so."""

    size: int = 2048
    """Side of the square canvas in pixels (SPEC 1; the published fusion is tied to it)."""
    low_size: int = 256
    """Side of the low-resolution picture in pixels (SPEC 1)."""
    fov_degrees: float = 50.0
    """Field of view of the canvas camera, both ways (SPEC 10)."""
    depth_unit_px: float = 512.0
    """Pixels of depth in one network unit, nu (SPEC 7)."""
    png_per_px: float = 32.0
    """Steps of a 16-bit depth PNG in one pixel of depth (SPEC 7)."""
    front_background: float = 6.0
    """Front depth outside the person in nu; ReLU6 ends there (SPEC 4.2)."""
    back_background: float = 0.0
    """Back depth outside the person in nu (SPEC 4.2)."""
    mask_threshold: float = 0.5
    """Low mask probability above which a pixel is person (SPEC 4.2)."""
    colour_factors: tuple[float, float, float] = (0.85, 0.85, 0.85)
    """Brightness, contrast, saturation, applied in this order (SPEC 1, quirk Q1)."""
    background_value: float | None = None
    """What stands for the background in the normalised picture. None: black under the colour factors, as published (SPEC 1).
    A value outside of -1..1 lets networks tell black clothes from it; they must have been trained with the same."""
    normal_z: float = 1.0 / 255.0
    """The z of a normal before normalisation, at every resolution (SPEC 8)."""
    normal_min_depth: float = 0.2
    """Depth in nu below which a normal is background (SPEC 8)."""
    window_trim: int = 16
    """The blended window is this much smaller than the crop, per axis, in pixels (SPEC 5)."""
    blur_taps: int = 15
    """Taps of the window's Gaussian blur (SPEC 5)."""
    blur_sigma: float = 5.0
    """Its standard deviation in pixels (SPEC 5)."""
    relief_wavelength_px: float | None = None
    """Wavelength in canvas pixels below which depth takes its slopes from the fused normals (``h2k_kernels.integrate_normals``).
    None: depth is the trunk's, as published."""
    back_low_share: float | None = None
    """Share of the low-resolution normals in the fused normals of the back, below 1. The part networks are given the front's
    low-resolution normals only (SPEC 4.1), so that they cannot know what the low-resolution network found of the back.
    None: the parts' alone, as published."""
    erosion: int = 3
    """3 x 3 erosions of the front mask that the back depth keeps (SPEC 7)."""
    min_point_z: float = 0.3
    """Lifted points nearer than this are dropped (SPEC 7)."""
    world_scale: float = 1.0
    """World coordinates are divided by it: 1.0 for consistent data, 1.0367394227574303 in parity mode (quirk Q5)."""
    person_height_px: float = 1568.0
    """Height of a framed person on the canvas: scans are scaled so that the largest coordinate is 0.357 (SPEC 10)."""

    @cached_property
    def half_tan(self) -> float:
        """tan of half the field of view."""
        return math.tan(math.radians(self.fov_degrees / 2))

    @cached_property
    def focal_px(self) -> float:
        """Focal length on the canvas in pixels: N / (2 tan 25 deg) = 2195.975 (SPEC 7)."""
        return self.size / (2 * self.half_tan)


#: World scale of the published program's output (quirk Q5: 2.8 / 2.7, found as this number).
PUBLISHED_WORLD_SCALE = 1.0367394227574303

METHOD = Method()
