"""The configuration of a training: a TOML file, one dataclass for each of its tables. Every value has a default."""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from h2k_rt.constants import PART_GROUPS
from h2k_rt.errors import TrainingError
from h2k_rt.training.implicit.config import ImplicitConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OBJECTIVES = ("robust", "published")
PRECISIONS = ("bfloat16", "float32")
OPTIMIZERS = ("adamw", "rmsprop")
SCHEDULES = ("cosine", "published", "constant", "steps")
STARTS = ("pass-through", "random")

T = TypeVar("T")


@dataclass(frozen=True)
class ModelConfig:
    """``[model]``: the networks."""

    width: float = 0.25
    """Channels as a share of the published ones; 1.0 is the published size."""
    background_value: float | None = None
    """What stands for the background in the networks' picture; absent: black under the colour factors, as published."""
    start: str = "pass-through"
    """First weights without --init: "random" as published, or "pass-through": part networks begin by giving their
    low-resolution normals back, the trunk by giving the upsampled low depth back."""


@dataclass(frozen=True)
class OptimizerConfig:
    """``[optimizer]``: AdamW or RMSprop and its schedule, one for each network."""

    kind: str = "adamw"
    """"adamw", or "rmsprop" as PIFu has it."""
    peak: float = 1e-3
    """Highest learning rate."""
    schedule: str = "cosine"
    """"cosine": warm-up, then one cosine down to ``floor`` at the end of the run; "published": warm restarts every five
    epochs; "constant": warm-up only; "steps": a tenth from 60 % of the run on, a hundredth from 80 % on."""
    floor: float = 0.02
    """Learning rate at the end of the cosine, as a share of the peak."""
    warm_up: int = 200
    """Steps of linear warm-up (schedules "cosine" and "constant")."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of convolution weights; biases and batch norms have none."""
    clip: float = 1.0
    """Largest norm of a network's gradient; 0: no clipping."""
    accumulate: int = 1
    """Batches whose gradients are averaged before a step."""
    ema: float = 0.998
    """Decay of the averaged weights that are kept in the end; 0: none. Warmed up as min(ema, (1 + step) / (10 + step))."""


@dataclass(frozen=True)
class RunConfig:
    """``[run]``: how the work is done."""

    seed: int = 1
    """Order of the samples and every augmentation follow from it."""
    precision: str = "bfloat16"
    """"bfloat16": mixed precision (last convolutions, losses and batch-norm statistics stay in float32); "float32"."""
    channels_last: bool = True
    """Keep tensors channels-last: much faster on CPUs with AMX and on tensor cores."""
    workers: int = 1
    """Processes that read and augment samples; 0: done between the steps. Results do not depend on it."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints."""
    evaluate_minutes: float = 20.0
    """Minutes between evaluations on --holdout; there is one at the end too."""
    evaluate_samples: int = 32
    """Samples of --holdout that are read for one."""
    picture_minutes: float = 10.0
    """Minutes between TensorBoard pictures."""
    log_seconds: float = 30.0
    """Seconds between TensorBoard scalars, and between lines of progress where there is no terminal."""
    frozen_statistics: bool = False
    """Train with the batch norms' running statistics instead of each batch's."""
    compile: bool = False
    """Fuse networks and losses with torch.compile: 1.2 to 1.4 times as fast on a CPU after a minute of compiling for each network;
    needs a C++ compiler."""


@dataclass(frozen=True)
class LowConfig:
    """``[low]``: the low-resolution normals and depth, trained together."""

    batch: int = 8
    """Pictures in a batch of one process."""
    window: tuple[int, int] = (224, 144)
    """Rows and columns of the 256 x 256 picture that are trained on, around the person; multiples of 16."""
    window_jitter: int = 12
    """The window is shifted by up to so many pixels."""
    flip: float = 0.5
    """Share of samples that are mirrored."""


@dataclass(frozen=True)
class PartsConfig:
    """``[parts]``: the five part-normal networks."""

    batch: int = 2
    """Samples of 2048 x 2048 in a batch of one process; all crops of a batch come from them."""
    crops: tuple[int, ...] = (2, 1, 3, 3, 2)
    """Crops of a sample for face, upper body, arms, legs, feet. Fewer than the group's parts: drawn; more: with other joints."""
    window: float = 1.0
    """Share of a crop's sides that is trained on, around the person: crops are mostly background."""
    joint_jitter: float = 6.0
    """Standard deviation in canvas pixels of the joints' displacement."""
    flip: float = 0.5
    """Share of samples that are mirrored, their joints with them."""


