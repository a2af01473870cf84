"""Draw what models make of held-out synthetic people beside the truth: the before/after pictures of the docs.

python bench/compare_models.py HOLDOUT OUT.png [--samples 000003,000017] [--models before=OLD_BUNDLE,after=small]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("export", "engines", "kernels"))]

from h2k_rt.data.dataset import Dataset, Sample  # noqa: E402
from h2k_rt.metrics.shape import load_shape  # noqa: E402
from h2k_rt.output.maps import write_png  # noqa: E402
from h2k_rt.photo import Photo  # noqa: E402
from h2k_rt.reconstruct import Reconstructor  # noqa: E402
from h2k_rt.render import render_views  # noqa: E402
from h2k_rt.surface.mesh import Mesh  # noqa: E402
from h2k_rt.surface.topology import vertex_normals  # noqa: E402

TALL = 520
WIDE = 300
YAWS = (0.0, 90.0)
LABEL = 30


def panels(sample: Sample, models: dict[str, Reconstructor]) -> list[tuple[str, NDArray[np.uint8]]]:
    """Labelled pictures of one sample, each TALL pixels high: the picture, each model's shape, the truth."""
    assert sample.rgb is not None and sample.mask is not None
    out = [("picture", portrait(sample))]
    for name, model in models.items():
        mesh = model.reconstruct(Photo(sample.rgb, sample.id), joints=sample.joints, mask=sample.mask).mesh
        out += [(f"{name}, {side}", view) for side, view in zip(("front", "side"), clay(mesh), strict=True)]
    if sample.mesh_path is not None:
        out += [(f"truth, {side}", view) for side, view in zip(("front", "side"), clay(turned(sample)), strict=True)]
    return out


def portrait(sample: Sample) -> NDArray[np.uint8]:
    """The part of the picture with the person."""
    assert sample.rgb is not None and sample.mask is not None
    x, y, width, height = cv2.boundingRect(sample.mask)
    side = 1.06 * max(height, width * TALL / WIDE)
    left, top = x + width / 2 - side * WIDE / TALL / 2, y + height / 2 - side / 2
    matrix = np.array([[TALL / side, 0, -left * TALL / side], [0, TALL / side, -top * TALL / side]])
    return np.asarray(cv2.warpAffine(sample.rgb, matrix, (WIDE, TALL), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE))


def turned(sample: Sample) -> Mesh:
    """The true closed mesh, turned as the camera saw it."""
    assert sample.mesh_path is not None
    shape = load_shape(sample.mesh_path)
    rotation = np.asarray(sample.camera["rotation"], np.float64)
    vertices = np.ascontiguousarray(shape.vertices @ rotation.T, np.float32)
    faces = np.asarray(shape.faces, np.int32)
    return Mesh(vertices, faces, vertex_normals(vertices, faces), np.full(vertices.shape, 200, np.uint8))


def clay(mesh: Mesh) -> list[NDArray[np.uint8]]:
    return render_views(mesh, YAWS, (WIDE, TALL), looks=("clay",))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("holdout", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", default="", help="ids, separated by commas; by default the first two")
    parser.add_argument("--models", default="small=small", help="LABEL=BUNDLE, separated by commas")
    arguments = parser.parse_args()
    dataset = Dataset(arguments.holdout)
    chosen = arguments.samples.split(",") if arguments.samples else dataset.ids[:2]
    models = {label: Reconstructor(bundle) for label, _, bundle in (word.partition("=") for word in arguments.models.split(","))}
    rows = [panels(dataset.read(name), models) for name in chosen]
    page = np.full((len(rows) * (TALL + LABEL), len(rows[0]) * WIDE, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for k, (_, picture) in enumerate(row):
            page[i * (TALL + LABEL) + LABEL : (i + 1) * (TALL + LABEL), k * WIDE : (k + 1) * WIDE] = picture
    image = Image.fromarray(page)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(18)
    for i, row in enumerate(rows):
        for k, (label, _) in enumerate(row):
            draw.text((k * WIDE + WIDE // 2, i * (TALL + LABEL) + 5), label, fill=(40, 40, 40), font=font, anchor="ma")
    write_png(arguments.out, np.asarray(image))


if __name__ == "__main__":
    main()
