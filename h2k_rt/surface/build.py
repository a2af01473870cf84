"""From high-resolution depth to a coloured mesh, in the way that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import Method
from h2k_rt.errors import PersonError
from h2k_rt.surface.clean import CleanDepth, clean_depth, parity_depth, published_mask
from h2k_rt.surface.colour import canvas_colours
from h2k_rt.surface.grid_mesh import grid_mesh
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.placement import Placement, place
from h2k_rt.surface.points import point_cloud

MeshKind = Literal["grid", "poisson", "points"]


@dataclass(frozen=True)
class Surface:
    """A mesh in scan units and the depth it was made from.

    Attributes:
        mesh: x right, y up, z to the camera; the camera stands at (0, 0, 1 / world scale).
        depth: the cleaned depth maps (in parity mode the published ones).
    """

    mesh: Mesh
    depth: CleanDepth

    def simplified(self, faces: int | None) -> Surface:
        """The same with about so many faces, if it has more; None: as it is.

        Raises:
            MissingPackageError: fast-simplification is not installed.
        """
        if faces is None or len(self.mesh.faces) <= faces:
            return self
        from h2k_rt.surface.decimate import decimate

        return replace(self, mesh=decimate(self.mesh, faces))

    def place(self, height: float, floor: float = 0.0) -> tuple[Mesh, Placement]:
        """The mesh in metres, ``height`` tall, its lowest point at y = ``floor``."""
        mesh, placement = place(self.mesh, height)
        if not floor:
            return mesh, placement
        x, y, z = placement.translation
        raised = replace(placement, translation=(x, y + floor, z))
        return replace(mesh, vertices=raised.apply(self.mesh.vertices)), raised


def make_surface(
    depth: NDArray[np.float32],
    rgb: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    joints: NDArray[np.float64],
    method: Method,
    *,
    kind: MeshKind = "grid",
    parity: bool = False,
    faces: int | None = None,
    poisson_depth: int = 10,
    seams: bool = False,
) -> Surface:
    """Mesh the networks' depth.

    Args:
        depth: (2, N, N) float32 nu, front and back.
        rgb: (N, N, 3) uint8 canvas with background.
        mask: (N, N) uint8 person mask of the canvas.
        joints: (31, 3) canvas pixels.
        kind: "grid", "poisson" or "points".
        parity: the published point cloud and colours (back = front), for "points" and "poisson"; the published program
            has no grid mesh.
        faces: decimate to about so many.
        poisson_depth: of the octree of "poisson".
        seams: add the published grey shells that bridge the silhouette to the cloud of "points" (SPEC 7).

    Raises:
        PersonError: the networks found no body.
        MissingPackageError: open3d (poisson) or fast-simplification (faces) is not installed.
    """
    if parity:
        front, back = parity_depth(depth[0], depth[1])
        clean = CleanDepth(front, back, published_mask(front, back))
        if not clean.mask.any():
            raise PersonError("the networks found no body: front lies behind back everywhere")
    else:
        clean = clean_depth(depth[0], depth[1], mask, method=method)
    if kind == "grid":
        front_colours, back_colours = canvas_colours(rgb, clean.mask, joints)
        mesh = grid_mesh(clean, front_colours, back_colours, method=method)
    else:
        mesh = _cloud(clean, rgb, joints, method, parity, seams and kind == "points")
        if kind == "poisson":
            from h2k_rt.surface.poisson import poisson_mesh

            mesh = poisson_mesh(mesh, depth=poisson_depth)
    return Surface(mesh, clean).simplified(faces)


def _cloud(
    clean: CleanDepth, rgb: NDArray[np.uint8], joints: NDArray[np.float64], method: Method, parity: bool, seams: bool
) -> Mesh:
    if parity:
        return point_cloud(clean.front, clean.back, rgb, method=method, overflow="wrap", parity=True, seams=seams)
    front_colours, back_colours = canvas_colours(rgb, clean.mask, joints)
    return point_cloud(clean.front, clean.back, front_colours, back_rgb=back_colours, method=method, seams=seams)
