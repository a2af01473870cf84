"""TensorRT's Python interface as it was read off real bindings, version by version, and a stand-in made from that.

The stand-in has the classes, methods, properties and enum members of one version and nothing else. A call is checked against the
signatures; what it returns is an object of the stated class. It computes nothing: a test says what matters to it.
"""

from __future__ import annotations

import enum
import json
import re
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import shared_dir

VERSIONS = ("10.13", "10.16", "11.4")


def read_api(version: str) -> dict[str, Any]:
    """The dump of a version."""
    path = shared_dir() / "reference" / "tensorrt" / f"api_{version}.json"
    if not path.is_file():
        pytest.skip(f"there is no {path}; set H2K_SHARED")
    return json.loads(path.read_text())


def members(api: dict[str, Any], name: str) -> set[str]:
    """Everything that objects of a class have, inherited or not."""
    found: set[str] = {"__init__"} if "init" in api["classes"][name] else set()
    for each in (name, *api["classes"][name].get("bases", [])):
        about = api["classes"][each]
        found |= {*about.get("methods", {}), *about.get("properties", {}), *about.get("members", {}), *about.get("nested", {})}
    return found


def accepts(signatures: list[str], count: int, words: set[str]) -> bool:
    """Whether one of a method's signatures takes ``count`` positional arguments (self included) and these named ones."""
    for signature in signatures:
        inside = signature[1 : signature.rindex(") ->")]
        parts = [part for part in re.split(r",\s*(?![^\[\(]*[\]\)])", inside) if part]
        names = [part.split(":")[0].strip() for part in parts]
        required = [name for name, part in zip(names, parts, strict=True) if "=" not in part]
        if count <= len(names) and words <= set(names[count:]) and set(required) <= {*names[:count], *words}:
            return True
    return False


class _Member(enum.Enum):
    """As pybind11's enumerations: a number only where that is asked for."""

    def __int__(self) -> int:
        return int(self.value)


class StandIn(types.ModuleType):
    """The module ``tensorrt`` of one version.

    Attributes:
        calls: (class, method, arguments) in order.
        says: "Class.member" -> what a call returns, or what a property is; a function is called with the arguments.
    """

    def __init__(self, api: dict[str, Any]) -> None:
        super().__init__("tensorrt")
        self.__version__ = api["version"]
        self.api = api
        self.calls: list[tuple[str, str, tuple[Any, ...]]] = []
        self.settings: dict[str, Any] = {}
        self.says: dict[str, Any] = {}
        for name, about in api["classes"].items():
            setattr(self, name, self._class(name, about))
        if "nptype" in api["functions"]:
            self.nptype = lambda kind: {"FLOAT": np.float32, "HALF": np.float16}[kind.name]

    def answer(self, what: str, arguments: tuple[Any, ...], otherwise: Callable[[], Any]) -> Any:
        if what not in self.says:
            return otherwise()
        said = self.says[what]
        return said(*arguments) if callable(said) else said

    def _class(self, name: str, about: dict[str, Any]) -> type:
        if "members" in about:
            return _Member(name, about["members"])  # type: ignore[return-value]
        body: dict[str, Any] = {}
        for method, signatures in about.get("methods", {}).items():
            body[method] = self._method(name, method, signatures)
        for key, kind in about.get("properties", {}).items():
            body[key] = self._property(name, key, kind)
        for key, nested in about.get("nested", {}).items():
            body[key] = self._class(key, nested)
        inits = about.get("init")

        def __init__(this: Any, *arguments: Any) -> None:
            if inits is None:
                raise TypeError(f"{name}: No constructor defined!")
            assert accepts(inits, 1 + len(arguments), set()), (name, arguments)
            self.calls.append((name, "__init__", arguments))
            if self.says.get(f"{name}.__init__") == "no GPU":
                raise TypeError("pybind11::init(): factory function returned nullptr")

        bases = tuple(getattr(self, base) for base in about.get("bases", []) if hasattr(self, base))
        return type(name, bases, {"__init__": __init__, **body})

    def _make(self, kind: str) -> Any:
        """An object of a stated type."""
        kind = kind.split("::")[-1]
        if kind in self.api["classes"] and "members" not in self.api["classes"][kind]:
            made = object.__new__(getattr(self, kind))
            return made
        return {"bool": True, "int": 0, "str": "", "None": None}.get(kind, [])

    def _method(self, name: str, method: str, signatures: list[str]) -> Callable[..., Any]:
        def call(this: Any, *arguments: Any, **words: Any) -> Any:
            assert accepts(signatures, 1 + len(arguments), set(words)), f"{name}.{method}{arguments} is none of {signatures}"
            self.calls.append((name, method, arguments))
            return self.answer(f"{name}.{method}", arguments, lambda: self._make(signatures[0].rsplit("-> ", 1)[1]))

        return call

    def _property(self, name: str, key: str, about: dict[str, Any]) -> property:
        def get(this: Any) -> Any:
            return self.answer(f"{name}.{key}", (), lambda: self.settings.get(f"{name}.{key}", self._make(about["type"] or "int")))

        def put(this: Any, value: Any) -> None:
            if not about["settable"]:
                raise AttributeError(f"{name}.{key} cannot be set")
            self.settings[f"{name}.{key}"] = value

        return property(get, put)
