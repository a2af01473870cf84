"""What is known of the CUDA kernels without a GPU: registers, shared memory and spills by architecture, bytes and operations.

    python bench/kernels_static.py            # writes bench/results/kernels_static.{json,md}; needs nvcc

The bytes are those that a kernel must move at least: each input read once, each output written once. The operations are counted
from the sources, a multiply-add as two. The work is that of one person at the published size, see ``Workload``.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from h2k_kernels.launch import nvcc
from h2k_kernels.launch.compile import ARCHITECTURES, read_source

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


@dataclass(frozen=True)
class Workload:
    """One person at the published size.

    Attributes:
        photo: pixels of the photo.
        canvas: pixels of the canvas; low: of the low-resolution picture; crops: of all part crops.
        window: pixels of the window around the person, 1664 x 896.
        person: pixels of the person's mask; cells: of the grid mesh; border: pixels at its silhouette.
        half: bytes of a network's number.
        views, points: photos and points of a chunk of the implicit function; features, maps: channels that a point reads of a view,
            and elements of one view's maps, of PIFu's width at four scales.
    """

    photo: int = 3000 * 4000
    canvas: int = 2048 * 2048
    low: int = 256 * 256
    crops: int = 368 * 320 + 528 * 336 + 4 * 352 * 224 + 4 * 272 * 256 + 2 * 176 * 128
    window: int = 1664 * 896
    person: int = 560_000
    cells: int = 556_000
    border: int = 8_000
    half: int = 2
    views: int = 4
    points: int = 65536
    features: int = 4 * 128 + 1
    maps: int = 128 * (128 * 128 + 64 * 64 + 32 * 32 + 16 * 16)


@dataclass(frozen=True)
class Work:
    """Bytes that a launch must move at least, and arithmetic operations, with how they are counted."""

    bytes: int
    operations: int
    counted: str


def works(w: Workload) -> dict[str, Work]:
    """Kernel -> work; kernels that do next to nothing are left out."""
    words = w.window // 32
    vertices, faces = 2 * w.person + 3 * w.border, 4 * w.cells + 8 * w.border
    taps = 25  # photo pixels that make a canvas pixel at a scale of about 0.45
    return {
        "photo_frame": Work(
            4 * w.photo + 4 * w.canvas, w.canvas * (60 + taps * 18), "photo and mask read, canvas written; 25 taps of 18 operations"
        ),
        "photo_colour": Work(8 * w.canvas + 3 * w.half * w.low, 45 * w.canvas, "canvas read, picture and low picture written"),
        "warp_parts_u8": Work(
            4 * w.crops + 3 * w.half * w.low + 6 * w.half * w.crops,
            w.crops * (40 + 4 * 9 + 60 + 9 * 7),
            "a canvas pixel read and 6 numbers written per crop pixel; 4 picture and up to 9 low-resolution samples",
        ),
        "fuse_parts": Work(
            6 * w.half * w.crops + 6 * w.half * w.window * 21 // 16,
            int(w.window * 1.1 * 40 + w.person * 1.5 * (30 + 6 * 8)),
            "crops read, window and sub-samplings written; 1.5 parts per pixel of the person, 4 taps of 6 channels",
        ),
        "fill_normals": Work(12 * w.half * w.low, 40 * w.low, "low normals read and written"),
        "mask_to_bits": Work(w.canvas + w.canvas // 8, 4 * w.canvas, "bytes read, bits written"),
        "mask_keep": Work(w.canvas + w.canvas // 8, 12 * w.canvas, "bits read, bytes written"),
        "mesh_cells": Work(w.window + 4 * words, 12 * w.window, "mask read, bits written"),
        "mesh_places": Work(4 * words * (1 + 3 + 7), 300 * words, "bits read; bits and counts before each word written"),
        "mesh_vertices": Work(
            8 * w.person + 6 * w.person + 27 * vertices,
            w.person * 2 * 90 + w.border * (32 * 90 + 3 * 70),
            "two depths and two colours read per pixel; position, normal and colour written per vertex; the outline's blur",
        ),
        "mesh_faces": Work(
            8 * w.person + 12 * faces, w.cells * 2 * 30 + w.border * 60, "two depths read, three numbers a face written"
        ),
        "points_steps": Work(16 * w.window, 10 * w.window, "two depths read and written"),
        "points_erode": Work(4 * w.person, 20 * w.window // 4, "the back read where the person is"),
        "points_write": Work(
            14 * w.person + 27 * 2 * w.person,
            w.person * 2 * 80,
            "two depths and two colours read; position, normal and colour written",
        ),
        "sample_features_f16_f16": Work(
            w.half * w.views * (w.maps + w.points * w.features) + 12 * w.points,
            w.views * w.points * (8 * w.features + 60),
            "all maps read once, points read, features written; 4 taps a channel",
        ),
    }


_HEAD = """# CUDA kernels: what is known without a GPU

Made by `python bench/kernels_static.py` with {compiler}.

Registers of a thread by architecture, bytes of static shared memory of a block, bytes of local memory that a thread spills
(the worst architecture; none is meant to).

"""

_WORK = """
## Bytes and operations

One person at the published size, networks in FP16: a photo of {photo:.0f} million pixels, a canvas of 2048 x 2048, a window of
1664 x 896 around the person, {person} pixels of mask. Least bytes: each input read once, each output written once. Operations
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
        moved.append([kernel, f"{w.bytes / 1e6:.1f}", f"{w.operations / 1e6:.0f}", per_byte, *floors, w.counted])
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    head = _HEAD.format(compiler=compiler) + "".join(lines)
    middle = _WORK.format(photo=size.photo / 1e6, person=size.person)
    return head + middle + "".join(f"| {' | '.join(row)} |\n" for row in moved)


def main() -> None:
    stems = sorted(path.stem for path in read_source("warp_parts").path.parent.glob("*.cu"))
    usage: dict[str, dict[str, Usage]] = {}
    for stem in stems:
        usage |= resource_usage(stem)
    work = works(Workload())
    compiler = nvcc.version(nvcc.path())
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
