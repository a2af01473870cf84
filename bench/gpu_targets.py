"""What the GPU check leaves: ``gpu_check.md`` and ``gpu_check.json`` from the results of its steps and the benchmarks' reports.

    python bench/gpu_targets.py FOLDER [why nothing could be run]

Standard library alone, so that a report is left where nothing could be installed. FOLDER holds ``steps.tsv`` (name, result,
seconds) and, as far as they were made, ``gpu_kernels.json`` and ``gpu_pipeline.json``. What was not measured is told as "not run".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NOT_RUN = "not run"
SHARES = {"fuse_parts": 0.6, "warp_parts": 0.6, "depth_to_mesh": 0.4}
FULL = "full size, fp16"


def read(path: Path) -> dict[str, Any]:
    """A report; empty if there is none, or it was cut off."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def read_steps(path: Path) -> list[dict[str, str]]:
    lines = path.read_text().splitlines() if path.is_file() else []
    return [dict(zip(("step", "result", "seconds"), line.split("\t"), strict=True)) for line in lines]


def targets(steps: list[dict[str, str]], kernels: dict[str, Any], pipeline: dict[str, Any]) -> list[dict[str, str]]:
    """What is to be shown on a GPU: what, wanted, measured."""
    rows = []
    for name, share in SHARES.items():
        measured = kernels.get("groups", {}).get(name, {}).get("share")
        rows.append(
            (
                f"{name}, share of the bandwidth of a copy of the bytes that it must move",
                f"{share:.0%}",
                measured and f"{measured:.0%}",
            )
        )
    way = pipeline.get("ways", {}).get(FULL, {})
    name = pipeline.get("machine", {}).get("gpu", "H200")
    p50 = way.get("replayed", {}).get("p50")
    rows.append((f"photo bytes to mesh arrays, full size, FP16, {name}, p50", "30 ms on an H200", p50 and f"{p50:.1f} ms"))
    beyond = way.get("device_mib")  # its weights were on the device before
    rows.append(("device memory beyond weights, full size, FP16", "2048 MiB", beyond and f"{beyond:.0f} MiB"))
    photos = next((step["result"] for step in steps if "500 photos" in step["step"]), NOT_RUN)
    rows.append(("growth over 500 photos", "none", "none" if photos.startswith("passed") else photos))
    published = pipeline.get("published", {})
    said = published and f"{published['p50']:.0f} ms, {published['peak_mib_beyond_weights']:.0f} MiB beyond weights"
    rows.append(("the published way in PyTorch FP32, picture to depth", "", said))
    return [{"what": what, "wanted": wanted, "measured": measured or NOT_RUN} for what, wanted, measured in rows]


def table(head: tuple[str, ...], align: tuple[str, ...], rows: list[dict[str, str]]) -> str:
    lines = [head, align, *(tuple(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def report(folder: Path, absent: str) -> tuple[str, dict[str, Any]]:
    """Text and data of the check."""
    steps = read_steps(folder / "steps.tsv")
    found = {part: read(folder / f"{part}.json") for part in ("gpu_kernels", "gpu_pipeline")}
    if absent:  # what lies there is of another run
        found = {part: {} for part in found}
    wanted = targets(steps, found["gpu_kernels"], found["gpu_pipeline"])
    text = "# GPU check\n\n" + table(("step", "result", "seconds"), ("---", "---", "---:"), steps)
    if absent:
        text += f"\nNot run: {absent}.\n"
    text += "\n" + table(("to be shown on a GPU", "wanted", "measured"), ("---", "---:", "---:"), wanted)
    text += "\nWhat is known of the kernels without a GPU: [kernels_static.md](kernels_static.md).\n"
    for part, data in found.items():
        if data:
            text += f"\nIn full: [{part}.md]({part}.md), [{part}.json]({part}.json).\n"
    return text, {"absent": absent or None, "steps": steps, "targets": wanted, **found}


def main() -> None:
    folder, absent = Path(sys.argv[1]), " ".join(sys.argv[2:])
    text, data = report(folder, absent)
    (folder / "gpu_check.md").write_text(text)
    (folder / "gpu_check.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