@dataclass(frozen=True)
class TrunkConfig:
    """``[trunk]``: the high-resolution depth network of phase 2."""

    batch: int = 2
    """Samples of 2048 x 2048 in a batch of one process."""
    crops: int = 3
    """Crops of each."""
    crop: tuple[int, int] = (320, 320)
    """Rows and columns of a crop of the 2048 x 2048 canvas; multiples of 8."""
    prepared: int = 400
    """Samples whose inputs (what the other networks make of them) are kept on disk, about 20 MB each; more are drawn from
    these. 0: made anew each time."""


@dataclass(frozen=True)
class AugmentConfig:
    """``[augment]``: what photos and person finders do to a picture that a renderer does not."""

    factors: tuple[float, float] = (0.7, 1.0)
    """Range of the brightness, contrast and saturation factors (0.85 in use)."""
    random_order: bool = True
    """Apply them in random order, as the published training does."""
    mask_shift: float = 6.0
    """The mask's edge moves in or out by up to so many canvas pixels, differently along it."""
    mask_holes: float = 0.3
    """Share of masks with a hole or a piece of background at the edge."""
    blur: float = 0.3
    """Share of pictures that are blurred (up to 1.5 canvas pixels)."""
    noise: float = 0.3
    """Share of pictures with sensor noise (up to 6 of 255)."""
    colour_cast: float = 0.08
    """Standard deviation of a factor for each colour channel."""


@dataclass(frozen=True)
class LossConfig:
    """``[loss]``: weights of the "robust" objective. Depth terms are in nu, inside the person unless said otherwise."""

    normal: float = 1.0
    """L1 of encoded normals inside the person."""
    normal_background: float = 0.1
    """L1 of encoded normals outside."""
    normal_angle: float = 1.0
    """Length of the difference of the surface's unit normals, about the angle in radians."""
    normal_ssim: float = 0.15
    """1 - SSIM of encoded normals."""
    depth_shape: float = 2.0
    """Depth with the person's mean offset removed."""
    depth_offset: float = 0.2
    """That offset, which a picture hardly tells."""
    depth_gradient: tuple[float, float, float] = (2.0, 1.0, 0.5)
    """Differences of depth between pixels 1, 4 and 16 apart."""
    depth_normal: float = 0.05
    """The same for the normals of the depth."""
    depth_background: float = 0.02
    """Depth outside the person (front 6, back 0)."""
    trunk_depth: float = 20.0
    """The trunk's depth against the true relief on the low-resolution depth (``objective.bent_depth``)."""
    trunk_gradient: tuple[float, float, float] = (15.0, 8.0, 4.0)
    """As ``depth_gradient``, for the trunk."""
    trunk_normal: float = 0.5
    """As ``depth_normal``, for the trunk."""
    trunk_background: float = 0.1
    """As ``depth_background``, for the trunk, whose silhouette is where the front depth exceeds the back."""
    mask: float = 0.3
    """Cross entropy of the mask."""


