"""``model.toml``: what a bundle states about itself, read strictly. An unknown or missing key is an error."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NoReturn

from h2k_rt.bundle_files import MAX_FILE
from h2k_rt.errors import BundleError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Version of the format that this program reads and writes.
FORMAT = 1
#: The networks of a bundle of the first method, in the order in which they run.
NETWORKS = ("low_normal", "face", "upper", "arm", "leg", "shoe", "low_depth", "high_depth")
#: Method -> its networks. "2k2k": one photo; "implicit": several calibrated photos.
METHODS: Mapping[str, tuple[str, ...]] = {"2k2k": NETWORKS, "implicit": ("encoder", "points")}
PRECISIONS = ("fp32", "fp16")
#: Fields of ``constants.Method`` that a bundle may state, with how many numbers each has (1: a plain number).
CONSTANTS = {
    "colour_factors": 3,
    "world_scale": 1,
    "person_height_px": 1,
    "background_value": 1,
    "relief_wavelength_px": 1,
    "back_low_share": 1,
}
#: Those that must lie below 1.
SHARES = {"back_low_share"}
SIGNED_CONSTANTS = {"background_value"}

Shape = tuple[int | str, ...]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIMENSION = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class NetworkFile:
    """One file of a bundle.

    Attributes:
        size: bytes.
        error: for a graph, the worst difference when it was exported, as a share of the output's range: of FP32 from
            PyTorch, of FP16 from FP32.
    """

    file: str
    sha256: str
    size: int
    error: float = 0.0


@dataclass(frozen=True)
class CheckInput:
    """How to make the input on which engines are compared: see ``h2k_engines.check_input``."""

    rule: str
    ranges: Mapping[str, tuple[float, float]]
    free: Mapping[str, int]


@dataclass(frozen=True)
class Network:
    """One network. All tensors are float32 at the outside, also of the FP16 graph; a string in a shape is a free dimension.

    Attributes:
        files: precision -> file.
        profile: free dimension -> its smallest, usual and largest size.
    """

    name: str
    opset: int
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    files: Mapping[str, NetworkFile]
    check_input: CheckInput
    profile: Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Description:
    """The whole of ``model.toml``."""

    name: str
    method: str
    width: float
    licence: str
    trained_on: str
    constants: Mapping[str, float | tuple[float, ...]]
    networks: Mapping[str, Network]
    weights: NetworkFile | None = None


def parse_description(data: bytes, where: str) -> Description:
    """Read ``model.toml``.

    Args:
        where: the bundle, for messages.

    Raises:
        BundleError: naming the key that is wrong and what is expected there.
    """
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or a number of thousands of digits
        raise BundleError(f"{where}: model.toml is not TOML: {str(error).splitlines()[0]}") from error
    return _Reader(where).description(table)


class _Reader:
    """Strict access to nested tables; every failure names bundle and key."""

    def __init__(self, where: str) -> None:
        self._where = where

    def description(self, table: dict[str, Any]) -> Description:
        version = table.get("format")
        if version is None or isinstance(version, bool) or not isinstance(version, int):
            self._fail("format", "it must be the format's number")
        if version != FORMAT:
            hint = "update h2k-rt" if version > FORMAT else "export the bundle again"
            self._fail("format", f"version {version} cannot be read, this h2k-rt reads {FORMAT}; {hint}")
        needed = {"format", "name", "method", "width", "licence", "trained_on", "networks"}
        self._keys(table, "", needed, {"constants", "weights"})
        if not isinstance(table["method"], str) or table["method"] not in METHODS:
            self._fail("method", f"{table['method']!r} is not known; known: {', '.join(METHODS)}")
        networks, names = self._table(table, "networks"), METHODS[table["method"]]
        self._keys(networks, "networks.", set(names), set())
        width = self._number(table["width"], "width")
        if width <= 0:
            self._fail("width", "it must be positive")
        name = self._text(table["name"], "name")
        if not _NAME.fullmatch(name):
            self._fail("name", "it may hold letters, digits, dot, minus and underscore only")
        return Description(
            name,
            table["method"],
            width,
            self._text(table["licence"], "licence"),
            self._text(table["trained_on"], "trained_on"),
            self._constants(self._table(table, "constants") if "constants" in table else {}),
            {n: self._network(n, self._table(networks, n, f"networks.{n}")) for n in names},
            self._file(self._table(table, "weights"), "weights", ".safetensors") if "weights" in table else None,
        )

    def _constants(self, table: dict[str, Any]) -> dict[str, float | tuple[float, ...]]:
        constants: dict[str, float | tuple[float, ...]] = {}
        self._keys(table, "constants.", set(), set(CONSTANTS))
        for key, value in table.items():
            count = CONSTANTS[key]
            numbers = value if count > 1 else [value]
            if not isinstance(numbers, list) or len(numbers) != count:
                self._fail(f"constants.{key}", f"it must be {count} numbers")
            parsed = tuple(self._number(n, f"constants.{key}") for n in numbers)
            if key not in SIGNED_CONSTANTS and min(parsed) <= 0:
                self._fail(f"constants.{key}", "it must be positive")
            if key in SHARES and max(parsed) >= 1:
                self._fail(f"constants.{key}", "it must be below 1")
            constants[key] = parsed if count > 1 else parsed[0]
        return constants

    def _network(self, name: str, table: dict[str, Any]) -> Network:
        at = f"networks.{name}"
        self._keys(table, f"{at}.", {"opset", "inputs", "outputs", "check_input"}, {"profile", *PRECISIONS})
        inputs, outputs = (self._shapes(self._table(table, key, f"{at}.{key}"), f"{at}.{key}") for key in ("inputs", "outputs"))
        files = {p: self._file(self._table(table, p, f"{at}.{p}"), f"{at}.{p}") for p in PRECISIONS if p in table}
        if not files:
            self._fail(at, "it names no file, neither fp32 nor fp16")
        free = {d for shape in inputs.values() for d in shape if isinstance(d, str)}
        profile = {
            d: self._sizes(v, f"{at}.profile.{d}", 3)
            for d, v in (self._table(table, "profile", f"{at}.profile") if "profile" in table else {}).items()
        }
        if set(profile) != free:
            self._fail(f"{at}.profile", f"it must give smallest, usual and largest size of {', '.join(sorted(free)) or 'nothing'}")
        for d, (low, usual, high) in profile.items():
            if not 1 <= low <= usual <= high:
                self._fail(f"{at}.profile.{d}", "the sizes must not fall")
        check = self._check_input(self._table(table, "check_input", f"{at}.check_input"), f"{at}.check_input", set(inputs), free)
        opset = self._sizes([table["opset"]], f"{at}.opset", 1)[0]
        return Network(name, opset, inputs, outputs, files, check, profile)  # type: ignore[arg-type]

    def _check_input(self, table: dict[str, Any], at: str, inputs: set[str], free: set[str]) -> CheckInput:
        self._keys(table, f"{at}.", {"rule", "ranges"} | ({"free"} if free else set()), set())
        if table["rule"] != "waves":
            self._fail(f"{at}.rule", f"{table['rule']!r} is not known; known: waves")
        ranges = self._table(table, "ranges", f"{at}.ranges")
        self._keys(ranges, f"{at}.ranges.", inputs, set())
        parsed = {}
        for key, value in ranges.items():
            if not isinstance(value, list) or len(value) != 2:
                self._fail(f"{at}.ranges.{key}", "it must be lowest and highest value")
            parsed[key] = (self._number(value[0], f"{at}.ranges.{key}"), self._number(value[1], f"{at}.ranges.{key}"))
        sizes = self._table(table, "free", f"{at}.free") if free else {}
        self._keys(sizes, f"{at}.free.", free, set())
        return CheckInput("waves", parsed, {d: self._sizes([n], f"{at}.free.{d}", 1)[0] for d, n in sizes.items()})

    def _file(self, table: dict[str, Any], at: str, suffix: str = ".onnx") -> NetworkFile:
        self._keys(table, f"{at}.", {"file", "sha256", "size"} | ({"error"} if suffix == ".onnx" else set()), set())
        name = self._text(table["file"], f"{at}.file")
        path = PurePosixPath(name)
        if path.is_absolute() or "\\" in name or ":" in name or "\0" in name or ".." in path.parts or str(path) != name:
            self._fail(f"{at}.file", f"{name!r} is not a plain path inside the bundle")
        if path.suffix != suffix:
            self._fail(f"{at}.file", f"{name!r} is not a {suffix} file")
        digest = self._text(table["sha256"], f"{at}.sha256")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            self._fail(f"{at}.sha256", "it must be 64 lower-case hexadecimal digits")
        size = self._sizes([table["size"]], f"{at}.size", 1)[0]
        if size > MAX_FILE:
            self._fail(f"{at}.size", f"{size} bytes is more than a network may have ({MAX_FILE})")
        return NetworkFile(name, digest, size, self._number(table.get("error", 0.0), f"{at}.error"))

    def _shapes(self, table: dict[str, Any], at: str) -> dict[str, Shape]:
        if not table:
            self._fail(at, "it is empty")
        shapes: dict[str, Shape] = {}
        for key, value in table.items():
            good = isinstance(value, list) and len(value) == 4
            for n in value if good else []:
                is_size = isinstance(n, int) and not isinstance(n, bool) and 0 < n <= 1 << 16
                good = good and (is_size or (isinstance(n, str) and _DIMENSION.fullmatch(n) is not None))
            if not good:
                self._fail(f"{at}.{key}", "it must be four sizes, or names of free dimensions")
            shapes[key] = tuple(value)
        return shapes

    def _sizes(self, value: Any, at: str, count: int) -> tuple[int, ...]:
        good = isinstance(value, list) and len(value) == count
        if not good or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in value):
            self._fail(at, "it must be a positive whole number" if count == 1 else f"it must be {count} positive whole numbers")
        return tuple(value)

    def _number(self, value: Any, at: str) -> float:
        # Beyond 1e30 nothing is meant; a whole number of TOML may even be too large for a float.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or abs(value) > 1e30:
            self._fail(at, "it must be a finite number")
        return float(value)

    def _text(self, value: Any, at: str) -> str:
        if not isinstance(value, str) or not value.strip():
            self._fail(at, "it must be a text")
        return value

    def _table(self, table: dict[str, Any], key: str, at: str | None = None) -> dict[str, Any]:
        value = table.get(key)
        if not isinstance(value, dict):
            self._fail(at or key, "it must be a table")
        return value

    def _keys(self, table: dict[str, Any], at: str, needed: set[str], allowed: set[str]) -> None:
        missing, unknown = sorted(needed - table.keys()), sorted(table.keys() - needed - allowed)
        if missing:
            self._fail(f"{at}{missing[0]}", "it is missing")
        if unknown:
            self._fail(f"{at}{unknown[0]}", "this key is not known")

    def _fail(self, key: str, what: str) -> NoReturn:
        raise BundleError(f"{self._where}: model.toml, {key}: {what}")
