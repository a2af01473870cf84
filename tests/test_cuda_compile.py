"""Every kernel compiles for every supported GPU, without warnings and without spills to local memory."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from h2k_kernels.launch import nvcc
from h2k_kernels.launch.compile import ARCHITECTURES
from h2k_kernels.launch.errors import DeviceFailure

from bench.kernel_work import Workload, works
from bench.kernels_static import parse_report, resource_usage

SOURCES = Path(__file__).parents[1] / "kernels" / "h2k_kernels"
STEMS = sorted(path.stem for path in SOURCES.glob("*.cu"))


@pytest.mark.slow
@pytest.mark.parametrize("stem", STEMS)
def test_compiles_for_every_gpu_without_spills(stem: str) -> None:
    try:
        nvcc.path()
    except DeviceFailure as missing:
        pytest.skip(str(missing))
    usage = resource_usage(stem)
    assert usage
    for kernel, by_architecture in usage.items():
        assert set(by_architecture) == set(ARCHITECTURES), kernel
        for architecture, used in by_architecture.items():
            assert used.spills == used.stack == 0, f"{kernel} on {architecture}: {used}"
            assert used.shared <= 48 * 1024


def test_the_compilers_report_is_understood() -> None:
    text = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_75'
ptxas info    : Function properties for first
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 8 bytes cumulative stack size, 1472 bytes smem, 2288 bytes cmem[0]
ptxas info    : Compiling entry function 'second' for 'sm_120'
ptxas info    : Function properties for second
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 19 registers, used 0 barriers
"""
    usage = parse_report(text)
    first, second = usage["first"]["sm_75"], usage["second"]["sm_120"]
    assert (first.registers, first.shared, first.stack, first.spills) == (64, 1472, 8, 16)
    assert (second.registers, second.shared, second.stack, second.spills) == (19, 0, 0, 0)


def test_work_of_every_kernel_is_counted() -> None:
    """The counts follow the shapes: twice the crops, twice what warp_parts writes."""
    small, large = works(Workload()), works(Workload(crops=2 * Workload().crops))
    grown = large["warp_parts_u8"].bytes - small["warp_parts_u8"].bytes
    assert grown == Workload().crops * (4 + 6 * 2)
    text = "".join(path.read_text() for path in SOURCES.glob("*.cu"))
    kernels = set(re.findall(r'extern "C" __global__ void(?: __launch_bounds__\([^)]*\))?\s+(\w+)\(', text))
    assert len(kernels) == text.count('extern "C" __global__')
    assert set(small) == kernels
    assert all(work.bytes > 0 and work.operations > 0 and work.counted for work in small.values())


def test_written_table_is_of_these_kernels() -> None:
    """bench/results/kernels_static.json lists every kernel for every GPU, and nothing spilled."""
    report = json.loads((SOURCES.parents[1] / "bench" / "results" / "kernels_static.json").read_text())
    assert set(report["usage"]) == set(report["work"]) == set(works(Workload()))
    for by in report["usage"].values():
        assert set(by) == set(ARCHITECTURES) and all(used["spills"] == used["stack"] == 0 for used in by.values())
