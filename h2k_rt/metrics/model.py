"""What a model makes of pictures whose truth is known: every stage of the pipeline against a dataset's maps and meshes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import METHOD
from h2k_rt.data.dataset import Sample
from h2k_rt.errors import DataError
from h2k_rt.framing import Framing
from h2k_rt.metrics.maps import depth_errors, facing_normal_error, mask_iou, normal_error
from h2k_rt.metrics.mesh import compare_meshes
from h2k_rt.metrics.picture_camera import CANVAS_CAMERA, PictureCamera, normals_of_depth, normals_of_encoded, on_canvas_camera
from h2k_rt.metrics.regions import face_region, hands_region
from h2k_rt.metrics.shape import Shape, load_shape
from h2k_rt.metrics.upsample import on_canvas
from h2k_rt.photo import Photo
from h2k_rt.reconstruct import Reconstruction, Reconstructor
from h2k_rt.surface.clean import published_mask
from h2k_rt.surface.fill import bounding_box

#: Errors are given in cm for a person of this standing height.
HEIGHT_CM = 170.0
#: Maps that a dataset must have to be measured against; the closed mesh is used where there is one.
NEEDED_MAPS = ("color", "mask", "depth")

SIDES = ("front", "back")
REGIONS = ("body", "face", "hands")
#: Where normals are taken from: low-resolution network, fused at full resolution, the final mesh, a constant guess.
NORMAL_SOURCES = ("low", "fused", "mesh", "constant")

_WINDOW_MARGIN = 8


@dataclass(frozen=True)
class Truth:
    """What is known of a sample, brought to the canvas of a reconstruction; all maps are N = 2048 pixels wide.

    Attributes:
        mask: (N, N) bool.
        depth: (2, N, N) float32 nu, 0 outside: what the networks should say, so that the canvas camera lifts it to the truth.
        normals: (2, N, N, 3) float32 outward unit vectors, x right, y up, z to the camera.
        joints: (31, 3) canvas pixels.
        cm_per_px: centimetres (for a person of 1.70 m) of a canvas pixel at the reference plane.
        shape: the closed mesh in cm, in the axes of the reconstruction's scan frame; None where the dataset has none.
    """

    mask: NDArray[np.bool_]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    joints: NDArray[np.float64]
    cm_per_px: float
    shape: Shape | None


def measure_sample(
    reconstructor: Reconstructor, sample: Sample, *, use_finder: bool = False, with_mesh: bool = True, threads: int | None = None
) -> dict[str, float]:
    """Reconstruct one sample with the whole pipeline and measure every stage; names and units are in ``docs/metrics.md``.

    Args:
        use_finder: find mask and joints in the picture, as for a photo; otherwise the true ones are given.
        with_mesh: measure the mesh too, where the sample has a true one.
        threads: for the mesh distances; None: all cores.

    Raises:
        PersonError: the finder or the networks found nobody.
        DataError: the sample lacks what is needed.
    """
    if sample.rgb is None or sample.mask is None or sample.depth is None:
        raise DataError(f"sample {sample.id}: picture, mask and depth are needed to measure a model")
    began = perf_counter()
    joints, mask = (None, None) if use_finder else (sample.joints, sample.mask)
    result = reconstructor.reconstruct(Photo(sample.rgb, f"sample {sample.id}"), joints=joints, mask=mask)
    seconds = perf_counter() - began
    truth = truth_on_canvas(sample, result.canvas.framing, with_mesh=with_mesh)
    errors = measure_maps(result, truth)
    if truth.shape is not None:
        offset_cm = errors["depth_offset_cm"]
        errors |= measure_mesh(result, truth, truth.shape, offset_cm, threads)
    return {**errors, "seconds": seconds}


def truth_on_canvas(sample: Sample, framing: Framing, *, with_mesh: bool = True) -> Truth:
    """Bring a sample's maps, joints, camera and mesh to the canvas on which the picture was reconstructed."""
    assert sample.mask is not None and sample.depth is not None
    mask = _framed(sample.mask, framing) > 127
    # Depth lies along the rays of the canvas, whatever lens the picture was taken with.
    camera = PictureCamera.of(sample.size, METHOD.fov_degrees).framed(framing)
    # Files count depth in pixels of a picture of 2048; here they are those of the canvas.
    zoom = np.float32(framing.scale * sample.size / METHOD.size)
    middle = np.float32(METHOD.size / 2 / METHOD.depth_unit_px)
    seen = np.stack([(_framed(side, framing) - middle) * zoom + middle for side in sample.depth])
    if sample.normals is not None:
        normals = np.stack([_framed(side, framing) for side in sample.normals])
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), np.float32(1e-6))
    else:
        normals = np.stack([normals_of_depth(seen[i], mask, camera, back=i == 1) for i in (0, 1)])
    cm_per_px = _cm_per_px(sample, framing)
    shape = _shape_on_canvas(sample, framing, cm_per_px) if with_mesh and sample.mesh_path is not None else None
    return Truth(mask, on_canvas_camera(seen, mask, camera), normals, framing.joints(sample.joints), cm_per_px, shape)


