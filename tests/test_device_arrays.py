"""Arrays in device memory, their exchange with other libraries, and how kernel arguments are laid out."""

from __future__ import annotations

import ctypes
import gc
import weakref
from typing import Any

import numpy as np
import pytest
from h2k_kernels.launch import DeviceArray, DeviceFailure, from_cuda_array, from_dlpack
from h2k_kernels.launch import dlpack as dlpack_format
from h2k_kernels.launch.arrays import require
from h2k_kernels.launch.packing import pack
from numpy.testing import assert_array_equal

HOST = (1, 0)


def view(array: np.ndarray) -> DeviceArray:
    return DeviceArray(array.ctypes.data, array.shape, array.dtype, array.strides, array, HOST)


def test_shapes_and_strides() -> None:
    array = DeviceArray(4096, (2, 3, 4), np.dtype(np.float16))
    assert array.strides == np.empty((2, 3, 4), np.float16).strides
    assert (array.size, array.nbytes, array.ndim, len(array), array.contiguous) == (24, 48, 3, 2, True)
    assert (array[1].pointer, array[1].shape, array[1].strides) == (4096 + 24, (3, 4), (8, 2))
    assert array.reshape(6, 4).shape == (6, 4)
    assert array.first(1).nbytes == 24
    spaced = DeviceArray(0, (2, 3), np.dtype(np.uint8), (8, 1))
    assert not spaced.contiguous and spaced.nbytes == 6
    for shape in ((0, 5), (1, 1), (5, 1)):
        strange = DeviceArray(0, shape, np.dtype(np.int32), (999 if shape[0] < 2 else 4, 77))
        assert strange.contiguous == (shape != (2, 2)), "strides of axes of one entry do not count"
    for call in (lambda: array.reshape(5, 5), lambda: spaced.reshape(6), lambda: array.first(3), lambda: array.first(-1)):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(IndexError):
        array[2]
    with pytest.raises(ValueError, match="cannot have shape"):
        DeviceArray(0, (-1,), np.dtype(np.int8))
    with pytest.raises(ValueError, match="1 strides for"):
        DeviceArray(0, (2, 2), np.dtype(np.int8), (1,))
    with pytest.raises(TypeError):
        len(DeviceArray(0, (), np.dtype(np.int8)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64])
def test_dlpack_with_numpy_both_ways(dtype: type) -> None:
    source = np.arange(24).astype(dtype).reshape(2, 3, 4)
    taken = from_dlpack(source)
    assert (taken.pointer, taken.shape, taken.dtype, taken.device) == (source.ctypes.data, (2, 3, 4), np.dtype(dtype), HOST)
    given = np.from_dlpack(view(source))
    assert_array_equal(given, source)
    assert given.dtype == dtype and np.shares_memory(given, source)
    across = source.transpose(2, 0, 1)
    assert from_dlpack(across).strides == across.strides
    assert_array_equal(np.from_dlpack(view(across)), across)


def test_dlpack_with_torch() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(12, dtype=torch.float32).reshape(3, 4)[:, ::2]
    taken = from_dlpack(tensor)
    assert (taken.pointer, taken.shape, taken.strides) == (tensor.data_ptr(), (3, 2), (16, 8))
    source = np.arange(6, dtype=np.float16).reshape(2, 3)
    given = torch.from_dlpack(view(source))
    given += 1
    assert_array_equal(source, np.arange(1, 7, dtype=np.float16).reshape(2, 3))


def test_dlpack_keeps_memory_alive_and_lets_it_go() -> None:
    class Memory(np.ndarray):
        pass

    source = np.arange(8, dtype=np.float32).view(Memory)
    gone = weakref.ref(source)
    given = np.from_dlpack(view(source))
    del source
    gc.collect()
    assert gone() is not None
    assert_array_equal(given, np.arange(8))
    del given
    gc.collect()
    assert gone() is None, "the consumer let go"
    source = np.arange(8, dtype=np.float32).view(Memory)
    gone = weakref.ref(source)
    capsule = view(source).__dlpack__()
    del source, capsule
    gc.collect()
    assert gone() is None, "nobody took the capsule"
    assert not dlpack_format._exported

    source = np.arange(8, dtype=np.float32).view(Memory)
    gone = weakref.ref(source)
    taken = from_dlpack(source)
    del source
    gc.collect()
    assert gone() is not None
    del taken
    gc.collect()
    assert gone() is None


def test_dlpack_refuses() -> None:
    source = np.arange(3, dtype=np.float32)
    capsule = view(source).__dlpack__()
    dlpack_format.take(capsule)
    with pytest.raises(DeviceFailure, match="used before"):
        dlpack_format.take(capsule)
    with pytest.raises(DeviceFailure, match="cannot hold an array of complex64"):
        view(np.zeros(2, np.complex64)).__dlpack__()
    with pytest.raises(DeviceFailure, match="a list cannot be taken over"):
        from_dlpack([1])
    torch = pytest.importorskip("torch")
    with pytest.raises(DeviceFailure, match="have no NumPy type"):
        from_dlpack(torch.zeros(2, dtype=torch.bfloat16))


