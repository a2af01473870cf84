"""Compare the method computed the published way (PyTorch) with this pipeline (ONNX Runtime and the CPU kernels), side by side.

    python bench/pipeline.py --photo PHOTO [--keypoints FILE] [--width 1.0] [--runs 3] [--json OUT.json]

Both get the same weights, canvas, joints and mask. Each runs in a process of its own, in turn, so that its peak memory is its own;
the table gives the median of each stage, the median of the paired ratios, and how far the two results are apart. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / name) for name in ("bench", "tests", "export", "engines", "kernels"))]

WAYS = ("published", "ours on the whole canvas", "ours")


def prepare(arguments: argparse.Namespace, folder: Path) -> None:
    """Canvas, joints, mask and both kinds of weights, made once."""
    from h2k_export import export_bundle, load_human_net
    from oracle_rules import weights

    from h2k_rt.constants import METHOD
    from h2k_rt.framing import frame_person, pad_framing
    from h2k_rt.joints import load_openpose
    from h2k_rt.parts import fit_parts
    from h2k_rt.person import PersonFinder
    from h2k_rt.photo import load_photo

    photo = load_photo(arguments.photo)
    person = PersonFinder().find(photo.rgb)[0]
    joints = load_openpose(arguments.keypoints) if arguments.keypoints else person.joints
    height, width = photo.rgb.shape[:2]
    framing = pad_framing(height, width, METHOD.size) if arguments.keep_framing else frame_person(person.mask, joints, METHOD)
    transforms = fit_parts(framing.joints(joints), METHOD.size)
    np.savez(
        folder / "canvas.npz",
        rgb=framing.image(photo.rgb, border=1),
        mask=framing.image(person.mask, border=0),
        to_part=transforms.to_part,
        to_canvas=transforms.to_canvas,
    )
    state = arguments.weights or weights(width=arguments.width)
    export_bundle(state, folder / "bundle", name="bench", licence="none", trained_on="nothing, or see --weights", precision="fp32")
    import torch

    torch.save(load_human_net(state).state_dict(), folder / "weights.pt")


def run_once(way: str, folder: Path) -> dict[str, Any]:
    """One cold forward pass in this process."""
    from h2k_rt.constants import METHOD
    from h2k_rt.picture import apply_colour_factors, cut_out, normalise
    from h2k_rt.stopwatch import Stopwatch

    with np.load(folder / "canvas.npz") as data:
        rgb, mask, to_part, to_canvas = (data[key] for key in ("rgb", "mask", "to_part", "to_canvas"))
    picture = normalise(apply_colour_factors(cut_out(rgb, mask), METHOD.colour_factors))
    watch = Stopwatch()
    if way == "published":
        import torch
        from published_way import forward

        from h2k_rt.networks import HumanNet

        state = torch.load(folder / "weights.pt", weights_only=True)
        net = HumanNet(state["img2normal_down.Conv1.conv.0.weight"].shape[0] / 64).eval()
        net.load_state_dict(state)
        with watch("total"):
            result = forward(net, picture, to_canvas, to_part, watch)
    else:
        from h2k_rt.bundle import Bundle
        from h2k_rt.engines import open_engines
        from h2k_rt.inference import run_networks
        from h2k_rt.parts import PartTransforms

        engines = open_engines(Bundle.open(folder / "bundle"))
        transforms = PartTransforms(to_part, to_canvas, (None,) * 12)
        with watch("total"):
            maps = run_networks(engines, picture, transforms, METHOD, person=mask if way == "ours" else None, watch=watch)
        result = {"normals": maps.normals, "depth": maps.depth, "mask": maps.mask}
    np.savez(folder / f"{WAYS.index(way)}.npz", **result)
    total = watch.seconds.pop("total")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    return {"seconds": {**watch.seconds, "total": total}, "peak_gib": peak}


def compare(folder: Path) -> dict[str, float]:
    """Difference of ours on the whole canvas from the published way: 99.9 % quantile (border pixels have tiny weights)."""
    with np.load(folder / "0.npz") as a, np.load(folder / "1.npz") as b:
        return {key: float(np.quantile(np.abs(a[key][..., ::3, ::3] - b[key][..., ::3, ::3]), 0.999)) for key in a}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "person.jpg")
    parser.add_argument("--keypoints", type=Path)
    parser.add_argument("--weights", type=Path, help="a .safetensors state dict; rule weights if not given")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep-framing", action="store_true", help="pad the photo to a square as published")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run_once(arguments.child[0], Path(arguments.child[1]))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(arguments, folder)
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for number in range(arguments.runs):
            for way in WAYS:
                command = [sys.executable, __file__, "--child", way, str(folder)]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                runs[way].append(json.loads(output.splitlines()[-1]))
                print(f"run {number + 1}: {way}: {runs[way][-1]['seconds']['total']:.1f} s", file=sys.stderr, flush=True)
        report(arguments, runs, compare(folder))


def report(arguments: argparse.Namespace, runs: dict[str, list[dict[str, Any]]], difference: dict[str, float]) -> None:
    stages = list(runs["ours"][0]["seconds"])
    medians = {way: {s: statistics.median(r["seconds"][s] for r in runs[way]) for s in stages} for way in WAYS}
    peaks = {way: max(r["peak_gib"] for r in runs[way]) for way in WAYS}
    ratios = {
        s: statistics.median(p["seconds"][s] / o["seconds"][s] for p, o in zip(runs["published"], runs["ours"], strict=True))
        for s in stages
    }
    print(f"\nwidth {arguments.width}, photo {arguments.photo.name}, {arguments.runs} runs each in turn; {machine()}\n")
    print(f"| stage | {' | '.join(w + ' (s)' for w in WAYS)} | published / ours |\n| --- |" + " ---: |" * 4)
    for s in stages:
        print(f"| {s} | " + " | ".join(f"{medians[w][s]:.2f}" for w in WAYS) + f" | {ratios[s]:.1f} |")
    print("| peak memory (GiB) | " + " | ".join(f"{peaks[w]:.2f}" for w in WAYS) + f" | {peaks['published'] / peaks['ours']:.1f} |")
    print(
        "\nours on the whole canvas against published, 99.9 % of the values within: "
        + ", ".join(f"{k} {v:.1e}" for k, v in difference.items())
    )
    if arguments.json:
        result = {
            "machine": machine(),
            "width": arguments.width,
            "runs": runs,
            "medians": medians,
            "peak_gib": peaks,
            "ratios": ratios,
        }
        arguments.json.write_text(json.dumps({**result, "difference": difference}, indent=1) + "\n")


def machine() -> str:
    from h2k_rt.benchmark import machine as about
    from h2k_rt.benchmark import machine_text

    return machine_text(about())


if __name__ == "__main__":
    main()