def measure_maps(result: Reconstruction, truth: Truth) -> dict[str, float]:
    """Masks, normals and depth of every stage; normals and depth over the pixels of both the true and the final mask."""
    final, maps = result.surface.depth, result.maps
    seen = truth.mask & final.mask
    errors = {
        "mask_iou": mask_iou(published_mask(maps.depth[0], maps.depth[1]), truth.mask),
        "final_mask_iou": mask_iou(final.mask, truth.mask),
    }
    window = bounding_box(truth.mask | final.mask, _WINDOW_MARGIN)
    inside = seen[window]
    if not inside.any():
        raise DataError("the reconstruction and the truth have no pixel in common")
    true_depth = np.stack([side[window] for side in truth.depth])

    cm_per_nu = truth.cm_per_px * METHOD.depth_unit_px
    low = maps.low_depth
    low_person = published_mask(low[0], low[1]).astype(np.float32)
    stages = {
        "": np.stack((final.front[window], final.back[window])),
        "network_": np.stack([side[window] for side in maps.depth]),
        "low_": np.stack([on_canvas(side, low_person, window, METHOD.size) for side in low]),
    }
    for stage, depth in stages.items():
        where = inside & (depth[0] <= depth[1]) & (depth[0] > 0)
        if where.any():
            found = asdict(depth_errors(depth, true_depth, where, cm_per_nu))
            # The constant guess is that of the truth: told once.
            errors |= {f"depth_{stage}{name}_cm": value for name, value in found.items() if not (stage and "flat" in name)}
    return errors | _measure_normals(result, truth, window, inside)


def _measure_normals(
    result: Reconstruction, truth: Truth, window: tuple[slice, slice], inside: NDArray[np.bool_]
) -> dict[str, float]:
    """``normal_<region>_<side>_<source>`` in degrees."""
    camera, final = CANVAS_CAMERA.cut(*window), result.surface.depth
    standing_px = HEIGHT_CM / truth.cm_per_px
    regions = {
        "body": inside,
        "face": inside & face_region(truth.joints, standing_px, METHOD.size)[window],
        "hands": inside & hands_region(truth.joints, standing_px, METHOD.size)[window],
    }
    errors = {}
    for index, side in enumerate(SIDES):
        back = index == 1
        true = truth.normals[index][window]
        distance = camera.distance(np.where(truth.mask[window], truth.depth[index][window], 2))
        channels = slice(3 * index, 3 * index + 3)
        found: Mapping[str, NDArray[np.float32]] = {
            "low": normals_of_encoded(result.maps.low_normals[channels], window, distance, CANVAS_CAMERA, back=back),
            "fused": normals_of_encoded(result.maps.normals[channels], window, distance, CANVAS_CAMERA, back=back),
            "mesh": normals_of_depth((final.front, final.back)[index][window], final.mask[window], camera, back=back),
        }
        for region, where in regions.items():
            for source, normals in found.items():
                errors[f"normal_{region}_{side}_{source}"] = normal_error(normals, true, where)
            errors[f"normal_{region}_{side}_constant"] = facing_normal_error(true, where, back=back)
    return errors


