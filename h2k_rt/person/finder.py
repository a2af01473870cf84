"""Finding people in a photo: joints, mask and box of each, from BlazePose's networks run through the engine interface."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

import cv2
import numpy as np
from h2k_engines import Engine, EngineFailure, OnnxRuntimeEngine
from numpy.typing import NDArray

from h2k_rt.errors import EngineError, PersonError
from h2k_rt.person import body as bodies
from h2k_rt.person.body import SIDE, Body
from h2k_rt.person.crop import Pyramid, Roi, invert, roi_matrix, transform
from h2k_rt.person.detector import detect
from h2k_rt.person.hands import find_hand
from h2k_rt.person.joints import BODY_LANDMARKS, to_joints, visible_enough
from h2k_rt.person.mask import more_looks, person_mask, same_outline

#: (network bytes, name, threads) -> a running engine.
EngineFactory = Callable[[bytes, str, "int | None"], Engine]

_PRESENT = 0.5
_PRESENT_UNDETECTED = 0.9
_MAX_PEOPLE = 10
_LEAST_SIDE = 8  # pixels: below it there is nothing to see
_BODY = list(BODY_LANDMARKS.values())


@dataclass(frozen=True)
class Person:
    """One person in a photo.

    Attributes:
        joints: (31, 3) float64: x, y in photo pixels (edge coordinates), confidence 0..1; (0, 0, 0) where missing.
        mask: (H, W) uint8, soft alpha 0..255 at the photo's resolution.
        box: x0, y0, x1, y1 of the mask in photo pixels.
        score: 0..1, how sure the landmark network is that this is a person.
    """

    joints: NDArray[np.float64]
    mask: NDArray[np.uint8]
    box: tuple[float, float, float, float]
    score: float


def onnx_runtime(model: bytes, name: str, threads: int | None) -> Engine:
    """The default engine factory: ONNX Runtime on the CPU."""
    return OnnxRuntimeEngine(model, name=name, threads=threads)


class PersonFinder:
    """Finds people. The networks are loaded at the first photo and kept.

    Args:
        threads: for the networks; None: all cores of this process.
        engine_factory: how a network is made to run; ONNX Runtime if not given.
    """

    def __init__(self, threads: int | None = None, engine_factory: EngineFactory = onnx_runtime) -> None:
        self._threads = threads
        self._factory = engine_factory
        self._engines: dict[str, Engine] = {}

    def find(self, rgb: NDArray[np.uint8]) -> list[Person]:
        """Everyone in a photo (H, W, 3) uint8 sRGB, at most ten, largest first; never empty.

        Raises:
            PersonError: nobody is there, or of nobody enough to reconstruct a body.
            EngineError: a network cannot be loaded or run.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"a photo must be (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
        try:
            return self._find(Pyramid(rgb))
        except EngineFailure as error:
            raise EngineError(str(error)) from error

    def pick(self, people: Sequence[Person], number: int | None = None) -> Person:
        """The largest person, or person ``number``, counted from 1 in order of size.

        Raises:
            PersonError: there is no such person; the message says how many were found.
        """
        if not people:
            raise PersonError("No person was found in the photo.")
        if number is None:
            return people[0]
        if not 1 <= number <= len(people):
            found = "1 person was" if len(people) == 1 else f"{len(people)} people were"
            raise PersonError(f"There is no person {number}: {found} found in the photo; give a number from 1 to {len(people)}.")
        return people[number - 1]

    def _engine(self, name: str) -> Engine:
        if name not in self._engines:
            try:
                model = resources.files("h2k_rt").joinpath("models", "blazepose", f"{name}.onnx").read_bytes()
            except OSError as error:
                raise EngineError(
                    f"{name}: the network's file is missing from the installed package; install h2k-rt again."
                ) from error
            self._engines[name] = self._factory(model, name, self._threads)
        return self._engines[name]

    def _find(self, photo: Pyramid) -> list[Person]:
        found = self._bodies(photo)
        if not found:
            raise PersonError("No person was found in the photo. Use a photo that shows one person's whole body.")
        people, too_little = [], None
        for body in found:
            hands = {side: find_hand(self._engine("hand_landmark_full"), photo, body, side) for side in ("left", "right")}
            joints = to_joints(body, hands, *photo.shape)
            try:
                visible_enough(joints)
            except PersonError as error:
                too_little = too_little or error
                continue
            looks = more_looks(self._engine("pose_landmark_full"), photo, body)
            outline = person_mask(photo, body, looks, [other for other in found if other is not body])
            if outline is not None:
                people.append((int(np.count_nonzero(outline[0] >= 128)), Person(joints, *outline, body.score)))
        if not people:
            raise too_little or PersonError("No person was found in the photo: what looks like one has no outline.")
        people.sort(key=lambda entry: -entry[0])
        return [person for _, person in people]

    def _bodies(self, photo: Pyramid) -> list[Body]:
        """Everyone the networks see, each once, the largest windows first. Finer and turned views only while they are needed."""
        height, width = photo.shape
        if min(height, width) < _LEAST_SIDE:
            return []
        found: list[Body] = []
        tried: list[Roi] = []
        for step in _views(height, width):
            if found and (not step.for_more or max(body.roi.size for body in found) > max(height, width) / 2):
                continue
            seen = [d for view in step.windows for d in detect(self._engine("pose_detection"), photo, view)]
            for detection in sorted(seen, key=lambda d: -d.score):
                self._add(photo, detection.roi, found, tried)
        if not found:
            # The detector wants a torso that it knows; the landmark network may still find its way from the whole photo.
            for angle in (0.0, math.pi / 2, -math.pi / 2, math.pi):
                self._add(photo, Roi(width / 2, height / 2, max(height, width), angle), found, [], least=_PRESENT_UNDETECTED)
                if found:
                    break
        return sorted(found, key=lambda body: -body.roi.size)[:_MAX_PEOPLE]

    def _add(self, photo: Pyramid, roi: Roi, found: list[Body], tried: list[Roi], least: float = _PRESENT) -> None:
        """Track the person in ``roi`` and append it to ``found``, unless it is nobody, known already, or ``roi`` was tried."""
        if roi.size < _LEAST_SIDE or any(_same_window(roi, other) for other in tried):
            return
        tried.append(roi)
        engine = self._engine("pose_landmark_full")
        body = bodies.track(engine, photo, roi)
        if body.score < least or not plausible(body) or any(same_person(body, other) for other in found):
            return
        found.append(bodies.both_sides(engine, photo, body))


