"""A figure, a view and a scene become a picture with exact depth maps, normals and joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_rt.data.people import raster
from h2k_rt.data.people.background import Stage
from h2k_rt.data.people.drawing import Bands, Buffers, alpha_of, draw_all, drawn_mesh, lens_of, material_of, visible_vertices
from h2k_rt.data.people.edges import soften_edges
from h2k_rt.data.people.figure import Figure, Surface
from h2k_rt.data.people.lights import light_table
from h2k_rt.data.people.overlays import draw_overlay, mean_light
from h2k_rt.data.people.points import DrawnMesh, Lens
from h2k_rt.data.people.scene import Scene
from h2k_rt.data.people.shade import Lighting, Material, shade_front, trace
from h2k_rt.data.people.shadows import draw_shadows, shadow_table
from h2k_rt.data.people.textures import DECODE, ENCODE, ENCODE_TONE
from h2k_rt.data.people.view import View, ViewCamera, area_centroid, place_camera

_NO_LIGHT = np.zeros(3, np.float32)


@dataclass(frozen=True)
class Rendering:
    """One picture and everything known about it.

    Attributes:
        rgb: (S, S, 3) uint8 sRGB, shaded, before the scene's background; silhouettes are softened.
        albedo: (S, S, 3) uint8 sRGB, colour without light, black outside the figure.
        mask: (S, S) uint8, 255 where the figure is.
        depth: (2, S, S) float32 in nu, nearest and farthest surface; 0 outside the figure.
        normals: (2, S, S, 3) float32 unit vectors in view axes (x right, y up, z toward the camera); the first faces the camera,
            the second away from it; 0 outside.
        joints: (31, 3) float64: x, y in pixel edge coordinates of this picture, 1.
        camera: of :meth:`ViewCamera.as_dict`.
    """

    rgb: NDArray[np.uint8]
    albedo: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    joints: NDArray[np.float64]
    camera: dict[str, Any]


@dataclass(frozen=True)
class Relief:
    """Depth, normals and mask as in :class:`Rendering`, without colour."""

    mask: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]


def frame_figure(figure: Figure, view: View, size: int) -> ViewCamera:
    """The camera of a view: the figure's outline centred, its surface's centroid on the reference plane.

    Surfaces with cut-out textures (hair) have many hidden layers and do not count in the centroid.
    """
    shown = [s for s in figure.surfaces if not s.decal]
    centroid = area_centroid((s.vertices, s.faces) for s in [s for s in shown if s.alpha is None] or shown)
    return place_camera(np.concatenate([visible_vertices(s) for s in shown]), centroid, view, size)


def render(
    figure: Figure, view: View, scene: Scene, size: int, threads: int = 1, *, camera: ViewCamera | None = None, smooth: bool = True
) -> Rendering:
    """Draw a figure.

    Args:
        size: side of the picture in pixels.
        threads: that share the picture; the result does not depend on it.
        camera: instead of the one that :func:`frame_figure` places for the view.
        smooth: faces are curved as their vertex normals say, so that depth and normals have no facets; off: flat, as ray casting
            sees them.
    """
    camera = camera or frame_figure(figure, view, size)
    lens = lens_of(camera, smooth)
    surfaces = [surface for surface in figure.surfaces if not surface.decal]
    meshes = [drawn_mesh(surface, camera) for surface in surfaces]
    materials = [material_of(surface, mesh) for surface, mesh in zip(surfaces, meshes, strict=True)]
    alphas = [alpha_of(surface, material) for surface, material in zip(surfaces, materials, strict=True)]
    with Bands(threads) as bands:
        buffers = draw_all(meshes, materials, alphas, size, bands)
        lighting = _lighting(scene, camera, meshes, materials, alphas)
        rgb = scene.background.draw(size, _stage(camera, meshes, lighting))
        albedo = np.zeros((size, size, 3), np.uint8)
        relief = _empty_relief(buffers)
        near = raster.pixels_by_surface(buffers.owners[0], len(meshes))
        for mesh, material, pixels in zip(meshes, materials, near, strict=True):

            def shade(part: slice, mesh: DrawnMesh = mesh, material: Material = material, own: NDArray[np.int16] = pixels) -> None:
                seen = (own[part], buffers.hits[0], mesh, lens, material, lighting, buffers.depths[0], DECODE, ENCODE, ENCODE_TONE)
                shade_front(*seen, relief.depth[0], relief.normals[0], albedo, rgb)

            bands.over(len(pixels), shade)
        _trace(1, meshes, buffers, lens, relief, bands)
    for surface in figure.surfaces:
        if surface.decal:
            mesh = drawn_mesh(surface, camera)
            material = material_of(surface, mesh)
            draw_overlay(mesh, material, alpha_of(surface, material), True, buffers.depths[0], _NO_LIGHT, albedo, rgb)
    for mesh, material, alpha, pixels in zip(meshes, materials, alphas, near, strict=True):
        if alpha.size:
            draw_overlay(mesh, material, alpha, False, buffers.depths[0], mean_light(pixels, albedo, rgb), albedo, rgb)
    soften_edges(rgb, relief.depth[0])
    camera.canvas_depth(relief.depth, relief.mask)
    joints = np.concatenate((camera.project(figure.joints), np.ones((len(figure.joints), 1))), axis=1)
    return Rendering(rgb, albedo, relief.mask, relief.depth, relief.normals, joints, camera.as_dict())


def render_relief(
    vertices: NDArray[np.floating], faces: NDArray[np.int32], camera: ViewCamera, threads: int = 1, *, smooth: bool = False
) -> Relief:
    """Depth and normals of a plain mesh under a camera, for example of :func:`~h2k_rt.data.people.view.published_camera`.

    Args:
        vertices: (V, 3) world metres; faces: (F, 3) counter-clockwise from outside.
        smooth: as in :func:`render`.
    """
    surface = plain_surface(vertices, faces)
    mesh, lens = drawn_mesh(surface, camera), lens_of(camera, smooth)
    with Bands(threads) as bands:
        buffers = draw_all([mesh], [material_of(surface, mesh)], [alpha_of(surface, None)], camera.size, bands)
        relief = _empty_relief(buffers)
        _trace(0, [mesh], buffers, lens, relief, bands)
        _trace(1, [mesh], buffers, lens, relief, bands)
    camera.canvas_depth(relief.depth, relief.mask)
    return relief


def plain_surface(
    vertices: NDArray[np.floating],
    faces: NDArray[np.int32],
    *,
    colours: NDArray[np.uint8] | None = None,
    uv: NDArray[np.float32] | None = None,
    uv_faces: NDArray[np.int32] | None = None,
    texture: NDArray[np.uint8] | None = None,
) -> Surface:
    """A scan as a surface without folds: with vertex colours, with a texture (then with uv and uv_faces), or grey."""
    vertices = np.asarray(vertices, np.float32)
    if texture is None or uv is None or uv_faces is None:
        uv, uv_faces = np.zeros((1, 2), np.float32), np.zeros((len(faces), 3), np.int32)
        texture = np.full((1, 1, 3), 190, np.uint8)
    return Surface(
        name="scan",
        vertices=vertices,
        faces=np.asarray(faces, np.int32),
        uv=uv,
        uv_faces=uv_faces,
        texture=texture,
        tint=np.ones(3, np.float32),
        alpha=None,
        rest=vertices,
        fold=np.zeros(len(vertices), np.float32),
        colours=colours,
    )


def _empty_relief(buffers: Buffers) -> Relief:
    size = buffers.owners.shape[1]
    mask = np.where(buffers.owners[0] >= 0, np.uint8(255), np.uint8(0))
    return Relief(mask, np.zeros((2, size, size), np.float32), np.zeros((2, size, size, 3), np.float32))


def _trace(side: int, meshes: Sequence[DrawnMesh], buffers: Buffers, lens: Lens, relief: Relief, bands: Bands) -> None:
    """Depth and normals of one side of all surfaces; the back never comes to lie before the front."""
    for mesh, pixels in zip(meshes, raster.pixels_by_surface(buffers.owners[side], len(meshes)), strict=True):

        def draw(part: slice, mesh: DrawnMesh = mesh, own: NDArray[np.int16] = pixels) -> None:
            front, depth, normals = relief.depth[0], relief.depth[side], relief.normals[side]
            trace(own[part], buffers.hits[side], mesh, lens, side == 1, front, depth, normals)

        bands.over(len(pixels), draw)


def _lighting(
    scene: Scene,
    camera: ViewCamera,
    meshes: Sequence[DrawnMesh],
    materials: Sequence[Material],
    alphas: Sequence[NDArray[np.uint8]],
) -> Lighting:
    middle = np.array([0.0, 0.0, camera.distance_metres])
    radius = 1.02 * max(float(np.sqrt(((mesh.points - middle.astype(np.float32)) ** 2).sum(1).max())) for mesh in meshes)
    drawn = [(m.points, m.faces, k.uv, k.uv_faces, a) for m, k, a in zip(meshes, materials, alphas, strict=True)]
    shadows = draw_shadows(shadow_table(scene.lights, middle, radius, camera.size), drawn)
    ambient = np.array([np.array(scene.sky) * scene.exposure, np.array(scene.ground) * scene.exposure, _up(camera)], np.float32)
    return Lighting(ambient, light_table(scene.lights, scene.exposure, middle), shadows.maps, shadows.table)


def _up(camera: ViewCamera) -> NDArray[np.float64]:
    """World's up in camera axes."""
    return camera.rotation[:, 1] * (1, -1, -1)


def _stage(camera: ViewCamera, meshes: Sequence[DrawnMesh], lighting: Lighting) -> Stage:
    """What the background may know. Ground axes: level, turned with the camera, origin at the camera."""
    up = _up(camera)
    right = np.cross(up, (0.0, 0.0, -1.0))
    right /= np.linalg.norm(right)
    to_ground = np.stack((right, up, np.cross(right, up)))
    turn = to_ground.astype(np.float32)
    lowest = min(raster.lowest(mesh.points, turn) for mesh in meshes)
    soles = np.concatenate([raster.near_ground(mesh.points, turn, lowest + 0.05) for mesh in meshes])
    right_side = soles[:, 0] >= soles[:, 0].mean()
    feet = np.stack((soles[right_side].mean(0), soles[~right_side].mean(0) if not right_side.all() else soles.mean(0)))
    return Stage(to_ground, -lowest, feet, camera.distance_metres, camera.size / 2 / camera.focal_px, lighting)
