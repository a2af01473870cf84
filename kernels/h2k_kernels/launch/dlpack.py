"""The DLPack exchange format in ctypes: capsules in and out, no copy.

Structures as in dlpack.h, version 0.x ("dltensor"), which every library still takes and gives.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from h2k_kernels.launch.errors import DeviceFailure

if TYPE_CHECKING:
    from h2k_kernels.launch.arrays import DeviceArray

#: Device types.
HOST, CUDA = 1, 2
#: Type codes: signed, unsigned, floating point; bool is 6.
_KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}
_CODES = {code: kind for kind, code in _KINDS.items()}
_NAME, _USED_NAME = b"dltensor", b"used_dltensor"


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("number", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _ManagedTensor(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_ManagedTensor))
_ManagedTensor._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]

_api = ctypes.pythonapi
_new = _api.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_is_valid = _api.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]
_pointer = _api.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_rename = _api.PyCapsule_SetName
_rename.restype, _rename.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]

#: Exported tensors that no consumer has released yet, by the address of their structure: what must not be collected.
_exported: dict[int, tuple[Any, ...]] = {}


@_Deleter
def _release(managed: Any) -> None:
    _exported.pop(ctypes.addressof(managed.contents), None)


_CapsuleDestructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
# The destructor gets the dying capsule as a bare address: turned into an object, it would be resurrected.
_raw_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_raw_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))


@_CapsuleDestructor
def _discard(capsule: int) -> None:
    """A capsule that nobody consumed still owns its tensor."""
    if _raw_is_valid(capsule, _NAME):
        _exported.pop(_raw_pointer(capsule, _NAME), None)


def export(array: DeviceArray) -> Any:
    """A capsule that keeps ``array`` alive until its consumer is done with it.

    Raises:
        DeviceFailure: DLPack has no code for the elements, or the strides are no whole elements.
    """
    kind, itemsize = array.dtype.kind, array.dtype.itemsize
    if kind not in _KINDS or any(stride % itemsize for stride in array.strides):
        raise DeviceFailure(f"DLPack cannot hold an array of {array.dtype} with strides {array.strides}")
    extents = ctypes.c_int64 * max(array.ndim, 1)
    shape, strides = extents(*array.shape), extents(*(stride // itemsize for stride in array.strides))
    tensor = _Tensor(
        array.pointer,
        _Device(*array.device),
        array.ndim,
        _DataType(_KINDS[kind], 8 * itemsize, 1),
        ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64)),
        ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64)),
        0,
    )
    managed = _ManagedTensor(tensor, None, _release)
    _exported[ctypes.addressof(managed)] = (managed, shape, strides, array)
    return _new(ctypes.addressof(managed), _NAME, ctypes.cast(_discard, ctypes.c_void_p))


@dataclass
class TakenTensor:
    """A tensor of another library; released when this object is collected."""

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    device: tuple[int, int]
    _managed: Any

    def __del__(self) -> None:
        if self._managed.deleter:
            self._managed.deleter(ctypes.pointer(self._managed))


def take(capsule: Any) -> TakenTensor:
    """Consume a capsule.

    Raises:
        DeviceFailure: it was consumed already, or its elements have no NumPy type.
    """
    if not _is_valid(capsule, _NAME):
        raise DeviceFailure("this DLPack capsule was used before, or is of a newer version of the format")
    managed = _ManagedTensor.from_address(_pointer(capsule, _NAME))
    tensor = managed.tensor
    code, bits, lanes = tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes
    if code not in _CODES or lanes != 1 or bits % 8:
        raise DeviceFailure(f"DLPack elements of code {code} with {bits} bits and {lanes} lanes have no NumPy type")
    dtype = np.dtype(f"{_CODES[code]}{bits // 8}")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] * dtype.itemsize for i in range(tensor.ndim)) if tensor.strides else ()
    _rename(capsule, _USED_NAME)
    pointer = int(tensor.data or 0) + int(tensor.byte_offset)
    return TakenTensor(pointer, shape, strides, dtype, (tensor.device.type, tensor.device.number), managed)