@dataclass(frozen=True)
class _Step:
    """Windows that the detector looks at together; ``for_more``: also where people were found, but only small ones."""

    windows: list[Roi]
    for_more: bool = False


def _views(height: int, width: int) -> list[_Step]:
    """What the detector looks at, in this order, until somebody is found."""
    x, y, long, short = width / 2, height / 2, max(height, width), min(height, width)
    whole = [Roi(x, y, long)]
    if long > 1.3 * short:  # squares along the photo, so that people beside each other are not small
        whole += _tiles(height, width, max(short, long / 8))
    turned = [Roi(x, y, long, angle) for angle in (math.pi / 2, -math.pi / 2, math.pi)]
    return [
        _Step(whole),
        _Step([Roi(x, y, 1.6 * long), *turned]),
        _Step(_tiles(height, width, long / 2), for_more=True),
        _Step(_tiles(height, width, long / 4)),
    ]


def _tiles(height: int, width: int, side: float) -> list[Roi]:
    """Squares over the whole photo, each overlapping the next by at least half."""
    return [Roi(cx, cy, side) for cy in _centres(height, side) for cx in _centres(width, side)]


def _centres(length: float, side: float) -> list[float]:
    if length <= side:
        return [length / 2]
    count = math.ceil((length - side) / (side / 2)) + 1
    return [side / 2 + k * (length - side) / (count - 1) for k in range(count)]


def _same_window(one: Roi, other: Roi) -> bool:
    size = min(one.size, other.size)
    near = math.hypot(one.x - other.x, one.y - other.y) < 0.1 * size and max(one.size, other.size) < 1.2 * size
    return near and abs(math.remainder(one.angle - other.angle, 2 * math.pi)) < 0.3


def plausible(body: Body) -> bool:
    """Whether the network agrees with itself: most joints that it is sure of lie on or near its own mask."""
    points = transform(invert(roi_matrix(body.roi, SIDE)), body.points[_BODY, :2])
    column, row = np.floor(points.T).astype(int)
    sure = (body.confidence[_BODY] > 0.5) & (points >= 0).all(axis=1) & (points < SIDE).all(axis=1)
    if np.count_nonzero(sure) < 4:
        return False
    near = cv2.dilate((body.mask > 0.5).astype(np.uint8), np.ones((7, 7), np.uint8))
    return bool(near[row[sure], column[sure]].mean() > 0.6)


def same_person(one: Body, other: Body) -> bool:
    """Whether two bodies are one: the joints lie within a tenth of the body's size of each other on average, or the masks agree."""
    apart = np.hypot(*(one.points[_BODY, :2] - other.points[_BODY, :2]).T).mean()
    return bool(apart < 0.1 * min(one.roi.size, other.roi.size)) or same_outline(one, other)
