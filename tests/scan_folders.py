"""Tiny scans in the folder layouts of RenderPeople, THuman2.0 and 2K2K, made of an ellipsoid with a texture."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import numpy as np

from h2k_rt.constants import JOINT_NAMES

#: Semi-axes in metres of the body.
AXES = np.array([0.3, 0.85, 0.2])
ROWS, COLUMNS = 12, 16

#: Rows of a 133-point whole-body skeleton that hold the 23 body and foot joints and the finger joints next to the knuckles.
JOINT_ROWS = [*range(23), 97, 101, 105, 109, 118, 122, 126, 130]
KNUCKLE_ROWS = [96, 100, 104, 108, 117, 121, 125, 129]


def ellipsoid(axes: np.ndarray = AXES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, texture coordinates, triangles (counter-clockwise from outside); the seam's vertices are there twice."""
    v, u = np.meshgrid(np.linspace(0, 1, ROWS + 1), np.linspace(0, 1, COLUMNS + 1), indexing="ij")
    polar, around = np.pi * (1 - v), 2 * np.pi * u
    points = np.stack((np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)), -1).reshape(-1, 3)
    corner = (np.arange(ROWS)[:, None] * (COLUMNS + 1) + np.arange(COLUMNS)).ravel()
    right, above = corner + 1, corner + COLUMNS + 1
    faces = np.concatenate((np.stack((corner, right, above), 1), np.stack((right, above + 1, above), 1)))
    return points * axes, np.stack((u.ravel(), v.ravel()), 1), faces


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """Right-handed about y."""
    angle = np.radians(degrees)
    x, y, z = points.T
    return np.stack((x * np.cos(angle) + z * np.sin(angle), y, z * np.cos(angle) - x * np.sin(angle)), 1)


def texture() -> np.ndarray:
    """RGB: red where the front is, green behind; u = 0 and 1 is the middle of the front."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 16:48] = (20, 200, 30)
    picture[:, :16] = picture[:, 48:] = (220, 30, 40)
    return picture


def write_obj(path: Path, points: np.ndarray, material: str | None = None) -> None:
    """OBJ with texture coordinates, as scanners write it; ``material``: the MTL's name."""
    _, uv, faces = ellipsoid()
    lines = [f"mtllib {material}", "usemtl scan"] if material else []
    lines += [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in points]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in uv]
    lines += ["f " + " ".join(f"{i}/{i}" for i in face) for face in faces + 1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_texture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), texture()[..., ::-1])


def body_joints() -> np.ndarray:
    """(133, 3) metres inside the ellipsoid, each at another place."""
    points = np.zeros((133, 3))
    points[:, 1] = np.linspace(-0.1, -0.2, 133)
    places = {
        "nose": (0, 0.7, 0.1), "eye": (0.02, 0.72, 0.1), "ear": (0.05, 0.71, 0), "shoulder": (0.15, 0.5, 0), "elbow": (0.2, 0.3, 0),
        "wrist": (0.22, 0.1, 0.02), "hip": (0.1, 0, 0), "knee": (0.12, -0.35, 0.02), "ankle": (0.1, -0.6, 0),
        "big_toe": (0.1, -0.66, 0.06), "small_toe": (0.14, -0.66, 0.05), "heel": (0.1, -0.66, -0.03),
    }  # fmt: skip
    for row, name in zip(JOINT_ROWS, JOINT_NAMES, strict=True):
        side, _, part = name.partition("_")
        x, y, z = places.get(part if side in ("left", "right") else name, (0.22, 0.04, 0.03 + 0.001 * row % 0.02))
        points[row] = (-x if side == "right" else x, y, z)
    points[KNUCKLE_ROWS] = points[JOINT_ROWS[23:]] + (0, 0.02, 0)
    return points


def write_joints(path: Path, points: np.ndarray, hidden: tuple[int, ...] = ()) -> None:
    visible = [int(row not in hidden) for row in range(len(points))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"joint3d": points.tolist(), "visible": visible}))


def renderpeople(data: Path, name: str = "rp_anna_posed_001", hidden: tuple[int, ...] = ()) -> None:
    """Centimetres; the texture in ``tex``, no material, with a second picture that is not the colour and a reduced mesh."""
    home = data / f"obj/RP/{name}_OBJ"
    points = ellipsoid()[0] * 100
    write_obj(home / f"{name}_100k.obj", points)
    (home / f"{name}_30k.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    write_texture(home / f"tex/{name}_dif_8k.png")
    cv2.imwrite(str(home / f"tex/{name}_norm_8k.png"), np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    write_joints(data / f"Joint3D/RP/{name}.json", body_joints() * 100, hidden)


def thuman2(data: Path, name: str = "0007", degrees: float = 40.0, scale: float = 0.6) -> None:
    """In units of ``scale`` metres, turned; with a material and a body fit that tells of both."""
    home = data / f"obj/THuman2/data/{name}"
    write_obj(home / f"{name}.obj", turned(ellipsoid()[0], degrees) * scale, "material0.mtl")
    (home / "material0.mtl").write_text("newmtl scan\nKd 1 1 1\nmap_Kd material0.png\n")
    write_texture(home / "material0.png")
    fit = data / f"obj/THuman2/smplx/{name}/smplx_param.pkl"
    fit.parent.mkdir(parents=True)
    values = {"global_orient": np.array([[0.0, np.radians(degrees), 0.0]], np.float32), "scale": np.array([scale], np.float32)}
    fit.write_bytes(pickle.dumps(values, protocol=2))
    write_joints(data / f"Joint3D/THuman2/{name}.json", turned(body_joints(), degrees) * scale)


def published_2k2k(data: Path, name: str = "00003") -> None:
    """PLY with vertex colours, metres."""
    trimesh = __import__("trimesh")
    points, _, faces = ellipsoid()
    colours = np.where(points[:, 2:] > 0, (220, 30, 40), (20, 200, 30)).astype(np.uint8)
    home = data / f"obj/2K2K/{name}"
    home.mkdir(parents=True)
    trimesh.Trimesh(points, faces, vertex_colors=colours, process=False).export(home / f"{name}.ply")
    write_joints(data / f"Joint3D/2K2K/{name}.json", body_joints())
