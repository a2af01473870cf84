"""Build every network of model bundles into real TensorRT-RTX engines for RTX 30, 40 and 50, on a machine without a GPU.

    python bench/rtx_engines.py [--model small ...] [--full-size] [--views [--views-width 1]] [--sm sm86 sm89 sm120] [-o FOLDER]

The whole graph must be in one engine. Sizes, processor seconds and digests go into a table. A second call with the same folder
replaces the rows of the models that it builds and keeps the rest.
The building code is the product's own (``h2k_engines.tensorrt_rtx``). What stands in for the driver comes from a tool beside the
repository (H2K_SHARED, ``tools/trt_rtx``). Needs onnx and onnxruntime-ep-nv-tensorrt-rtx-cu13; nothing is run, see docs/engines.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATHS = [str(ROOT), *(str(ROOT / name) for name in ("bench", "export", "engines", "kernels"))]
sys.path[:0] = PATHS
TOOL = Path(os.environ.get("H2K_SHARED", ROOT.parent / "shared")) / "tools" / "trt_rtx"
ARCHITECTURES = {"sm86": "RTX 30", "sm89": "RTX 40", "sm120": "RTX 50"}


def child(models: list[str], sm: str, work: Path) -> Iterator[dict[str, Any]]:
    """Every network of the bundles for one architecture, in this process; a crash ends it."""
    import ctypes

    import onnx
    from h2k_engines.building import Gpu, Recipe
    from h2k_engines.tensorrt_rtx import TensorRtRtxBuilder

    from h2k_rt.bundle import Bundle

    ctypes.CDLL(str(work / "libone_device.so"), ctypes.RTLD_GLOBAL)
    gpu = Gpu(0, ARCHITECTURES[sm], (int(sm[2:-1]), int(sm[-1])), (13, 0), 8 << 30)
    builder = TensorRtRtxBuilder(gpu, work / "engines", str(work / "libvirtual_ep.so"))
    for bundle in map(Bundle.open, models):
        for name, network in bundle.networks.items():
            for precision in bundle.precisions(name):
                graph = bundle.network(name, precision)
                content = graph if isinstance(graph, bytes) else graph.read_bytes()
                recipe = Recipe(network.inputs, network.outputs, network.profile)
                start = time.process_time()
                built = builder.build(content, name, recipe, lambda done, total, what: None)
                seconds = time.process_time() - start
                nodes = list(onnx.load_from_string(built.data).graph.node)
                engines = [a.s for n in nodes if n.op_type == "EPContext" for a in n.attribute if a.name == "ep_cache_context"]
                yield {
                    "model": bundle.name,
                    "network": name,
                    "precision": precision,
                    "sm": sm,
                    "graph": bundle.sha256(name, precision),
                    "outside": [n.op_type for n in nodes if n.op_type != "EPContext"],
                    "engines": len(engines),
                    "bytes": sum(map(len, engines)),
                    "cpu_seconds": round(seconds, 2),
                    "sha256": hashlib.sha256(b"".join(engines)).hexdigest(),
                    "builder": builder.title,
                }


def build(models: list[str], architectures: list[str]) -> list[dict[str, Any]]:
    """Rows of all networks.

    Raises:
        SystemExit: a network cannot be built, or the process of an architecture died; the message holds its last words.
    """
    sys.path.insert(0, str(TOOL))
    import rtx_build

    rows = []
    with tempfile.TemporaryDirectory() as work:
        rtx_build.prepare(work)
        for sm in architectures:
            environment = {**os.environ, "RTX_TARGET_SM": sm, "LD_LIBRARY_PATH": work, "PYTHONPATH": os.pathsep.join(PATHS)}
            import onnxruntime_ep_nv_tensorrt_rtx as plugin

            environment["RTX_EP_LIBRARY"] = plugin.get_library_path()
            command = [sys.executable, __file__, "--child", sm, work, "--model", *models]
            run = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, timeout=1800)
            rows += [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
            if run.returncode:
                last = (run.stderr.strip().splitlines() or ["nothing was said"])[-1]
                raise SystemExit(f"{sm}: stopped after {rows[-1:] or 'nothing'}: exit {run.returncode}: {last}")
    return rows


def full_size(folder: Path) -> str:
    """A bundle of the published width with weights made by a rule; needs torch and takes minutes."""
    sys.path.insert(0, str(ROOT / "tests"))
    from h2k_export import export_bundle
    from oracle_rules import weights

    export_bundle(weights(width=1.0), folder, name="full-size", licence="none", trained_on="nothing", precision="both")
    return str(folder)


def views(folder: Path, width: float, merge: str) -> str:
    """A bundle of the second method (several photos) with weights as they are before training; needs torch."""
    import torch
    from h2k_export.views import export_view_bundle

    from h2k_rt.networks.view_net import ViewNet, ViewNetShape

    torch.manual_seed(0)
    shape = ViewNetShape(width=width, merge=merge) if width == 1 else ViewNetShape(width=width, merge=merge, stages=2, picture=64)
    export_view_bundle(ViewNet(shape), folder, name=folder.name, licence="none", trained_on="nothing")
    return str(folder)


def problems(rows: list[dict[str, Any]]) -> list[str]:
    """What is wrong: nodes outside the engine, or a graph in several. Digests are not compared: the builder does not make the
    same bytes of the same graph on every machine."""
    found = [f"{r['model']} {r['network']} {r['precision']} {r['sm']}: outside: {r['outside']}" for r in rows if r["outside"]]
    return found + [
        f"{r['model']} {r['network']} {r['precision']} {r['sm']}: {r['engines']} engines" for r in rows if r["engines"] != 1
    ]


def markdown(rows: list[dict[str, Any]]) -> str:
    """Sizes by network and architecture; processor seconds are the most that one architecture took."""
    architectures = list(dict.fromkeys(r["sm"] for r in rows))
    heads = [f"{ARCHITECTURES[sm]} ({sm}) MB" for sm in architectures]
    lines = [f"| model | network | precision | {' | '.join(heads)} | CPU s | digest of the first |"]
    lines.append("| --- | --- | --- |" + " ---: |" * (len(heads) + 1) + " --- |")
    by_network: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for r in rows:
        by_network.setdefault((r["model"], r["network"], r["precision"]), []).append(r)
    for (model, network, precision), group in by_network.items():
        size = {r["sm"]: f"{r['bytes'] / 1e6:.2f}" for r in group}
        seconds = max(r["cpu_seconds"] for r in group)
        cells = [model, network, precision, *(size.get(sm, "") for sm in architectures)]
        cells += [f"{seconds:.1f}", f"`{group[0]['sha256'][:16]}`"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(rows: list[dict[str, Any]], folder: Path) -> None:
    """The table, with the rows of other models that are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rtx_engines.json"
    new = {r["model"] for r in rows}
    known = json.loads(path.read_text()) if path.is_file() else []
    every = [r for r in known if r["model"] not in new] + rows
    path.write_text(json.dumps(every, indent=1) + "\n")
    builders = "; ".join(dict.fromkeys(r["builder"] for r in every))
    text = f"# TensorRT-RTX engines, built without a GPU and never run\n\n{builders}.\n\n{markdown(every)}"
    (folder / "rtx_engines.md").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="*", default=["small"])
    parser.add_argument("--full-size", action="store_true", help="the published width, too, with weights made by a rule")
    parser.add_argument("--views", action="store_true", help="bundles of the second method, too: mean and attention")
    parser.add_argument("--views-width", type=float, default=0.125, help="their width; 1 is PIFu's")
    parser.add_argument("--sm", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("-o", "--output", type=Path, help="write rtx_engines.json and .md there")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        for row in child(arguments.model, arguments.child[0], Path(arguments.child[1])):
            print(json.dumps(row), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        more = [full_size(Path(folder) / "full-size")] if arguments.full_size else []
        if arguments.views:
            size = "full" if arguments.views_width == 1 else "narrow"
            more += [views(Path(folder) / f"views-{size}-{merge}", arguments.views_width, merge) for merge in ("mean", "attention")]
        rows = build([*arguments.model, *more], arguments.sm)
    wrong = problems(rows)
    if arguments.output:
        write(rows, arguments.output)
    print(f"{len(rows)} engines, {len(wrong)} problems")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
