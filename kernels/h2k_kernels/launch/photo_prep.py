"""Launch of ``photo_prep.cu``: from the bytes of photos and masks to the canvas, the networks' picture and its low resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from h2k_kernels.launch.arrays import DeviceArray, require
from h2k_kernels.launch.checks import FLOATS, check_persons, check_scratch, part_of, structure
from h2k_kernels.launch.plan import LaunchPlan

if TYPE_CHECKING:
    from h2k_kernels.launch.runtime import Runtime, Stream

#: ``Frame`` and ``Colours`` of photo_prep.cu.
FRAME = np.dtype(
    [
        ("photo", "i8"),
        ("mask", "i8"),
        ("start_x", "i8"),
        ("step_x", "i8"),
        ("start_y", "i8"),
        ("step_y", "i8"),
        ("height", "i4"),
        ("width", "i4"),
        ("reduced_height", "i4"),
        ("reduced_width", "i4"),
        ("cubic", "i4"),
        ("mask_replicate", "i4"),
    ],
    align=True,
)
_COLOURS = np.dtype([("factors", "f4", (3,)), ("order", "i4", (3,)), ("hard_mask", "i4"), ("keep_alpha", "i4")], align=True)

_FIXED_POINT = 1 << 32
#: Below this scale a photo is averaged down first, above the other it is enlarged with cubics: as ``Framing.image`` of h2k_rt.
_AVERAGE_BELOW, _CUBIC_ABOVE = 0.75, 1.01


def frame_of(
    shape: tuple[int, int], scale: float, dx: float, dy: float, photo: int = 0, mask: int = 0, *, published: bool = False
) -> np.void:
    """How a photo is placed, as the kernel reads it: ``canvas = scale * photo + (dx, dy)`` in pixel edge coordinates.

    Args:
        shape: (height, width) of the photo.
        photo, mask: offsets in bytes of its (H, W, 3) and (H, W) bytes in the buffers of all photos.
        published: as the published program: cubic without averaging, the mask held beyond the photo (SPEC 1).

    Raises:
        ValueError: the photo is empty or the scale is not positive.
    """
    height, width = shape
    if height < 1 or width < 1 or not scale > 0:
        raise ValueError(f"a photo of {width} x {height} pixels cannot be placed with scale {scale}")
    reduced = (height, width)
    if scale < _AVERAGE_BELOW and not published:
        reduced = (max(1, round(height * scale)), max(1, round(width * scale)))
    axes = []
    for size, small, shift in ((width, reduced[1], dx), (height, reduced[0], dy)):
        step = small / (scale * size)  # reduced photo pixels per canvas pixel
        axes += [round((0.5 * step - shift * step - 0.5) * _FIXED_POINT), round(step * _FIXED_POINT)]
    enlarge = published or scale > _CUBIC_ABOVE
    return structure(np.array((photo, mask, *axes, height, width, *reduced, enlarge, published), FRAME))


def frame_bytes(frames: Sequence[np.void]) -> NDArray[np.uint8]:
    """(B, bytes) uint8: what to upload as ``frames`` of :func:`plan`."""
    return np.array(frames, FRAME).view(np.uint8).reshape(len(frames), FRAME.itemsize)


def scratch_bytes(size: int, persons: int = 1) -> int:
    """Bytes of device memory that :func:`plan` needs beside its arguments."""
    across, down = -(-size // 32), -(-size // 8)
    return 4 * persons * (across * down + 1)


def plan(
    photos: DeviceArray,
    masks: DeviceArray,
    frames: DeviceArray,
    canvas: DeviceArray,
    picture: DeviceArray,
    low_picture: DeviceArray,
    scratch: DeviceArray,
    *,
    factors: tuple[float, float, float] = (0.85, 0.85, 0.85),
    order: tuple[int, int, int] = (0, 1, 2),
    background: float | None = None,
    hard_mask: bool = False,
) -> list[LaunchPlan]:
    """How to launch the kernels. B photos of any sizes.

    Args:
        photos, masks: (n,) uint8, the bytes of all photos (H, W, 3) and of all masks (H, W); where each begins is in ``frames``.
        frames: (B, bytes) uint8, of :func:`frame_bytes`.
        canvas: written; (B, N, N, 4) uint8: R, G, B and the mask on the canvas.
        picture: written; (B, N, N, 4) uint8: cut out and colour-factored R, G, B, and the share of the person over the background.
        low_picture: written; (B, 3, n, n) float32 or float16, normalised; N / n is even.
        scratch: (n,) uint8, at least :func:`scratch_bytes`.
        factors, order: brightness, contrast, saturation, and in which order.
        background: value of the background in all channels of the normalised picture, laid under the soft mask; None: as published.
        hard_mask: every pixel whose mask is above 0 counts as the person (as published).

    Raises:
        ValueError: an argument has another type or shape.
    """
    require(photos, "photos", np.uint8, None)
    require(masks, "masks", np.uint8, None)
    persons, size = (frames.shape[0] if frames.ndim else 0), (canvas.shape[1] if canvas.ndim > 1 else 0)
    require(frames, "frames", np.uint8, persons, FRAME.itemsize)
    require(canvas, "canvas", np.uint8, persons, size, size, 4)
    require(picture, "picture", np.uint8, persons, size, size, 4)
    require(low_picture, "low_picture", FLOATS, persons, 3, None, None)
    check_persons(persons)
    check_scratch(scratch, scratch_bytes(size, persons))
    low_size = low_picture.shape[3]
    if low_picture.shape[2] != low_size or not low_size or size % low_size or size // low_size % 2:
        raise ValueError(f"low_picture must be square, its side an even part of {size}, not {low_picture.shape[2:]}")
    if sorted(order) != [0, 1, 2]:
        raise ValueError(f"the order of the factors must hold 0, 1 and 2, not {order}")
    colours = structure(np.array((factors, order, hard_mask, background is not None), _COLOURS))
    grid = (-(-size // 32), -(-size // 8), persons)
    sums = 4 * persons * grid[0] * grid[1]
    partial, mean = part_of(scratch, 0, sums), part_of(scratch, sums, 4 * persons)
    pixels = np.int64(size * size)
    return [
        LaunchPlan("photo_frame", grid, (32, 8, 1), (photos, masks, frames, canvas, partial, np.int32(size), colours)),
        LaunchPlan("photo_mean", (persons, 1, 1), (256, 1, 1), (partial, mean, np.int32(grid[0] * grid[1]), pixels)),
        LaunchPlan(
            "photo_colour",
            (-(-size * size // 256), persons, 1),
            (256, 1, 1),
            (
                canvas,
                mean,
                picture,
                low_picture,
                np.int32(low_picture.dtype == np.float16),
                np.int32(size),
                np.int32(low_size),
                np.float32(background or 0.0),
                colours,
            ),
        ),
    ]


def photo_prep(
    runtime: Runtime,
    photos: DeviceArray,
    masks: DeviceArray,
    frames: DeviceArray,
    canvas: DeviceArray,
    picture: DeviceArray,
    low_picture: DeviceArray,
    scratch: DeviceArray,
    *,
    factors: tuple[float, float, float] = (0.85, 0.85, 0.85),
    order: tuple[int, int, int] = (0, 1, 2),
    background: float | None = None,
    hard_mask: bool = False,
    stream: Stream | None = None,
) -> None:
    """Fill ``canvas``, ``picture`` and ``low_picture``; arguments as :func:`plan`.

    Raises:
        ValueError: an argument has another type or shape.
        DeviceFailure: the driver refused a launch.
    """
    steps = plan(
        photos,
        masks,
        frames,
        canvas,
        picture,
        low_picture,
        scratch,
        factors=factors,
        order=order,
        background=background,
        hard_mask=hard_mask,
    )
    for step in steps:
        runtime.run("photo_prep", step, stream)
