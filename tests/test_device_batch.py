"""The batch pipeline: overlap, order, failures, bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from h2k_rt.device.batch import pipelined


def test_results_come_in_order_whatever_the_stages_take() -> None:
    gates = {number: threading.Event() for number in range(4)}

    def write(number: int) -> int:
        if number == 0:  # the first is written last
            assert gates[1].wait(10)
        gates[number].set()
        return number * 10

    outcomes = list(pipelined(range(4), lambda n: n, lambda n: n, write))
    assert [(o.source, o.result, o.error) for o in outcomes] == [(n, n * 10, None) for n in range(4)]


def test_loading_and_writing_go_on_while_the_gpu_works() -> None:
    loaded, written = threading.Event(), threading.Event()

    def load(number: int) -> int:
        if number == 2:
            loaded.set()
        return number

    def work(number: int) -> int:
        if number == 1:
            assert loaded.wait(10), "photo 2 is read while the GPU works on photo 1"
            assert written.wait(10), "and photo 0 is written"
        return number

    def write(number: int) -> int:
        if number == 0:
            written.set()
        return number

    assert [o.result for o in pipelined(range(3), load, work, write)] == [0, 1, 2]


@pytest.mark.parametrize("stage", ["load", "work", "write"])
def test_a_bad_photo_does_not_stop_the_rest(stage: str) -> None:
    passed: dict[str, list[int]] = {name: [] for name in ("load", "work", "write")}

    def make(name: str) -> Callable[[int], int]:
        def run(number: int) -> int:
            if name == stage and number == 1:
                raise OSError("broken")
            passed[name].append(number)
            return number

        return run

    outcomes = list(pipelined(range(4), make("load"), make("work"), make("write")))
    assert [o.source for o in outcomes] == [0, 1, 2, 3]
    assert [o.result for o in outcomes] == [0, None, 2, 3]
    assert isinstance(outcomes[1].error, OSError)
    later = ["load", "work", "write"][["load", "work", "write"].index(stage) :]
    for name, numbers in passed.items():
        assert sorted(numbers) == ([0, 2, 3] if name in later else [0, 1, 2, 3])


@pytest.mark.parametrize("ahead", [1, 3])
def test_memory_is_bounded(ahead: int) -> None:
    lock = threading.Lock()
    alive = most = 0
    threads: set[str] = set()

    def load(number: int) -> int:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return number

    def work(number: int) -> int:
        threads.add(threading.current_thread().name)
        return number

    def write(number: int) -> int:
        nonlocal alive
        with lock:
            alive -= 1
        return number

    assert len(list(pipelined(range(50), load, work, write, ahead=ahead))) == 50
    assert alive == 0 and most <= 2 * ahead + 2
    assert threads == {threading.main_thread().name}, "one thread drives the GPU"


def test_stopping_early_begins_nothing_more() -> None:
    begun: list[int] = []
    written: list[int] = []
    run = pipelined(range(100), lambda n: begun.append(n) or n, lambda n: n, lambda n: written.append(n) or n)
    assert next(run).source == 0
    run.close()
    assert len(begun) <= 8 and len(written) < 100
    with pytest.raises(ValueError, match="at least one"):
        list(pipelined(range(2), int, int, int, ahead=0))
