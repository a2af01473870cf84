"""Where the device pipeline's tensors lie, and which window of the canvas its trunk runs on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from h2k_kernels.launch import DeviceArray

from h2k_rt.constants import METHOD
from h2k_rt.device.arena import ALIGNMENT, Arena, Tensor, plan_layout
from h2k_rt.device.windows import MARGIN, Window, mask_box, trunk_window, window_sizes
from h2k_rt.high_depth import HALO

HALF, BYTE = np.dtype(np.float16), np.dtype(np.uint8)


class Memory:
    """Counts what is allocated."""

    def __init__(self) -> None:
        self.blocks: list[int] = []

    def empty(self, shape: tuple[int, ...], dtype: type) -> DeviceArray:
        self.blocks.append(int(np.prod(shape)))
        return DeviceArray(2**20, shape, np.dtype(dtype), (), self)


def spans(arena: Arena, names: list[str]) -> list[tuple[int, int]]:
    arrays = [arena.array(name) for name in names]
    return sorted((array.pointer, array.pointer + array.nbytes) for array in arrays)


def test_tensors_do_not_overlap() -> None:
    rng = np.random.default_rng(5)
    tensors = {
        f"t{i}": Tensor(
            tuple(int(n) for n in rng.integers(1, 9, rng.integers(0, 5))), np.dtype(rng.choice(["u1", "f2", "f4", "i8"]))
        )
        for i in range(200)
    }
    tensors["empty"] = Tensor((0, 4))
    memory = Memory()
    arena = Arena(memory, plan_layout(tensors))  # type: ignore[arg-type]
    assert memory.blocks == [arena.nbytes], "one block"
    for (_, end), (start, _) in itertools.pairwise(spans(arena, list(tensors))):
        assert end <= start
    for name, tensor in tensors.items():
        array = arena.array(name)
        assert (array.shape, array.dtype, array.pointer % ALIGNMENT, array.owner) == (tensor.shape, tensor.dtype, 0, memory)
        assert array.pointer >= 2**20 and array.pointer + array.nbytes <= 2**20 + arena.nbytes
    used = sum(tensor.nbytes for tensor in tensors.values())
    assert used <= arena.nbytes <= used + ALIGNMENT * len(tensors)


def test_tensors_that_share_a_place() -> None:
    tensors = {"a": Tensor((100,)), "b": Tensor((7,), HALF), "c": Tensor((3000,), BYTE), "d": Tensor((1,))}
    layout = plan_layout(tensors, [("a", "c")])
    assert layout.offsets["a"] == layout.offsets["c"]
    arena = Arena(Memory(), layout)  # type: ignore[arg-type]
    for one, other in itertools.combinations("abcd", 2):
        if {one, other} != {"a", "c"}:
            (_, end), (start, _) = spans(arena, [one, other])
            assert end <= start
    assert layout.nbytes == 3072 + 256 + 256
    for wrong in ([("a", "x")], [("a", "b"), ("b", "c")], [("a", "a")]):
        with pytest.raises(ValueError, match="cannot share its place"):
            plan_layout(tensors, wrong)


def test_other_uses_of_a_tensor() -> None:
    arena = Arena(Memory(), plan_layout({"a": Tensor((2, 6, 10, 10)), "b": Tensor((4,))}))  # type: ignore[arg-type]
    part = arena.array("a", (1, 6, 5, 8))
    assert part.shape == (1, 6, 5, 8) and part.contiguous and part.pointer == arena.array("a").pointer
    assert arena.array("a", (2400,), np.float16).nbytes == 4800
    with pytest.raises(ValueError, match="a has 4800 bytes, too few"):
        arena.array("a", (2, 6, 10, 11))
    with pytest.raises(KeyError):
        arena.array("c")


def test_window_sizes() -> None:
    sizes = window_sizes(METHOD.size)
    assert sizes[-1] == (2048, 2048) and 4 <= len(sizes) <= 8, "few: each is a graph of its own"
    assert all(n % 32 == 0 for size in sizes for n in size)
    assert (1696, 768) in sizes
    assert window_sizes(256)[-1] == (256, 256)
    with pytest.raises(ValueError, match="multiple of 32"):
        window_sizes(100)


@pytest.mark.parametrize("canvas", [256, 2048])
def test_window_holds_the_box_and_what_the_trunk_sees_of_it(canvas: int) -> None:
    rng = np.random.default_rng(1)
    sizes = window_sizes(canvas)
    seen = set()
    for _ in range(3000):
        x, y = (np.sort(rng.choice(canvas + 1, 2, replace=False)) for _ in range(2))
        if rng.random() < 0.5:  # a framed person
            half = int(rng.integers(1, max(2, canvas // 3)))
            x = np.clip([canvas // 2 - half, canvas // 2 + half], 0, canvas)
            y = np.clip([canvas // 8, canvas - canvas // 8], 0, canvas)
        box = (int(x[0]), int(y[0]), int(x[1]), int(y[1]))
        window = trunk_window(box, canvas)
        seen.add(window.size)
        assert window.size in sizes
        assert window.x % 8 == 0 and window.y % 8 == 0
        for start, length, low, high in ((window.x, window.width, *box[::2]), (window.y, window.height, *box[1::2])):
            assert start >= 0 and start + length <= canvas
            assert start <= max(0, low - HALO) and start + length >= min(canvas, high + HALO)
        smaller = [s for s in sizes if s[0] * s[1] < window.width * window.height]
        needed = [min(canvas, box[i + 2] + HALO) - max(0, box[i] - HALO) // 8 * 8 for i in (1, 0)]
        assert all(s[0] < needed[0] or s[1] < needed[1] for s in smaller), "the smallest that fits"
    assert seen == set(sizes)


def test_framed_person_takes_the_lower_height() -> None:
    """A person of the framed height, wherever the mask's edge falls, with margin and halo."""
    height = round(METHOD.person_height_px)
    for slack in range(-2, 12):
        top = (METHOD.size - height) // 2 + slack
        box = (900, top - MARGIN, 1300, top + height + 2 + MARGIN)
        assert trunk_window(box, METHOD.size).size == (1696, 512)


def test_box_of_a_mask() -> None:
    mask = np.zeros((256, 256), np.uint8)
    assert mask_box(mask) == (0, 0, 0, 0)
    assert trunk_window((0, 0, 0, 0), 256) == Window(0, 0, 64, 224)
    mask[100, 50], mask[120, 200], mask[3, 3] = 128, 255, 127
    assert mask_box(mask, 10) == (40, 90, 211, 131)
    assert mask_box(mask, 60) == (0, 40, 256, 181)
