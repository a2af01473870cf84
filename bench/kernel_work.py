"""Bytes and operations of each CUDA kernel, counted from the sources.

The bytes are those that a launch must move at least: each input read once, each output written once. Of an input that is only
read in places, those places count. The operations are arithmetic ones, a multiply-add as two; where a kernel searches, the usual
length of the search is taken. The work is that of one person at the published size, see ``Workload``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))

from h2k_kernels.integrate_normals import COARSEST_PAIRS, LEVELS


@dataclass(frozen=True)
class Workload:
    """One person at the published size.

    Attributes:
        photo: pixels of the photo.
        canvas: pixels of the canvas; low: of the low-resolution picture; crops: of all part crops.
        window: pixels of the window around the person, 1664 x 896.
        person: pixels of the person's mask; cells: of the grid mesh; border: pixels at its silhouette.
        rim: pixels of the mask near its silhouette; filled: of the back's fills; levels: of the pyramid that fills holes.
        half: bytes of a network's number.
        views, points: photos and points of a chunk of the implicit function; features, maps: channels that a point reads of a view,
            and elements of one view's maps, of PIFu's width at four scales.
    """

    photo: int = 3000 * 4000
    canvas: int = 2048 * 2048
    low: int = 256 * 256
    crops: int = 368 * 320 + 528 * 336 + 4 * 352 * 224 + 4 * 272 * 256 + 2 * 176 * 128
    window: int = 1664 * 896
    person: int = 560_000
    cells: int = 556_000
    border: int = 8_000
    rim: int = 90_000
    filled: int = 200_000
    levels: int = 9
    half: int = 2
    views: int = 4
    points: int = 65536
    features: int = 4 * 128 + 1
    maps: int = 128 * (128 * 128 + 64 * 64 + 32 * 32 + 16 * 16)


@dataclass(frozen=True)
class Work:
    """Bytes and operations, with how they are counted.

    Attributes:
        launches: that they are of, for kernels that go from level to level.
    """

    bytes: int
    operations: int
    counted: str
    launches: int = 1


def works(w: Workload) -> dict[str, Work]:
    """Every kernel -> its work."""
    parts = (_pictures, _relief, _masks, _depth, _colours, _meshes, _points, _features)
    return {kernel: work for part in parts for kernel, work in part(w).items()}


def _pictures(w: Workload) -> dict[str, Work]:
    """photo_prep, warp_parts, fuse_parts, copy_window."""
    taps = 25  # photo pixels that make a canvas pixel at a scale of about 0.45
    blocks = w.canvas // 256
    samples = w.crops * (40 + 4 * 9 + 60 + 9 * 7)
    warped = 3 * w.half * w.low + 6 * w.half * w.crops
    window = 8 * w.window // 64
    return {
        "photo_frame": Work(
            4 * w.photo + 4 * w.canvas, w.canvas * (60 + taps * 18), "photo and mask read, canvas written; 25 taps of 18 operations"
        ),
        "photo_mean": Work(4 * blocks, blocks, "a sum of each block read"),
        "photo_colour": Work(8 * w.canvas + 3 * w.half * w.low, 45 * w.canvas, "canvas read, picture and low picture written"),
        "warp_parts_u8": Work(
            4 * w.crops + warped,
            samples,
            "a canvas pixel read and 6 numbers written per crop pixel; 4 picture and up to 9 low-resolution samples",
        ),
        "warp_parts_f32": Work(12 * w.crops + warped, samples, "the same with a picture of floats"),
        "fuse_weights": Work(
            4 * w.crops, w.crops * (2 * 30 + 60), "if the canvas cuts every window: a weight per crop pixel, 15 taps twice"
        ),
        "fuse_parts": Work(
            6 * w.half * w.crops + 6 * w.half * w.window,
            int(w.window * 1.1 * 40 + w.person * 1.5 * (30 + 6 * 8)),
            "crops read, window written; 1.5 parts per pixel of the person, 4 taps of 6 channels",
        ),
        "fill_normals": Work(12 * w.half * w.low, 40 * w.low, "low normals read and written"),
        "copy_window_4": Work(
            2 * window, 10 * window // 4, "two planes of an eighth of the window's sides read and written, 4 bytes each"
        ),
        "copy_window_2": Work(window, 10 * window // 4, "the same with 2 bytes each"),
    }


def _relief(w: Workload) -> dict[str, Work]:
    """integrate_normals; a cell is 2 x 2 pixels of one side, a grid's number 4 bytes."""
    steps = LEVELS - 1
    cells = [2 * w.window // 4 // 4**level for level in range(LEVELS)]
    fine, coarse, coarsest = sum(cells[:-1]), sum(cells[1:]), cells[-1]
    return {
        "relief_start": Work(8, 2, "two numbers written"),
        "relief_bounds": Work(8 * w.window, 4 * w.window, "two depths read per pixel"),
        "relief_equations": Work(
            (8 + 6 * w.half) * w.window + 16 * cells[0],
            80 * cells[0],
            "two depths and six normals read per pixel, four numbers written per cell",
        ),
        "relief_coarsen": Work(
            12 * (fine + coarse), 8 * coarse, "all grids: three numbers read per cell, written per coarser one", steps
        ),
        "relief_down": Work(
            24 * fine + 4 * coarse, 55 * fine, "all grids of a cycle: five numbers read, one written per cell", steps
        ),
        "relief_coarsest": Work(20 * coarsest, COARSEST_PAIRS * 2 * 25 * coarsest, "four numbers read, one written per cell"),
        "relief_up": Work(
            24 * fine + 8 * coarse, 60 * fine, "all grids of a cycle: five numbers read, one written per cell", steps
        ),
        "relief_apply": Work(16 * w.window + 8 * cells[0], 40 * w.window, "two depths read and written, two numbers per cell read"),
    }


def _masks(w: Workload) -> dict[str, Work]:
    """mask_component and distance_field; masks are bytes of the window, components runs of bits."""
    bits, runs = w.window // 8, 3 * w.border
    return {
        "mask_to_bits": Work(w.window + bits, 4 * w.window, "bytes read, bits written"),
        "mask_unite": Work(bits + 8 * runs, 40 * w.window // 32 + 30 * runs, "bits read, a parent read and written per run"),
        "mask_count": Work(
            bits + 16 * runs, 20 * w.window // 32 + 40 * runs, "bits read, parent and area read and written per run"
        ),
        "mask_keep": Work(w.window + bits + 8 * runs, 12 * w.window, "bits, parents and areas read, bytes written"),
        "mask_spread_rows": Work(2 * bits, 9 * 12 * w.window // 32, "bits read and written; 9 shifts of two words"),
        "mask_spread_columns": Work(w.window + bits, 15 * w.window, "bits read, bytes written"),
        "distance_rows": Work(bits + 4 * w.window, 20 * w.window, "bits read, an offset written per pixel"),
        "distance_field": Work(
            9 * w.window,
            5 * w.window + w.person * 60 * 2 * 10,
            "offset and byte read, distance written; 60 rows up and down inside",
        ),
    }


def _depth(w: Workload) -> dict[str, Work]:
    """clean_depth and push_pull; a pair of depths is 8 bytes, a pixel of the pyramid 16, level 1 a quarter of the window."""
    level, rest = w.window // 4, w.window // 12
    return {
        "clean_person": Work(5 * w.window, 10 * w.window, "canvas read, mask written"),
        "clean_raw": Work(10 * w.window, 6 * w.window, "two depths and a mask read, a mask written"),
        "clean_logic": Work(3 * w.window, 8 * w.window, "two masks read, one written"),
        "clean_decide": Work(3 * w.window, 4 * w.window, "two masks read, one written"),
        "clean_complete": Work(18 * w.window, 6 * w.window, "two depths and masks read, two depths written; little is missing"),
        "clean_majority": Work(w.window // 8 + w.window, 49 * 6 * w.window, "bits read, bytes written; a square of 7 x 7"),
        "clean_mask": Work(4 * w.window, 6 * w.window, "two masks read and written"),
        "clean_fill": Work(10 * w.window, 4 * w.window, "masks read, two depths written"),
        "clean_pull_in": Work(2 * w.window + 16 * w.rim, w.rim * 81 * 6, "masks read, the rim's depths changed; a square of 9 x 9"),
        "clean_finish": Work(
            22 * w.window,
            10 * w.person + w.rim * 81 * 8,
            "two depths, masks and a distance read, two depths written; a square of 9 x 9",
        ),
        "pull_first": Work(9 * w.window + 16 * level, 12 * w.window, "two values and a byte read, level 1 written"),
        "pull": Work(16 * (level + 2 * rest), 12 * level, "all levels: each read, the next written", w.levels),
        "push_last": Work(2 * 16 * 4, 60, "up to 2 x 2 pixels"),
        "push": Work(
            2 * 16 * (level + rest), 30 * (level + rest), "all levels: each read and written, and the coarser one", w.levels
        ),
    }


def _colours(w: Workload) -> dict[str, Work]:
    """person_colours; a pixel of a picture is 4 bytes."""
    plane = 4 * w.window // 16  # of a fill, a quarter of the sides
    return {
        "colour_targets": Work(11 * w.window, 5 * w.window, "two distances read, three masks written"),
        "colour_sure": Work(
            22 * w.window, 8 * w.window + 30 * w.rim, "canvas, distance and two indices read, picture and masks written"
        ),
        "colour_replace": Work(4 * w.window + 8 * w.rim, w.window, "an index read; at the rim a pixel read and written"),
        "colour_even": Work(
            16 * w.window, 4 * w.window + w.rim * 81 * 6, "picture and distance read, two pictures written; 9 x 9 at the rim"
        ),
        "fill_rows": Work(20 * w.window, 65 * 6 * w.window, "picture read, four floats written; 65 taps"),
        "fill_detail": Work(
            28 * w.window + 3 * plane, w.window * (65 * 6 + 70), "picture, four floats and three planes read, two floats written"
        ),
        "fill_apply": Work(
            16 * w.filled + 6 * plane,
            20 * w.window + w.filled * (81 * 2 + 120),
            "planes read; where something is filled, two floats read, a pixel changed; a square of 9 x 9",
        ),
    }


def _meshes(w: Workload) -> dict[str, Work]:
    words = w.window // 32
    runs = 3 * w.border
    vertices, faces = 2 * w.person + 3 * w.border, 4 * w.cells + 8 * w.border
    return {
        "mesh_cells": Work(w.window + 4 * words + 8 * runs, 12 * w.window, "mask read, bits written, runs begun"),
        "mesh_open": Work(8 * words // 32, 4 * words // 32, "a number of each block read: next to nothing is to be removed"),
        "mesh_unite": Work(4 * words + 8 * runs, 40 * words + 30 * runs, "bits read, a parent read and written per run"),
        "mesh_count": Work(4 * words + 16 * runs, 20 * words + 40 * runs, "bits read, parent and area read and written per run"),
        "mesh_places": Work(4 * words * (1 + 3 + 7), 300 * words, "bits read; bits and counts before each word written"),
        "mesh_vertices": Work(
            8 * w.person + 6 * w.person + 27 * vertices,
            w.person * 2 * 90 + w.border * (32 * 90 + 3 * 70),
            "two depths and two colours read per pixel; position, normal and colour written per vertex; the outline's blur",
        ),
        "mesh_faces": Work(
            8 * w.person + 12 * faces, w.cells * 2 * 30 + w.border * 60, "two depths read, three numbers a face written"
        ),
    }


def _points(w: Workload) -> dict[str, Work]:
    """depth_to_points without seam shells, which only add points."""
    words = w.window // 32
    return {
        "points_steps": Work(16 * w.window, 10 * w.window, "two depths read and written"),
        "points_erode": Work(
            4 * w.person + 12 * words, 20 * w.window // 4, "the back read where the person is, bits read and written"
        ),
        "points_select": Work(8 * w.window + 4 * 9 * words, 2 * 12 * w.window, "two depths read, bits of nine layers written"),
        "points_places": Work(8 * 9 * words, 9 * 40 * words, "bits of nine layers read, counts before each word written"),
        "points_write": Work(
            14 * w.person + 27 * 2 * w.person,
            w.person * 2 * 80,
            "two depths and two colours read; position, normal and colour written",
        ),
    }


def _features(w: Workload) -> dict[str, Work]:
    """sample_features, by the types of maps and features."""
    found = {}
    for map_type, map_bytes in (("f16", 2), ("f32", 4)):
        for out_type, out_bytes in (("f16", 2), ("f32", 4)):
            found[f"sample_features_{map_type}_{out_type}"] = Work(
                w.views * (map_bytes * w.maps + out_bytes * w.points * w.features) + 12 * w.points,
                w.views * w.points * (8 * w.features + 60),
                "all maps read once, points read, features written; 4 taps a channel",
            )
    return found
