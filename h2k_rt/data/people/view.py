"""Where the camera stands: views of a figure, drawn at random or as published, and the exact projection of each.

View axes: x right in the picture, y up, z toward the camera. Camera axes: x right, y down, z away from the camera (OpenCV).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2k_rt.constants import METHOD, Method

#: Projections of the outline needed until box and scale agree to less than a hundredth of a pixel.
_FRAMING_STEPS = 6


@dataclass(frozen=True)
class View:
    """How a person is seen; the defaults are the published camera in front of the person.

    Attributes:
        yaw: degrees the person turns toward the picture's right.
        pitch: degrees; above 0 the camera looks down at the person.
        roll: degrees the person leans toward the picture's left.
        fov: field of view of the canvas in degrees. The camera moves away as it narrows, so the person keeps the size.
        scale: factor of the framed size (``person_height_px`` at 1).
        shift: right and down, in pixels of the full canvas.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    fov: float = METHOD.fov_degrees
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def rotation(self) -> NDArray[np.float64]:
        """(3, 3): world -> view axes."""
        (cy, sy), (cp, sp), (cr, sr) = (
            (math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in (self.yaw, self.pitch, self.roll)
        )
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return roll @ pitch @ yaw


PUBLISHED_VIEW = View()


def sample_view(rng: np.random.Generator) -> View:
    """A view as photos of standing people have it: mostly level, from the front or up to 30 degrees aside."""
    yaw = rng.uniform(-30, 30) if rng.random() < 0.75 else float(np.clip(rng.normal(0, 8), -30, 30))
    fov = METHOD.fov_degrees if rng.random() < 0.4 else math.exp(rng.uniform(math.log(18), math.log(60)))
    return View(
        yaw=yaw,
        pitch=float(np.clip(rng.normal(1.5, 4), -10, 12)),
        roll=float(np.clip(rng.normal(0, 1.8), -6, 6)),
        fov=fov,
        scale=float(np.clip(rng.normal(1, 0.025), 0.92, 1.06)),
        shift=(float(np.clip(rng.normal(0, 14), -40, 40)), float(np.clip(rng.normal(0, 14), -40, 40))),
    )


@dataclass(frozen=True)
class ViewCamera:
    """The pinhole camera of one rendering.

    Attributes:
        rotation: (3, 3) float64, world -> view axes.
        centre: (3,) float64, world metres: the point that is at ``distance`` in the middle of the picture.
        metres_per_unit: length of one scan unit (SPEC 10).
        distance: of the camera from the reference plane in scan units; 1 for the published field of view.
        fov: degrees, both ways.
        size: side of the picture in pixels.
        view: what was asked for.
    """

    rotation: NDArray[np.float64]
    centre: NDArray[np.float64]
    metres_per_unit: float
    distance: float
    fov: float
    size: int
    view: View

    @property
    def focal_px(self) -> float:
        """In pixels of this picture."""
        return self.size / (2 * math.tan(math.radians(self.fov / 2)))

    @property
    def distance_metres(self) -> float:
        return self.distance * self.metres_per_unit

    def to_camera(self, points: NDArray) -> NDArray[np.float64]:
        """(..., 3) world metres -> camera axes, metres."""
        seen = (np.asarray(points, np.float64) - self.centre) @ self.rotation.T
        return seen * (1, -1, -1) + (0, 0, self.distance_metres)

    def project(self, points: NDArray) -> NDArray[np.float64]:
        """(..., 3) world metres -> (..., 2) pixel edge coordinates of this picture."""
        seen = self.to_camera(points)
        return seen[..., :2] / seen[..., 2:] * self.focal_px + self.size / 2

    def nu_scale(self, method: Method = METHOD) -> tuple[float, float]:
        """(a, b) of ``nu = a r + b`` with r the distance along the ray in metres.

        ``D = (r - r0) f + N/2`` pixels, r in scan units (SPEC 7); another focal length keeps f pixels to the unit, so relief keeps
        its proportion to width.
        """
        per_unit = method.focal_px / method.depth_unit_px
        return per_unit / self.metres_per_unit, (method.size / 2) / method.depth_unit_px - per_unit * self.distance

    def canvas_depth(self, depth: NDArray[np.float32], mask: NDArray[np.uint8], method: Method = METHOD) -> None:
        """Turn depth along this camera's rays into depth along the canvas camera's, in place.

        Depth is always lifted along the rays of the canvas, whatever a photo was taken with. Distances along the rays of a longer
        lens would there bend the body, by 9 cm at head and feet for a field of view of 18 degrees. So each pixel keeps its relief,
        ``distance - z`` in scan units: ``D = ((1 - relief) sqrt(1 + tx^2 + ty^2) - 1) f + N/2`` with the canvas ray's tangents.
        With the published field of view nothing changes.

        Args:
            depth: (2, S, S) nu; mask: (S, S), not 0 where it counts.
        """
        if math.isclose(self.distance, 1.0, abs_tol=1e-9):
            return
        per_unit, middle = method.focal_px / method.depth_unit_px, method.size / 2 / method.depth_unit_px
        _to_canvas(depth, mask, self.focal_px, self.distance, per_unit, middle)

    def _ray_lengths(self, rows: NDArray, columns: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Length of the rays through pixel centres where z is 1, for this camera and for the canvas camera."""
        x, y = ((index + 0.5 - self.size / 2) / self.focal_px for index in (columns, rows))
        squared = x * x + y * y
        return np.sqrt(1 + squared), np.sqrt(1 + squared * self.distance**2)

    def lift(self, depth: NDArray[np.floating], method: Method = METHOD) -> NDArray[np.float64]:
        """(S, S) depth in nu as :meth:`canvas_depth` leaves it -> (S, S, 3) world metres; meaningless where it is background."""
        rows, columns = np.meshgrid(*(np.arange(length) for length in depth.shape), indexing="ij")
        _, canvas = self._ray_lengths(rows, columns)
        distance = (np.asarray(depth, np.float64) * method.depth_unit_px - method.size / 2) / method.focal_px + 1
        z = distance / canvas - 1 + self.distance
        x, y = ((index + 0.5 - self.size / 2) / self.focal_px for index in (columns, rows))
        seen = np.stack((x * z, y * z, z), axis=-1) * self.metres_per_unit
        return (seen - (0, 0, self.distance_metres)) * (1, -1, -1) @ self.rotation + self.centre

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a file; :func:`camera_from_dict` reads them back."""
        return {
            "convention": "x right, y up, z toward the camera; view = rotation (world - centre), metres",
            "rotation": self.rotation.tolist(),
            "centre": self.centre.tolist(),
            "metres_per_unit": self.metres_per_unit,
            "distance": self.distance,
            "fov": self.fov,
            "size": self.size,
            "yaw": self.view.yaw,
            "pitch": self.view.pitch,
            "roll": self.view.roll,
            "scale": self.view.scale,
            "shift": list(self.view.shift),
        }


@njit(cache=True, nogil=True)
def _to_canvas(depth, mask, focal, distance, per_unit, middle):
    """:meth:`ViewCamera.canvas_depth`; ``nu = (r - distance) per_unit + middle`` with r the way along the own ray in scan units."""
    height, width = mask.shape
    for row in range(height):
        y = (row + 0.5 - height / 2) / focal
        for column in range(width):
            if mask[row, column] == 0:
                continue
            x = (column + 0.5 - width / 2) / focal
            squared = x * x + y * y
            own, canvas = np.sqrt(1 + squared), np.sqrt(1 + squared * distance * distance)
            for side in range(2):
                z = ((depth[side, row, column] - middle) / per_unit + distance) / own
                depth[side, row, column] = ((1 - distance + z) * canvas - 1) * per_unit + middle


def camera_from_dict(data: Mapping[str, Any]) -> ViewCamera:
    """The inverse of :meth:`ViewCamera.as_dict`."""
    view = View(data["yaw"], data["pitch"], data["roll"], data["fov"], data["scale"], tuple(data["shift"]))
    rotation, centre = np.array(data["rotation"], np.float64), np.array(data["centre"], np.float64)
    return ViewCamera(rotation, centre, data["metres_per_unit"], data["distance"], data["fov"], data["size"], view)


def area_centroid(meshes: Iterable[tuple[NDArray[np.floating], NDArray[np.int32]]]) -> NDArray[np.float64]:
    """(3,) centroid of the surfaces of (vertices, faces) meshes, weighted by area."""
    sums = np.zeros(4)
    for vertices, faces in meshes:
        _add_areas(vertices, faces, sums)
    return sums[:3] / max(float(sums[3]), 1e-12)


@njit(cache=True, nogil=True)
def _add_areas(vertices, faces, sums):
    """Add area-weighted centroids and areas (twice) of the faces to ``sums``."""
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        area = np.sqrt(nx * nx + ny * ny + nz * nz)
        for k in range(3):
            sums[k] += area * (vertices[a, k] + vertices[b, k] + vertices[c, k]) / 3
        sums[3] += area


@njit(cache=True, nogil=True)
def _turned(points, origin, rotation):
    """(V, 3) float64 points relative to ``origin`` in view axes."""
    out = np.empty((points.shape[0], 3))
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - origin[0], points[i, 1] - origin[1], points[i, 2] - origin[2]
        for k in range(3):
            out[i, k] = rotation[k, 0] * x + rotation[k, 1] * y + rotation[k, 2] * z
    return out


@njit(cache=True, nogil=True)
def _outline_box(seen, x0, y0, distance):
    """Least and greatest tangents x, y (up) of points in view axes for a camera at (x0, y0, distance)."""
    left, right, low, high = np.inf, -np.inf, np.inf, -np.inf
    for i in range(seen.shape[0]):
        inverse = 1 / (distance - seen[i, 2])
        x, y = (seen[i, 0] - x0) * inverse, (seen[i, 1] - y0) * inverse
        left, right, low, high = min(left, x), max(right, x), min(low, y), max(high, y)
    return left, right, low, high


def place_camera(outline: NDArray[np.floating], centroid: NDArray[np.float64], view: View, size: int) -> ViewCamera:
    """The camera under which the outline's box is centred and as large as framed people are.

    Args:
        outline: (V, 3) world metres, the visible vertices.
        centroid: (3,) world metres, on the reference plane (for example :func:`area_centroid`).
    """
    rotation = view.rotation()
    distance = METHOD.half_tan / math.tan(math.radians(view.fov / 2))
    focal = METHOD.focal_px * distance
    seen = _turned(outline, centroid, rotation)
    # From far away the box is the points' own; the true distance follows from its size.
    left, right, low, high = _outline_box(seen, 0.0, 0.0, 1e6)
    x0, y0, unit = 5e5 * (left + right), 5e5 * (low + high), 1e6 * max(right - left, high - low) / 0.7
    target = METHOD.person_height_px * view.scale
    for _ in range(_FRAMING_STEPS):
        left, right, low, high = _outline_box(seen, x0, y0, distance * unit)
        metres = distance * unit  # of one tangent at the reference plane
        x0 += ((left + right) / 2 - view.shift[0] / focal) * metres
        y0 += ((low + high) / 2 + view.shift[1] / focal) * metres
        unit *= max(right - left, high - low) * focal / target
    centre = centroid + np.array([x0, y0, 0.0]) @ rotation
    return ViewCamera(rotation, centre, unit, distance, view.fov, size, view)


def published_camera(vertices: NDArray[np.floating], view: View, size: int) -> ViewCamera:
    """The camera that scans were published with (SPEC 10): the vertices' mean in the middle, 2.8 times the largest coordinate
    (before the turn) to a unit. ``view.scale`` and ``view.shift`` are not used.

    Args:
        vertices: (V, 3) world metres.
    """
    centre = np.asarray(vertices, np.float64).mean(0)
    unit = 2.8 * float(np.abs(vertices - centre).max())
    distance = METHOD.half_tan / math.tan(math.radians(view.fov / 2))
    return ViewCamera(view.rotation(), centre, unit, distance, view.fov, size, view)