def measure_mesh(
    result: Reconstruction, truth: Truth, shape: Shape, offset_cm: float, threads: int | None = None
) -> dict[str, float]:
    """Mesh distances and overlap after the person's own depth offset is taken out, each vertex along its ray."""
    mesh = result.surface.mesh
    cm_per_unit = METHOD.focal_px * truth.cm_per_px  # the canvas camera stands one unit away
    eye = np.array([0, 0, 1 / METHOD.world_scale], np.float32)
    rays = mesh.vertices - eye
    length = np.sqrt(np.einsum("ij,ij->i", rays, rays))[:, None]
    moved = eye + rays * (1 - np.float32(offset_cm / cm_per_unit) / length)
    prediction = Shape((moved * np.float32(cm_per_unit)).astype(np.float32), mesh.faces, "prediction")
    found = compare_meshes(prediction, shape, cm_per_unit=1.0, threads=threads)
    return {
        "p2s_cm": found.p2s,
        "truth_to_prediction_cm": found.truth_to_prediction,
        "chamfer_cm": found.chamfer,
        "chamfer_squared_cm2": found.chamfer_squared,
        "volume_iou": found.iou,
    }


def _framed(image: NDArray, framing: Framing) -> NDArray:
    """(S, S[, C]) of the sample -> (N, N[, C]) of the canvas; nearest, as depths and normals must not be mixed across edges."""
    scale, half = framing.scale, (framing.scale - 1) / 2  # pixel index i is at edge coordinate i + 0.5
    matrix = np.array([[scale, 0, framing.dx + half], [0, scale, framing.dy + half]])
    return cv2.warpAffine(image, matrix, (framing.size, framing.size), flags=cv2.INTER_NEAREST)


def _cm_per_px(sample: Sample, framing: Framing) -> float:
    """By the figure's stature and the camera where the sample tells them, else by the outline, as the pipeline places meshes."""
    stature, unit = sample.about.get("stature_m"), sample.camera.get("metres_per_unit")
    if stature and unit:
        focal = PictureCamera.of(sample.size, float(sample.camera["fov"])).focal
        metres_per_px = float(unit) * float(sample.camera["distance"]) / focal / framing.scale
        return HEIGHT_CM * metres_per_px / float(stature)
    assert sample.mask is not None
    outline_px = cv2.boundingRect((sample.mask > 127).astype(np.uint8))[3] * framing.scale
    return HEIGHT_CM * framing.height_share / outline_px


def _shape_on_canvas(sample: Sample, framing: Framing, cm_per_px: float) -> Shape | None:
    """The closed mesh in cm for 1.70 m: view axes, the origin where the canvas has its centre on the reference plane.

    A shift of the picture is a shift of the person across the view (the turn of the view that it also is, 1 degree for 40 pixels,
    is left out, as the pipeline leaves it out).
    """
    from h2k_rt.data.people.view import camera_from_dict

    if sample.mesh_path is None or "metres_per_unit" not in sample.camera:
        return None
    world, camera = load_shape(sample.mesh_path), camera_from_dict(sample.camera)
    seen = (world.vertices - camera.centre) @ camera.rotation.T
    px_per_metre = camera.focal_px / camera.distance_metres * framing.scale
    aside = framing.scale * sample.size / 2 + np.array([framing.dx, framing.dy]) - METHOD.size / 2
    placed = (seen * px_per_metre + (aside[0], -aside[1], 0.0)) * cm_per_px
    return Shape(placed.astype(np.float32), world.faces, world.name)
