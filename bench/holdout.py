"""Measure a model on the held-out synthetic people and compare with the targets.

    h2k-rt data people -o HOLDOUT --recipe configs/holdout.toml
    python bench/holdout.py HOLDOUT [--model small] [--finder] [--count N] [--out bench/results/holdout_small]

Every person goes through the whole pipeline, given the true mask and joints; with ``--finder`` a second time as a photo, where the
person finder has to find them. Writes OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("bench", "export", "engines", "kernels"))]

from pipeline import machine  # noqa: E402

from h2k_rt.cli.progress import counting  # noqa: E402
from h2k_rt.metrics.dataset import measure_model  # noqa: E402
from h2k_rt.metrics.model import REGIONS, SIDES  # noqa: E402
from h2k_rt.metrics.table import Table, number  # noqa: E402


@dataclass(frozen=True)
class Target:
    """A figure to be reached: ``metric`` at most (or at least) ``bound``, a number or another metric."""

    what: str
    metric: str
    bound: float | str
    guess: str | None = None
    at_least: bool = False

    def reached(self, means: Mapping[str, float]) -> bool:
        value, bound = means[self.metric], means[self.bound] if isinstance(self.bound, str) else self.bound
        return value >= bound if self.at_least else value < bound if isinstance(self.bound, str) else value <= bound

    def line(self, means: Mapping[str, float]) -> str:
        bound = means[self.bound] if isinstance(self.bound, str) else self.bound
        sign = ">=" if self.at_least else "<" if isinstance(self.bound, str) else "<="
        guess = number(means[self.guess]) if self.guess else ""
        reached = "yes" if self.reached(means) else "**no**"
        return f"| {self.what} | {number(means[self.metric])} | {guess} | {sign} {number(bound)} | {reached} |"


TARGETS = (
    Target("silhouette of the networks, IoU", "mask_iou", 0.97, at_least=True),
    Target("front normals, fused, degrees", "normal_body_front_fused", 14, "normal_body_front_constant"),
    Target("back normals, fused, degrees", "normal_body_back_fused", 18, "normal_body_back_constant"),
    Target("front depth, cm", "depth_front_cm", 2.5, "depth_flat_front_cm"),
    Target("back depth, cm", "depth_back_cm", 3.0, "depth_flat_back_cm"),
    Target("mesh to truth, P2S, cm", "p2s_cm", 1.5),
    Target("face, front: fused against low-resolution normals", "normal_face_front_fused", "normal_face_front_low"),
    Target("hands, front: fused against low-resolution normals", "normal_hands_front_fused", "normal_hands_front_low"),
)


def targets_section(means: Mapping[str, float]) -> list[str]:
    rows = [target.line(means) for target in TARGETS if target.metric in means]
    return ["| figure | reached | constant guess | target | met |", "| --- | ---: | ---: | ---: | --- |", *rows]


def normals_section(means: Mapping[str, float]) -> list[str]:
    lines = [
        "| degrees | low resolution, upsampled | fused at 2048 | final mesh | constant guess |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for region in REGIONS:
        for side in SIDES:
            keys = [f"normal_{region}_{side}_{source}" for source in ("low", "fused", "mesh", "constant")]
            if all(key in means for key in keys):
                lines.append(f"| {region}, {side} | " + " | ".join(number(means[key]) for key in keys) + " |")
    return lines


def depth_section(means: Mapping[str, float]) -> list[str]:
    lines = ["| cm | front | back | offset (mean) | front alone | back alone |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, stage in (("low resolution", "low_"), ("trunk", "network_"), ("final", "")):
        keys = [f"depth_{stage}{key}_cm" for key in ("front", "back", "offset", "front_alone", "back_alone")]
        lines.append(f"| {name} | " + " | ".join(number(means[key]) for key in keys) + " |")
    flat = " | ".join(number(means[f"depth_flat_{side}_cm"]) for side in SIDES)
    return [*lines, f"| flat sheet | | | | {flat} |"]


def mesh_section(means: Mapping[str, float]) -> list[str]:
    names = {
        "p2s_cm": "P2S, cm",
        "truth_to_prediction_cm": "truth to mesh, cm",
        "chamfer_cm": "Chamfer, cm",
        "chamfer_squared_cm2": "Chamfer squared (ICPR 2020), cm^2",
        "volume_iou": "volume IoU",
    }
    if not all(key in means for key in names):
        return ["The dataset has no meshes."]
    head = ["| " + " | ".join(names.values()) + " |", "|" + " ---: |" * len(names)]
    return [*head, "| " + " | ".join(number(means[key]) for key in names) + " |"]


def report(title: str, table: Table) -> str:
    """Markdown of one run."""
    summary = table.summary()
    means = {metric: found["mean"] for metric, found in summary.items()}
    offset = table.values("depth_offset_cm")
    lines = [f"## {title}", "", f"{len(table.rows)} people, {len(table.failures)} not found or not reconstructed.", ""]
    lines += [*targets_section(means), "", "### Normals", "", *normals_section(means), "", "### Depth", ""]
    lines += [
        *depth_section(means),
        "",
        f"Each person's own offset is taken out; it is {number(float(abs(offset).mean()))} cm in the mean of absolutes. "
        "The last two columns take it out of each side by itself; the flat sheet lies at each person's own median of the side.",
    ]
    lines += ["", "### Mesh", "", *mesh_section(means), ""]
    worst = sorted(table.rows, key=lambda row: -float(row.get("p2s_cm", row["depth_front_cm"])))[:5]
    lines.append("Worst five by P2S: " + ", ".join(f"{row['name']} ({number(float(row.get('p2s_cm', 0)))} cm)" for row in worst))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--finder", action="store_true", help="also measure with the person finder's masks and joints")
    parser.add_argument("--count", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "holdout_small")
    arguments = parser.parse_args()
    runs: dict[str, Table] = {}
    for title, use_finder in (("True mask and joints", False), ("Mask and joints of the person finder", True)):
        if use_finder and not arguments.finder:
            continue
        with counting("measuring") as progress:
            runs[title] = measure_model(
                arguments.data,
                arguments.model,
                count=arguments.count,
                use_finder=use_finder,
                threads=arguments.threads,
                progress=progress,
            )
    name = Path(arguments.model).name
    options = "".join(
        f" --{key} {value}" if value is not True else f" --{key}"
        for key, value in (("model", name), ("finder", arguments.finder), ("count", arguments.count))
        if value
    )
    command = f"python bench/holdout.py HOLDOUT{options}"
    document: dict[str, Any] = {"command": command, "machine": machine()}
    document["runs"] = {title: json.loads(table.to_json()) for title, table in runs.items()}
    arguments.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    intro = (
        f"# Held-out synthetic people: model `{name}`\n\n`h2k-rt data people -o HOLDOUT --recipe configs/holdout.toml`, then "
        f"`{command}`; {machine()}.\nEvery number is a mean over people: cm for a person of 1.70 m, degrees of true angles; "
        "definitions are in `docs/metrics.md`.\n"
    )
    text = "\n".join([intro, *(report(title, table) for title, table in runs.items())])
    arguments.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
