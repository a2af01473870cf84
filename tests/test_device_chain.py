"""The device chain, its kernels run on the CPU and its streams in any order they allow, against the CPU pipeline."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from h2k_kernels import integrate_normals
from host_runtime import HostEngine, HostRuntime
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from h2k_rt.bundle import Bundle
from h2k_rt.constants import Method
from h2k_rt.device.job import Job
from h2k_rt.device.pipeline import DevicePipeline, DeviceResult
from h2k_rt.engines import open_engines
from h2k_rt.framing import Framing, frame_person
from h2k_rt.inference import CanvasMaps, fine_scale_normals, run_networks
from h2k_rt.parts import PartTransforms, fit_parts
from h2k_rt.person import PersonFinder
from h2k_rt.photo import load_photo
from h2k_rt.picture import prepare_picture
from h2k_rt.surface.build import make_surface
from h2k_rt.surface.clean import CleanDepth
from h2k_rt.surface.colour import canvas_colours
from h2k_rt.surface.grid_mesh import grid_mesh
from h2k_rt.surface.silhouette import manifold_cells, pixels_of
from h2k_rt.surface.topology import is_closed

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "person.jpg"
pytestmark = pytest.mark.slow


@dataclass
class Subject:
    """A photo with the person that the finder saw in it, and the model."""

    rgb: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    joints: NDArray[np.float64]
    bundle: Bundle
    method: Method
    shift: float = 0.0

    def framed(self) -> tuple[Framing, PartTransforms]:
        framing = frame_person(self.mask, self.joints, self.method)
        framing = replace(framing, dx=framing.dx + self.shift, dy=framing.dy - self.shift)
        return framing, fit_parts(framing.joints(self.joints), self.method.size)

    def job(self) -> Job:
        return Job.of(self.rgb, self.mask, *self.framed())

    def canvas_joints(self) -> NDArray[np.float64]:
        return self.framed()[0].joints(self.joints)

    def on_cpu(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], CanvasMaps]:
        """Canvas, mask and maps as the CPU pipeline makes them."""
        method = self.method
        framing, transforms = self.framed()
        rgb = framing.image(self.rgb, border=cv2.BORDER_REPLICATE)
        mask = framing.image(self.mask, border=cv2.BORDER_CONSTANT)
        picture = prepare_picture(rgb, mask, method.colour_factors, method.background_value)
        maps = run_networks(open_engines(self.bundle, threads=2), picture, transforms, method, person=mask, threads=2)
        return rgb, mask, maps


@pytest.fixture(scope="module")
def subject() -> Subject:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    pytest.importorskip("onnxruntime")
    photo = load_photo(EXAMPLE)
    person = PersonFinder(2).find(photo.rgb)[0]
    bundle = Bundle.open("small")
    return Subject(photo.rgb, person.mask, person.joints, bundle, bundle.settings())


def open_pipeline(subject: Subject, seed: int = 0) -> tuple[DevicePipeline, HostRuntime]:
    runtime = HostRuntime(seed)
    bundle = subject.bundle

    def open_engine(name: str, stream: object) -> HostEngine:
        return HostEngine(runtime, bundle.network(name), name=name, stream=stream)  # type: ignore[arg-type]

    return DevicePipeline(subject.method, open_engine, runtime), runtime  # type: ignore[arg-type]


def check_against_cpu(result: DeviceResult, subject: Subject) -> None:
    """The canvas may differ by one grey level, where OpenCV rounds twice; the rest by what the networks make of that."""
    rgb, mask, maps = subject.on_cpu()
    assert np.abs(result.rgb.astype(int) - rgb).max() <= 1
    assert np.abs(result.mask.astype(int) - mask).max() <= 1
    near = cv2.dilate((mask > 127).astype(np.uint8), np.ones((49, 49), np.uint8)) > 0
    have = result.maps
    for name, usual, worst in (("low_normals", 5e-4, 0.05), ("low_depth", 1e-3, None), ("low_mask", 1e-3, None)):
        _check(name, getattr(have, name), getattr(maps, name), np.True_, usual, worst)
    _check("normals", have.normals, maps.normals, near, 1e-3, 0.05)
    _check("depth", have.depth, maps.depth, near, 2e-3, 0.25)  # nu; 1 px is 0.002; single pixels at the silhouette tip over
    _check("mask", have.mask, maps.mask, near, 2e-3, None)
    for one, other in zip(have.part_normals, maps.part_normals, strict=True):
        _check("part normals", one, other, np.True_, 2e-3, None)
    assert np.ptp(maps.depth[0][mask > 127]) > 0.5, "the comparison is of something"


def _check(name: str, have: NDArray, want: NDArray, where: NDArray[np.bool_] | np.bool_, usual: float, worst: float | None) -> None:
    difference = np.abs(have - want)[..., where] if np.ndim(where) else np.abs(have - want)
    assert np.isfinite(have).all(), name
    assert np.quantile(difference, 0.999) <= usual, (name, np.quantile(difference, 0.999))
    assert worst is None or difference.max() <= worst, (name, difference.max())


def same(one: DeviceResult, other: DeviceResult) -> None:
    assert_array_equal(one.rgb, other.rgb)
    assert_array_equal(one.mask, other.mask)
    for name in ("low_normals", "normals", "low_depth", "low_mask", "depth", "mask"):
        assert_array_equal(getattr(one.maps, name), getattr(other.maps, name))


def check_mesh_against_cpu(result: DeviceResult, subject: Subject) -> None:
    """The mesh is the CPU's mesh of the same depth; its colours are those of nearly the same picture."""
    assert result.surface is not None
    mesh, depth = result.surface.mesh, result.surface.depth
    framing, _ = subject.framed()
    joints = framing.joints(subject.joints)
    want = make_surface(result.maps.depth, result.rgb, result.mask, joints, subject.method)
    assert (depth.mask == want.depth.mask).mean() > 0.9999
    both = depth.mask & want.depth.mask
    for have, expected in ((depth.front, want.depth.front), (depth.back, want.depth.back)):
        difference = np.abs(have - expected)[both]
        assert np.quantile(difference, 0.98) < 1e-4 and difference.max() < 0.1
    assert depth.filled == pytest.approx(want.depth.filled, abs=1e-3)
    assert is_closed(mesh.faces)
    same_mask = CleanDepth(depth.front, depth.back, depth.mask)
    colours = canvas_colours(result.rgb, depth.mask, joints)
    twin = grid_mesh(same_mask, *colours, method=subject.method)
    assert_array_equal(mesh.faces, twin.faces)
    assert_allclose(mesh.vertices, twin.vertices, atol=1e-6)
    count = int(pixels_of(manifold_cells(depth.mask)).sum())
    front, back = np.abs(mesh.colors.astype(int) - twin.colors).max(-1)[: 2 * count].reshape(2, count)
    assert front.mean() < 0.5 and back.mean() < 4, "grey levels; the back is filled from a picture reduced in another way"


