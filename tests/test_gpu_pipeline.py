"""On a GPU: the whole pipeline against the CPU, graphs against plain launches, nothing that grows."""

from __future__ import annotations

import gc
import resource
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from h2k_kernels.launch import Runtime, from_cuda_array, from_dlpack
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from h2k_rt.bundle import Bundle
from h2k_rt.device.job import Job
from h2k_rt.device.pipeline import DevicePipeline
from h2k_rt.engines import device_engines, open_engines
from h2k_rt.errors import EngineError
from h2k_rt.framing import frame_person
from h2k_rt.inference import CanvasMaps, run_networks
from h2k_rt.parts import fit_parts
from h2k_rt.person import PersonFinder
from h2k_rt.photo import load_photo
from h2k_rt.picture import prepare_picture
from h2k_rt.surface.build import Surface, make_surface
from h2k_rt.surface.topology import is_closed

pytestmark = pytest.mark.gpu

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "person.jpg"


@dataclass
class Subject:
    job: Job
    joints: NDArray[np.float64]
    bundle: Bundle
    mask: NDArray[np.uint8]
    maps: CanvasMaps
    surface: Surface


@pytest.fixture(scope="module")
def subject() -> Subject:
    """The example with what the CPU makes of it."""
    bundle = Bundle.open("small")
    method = bundle.settings()
    photo = load_photo(EXAMPLE)
    person = PersonFinder().find(photo.rgb)[0]
    framing = frame_person(person.mask, person.joints, method)
    joints = framing.joints(person.joints)
    transforms = fit_parts(joints, method.size)
    rgb, mask = framing.image(photo.rgb, border=cv2.BORDER_REPLICATE), framing.image(person.mask, border=cv2.BORDER_CONSTANT)
    picture = prepare_picture(rgb, mask, method.colour_factors, method.background_value)
    maps = run_networks(open_engines(bundle), picture, transforms, method, person=mask)
    surface = make_surface(maps.depth, rgb, mask, joints, method)
    return Subject(Job.of(photo.rgb, person.mask, framing, transforms), joints, bundle, mask, maps, surface)


def open_with(gpu: Runtime, subject: Subject, engine: str, precision: str, graphs: bool = True) -> DevicePipeline:
    """A pipeline; skips the test where the engine is not installed here."""
    try:
        opener = device_engines(subject.bundle, engine, precision)  # type: ignore[arg-type]
        return DevicePipeline(subject.bundle.settings(), opener, gpu, graphs=graphs)
    except EngineError as absent:
        if "not installed" in str(absent) or "CUDAExecutionProvider" in str(absent) or "no device" in str(absent):
            pytest.skip(str(absent))
        raise


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
@pytest.mark.parametrize(("precision", "usual", "worst"), [("fp32", 2e-3, 0.05), ("fp16", 2e-2, 0.5)])
def test_pipeline_against_the_cpu(gpu: Runtime, subject: Subject, engine: str, precision: str, usual: float, worst: float) -> None:
    pipeline = open_with(gpu, subject, engine, precision)
    result = pipeline.reconstruct(subject.job, subject.joints)
    near = cv2.dilate((subject.mask > 127).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    difference = np.abs(result.maps.depth - subject.maps.depth)[:, near]
    assert np.quantile(difference, 0.99) < usual and np.quantile(difference, 0.9999) < worst
    assert result.surface is not None
    mesh, twin = result.surface.mesh, subject.surface.mesh
    assert is_closed(mesh.faces)
    assert len(mesh.vertices) == pytest.approx(len(twin.vertices), rel=0.01)
    for have, want in zip(mesh.bounds(), twin.bounds(), strict=True):
        assert np.abs(have - want).max() < 0.01, "scan units: a person is about 0.7 tall"
    pipeline.close()


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_replay_equals_plain_launches(gpu: Runtime, subject: Subject, engine: str) -> None:
    plain = open_with(gpu, subject, engine, "fp16", graphs=False)
    want = [plain.mesh(subject.job, subject.joints) for _ in range(2)]
    plain.close()
    graphs = open_with(gpu, subject, engine, "fp16")
    meshes = [graphs.mesh(subject.job, subject.joints) for _ in range(3)]
    if graphs.replays == 0:
        pytest.skip(f"{engine}: {graphs.take_notes()}")
    assert graphs.replays == 4
    deterministic = all(np.array_equal(a, b) for a, b in zip(vars(want[0]).values(), vars(want[1]).values(), strict=True))
    for mesh in meshes:
        for name, value in vars(want[0]).items():
            if deterministic:
                assert_array_equal(getattr(mesh, name), value, err_msg=name)
        assert len(mesh.vertices) == pytest.approx(len(want[0].vertices), rel=1e-3)
    graphs.close()


def test_500_photos_and_nothing_grows(gpu: Runtime, subject: Subject) -> None:
    pipeline = open_with(gpu, subject, "torch", "fp16")
    for _ in range(10):
        pipeline.mesh(subject.job, subject.joints)
    gc.collect()
    free, resident = gpu.memory()[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    vertices = {len(pipeline.mesh(subject.job, subject.joints).vertices) for _ in range(500)}
    gc.collect()
    assert max(vertices) - min(vertices) <= 0.001 * max(vertices)
    assert free - gpu.memory()[0] <= 2 << 20, "device memory"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident <= 64 << 10, "host memory, KiB"
    pipeline.close()


def test_arrays_of_pytorch(gpu: Runtime) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    tensor = torch.arange(12, dtype=torch.float32, device="cuda").reshape(3, 4)
    for taken in (from_dlpack(tensor), from_cuda_array(tensor)):
        assert (taken.pointer, taken.shape, taken.device[0]) == (tensor.data_ptr(), (3, 4), 2)
    stream = gpu.stream()
    ours = gpu.empty((3, 4), np.float32)
    # Our work comes after what PyTorch's stream holds, and before what it gets next.
    tensor += 1
    with gpu.after(torch.cuda.current_stream().cuda_stream, stream):
        gpu.copy(ours, from_dlpack(tensor), stream)
    given = torch.from_dlpack(ours)
    assert given.is_cuda and given.data_ptr() == ours.pointer
    assert torch.equal(given, tensor) and float(given[0, 0]) == 1.0
    shared = torch.as_tensor(ours, device="cuda")
    assert shared.data_ptr() == ours.pointer
