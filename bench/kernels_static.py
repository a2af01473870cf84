"""What is known of the CUDA kernels without a GPU: registers, shared memory and spills by architecture, bytes and operations.

    python bench/kernels_static.py            # writes bench/results/kernels_static.{json,md}; needs nvcc

How bytes and operations are counted: ``kernel_work.py``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]

from h2k_kernels.launch import nvcc  # noqa: E402
from h2k_kernels.launch.compile import ARCHITECTURES, read_source  # noqa: E402

from bench.kernel_work import Work, Workload, works  # noqa: E402

RESULTS = Path(__file__).parent / "results"

_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Usage:
    """What one kernel takes of a multiprocessor.

    Attributes:
        registers: of a thread.
        shared: bytes of static shared memory of a block.
        stack, spills: bytes of local memory of a thread: stack frame, and spill stores and loads together.
    """

    registers: int
    shared: int
    stack: int
    spills: int


def resource_usage(stem: str, architectures: tuple[str, ...] = ARCHITECTURES) -> dict[str, dict[str, Usage]]:
    """Compile ``<stem>.cu`` in one call, warnings as errors: kernel -> architecture -> what it takes.

    Raises:
        DeviceFailure: there is no nvcc.
        RuntimeError: the source does not compile without warnings.
    """
    source = read_source(stem)
    targets = [f"-gencode=arch=compute_{a.removeprefix('sm_')},code={a}" for a in architectures]
    with tempfile.TemporaryDirectory(prefix="h2k-nvcc-") as folder:
        output = Path(folder) / "kernel.fatbin"
        command = [nvcc.path(), "-fatbin", *targets, *source.options, "-Werror", "all-warnings", "-Xptxas", "-v,-warn-spills"]
        command += ["-I", source.path.parent, "-o", output, source.path]
        result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{stem}.cu: {result.stderr}{result.stdout}")
    return parse_report(result.stderr + result.stdout)


def parse_report(text: str) -> dict[str, dict[str, Usage]]:
    """The report of ``ptxas -v``: kernel -> architecture -> what it takes."""
    usage: dict[str, dict[str, Usage]] = {}
    kernel = architecture = ""
    stack = spills = 0
    for line in text.splitlines():
        if entry := _ENTRY.search(line):
            kernel, architecture = entry.groups()
        elif frame := _STACK.search(line):
            stack, spills = int(frame[1]), int(frame[2]) + int(frame[3])
        elif kernel and (registers := _REGISTERS.search(line)):
            shared = _SHARED.search(line)
            usage.setdefault(kernel, {})[architecture] = Usage(int(registers[1]), int(shared[1]) if shared else 0, stack, spills)
            kernel = ""
    return usage


_HEAD = """# CUDA kernels: what is known without a GPU

Made by `python bench/kernels_static.py` with {compiler}.

Registers of a thread by architecture, bytes of static shared memory of a block, bytes of local memory that a thread spills
(the worst architecture; none is meant to).

"""

_WORK = """
## Bytes and operations

One person at the published size, networks in FP16: a photo of {photo:.0f} million pixels, a canvas of 2048 x 2048, a window of
1664 x 896 around the person, {person} pixels of mask. Every kernel is listed, for one launch; kernels on masks run several times
for a photo. Least bytes: each input read once, each output written once. Operations
are counted from the sources, a multiply-add as two. The times are the least bytes over a memory bandwidth of 4.8 and 1.0 TB/s
(data sheets of H200 and RTX 4090): floors, no measurements.

| kernel | least MB | million operations | operations / byte | µs at 4.8 TB/s | µs at 1.0 TB/s | counted |
| --- | ---: | ---: | ---: | ---: | ---: | --- |
"""


def table(usage: dict[str, dict[str, Usage]], work: dict[str, Work], compiler: str) -> str:
    """The report as Markdown."""
    rows = [["kernel", *ARCHITECTURES, "shared", "spilled"], ["---", *["---:"] * (len(ARCHITECTURES) + 2)]]
    for kernel, by in usage.items():
        spilled = max(u.spills + u.stack for u in by.values())
        rows.append([kernel, *(str(by[a].registers) for a in ARCHITECTURES), str(max(u.shared for u in by.values())), str(spilled)])
    size = Workload()
    moved = []
    for kernel, w in work.items():
        floors = [f"{w.bytes / bandwidth * 1e6:.1f}" for bandwidth in (4.8e12, 1.0e12)]
        per_byte = f"{w.operations / w.bytes:.1f}"
        moved.append([kernel, f"{w.bytes / 1e6:.2f}", f"{w.operations / 1e6:.1f}", per_byte, *floors, w.counted])
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    head = _HEAD.format(compiler=compiler) + "".join(lines)
    middle = _WORK.format(photo=size.photo / 1e6, person=size.person)
    return head + middle + "".join(f"| {' | '.join(row)} |\n" for row in moved)


def main() -> None:
    stems = sorted(path.stem for path in read_source("warp_parts").path.parent.glob("*.cu"))
    usage: dict[str, dict[str, Usage]] = {}
    for stem in stems:
        usage |= resource_usage(stem)
    write(usage, nvcc.version(nvcc.path()))


def write(usage: dict[str, dict[str, Usage]], compiler: str) -> None:
    """The report as JSON and Markdown."""
    work = works(Workload())
    report = {
        "compiler": compiler,
        "workload": asdict(Workload()),
        "usage": {kernel: {a: asdict(u) for a, u in by.items()} for kernel, by in usage.items()},
        "work": {kernel: asdict(w) for kernel, w in work.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "kernels_static.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "kernels_static.md").write_text(table(usage, work, compiler))


if __name__ == "__main__":
    main()
