"""Shared fixtures: where the reference data is, and what set it belongs to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from h2k_kernels.launch import DeviceFailure, Runtime

REPOSITORY = Path(__file__).resolve().parents[1]

ON_GPU = os.environ.get("H2K_KERNELS_ON_GPU") == "1"
if ON_GPU:
    import gpu_kernels

    gpu_kernels.install()


def shared_dir() -> Path:
    """Reference data outside the repository: H2K_SHARED, by default the folder ``shared`` beside the checkout."""
    return Path(os.environ.get("H2K_SHARED", REPOSITORY.parent / "shared"))


def reference_dir() -> Path:
    return Path(os.environ.get("H2K_VECTORS", shared_dir() / "reference" / "2k2k"))


@pytest.fixture(scope="session")
def vectors_dir() -> Path:
    """Folder of the vectors made with the published implementation."""
    folder = reference_dir()
    if not (folder / "set.json").is_file():
        pytest.skip(f"no parity vectors in {folder}; set H2K_VECTORS")
    return folder


@pytest.fixture(scope="session")
def vector_set(vectors_dir: Path) -> dict[str, Any]:
    """Parameters of the set of vectors: weight suffix, wave offset, photo, mask rule, folder of the photos."""
    return json.loads((vectors_dir / "set.json").read_text())


@pytest.fixture(scope="session")
def wave_offset(vector_set: dict[str, Any]) -> float:
    """The set's parameter v of the wave rule."""
    return float(vector_set["wave_offset"])


@pytest.fixture(scope="session")
def photos_dir(vectors_dir: Path, vector_set: dict[str, Any]) -> Path:
    folder = (vectors_dir / vector_set["photos"]).resolve()
    if not folder.is_dir():
        pytest.skip(f"no test photos in {folder}")
    return folder


@pytest.fixture(scope="session")
def load_vectors(vectors_dir: Path) -> Callable[[str], dict[str, np.ndarray]]:
    """``load_vectors("fusion")`` -> the arrays of ``fusion.npz``."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(vectors_dir / f"{name}.npz", allow_pickle=False) as data:
            return {key: data[key] for key in data}

    return load


def pytest_configure(config: pytest.Config) -> None:
    # CUDA kernels compiled for the CPU: built once for all tests, their processes, and later runs.
    cache = getattr(config, "cache", None)
    if cache is not None:
        os.environ.setdefault("CUDA_HOST_FOLDER", str(cache.mkdir("cuda_host")))


@pytest.fixture(scope="session")
def kernel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where CUDA kernels compiled for the CPU are kept."""
    return Path(os.environ.get("CUDA_HOST_FOLDER") or tmp_path_factory.mktemp("cuda_host"))


@pytest.fixture(autouse=ON_GPU)
def _device_memory() -> Iterator[None]:
    """On a GPU: what a test has shown of its arrays goes with it."""
    yield
    if ON_GPU:
        gpu_kernels.forget()


@pytest.fixture(scope="session")
def gpu() -> Runtime:
    """The first GPU; skips the test where there is none."""
    runtime = Runtime()
    try:
        runtime.open()
    except DeviceFailure as absent:
        pytest.skip(str(absent))
    return runtime
