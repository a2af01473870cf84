"""Normal and depth maps as PNG pictures and as one NPZ archive."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method
from h2k_rt.errors import OutputError
from h2k_rt.output.atomic import replace_file
from h2k_rt.surface.normals import normals_to_u8
from h2k_rt.surface.points import depth_to_png


def write_png(path: str | os.PathLike[str], picture: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write a picture of 8 or 16 bits: (H, W) grey or (H, W, 3) RGB.

    Raises:
        OutputError: the file cannot be written.
        ValueError: the array is no picture.
    """
    if picture.dtype not in (np.uint8, np.uint16) or picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] != 3):
        raise ValueError(f"a picture is (H, W) or (H, W, 3) of uint8 or uint16, not {picture.shape} {picture.dtype}")
    ordered = picture if picture.ndim == 2 else picture[..., ::-1]
    good, data = cv2.imencode(".png", np.ascontiguousarray(ordered), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not good:
        raise OutputError(f"{path}: the picture of {picture.shape[1]} x {picture.shape[0]} pixels cannot be encoded as PNG")
    with replace_file(path) as temporary, temporary.open("wb") as file:
        file.write(data.tobytes())


def write_maps(
    folder: str | os.PathLike[str],
    stem: str,
    normals: NDArray[np.float32],
    front: NDArray[np.float32],
    back: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    method: Method = METHOD,
) -> list[Path]:
    """Write ``stem_{normal,depth}_{front,back}.png``, ``stem_mask.png`` and ``stem_maps.npz``; returns the paths.

    Normal PNG: 8 bits, 255 times the encoded value, as the published program writes them (SPEC 8). Depth PNG: 16 bits,
    ``nu * 16384``, 0 for background, clipped at 65535 (SPEC 7). NPZ: ``normals`` float16, ``front`` and ``back`` float32 nu,
    ``mask`` bool.

    Args:
        normals: (6, N, N) encoded normals, front then back.
        front, back: (N, N) depth in nu.
        mask: (N, N) bool.

    Raises:
        OutputError: a file cannot be written.
    """
    base = Path(folder)
    pictures: dict[str, NDArray[np.uint8] | NDArray[np.uint16]] = {
        "normal_front": normals_to_u8(normals[:3]),
        "normal_back": normals_to_u8(normals[3:]),
        "depth_front": depth_to_png(front, method=method),
        "depth_back": depth_to_png(back, method=method),
        "mask": np.where(mask, 255, 0).astype(np.uint8),
    }
    written = []
    for name, picture in pictures.items():
        path = base / f"{stem}_{name}.png"
        write_png(path, picture)
        written.append(path)
    archive = base / f"{stem}_maps.npz"
    with replace_file(archive) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, normals=normals.astype(np.float16), front=front.astype(np.float32), back=back.astype(np.float32), mask=mask
        )
    return [*written, archive]
