"""Relief of normals laid on depth: against a direct solution of the same equations, and on shapes whose relief is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from h2k_kernels import integrate_normals
from h2k_kernels.integrate_normals import LEAST_GAP, TRUSTED_SLOPE
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve

from h2k_rt.constants import METHOD

NORMAL_Z, UNIT = METHOD.normal_z, METHOD.depth_unit_px


def encoded(depth: NDArray[np.float64]) -> NDArray[np.float32]:
    """Normals of one side, SPEC 8."""
    x, y = np.zeros_like(depth), np.zeros_like(depth)
    x[:, :-1] = depth[:, :-1] - depth[:, 1:]
    y[:-1] = depth[:-1] - depth[1:]
    normal = np.stack([x, y, np.full_like(depth, NORMAL_Z)])
    return ((normal / np.linalg.norm(normal, axis=0) + 1) / 2).astype(np.float32)


def run(depth: NDArray, normals: NDArray, wavelength: float = 60.0) -> NDArray[np.float32]:
    return integrate_normals(
        depth.astype(np.float32), normals.astype(np.float32), wavelength=wavelength, normal_z=NORMAL_Z, depth_unit=UNIT
    )


def body(height: int, width: int) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Outline, front depth and back depth of a cushion, which go on around it; nu."""
    y, x = np.mgrid[:height, :width]
    square = ((x - width / 2 + 0.5) / (0.45 * width)) ** 2 + ((y - height / 2 + 0.5) / (0.45 * height)) ** 2
    person = square < 1
    bulge = 0.1 * np.maximum(1 - square, 0)
    return person, 1.99 - bulge, 2.01 + bulge