def test_photos_one_after_the_other(subject: Subject) -> None:
    pipeline, runtime = open_pipeline(subject)
    first = pipeline.reconstruct(subject.job(), subject.canvas_joints())
    assert pipeline.replays == 0 and not pipeline.take_notes()
    check_against_cpu(first, subject)
    check_mesh_against_cpu(first, subject)
    allocations = runtime.allocations

    # Another photo of the same window size, placed elsewhere: the recorded chain, with its arguments.
    joints = subject.joints.copy()
    joints[:, 1] -= 200
    other = replace(subject, rgb=subject.rgb[200:].copy(), mask=subject.mask[200:].copy(), joints=joints, shift=49.3)
    assert other.job().window.size == subject.job().window.size and other.job().window != subject.job().window
    second = pipeline.reconstruct(other.job(), other.canvas_joints())
    assert pipeline.replays == 2 and runtime.allocations == allocations, "nothing is allocated per photo"
    check_against_cpu(second, other)
    check_mesh_against_cpu(second, other)

    # A larger photo moves the photos' memory: the graph follows.
    wide = replace(
        subject,
        rgb=np.pad(subject.rgb, ((0, 0), (0, 4000), (0, 0)), mode="edge"),
        mask=np.pad(subject.mask, ((0, 0), (0, 4000))),
    )
    third = pipeline.run(wide.job())
    assert pipeline.replays == 3 and runtime.allocations == allocations + 3
    same(third, first)
    pipeline.close()


def test_a_share_of_the_backs(subject: Subject) -> None:
    """Backs hold as much of the low-resolution normals as the method says; the device's own maps are compared."""
    share, made = 0.6, []
    for each in (None, share):
        with_share = replace(subject, method=replace(subject.method, back_low_share=each))
        pipeline, _ = open_pipeline(with_share)
        made.append(pipeline.run(with_share.job()).maps)
        pipeline.close()
    plain, have = made
    method = subject.method
    fine = fine_scale_normals(plain.low_normals, method.size // method.low_size, method.normal_z)
    low = cv2.resize(fine.transpose(1, 2, 0), (method.size, method.size), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    person = plain.depth[0] < plain.depth[1]
    assert_allclose(have.normals[:3], plain.normals[:3], atol=1e-6)
    want = (1 - share) * plain.normals[3:] + share * low[3:]
    assert_allclose(have.normals[3:, person], want[:, person], atol=1e-4)
    assert np.abs(have.normals - plain.normals)[3:, person].mean() > 1e-4, "the comparison is of something"


def test_relief_of_the_normals(subject: Subject) -> None:
    """Of the same depth and normals the relief is the CPU's, to 1e-5 nu."""
    wavelength, made = 150.0, []
    for each in (None, wavelength):
        with_relief = replace(subject, method=replace(subject.method, relief_wavelength_px=each))
        pipeline, _ = open_pipeline(with_relief)
        made.append(pipeline.run(with_relief.job()).maps)
        pipeline.close()
    plain, have = made
    normal_z, unit = subject.method.normal_z, subject.method.depth_unit_px
    want = integrate_normals(plain.depth, plain.normals, wavelength=wavelength, normal_z=normal_z, depth_unit=unit)
    assert_allclose(have.depth, want, atol=1e-5)
    person = plain.depth[0] < plain.depth[1]
    assert (want - plain.depth)[:, person].std() > 1e-3, "the comparison is of something"
