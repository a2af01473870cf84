"""Finds what is wrong with a dataset: files that are missing or damaged, numbers that cannot be, joints that give no parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2k_rt.constants import JOINT_NAMES, METHOD
from h2k_rt.data.dataset import SAMPLES, Dataset, Sample, SampleSource
from h2k_rt.errors import DataError
from h2k_rt.parts import fit_parts

#: Largest depth that a 16-bit PNG holds, in nu.
_DEEPEST = 65535 / (METHOD.depth_unit_px * METHOD.png_per_px)
#: Share of a person's pixels that may have one depth for front and back: strands of hair and the rims of open surfaces.
_FLAT_SHARE = 0.05
#: Normals are stored in 8 bits, so their length is only about 1.
_LENGTH_TOLERANCE = 0.03
#: Share of normals that may lean to the wrong side: interpolated ones along the silhouette do.
_WRONG_SIDE_SHARE = 0.02

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: in which sample ("" for the set), and what, with the file's name where it is about one."""

    id: str
    what: str


@dataclass
class Report:
    """What a check found.

    Attributes:
        expected: samples that the finished set has, None where it does not say; present: that are there.
        faults: what makes samples useless.
        parts: samples whose joints give no transform for a part, as (id, reason); training leaves these parts out.
        incomplete: samples that lack joints, by the joint's name.
        ranges: smallest and largest value of each map, joints in shares of the picture.
    """

    expected: int | None
    present: int
    faults: list[Fault] = field(default_factory=list)
    parts: list[tuple[str, str]] = field(default_factory=list)
    incomplete: dict[str, int] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Nothing is wrong and nothing is to come."""
        return not self.faults and self.present == (self.expected if self.expected is not None else self.present)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        faults = [{"sample": fault.id, "what": fault.what} for fault in self.faults]
        parts = [{"sample": id, "what": reason} for id, reason in self.parts]
        return {**vars(self), "faults": faults, "parts": parts, "good": self.good}


@dataclass
class _Findings:
    """Of one sample."""

    id: str
    faults: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    missing_joints: list[str] = field(default_factory=list)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)


def check_dataset(source: SampleSource, *, workers: int = 1, progress: Progress | None = None) -> Report:
    """Read every sample and report what is wrong; memory for ``workers`` samples is used."""
    expected = source.description.count if isinstance(source, Dataset) else None
    report = Report(expected, len(source))
    report.faults += [Fault("", what) for what in _stray(source)]
    if expected is not None and len(source) < expected:
        missing = expected - len(source)
        report.faults.append(Fault("", f"{missing} of {expected} samples are missing; run the command that made the set again"))
    with ThreadPoolExecutor(workers) as pool:
        for done, found in enumerate(pool.map(lambda id: _check_sample(source, id), source.ids), 1):
            _add(report, found)
            if progress is not None:
                progress(done, len(source), found.id)
    return report


def _add(report: Report, found: _Findings) -> None:
    report.faults += [Fault(found.id, what) for what in found.faults]
    report.parts += [(found.id, reason) for reason in found.parts]
    for name in found.missing_joints:
        report.incomplete[name] = report.incomplete.get(name, 0) + 1
    for name, (low, high) in found.ranges.items():
        before = report.ranges.get(name, (low, high))
        report.ranges[name] = (min(low, before[0]), max(high, before[1]))


def _stray(source: SampleSource) -> Iterator[str]:
    """What lies among the samples and is none."""
    samples = source.folder / SAMPLES
    if isinstance(source, Dataset) and samples.is_dir():
        for path in sorted(samples.iterdir()):
            if path.name.startswith(".") and path.name.endswith(".part"):
                yield f"{path}: left by a run that was killed (or is at work); it is cleared away when the sample is made"
            elif path.name not in source.ids:
                yield f"{path}: is no sample"


def _check_sample(source: SampleSource, id: str) -> _Findings:
    found = _Findings(id)
    maps: dict[str, Any] = {}
    for name in source.maps:  # one by one, so that all damaged files are told, and not only the first
        try:
            maps[name] = source.read(id, {name})
        except DataError as error:
            found.faults.append(str(error))
    try:
        bare = source.read(id, frozenset())
    except DataError as error:
        found.faults = [str(error)]
        return found
    values = {name: getattr(sample, "rgb" if name == "color" else name) for name, sample in maps.items()}
    for name in ("mask", "depth", "normals"):
        if name in values:
            found.faults += _RULES[name](values)
    for name, value in values.items():
        found.ranges |= _ranges(name, value)
    _check_joints(bare, found)
    if bare.mesh_path is not None:
        found.faults += _check_mesh(bare)
    return found


def _check_mask(values: Mapping[str, Any]) -> Iterator[str]:
    mask = values["mask"]
    if not np.isin(mask, (0, 255)).all():
        yield "the mask has values other than 0 and 255"
    if not mask.any():
        yield "the mask is empty"


def _check_depth(values: Mapping[str, Any]) -> Iterator[str]:
    front, back = values["depth"]
    hit = front > 0
    if not np.array_equal(hit, back > 0):
        yield f"front and back depth cover different pixels ({np.count_nonzero(hit != (back > 0))} of them)"
    if "mask" in values and not np.array_equal(values["mask"] > 0, hit):
        yield f"the mask is not where the depth is ({np.count_nonzero((values['mask'] > 0) != hit)} pixels differ)"
    behind = np.count_nonzero((front > back) & hit)
    if behind:
        yield f"front depth is behind back depth at {behind} pixels"
    flat = np.count_nonzero((front == back) & hit)
    if flat > _FLAT_SHARE * max(1, int(hit.sum())):
        yield f"front and back depth are the same at {flat} pixels: an open surface"
    low, high = METHOD.normal_min_depth, _DEEPEST
    outside = np.count_nonzero(hit & ((front < low) | (back >= high)))
    if outside:
        yield f"depth is outside of {low} to {high:.3f} nu at {outside} pixels; the person is too near or too far"


def _check_normals(values: Mapping[str, Any]) -> Iterator[str]:
    normals = values["normals"]
    length = np.sqrt((normals * normals).sum(-1))
    for side, sign, normal, size in zip(("front", "back"), (1, -1), normals, length, strict=True):
        there = size > 0
        if "mask" in values and not np.array_equal(there, values["mask"] > 0):
            yield f"{side} normals are not where the mask is ({np.count_nonzero(there != (values['mask'] > 0))} pixels differ)"
        if np.abs(size[there] - 1).max(initial=0) > _LENGTH_TOLERANCE:
            yield f"{side} normals are not of unit length"
        if np.count_nonzero(sign * normal[..., 2][there] < -0.02) > _WRONG_SIDE_SHARE * max(1, int(there.sum())):
            yield f"{side} normals point {'away from' if sign > 0 else 'to'} the camera"


_RULES: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "mask": _check_mask,
    "depth": _check_depth,
    "normals": _check_normals,
}


def _ranges(name: str, value: NDArray[Any]) -> dict[str, tuple[float, float]]:
    if name != "depth":
        return {name: (float(value.min()), float(value.max()))}
    inside = [layer[layer > 0] for layer in value]
    return {
        f"depth {side}": (float(layer.min()), float(layer.max()))
        for side, layer in zip(("front", "back"), inside, strict=True)
        if layer.size
    }


def _check_joints(sample: Sample, found: _Findings) -> None:
    joints = sample.joints
    if not np.isfinite(joints).all():
        found.faults.append("joints are not finite: " + _names(np.asarray(~np.isfinite(joints).all(1))))
        return
    present = joints[:, 2] > 0
    outside = present & ((joints[:, :2] < 0) | (joints[:, :2] > sample.size)).any(1)
    if outside.any():
        found.faults.append("joints outside the picture: " + _names(outside))
    found.missing_joints = [JOINT_NAMES[i] for i in np.flatnonzero(~present)]
    if present.any():
        shares = joints[present, :2] / sample.size
        found.ranges["joints"] = (float(shares.min()), float(shares.max()))
    found.parts = [problem for problem in fit_parts(joints, sample.size).problems if problem is not None]


def _names(which: NDArray[np.bool_]) -> str:
    return ", ".join(JOINT_NAMES[i].replace("_", " ") for i in np.flatnonzero(which))


def _check_mesh(sample: Sample) -> Iterator[str]:
    path = sample.mesh_path
    assert path is not None
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        yield f"{path}: cannot be read: {error.strerror}"
        return
    if head != b"ply\n":
        yield f"{path}: is no PLY file"
