"""Independent checks of meshes: plain loops and counting, none of the package's own code."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np


def edge_faults(faces: np.ndarray) -> list[tuple[int, int]]:
    """Directed edges that do not occur once with their opposite occurring once."""
    directed = Counter((int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3))
    return [edge for edge, count in directed.items() if count != 1 or directed[edge[1], edge[0]] != 1]


def pinched_vertices(faces: np.ndarray) -> list[int]:
    """Vertices whose faces do not form one ring around them."""
    link: dict[int, dict[int, int]] = defaultdict(dict)
    for face in faces:
        for i in range(3):
            link[int(face[i])][int(face[(i + 1) % 3])] = int(face[(i + 2) % 3])
    pinched = []
    for vertex, following in link.items():
        first = next(iter(following))
        at, steps = following[first], 1
        while at != first and steps <= len(following):
            at, steps = following.get(at, first), steps + 1
        if steps != len(following):
            pinched.append(vertex)
    return pinched


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Enclosed volume by the divergence theorem; positive for outward faces."""
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def piece_count(faces: np.ndarray) -> int:
    parent: dict[int, int] = {}

    def root(v: int) -> int:
        parent.setdefault(v, v)
        while parent[v] != v:
            parent[v] = parent[parent[v]]
            v = parent[v]
        return v

    for a, b, c in faces:
        parent[root(int(a))] = root(int(b))
        parent[root(int(b))] = root(int(c))
    return len({root(v) for v in list(parent)})
