"""A look into an ONNX file without the onnx package: is it one, and does it stay inside itself?

ONNX is a protobuf message. Only lengths and a few field numbers of onnx.proto are needed; weights are skipped, not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Buffer = Any  # bytes, memoryview or mmap: indexable and sliceable

#: message -> field number -> message of that field, as far as a tensor can be inside (onnx.proto).
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_MAX_DEPTH = 40


class NotOnnx(ValueError):
    """The bytes are no ONNX model, or a damaged one."""


def external_tensors(data: Buffer) -> list[str]:
    """Names of the tensors whose data lies in another file.

    Raises:
        NotOnnx: ``data`` is no ONNX model.
    """
    found: list[str] = []
    graphs = _walk(data, 0, len(data), "model", found, 0)
    if graphs != 1:
        raise NotOnnx(f"it holds {graphs} graphs instead of one")
    return found


def _walk(data: Buffer, start: int, end: int, message: str, found: list[str], depth: int) -> int:
    """Visit one message; returns how many fields of it were graphs."""
    if depth > _MAX_DEPTH:
        raise NotOnnx("it is nested too deeply")
    fields, graphs, name, external = _FIELDS[message], 0, "?", False
    for number, wire, a, b in _records(data, start, end):
        if number in fields:
            if wire != 2:
                raise NotOnnx(f"field {number} of a {message} is malformed")
            _walk(data, a, b, fields[number], found, depth + 1)
            graphs += fields[number] == "graph"
        elif message == "tensor":
            if number == _TENSOR_NAME and wire == 2:
                name = bytes(data[a : min(b, a + 100)]).decode("utf-8", "replace")
            external = external or (number == _EXTERNAL_DATA) or (number == _DATA_LOCATION and a != 0)
    if external:
        found.append(name)
    return graphs


def _records(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Field number, wire type, and for lengths: where the content starts and ends (for numbers: the value, 0)."""
    at = start
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise NotOnnx("a field has number 0")
        if wire == 0:
            value, at = _varint(data, at, end)
            yield number, wire, value, 0
            continue
        if wire == 2:
            size, at = _varint(data, at, end)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise NotOnnx(f"wire type {wire} is unknown")
        if size > end - at:
            raise NotOnnx("it ends early")
        yield number, wire, at, at + size
        at += size


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise NotOnnx("it ends early")
