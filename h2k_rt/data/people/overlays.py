"""Fine hair drawn over the shaded picture by its alpha: brows and lashes on the skin, and the thin ends of strands.

They change colours only: a z-buffer keeps one surface to a pixel and cannot mix, and their cards are no shape worth learning.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2k_rt.data.people.points import DrawnMesh
from h2k_rt.data.people.raster import ALPHA_CUT, bilinear_alpha
from h2k_rt.data.people.shade import Material, texel
from h2k_rt.data.people.textures import DECODE, ENCODE, ENCODE_STEPS

#: Decals lie at most so far behind and before what they are drawn on, metres.
_BEHIND, _BEFORE = 0.004, 0.02
_FAINTEST = 16.0


@njit(cache=True, nogil=True)
def _encoded(value, table):
    return table[int(np.sqrt(min(max(value, 0.0), 1.0)) * ENCODE_STEPS)]


@njit(cache=True, nogil=True)
def _mix(row, column, share, colour, light, albedo, rgb, decode, encode):
    """Blend a colour into one pixel, in the light that falls on it; outside the figure in ``light``."""
    covered = albedo[row, column, 0] > 0 or albedo[row, column, 1] > 0 or albedo[row, column, 2] > 0
    for c in range(3):
        shaded = decode[rgb[row, column, c]]
        factor = light[c]
        if covered:
            own = decode[albedo[row, column, c]]
            factor = min(shaded / max(own, np.float32(0.01)), np.float32(1.5))
            albedo[row, column, c] = _encoded(own + share * (colour[c] - own), encode)
        rgb[row, column, c] = _encoded(shaded + share * (colour[c] * factor - shaded), encode)


@njit(cache=True, nogil=True)
def _overlay(mesh, material, alpha, decal, light, nearness, albedo, rgb, decode, encode):
    size = nearness.shape[0]
    screen, faces, uv, uv_faces = mesh.screen, mesh.faces, material.uv, material.uv_faces
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        xa, ya, xb, yb, xc, yc = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        qa, qb, qc = np.float64(screen[a, 2]), np.float64(screen[b, 2]), np.float64(screen[c, 2])
        area = (np.float64(xb) - xa) * (yc - ya) - (np.float64(xc) - xa) * (yb - ya)
        if area == 0 or qa <= 0 or qb <= 0 or qc <= 0:
            continue
        for y in range(max(int(np.ceil(min(ya, yb, yc) - 0.5)), 0), min(int(np.floor(max(ya, yb, yc) - 0.5)), size - 1) + 1):
            for x in range(max(int(np.ceil(min(xa, xb, xc) - 0.5)), 0), min(int(np.floor(max(xa, xb, xc) - 0.5)), size - 1) + 1):
                dx, dy = x + 0.5 - xa, y + 0.5 - ya
                w1, w2 = ((yc - ya) * dx - (xc - xa) * dy) / area, ((xb - xa) * dy - (yb - ya) * dx) / area
                w0 = 1 - w1 - w2
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                q = w0 * qa + w1 * qb + w2 * qc
                behind = 1 / q - 1 / nearness[y, x] if nearness[y, x] > 0 else -1.0
                if behind > (_BEHIND if decal else 0.0) or (decal and behind < -_BEFORE):
                    continue
                w0, w1, w2 = w0 * qa / q, w1 * qb / q, w2 * qc / q
                i, j, k = uv_faces[t, 0], uv_faces[t, 1], uv_faces[t, 2]
                u = np.float32(w0 * uv[i, 0] + w1 * uv[j, 0] + w2 * uv[k, 0])
                v = np.float32(w0 * uv[i, 1] + w1 * uv[j, 1] + w2 * uv[k, 1])
                opacity = bilinear_alpha(alpha, u, v)
                # What is more opaque is in the z-buffer already, unless it is a decal.
                if opacity < _FAINTEST or (not decal and opacity >= ALPHA_CUT):
                    continue
                red, green, blue = texel(material.texture, u, v, decode)
                colour = (red * material.tint[0], green * material.tint[1], blue * material.tint[2])
                _mix(y, x, np.float32(opacity / 255), colour, light, albedo, rgb, decode, encode)


def draw_overlay(
    mesh: DrawnMesh,
    material: Material,
    alpha: NDArray[np.uint8],
    decal: bool,
    nearness: NDArray[np.float32],
    light: NDArray[np.float32],
    albedo: NDArray[np.uint8],
    rgb: NDArray[np.uint8],
) -> None:
    """Blend a surface with a cut-out texture into ``albedo`` and ``rgb`` (S, S, 3), in place.

    Args:
        decal: the whole surface, on what it lies on; otherwise only what is too faint for the z-buffer.
        nearness: (S, S) float32 of what is drawn already.
        light: (3,) float32 linear light on strands before the background.
    """
    _overlay(mesh, material, alpha, decal, light, nearness, albedo, rgb, DECODE, ENCODE)


def mean_light(pixels: NDArray[np.int16], albedo: NDArray[np.uint8], rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(3,) mean shaded over mean unshaded linear colour of pixels (P, 2)."""
    if not len(pixels):
        return np.full(3, 0.7, np.float32)
    rows, columns = pixels[:, 0], pixels[:, 1]
    shaded, own = DECODE[rgb[rows, columns]].mean(0), DECODE[albedo[rows, columns]].mean(0)
    return np.minimum(shaded / np.maximum(own, 0.01), 1.5).astype(np.float32)
