"""The header that runs CUDA kernels on the CPU: right answers for right kernels, and wrong kernels are caught."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module, sanitized_environment
from h2k_kernels.launch.plan import LaunchPlan
from numpy.typing import NDArray

SELFTEST = Path(__file__).parent / "cuda_host" / "selftest.cu"


@pytest.fixture(scope="module")
def module(kernel_folder) -> HostModule:
    return host_module(SELFTEST, kernel_folder)


def launch(module: HostModule, kernel: str, grid: int, block: tuple[int, int], *args: NDArray | np.generic) -> None:
    arguments = tuple(device_view(a) if isinstance(a, np.ndarray) else a for a in args)
    module.run(LaunchPlan(kernel, (grid, 1, 1), (*block, 1), arguments))


def test_shared_memory_and_barriers(module: HostModule) -> None:
    out = np.zeros(50, np.int32)
    launch(module, "block_sum", 50, (16, 8), out)
    np.testing.assert_array_equal(out, np.arange(50) + (np.arange(128) ** 2).sum())


def test_warp_operations(module: HostModule) -> None:
    out = np.zeros((9, 64), np.int32)
    launch(module, "warp_operations", 1, (64, 1), out)
    t = np.arange(64)
    lane, first = t % 32, t // 32 * 32
    np.testing.assert_array_equal(out[0], first + 3)
    np.testing.assert_array_equal(out[1], np.where(lane >= 2, t - 2, t))
    np.testing.assert_array_equal(out[2], np.where(lane < 27, t + 5, t))
    np.testing.assert_array_equal(out[3], t ^ 9)
    votes = [sum(1 << i for i in range(32) if (base + i) % 3 == 0) for base in (0, 32)]
    np.testing.assert_array_equal(out[4].view(np.uint32), np.repeat(votes, 32))
    np.testing.assert_array_equal(out[5], np.repeat([2, 1], 32))
    np.testing.assert_array_equal(out[6].view(np.uint32), np.where(lane < 16, 16, 0xAAAA0000))
    np.testing.assert_array_equal(out[7], 7)
    np.testing.assert_array_equal(out[8], np.where(t < 32, 8, 0))


def test_atomics(module: HostModule) -> None:
    counter, bits, extremes = np.zeros(1, np.int32), np.zeros(1, np.uint32), np.zeros(2, np.int32)
    launch(module, "count_atomically", 40, (64, 1), counter, bits, extremes)
    assert counter[0] == 2 * 40 * 64
    assert bits[0] == 0xFFFFFFFF
    assert extremes.tolist() == [40 * 64 - 1, 1 - 40 * 64]


def test_half_precision_rounds_as_numpy(module: HostModule) -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    rng = np.random.default_rng(0)
    values = np.concatenate([every.astype(np.float32), rng.normal(0, 1, 5000), rng.normal(0, 1e5, 500)]).astype(np.float32)
    values = values[~np.isnan(values)]
    out, back = np.zeros(values.size, np.float16), np.zeros(values.size, np.float32)
    launch(module, "halves", -(-values.size // 64), (64, 1), values, out, back, np.int32(values.size))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(out, values.astype(np.float16))
    np.testing.assert_array_equal(back, out.astype(np.float32))


def test_wrong_arguments_are_refused(module: HostModule) -> None:
    values = np.zeros(4, np.float32)
    for args in ((values, values, values), (values, values, values, np.int64(4)), (values, values, np.int32(1), np.int32(4))):
        with pytest.raises(TypeError):
            launch(module, "halves", 1, (4, 1), *args)
    with pytest.raises(ValueError, match="refused by the driver"):
        launch(module, "halves", 0, (4, 1), values, values, values, np.int32(4))


def run_alone(kernel: str, folder: Path, sanitizer: str = "") -> subprocess.CompletedProcess[str]:
    """Launch a kernel of the self-test in a process of its own, which it may end."""
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
import numpy as np
from cuda_host import device_view, load
from h2k_kernels.launch.plan import LaunchPlan
module = load(Path({str(SELFTEST)!r}), folder=Path({str(folder)!r}))
out = device_view(np.zeros(2000, np.float32))
args = {{"deadlock": (), "out_of_bounds": (out, np.int32(2000))}}.get({kernel!r}, (out,))
module.run(LaunchPlan({kernel!r}, (1, 1, 1), (64, 1, 1), args))
"""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, env=sanitized_environment(sanitizer), timeout=300)


def test_a_deadlock_is_told(module: HostModule, kernel_folder: Path) -> None:
    result = run_alone("deadlock", kernel_folder)
    assert result.returncode != 0
    assert "deadlock" in result.stderr


def test_a_write_out_of_bounds_is_told(kernel_folder: Path) -> None:
    result = run_alone("out_of_bounds", kernel_folder, "address")
    assert result.returncode != 0
    assert "heap-buffer-overflow" in result.stderr
    assert "selftest.cu" in result.stderr


def test_a_missing_barrier_is_told(kernel_folder: Path) -> None:
    wrong, right = (run_alone(kernel, kernel_folder, "thread") for kernel in ("racing_sum", "block_sum"))
    assert "data race" in wrong.stderr
    assert "selftest.cu" in wrong.stderr
    assert right.returncode == 0
    assert "data race" not in right.stderr
