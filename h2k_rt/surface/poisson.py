"""Screened Poisson reconstruction (Kazhdan and Hoppe 2013) of a point cloud, through Open3D: the paper's way to a mesh."""

from __future__ import annotations

from typing import Any

import numpy as np

from h2k_rt.errors import MissingPackageError, PersonError
from h2k_rt.surface.mesh import Mesh
from h2k_rt.surface.topology import keep_vertices, pieces, vertex_normals


def poisson_mesh(cloud: Mesh, *, depth: int = 10, neighbours: int = 70, point_weight: float = 4.0, min_share: float = 0.05) -> Mesh:
    """A smooth mesh through the points; closed as long as they enclose a volume.

    Normals are plane fits over the nearest points (SPEC 7: k = 70), each turned to the side of the cloud's own normal. Without that
    front and back would get the same sign and the surface would be an open sheet (quirk Q17).

    Args:
        cloud: points with colours and with normals that at least point to the right side, as
            :func:`h2k_rt.surface.points.point_cloud` gives them.
        depth: of the octree: 2^depth cells along the longest side.
        point_weight: of the points against smoothness; 4 is the default of the program that SPEC 7 describes.
        min_share: pieces with less than this share of the largest one's vertices are dropped.

    Raises:
        MissingPackageError: open3d is not installed or cannot be loaded.
        PersonError: there are too few points for a surface.
    """
    o3d = _open3d()
    if len(cloud.vertices) < 50:
        raise PersonError(f"{len(cloud.vertices)} points are too few for a Poisson surface; use the grid mesh or another photo")
    points = o3d.geometry.PointCloud()
    points.points = o3d.utility.Vector3dVector(cloud.vertices.astype(np.float64))
    points.colors = o3d.utility.Vector3dVector(cloud.colors.astype(np.float64) / 255)
    points.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(neighbours))
    normals = np.asarray(points.normals)
    side = np.einsum("ij,ij->i", normals, cloud.normals.astype(np.float64))
    points.normals = o3d.utility.Vector3dVector(normals * np.where(side < 0, -1.0, 1.0)[:, None])
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        surface, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(points, depth=depth, point_weight=point_weight)
    vertices = np.asarray(surface.vertices).astype(np.float32)
    faces = np.asarray(surface.triangles).astype(np.int32)
    colors = np.clip(np.rint(np.asarray(surface.vertex_colors) * 255), 0, 255).astype(np.uint8)
    if len(faces) == 0:
        raise PersonError("the points give no Poisson surface; use the grid mesh or another photo")
    label = pieces(faces, len(vertices))
    sizes = np.bincount(label, minlength=len(vertices))
    keep = sizes[label] >= max(min_share * float(sizes.max()), 3)
    vertices, colors, faces = vertices[keep], colors[keep], keep_vertices(faces, keep)
    return Mesh(vertices, faces, vertex_normals(vertices, faces), colors)


def _open3d() -> Any:
    try:
        import open3d
    except ImportError as error:
        raise MissingPackageError('Poisson meshes need Open3D: pip install "h2k-rt[mesh]"') from error
    except OSError as error:
        raise MissingPackageError(
            f"Open3D is installed but cannot be loaded ({error}); on Debian or Ubuntu: apt-get install libgl1 libusb-1.0-0 libgomp1"
        ) from error
    return open3d