def cut(front: NDArray, back: NDArray, person: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Depth maps with the networks' background."""
    return np.stack([np.where(person, front, 6), np.where(person, back, 0)]).astype(np.float32)


def direct(depth: NDArray, slopes: tuple[NDArray, NDArray], on: NDArray[np.bool_], wavelength: float) -> NDArray[np.float64]:
    """The same least squares at half resolution, by a sparse direct solver, cell by cell and link by link."""
    height, width = on.shape[0] // 2, on.shape[1] // 2
    cells = {
        (y, x): number
        for number, (y, x) in enumerate(
            (y, x) for y in range(height) for x in range(width) if on[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].any()
        )
    }
    matrix, wanted = sparse.lil_matrix((len(cells), len(cells))), np.zeros(len(cells))
    for (y, x), i in cells.items():
        share = on[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean()
        matrix[i, i] += share * (4 * math.pi / wavelength) ** 2
        for dy, dx, slope in ((0, 1, slopes[0]), (1, 0, slopes[1])):
            j = cells.get((y + dy, x + dx))
            if j is None:
                continue
            total, flow = 0.0, 0.0
            for lane in (0, 1):
                for step, half in ((0, 0.5), (1, 1.0), (2, 0.5)):
                    ay, ax = (2 * y + lane, 2 * x + step) if dx else (2 * y + step, 2 * x + lane)
                    by, bx = ay + dy, ax + dx
                    if on[ay, ax] and on[by, bx]:
                        actual = depth[ay, ax] - depth[by, bx]
                        steep = max(abs(slope[ay, ax]), abs(actual)) * UNIT / TRUSTED_SLOPE
                        weight = half / (1 + steep**2)
                        total += weight
                        flow += weight * (slope[ay, ax] - actual)
            for a, b, sign in ((i, j, 1), (j, i, -1)):
                matrix[a, a] += total / 4
                matrix[a, b] -= total / 4
                wanted[a] += sign * flow / 2
    solution = spsolve(matrix.tocsr(), wanted)
    out = np.zeros((height, width))
    for at, i in cells.items():
        out[at] = solution[i]
    return out


def test_solves_its_equations() -> None:
    """Two digits from each cycle: within two hundredths of the largest correction of the direct solution."""
    person, front, back = body(96, 80)
    y, x = np.mgrid[:96, :80]
    bumps = 0.004 * np.sin(x / 3.0) * np.sin(y / 4.0)
    normals = np.concatenate([encoded(front + bumps), encoded(back)])
    normals[:, ~person] = 0
    made = run(cut(front, back, person), normals)
    z = np.maximum(2.0 * normals[2] - 1, 1 / 64)
    slopes = ((2.0 * normals[0] - 1) / z * NORMAL_Z, (2.0 * normals[1] - 1) / z * NORMAL_Z)
    truth = direct(front, slopes, person, 60.0)
    ours = (made[0] - front).reshape(48, 2, 40, 2).mean((1, 3))
    inner = person.reshape(48, 2, 40, 2).all((1, 3))
    inner &= np.roll(inner, 1, 0) & np.roll(inner, -1, 0) & np.roll(inner, 1, 1) & np.roll(inner, -1, 1)
    # The mean of a cell's interpolated pixels is that of the cells with these weights.
    padded = np.pad(truth, 1)
    mean = sum(
        weight_y * weight_x * padded[dy : dy + 48, dx : dx + 40]
        for dy, weight_y in enumerate((0.125, 0.75, 0.125))
        for dx, weight_x in enumerate((0.125, 0.75, 0.125))
    )
    largest = np.abs(truth).max()
    assert largest > 0.002
    assert np.abs(ours - mean)[inner].max() < 0.02 * largest


@pytest.mark.parametrize("shape", [(200, 160), (201, 159)], ids=["even", "odd"])
def test_relief_that_the_depth_lacks_comes_from_normals(shape: tuple[int, int]) -> None:
    """Waves are laid on a smooth body with the gain of the screened equation, 1 / (1 + (length / wavelength)^2)."""
    person, front, back = body(*shape)
    x = np.arange(shape[1])[None]
    for length in (24, 60, 600):
        wave = 0.003 * np.sin(2 * math.pi * x / length) * (length / 24)
        normals = np.concatenate([encoded(front + wave), encoded(back - wave)])
        normals[:, ~person] = 0
        depth = cut(front, back, person)
        made = run(depth, normals) - depth
        _, w = shape
        middle = (slice(shape[0] // 2 - 30, shape[0] // 2 + 30), slice(w // 2 - 48, w // 2 + 48))
        for side, sign in ((0, 1), (1, -1)):
            want = sign * np.broadcast_to(wave, shape)[middle]
            want = want - want.mean()
            have = made[side][middle] - made[side][middle].mean()
            gain = (want * have).sum() / (want * want).sum()
            assert gain == pytest.approx(1 / (1 + (length / 60) ** 2), abs=0.06)
        assert (made[:, ~person] == 0).all()


def test_normals_of_the_depth_itself_change_nothing() -> None:
    person, front, back = body(120, 90)
    normals = np.concatenate([encoded(front), encoded(back)])
    normals[:, ~person] = 0
    depth = cut(front, back, person)
    assert np.abs(run(depth, normals) - depth).max() < 2e-4


def test_what_has_no_normal_or_is_nobody_stays() -> None:
    person, front, back = body(80, 80)
    depth = cut(front, back, person)
    normals = np.random.default_rng(3).random((6, 80, 80))
    normals[:, :40] = 0
    depth[:, 70, 40], normals[:, 71, 40] = np.nan, np.nan
    made = run(depth, normals)
    np.testing.assert_array_equal(made[:, :40], depth[:, :40])
    np.testing.assert_array_equal(made[:, ~person], depth[:, ~person])
    rest = person.copy()
    rest[70:72, 40] = False
    assert np.isfinite(made[:, rest]).all()
    nobody = cut(back, front, np.ones_like(person))
    np.testing.assert_array_equal(run(nobody, normals), nobody)


def test_front_stays_before_back() -> None:
    """Normals that would drive a thin sheet through itself."""
    person, front, back = body(80, 80)
    front, back = np.full_like(front, 1.998), np.full_like(back, 2.002)
    hill = np.broadcast_to(0.05 * np.exp(-((np.arange(80) - 40.0) ** 2) / 50), front.shape)
    normals = np.concatenate([encoded(front + hill), encoded(back - hill)])
    normals[:, ~person] = 0
    depth = cut(front, back, person)
    made = run(depth, normals)
    assert (made[1] - made[0])[person].min() > 0.99 * LEAST_GAP
    assert np.abs(made - depth)[:, person].max() > 0.005


def test_wrong_arguments() -> None:
    depth, normals = np.zeros((2, 8, 8), np.float32), np.zeros((6, 8, 8), np.float32)
    with pytest.raises(ValueError, match=r"\(2, H, W\)"):
        run(depth[0], normals)
    for wavelength in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="wavelength"):
            run(depth, normals, wavelength)