@dataclass(frozen=True)
class TrainingConfig:
    """A training's configuration file."""

    objective: str = "robust"
    """"robust": ours (``training.objective``); "published": the published losses (``training.losses``), phase 1 as one step."""
    parity: bool = False
    """Repeat the published training's quirks: a second sigmoid inside the mask loss, batch-norm statistics of frozen networks
    that drift in phase 2. Needs objective "published"."""
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    low: LowConfig = field(default_factory=LowConfig)
    parts: PartsConfig = field(default_factory=PartsConfig)
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    implicit: ImplicitConfig = field(default_factory=ImplicitConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's metadata."""
        return dataclasses.asdict(self)


def load_config(path: str | Path) -> TrainingConfig:
    """Read a configuration.

    Raises:
        TrainingError: no such file, not TOML, an unknown name, a value of the wrong type or out of range.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(f"there is no configuration at {path}; configs/small.toml of the repository is one") from None
    except OSError as error:
        raise TrainingError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not valid TOML: {error}") from error
    return parse_config(raw, str(path))


def parse_config(raw: dict[str, Any], where: str) -> TrainingConfig:
    """A configuration from plain values; ``where`` names their source in messages."""
    config = _table(TrainingConfig, raw, where, "")
    _check(config, where)
    return config


def _table(kind: type[T], raw: Any, where: str, prefix: str) -> T:
    if not isinstance(raw, dict):
        raise TrainingError(f"{where}: {prefix.rstrip('.')} must be a table")
    hints = typing.get_type_hints(kind)
    for name in raw:
        if name not in hints:
            near = difflib.get_close_matches(name, hints, 1)
            advice = f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(hints)}"
            raise TrainingError(f"{where}: there is no setting {prefix}{name}; {advice}")
    values: dict[str, Any] = {}
    for name, value in raw.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            values[name] = _table(typing.cast(Any, hint), value, where, f"{prefix}{name}.")
        else:
            values[name] = _value(hint, value, f"{where}: {prefix}{name}")
    return kind(**values)


def _value(hint: Any, value: Any, what: str) -> Any:
    if typing.get_origin(hint) is tuple:
        return _tuple(hint, value, what)
    if isinstance(hint, types.UnionType):
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise TrainingError(f"{what} must be a {hint.__name__}, not {value!r}")
    if hint is float and not math.isfinite(value):
        raise TrainingError(f"{what} must be finite")
    return value


def _tuple(hint: Any, value: Any, what: str) -> tuple[Any, ...]:
    kinds = typing.get_args(hint)
    if not isinstance(value, list):
        raise TrainingError(f"{what} must be a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise TrainingError(f"{what} must be a list of {len(kinds)}, not {len(value)}")
    return tuple(_value(kind, item, what) for kind, item in zip(kinds, value, strict=True))


def _check(config: TrainingConfig, where: str) -> None:
    """Ranges, and choices that exclude each other."""

    def need(condition: bool, sentence: str) -> None:
        if not condition:
            raise TrainingError(f"{where}: {sentence}")

    choices = (
        ("objective", config.objective, OBJECTIVES),
        ("model.start", config.model.start, STARTS),
        ("optimizer.kind", config.optimizer.kind, OPTIMIZERS),
        ("optimizer.schedule", config.optimizer.schedule, SCHEDULES),
        ("run.precision", config.run.precision, PRECISIONS),
    )
    for name, value, allowed in choices:
        need(value in allowed, f"{name} must be {' or '.join(allowed)}, not {value!r}")
    need(not config.parity or config.objective == "published", 'parity needs objective = "published"')
    need(len(config.parts.crops) == len(PART_GROUPS), f"parts.crops must be a list of {len(PART_GROUPS)}")
    need(all(n >= 0 for n in config.parts.crops) and any(config.parts.crops), "parts.crops must not be negative, nor all 0")
    need(0 < config.parts.window <= 1, "parts.window must be above 0 and at most 1")
    sides = (*config.low.window, *config.trunk.crop)
    need(all(0 < n <= 256 and n % 16 == 0 for n in config.low.window), "low.window must be multiples of 16 up to 256")
    need(all(n > 0 for n in sides), "windows and crops must be positive")
    need(all(n <= 2048 and n % 8 == 0 for n in config.trunk.crop), "trunk.crop must be multiples of 8 up to 2048")
    low, high = config.augment.factors
    need(0 < low <= high <= 2, "augment.factors must be two rising numbers in 0..2")
    need(0 <= config.optimizer.ema < 1, "optimizer.ema must be in 0..1")
    positive = {
        "optimizer.peak": config.optimizer.peak,
        "optimizer.accumulate": config.optimizer.accumulate,
        "low.batch": config.low.batch,
        "parts.batch": config.parts.batch,
        "trunk.batch": config.trunk.batch,
        "trunk.crops": config.trunk.crops,
    }
    for name, number in positive.items():
        need(number > 0, f"{name} must be above 0")
    need(config.run.workers >= 0, "run.workers must not be negative")
    for sentence in config.implicit.faults():
        need(False, f"implicit.{sentence}")