def test_cuda_array_interface() -> None:
    array = DeviceArray(4096, (2, 3), np.dtype(np.float16))
    interface = array.__cuda_array_interface__
    assert interface == {
        "shape": (2, 3), "typestr": "<f2", "data": (4096, False), "strides": None, "version": 3, "stream": None
    }  # fmt: skip
    assert DeviceArray(64, (2, 3), np.dtype(np.int8), (8, 1)).__cuda_array_interface__["strides"] == (8, 1)
    assert DeviceArray(64, (0,), np.dtype(np.int8)).__cuda_array_interface__["data"] == (0, False)
    assert not hasattr(view(np.zeros(2)), "__cuda_array_interface__")

    class Foreign:
        def __init__(self, interface: dict[str, Any]) -> None:
            self.__cuda_array_interface__ = interface

    foreign = Foreign({"shape": (4, 2), "typestr": "<f4", "data": (512, False), "strides": (4, 16), "version": 3})
    taken = from_cuda_array(foreign)
    assert (taken.pointer, taken.shape, taken.strides, taken.owner) == (512, (4, 2), (4, 16), foreign)
    assert from_cuda_array(taken) is taken
    foreign.__cuda_array_interface__ = interface | {"data": (4096, True)}
    with pytest.raises(DeviceFailure, match="read-only"):
        from_cuda_array(foreign)
    with pytest.raises(DeviceFailure, match="a ndarray is no CUDA array"):
        from_cuda_array(np.zeros(2))


def test_require() -> None:
    array = DeviceArray(64, (2, 3), np.dtype(np.float32))
    require(array, "x", np.float32, 2, None)
    require(array, "x", (np.float16, np.float32), 2, 3)
    for dtype, shape, message in (
        (np.float16, (2, 3), "x must be float16, not float32"),
        ((np.float16, np.uint8), (2, 3), "x must be float16 or uint8, not float32"),
        (np.float32, (2, 4), r"x must have shape \(2, 4\), not \(2, 3\)"),
        (np.float32, (None, 3, 1), r"x must have shape \(any, 3, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            require(array, "x", dtype, *shape)
    with pytest.raises(ValueError, match="x must be contiguous"):
        require(DeviceArray(64, (2, 3), np.dtype(np.float32), (16, 4)), "x", np.float32, 2, 3)


def test_arguments_are_laid_out_as_a_c_structure() -> None:
    pair = np.dtype([("a", "f8"), ("b", "i2"), ("c", "i4")], align=True)
    small = np.dtype([("a", "i4"), ("b", "f4")], align=True)

    class Pair(ctypes.Structure):
        _fields_ = [("a", ctypes.c_double), ("b", ctypes.c_short), ("c", ctypes.c_int)]

    class Small(ctypes.Structure):
        _fields_ = [("a", ctypes.c_int), ("b", ctypes.c_float)]

    class Everything(ctypes.Structure):
        _fields_ = [
            ("flag", ctypes.c_bool), ("pointer", ctypes.c_void_p), ("half", ctypes.c_uint16), ("count", ctypes.c_int),
            ("small", Small), ("pair", Pair), ("byte", ctypes.c_uint8), ("real", ctypes.c_double), ("last", ctypes.c_uint8),
            ("long", ctypes.c_int64), ("end", ctypes.c_float),
        ]  # fmt: skip

    expected = Everything(
        True, 0x1234567890, 0x3C00, -7, Small(3, 0.5), Pair(1.5, -2, 9), 255, 2.5, 8, -(2**40), 0.25
    )  # fmt: skip
    arguments = [
        np.bool_(True), DeviceArray(0x1234567890, (1,), np.dtype(np.int8)), np.float16(1), np.int32(-7),
        np.array((3, 0.5), small)[()], np.array((1.5, -2, 9), pair)[()], np.uint8(255), np.float64(2.5), np.uint8(8),
        np.int64(-(2**40)), np.float32(0.25),
    ]  # fmt: skip
    packed = pack(arguments)
    end = Everything.end.offset + 4
    whole = np.frombuffer(bytes(expected), np.uint8)[:end]
    used = np.zeros(end, bool)  # what lies between the values is undefined
    for name, _ in Everything._fields_:
        field = getattr(Everything, name)
        used[field.offset : field.offset + field.size] = True
    gap = Everything.pair.offset + Pair.b.offset + 2
    used[gap : gap + 2] = False
    assert len(packed) == end
    assert_array_equal(np.frombuffer(packed, np.uint8)[used], whole[used])
    assert pack([]) == b""
    assert pack([DeviceArray(64, (0, 3), np.dtype(np.int8))]) == bytes(8), "an empty array has no address"


@pytest.mark.parametrize("wrong", [7, 1.5, None, np.zeros(3), "x", np.array((1, 2), [("a", "i1"), ("b", "i8")])[()]])
def test_arguments_of_no_clear_width_are_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="argument 1: a"):
        pack([np.int32(1), wrong])  # type: ignore[list-item]
