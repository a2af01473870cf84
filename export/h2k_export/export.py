"""A model bundle out of weights: eight networks, each exported, simplified, checked and compared with PyTorch."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2k_export.errors import ExportError, missing
from h2k_export.specs import GRAPHS, OPSET, GraphSpec
from h2k_export.weights import load_human_net, stated_constants
from h2k_export.write_bundle import new_bundle, read_card, toml_text, write_file
from h2k_rt.bundle import CONSTANTS, FORMAT, Bundle
from h2k_rt.bundle_files import CARD
from h2k_rt.errors import BundleError

if TYPE_CHECKING:
    from torch import nn

    from h2k_export.parity import Difference
    from h2k_export.weights import Weights
    from h2k_rt.networks import HumanNet

Progress = Callable[[int, int, str], None]

PRECISIONS = {"fp32": ("fp32",), "fp16": ("fp16",), "both": ("fp32", "fp16")}


@dataclass(frozen=True)
class ExportRow:
    """One file of an export.

    Attributes:
        size: bytes of the file.
        error: worst difference as a share of the output's range: of fp32 from PyTorch, of fp16 from the fp32 graph.
        mean_error: mean difference, likewise.
        rounding: worst change of the outputs because the weights are stored as FP16; 0 if they are not.
    """

    network: str
    precision: str
    size: int
    error: float
    mean_error: float
    rounding: float
    seconds: float


@dataclass(frozen=True)
class ExportReport:
    """The new bundle and what was measured while it was made."""

    bundle: Path
    rows: tuple[ExportRow, ...]


def export_bundle(
    weights: Weights,
    out: str | os.PathLike[str],
    *,
    name: str,
    licence: str,
    trained_on: str,
    width: float | None = None,
    precision: str = "both",
    store_fp16: bool = False,
    constants: Mapping[str, float | tuple[float, ...]] | None = None,
    keep_weights: bool = False,
    card: Path | None = None,
    progress: Progress | None = None,
    replace: bool = False,
) -> ExportReport:
    """Export weights as a model bundle.

    Args:
        weights: a .safetensors file or its content, a state dict with the published key names, or networks.
        out: the bundle to make: a folder, or a .zip. It appears whole or not at all.
        name: the bundle's name.
        licence: licence of the weights, for the bundle's description.
        trained_on: what they were trained on, likewise.
        width: check that the weights have this width; None takes theirs.
        precision: "fp32", "fp16" or "both".
        store_fp16: store the weights of the FP32 graphs as FP16, half the size; they are rounded.
        constants: constants of the method that differ for these weights (``bundle.CONSTANTS``), beside those that the
            metadata of a .safetensors file states.
        keep_weights: put ``weights.safetensors`` into the bundle, for training on and for the PyTorch engine.
        card: a model card in Markdown that becomes the bundle's ``card.md``.
        progress: called with (networks done, all, what is done now).
        replace: replace the bundle ``out``.

    Raises:
        CheckpointError: the weights are not this method's.
        ExportError: a graph does not compute what PyTorch computes.
        OutputError: ``out`` exists or cannot be written.
        BundleError: the card cannot be read or is no text.
        MissingPackageError: torch, onnx, onnxslim or onnxruntime is not installed.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    say = progress or (lambda done, total, what: None)
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxslim  # noqa: F401

        from h2k_export.wrappers import exported_modules
    except ImportError as error:
        raise missing(error) from error
    say(0, len(GRAPHS), "reading weights")
    net = load_human_net(weights, width)
    stated = stated_constants(Path(weights)) if isinstance(weights, (str, os.PathLike)) else {}
    stated |= constants or {}
    about = read_card(card)
    unknown = sorted(set(stated) - set(CONSTANTS))
    if unknown:
        raise BundleError(f"a bundle cannot state {unknown[0]}; it can state {', '.join(CONSTANTS)}")
    rows: list[ExportRow] = []
    networks: dict[str, Any] = {}
    with new_bundle(Path(out), replace=replace) as folder:
        for done, (network, module) in enumerate(exported_modules(net).items()):
            say(done, len(GRAPHS), network)
            files = export_network(module, GRAPHS[network], PRECISIONS[precision], store_fp16)
            entry = network_table(GRAPHS[network])
            for row, data in files:
                file = f"{network}.onnx" if row.precision == "fp32" else f"{network}.{row.precision}.onnx"
                write_file(folder / file, data)
                entry[row.precision] = {**file_entry(file, data), "error": float(f"{row.error:.1e}")}
                rows.append(row)
            networks[network] = entry
        table: dict[str, Any] = {
            "format": FORMAT,
            "name": name,
            "method": "2k2k",
            "width": net.width,
            "licence": licence,
            "trained_on": trained_on,
        }
        if stated:
            table["constants"] = {k: list(v) if isinstance(v, tuple) else v for k, v in sorted(stated.items())}
        if keep_weights:
            data = _safetensors(net)
            write_file(folder / "weights.safetensors", data)
            table["weights"] = file_entry("weights.safetensors", data)
        if about is not None:
            write_file(folder / CARD, about)
        write_file(folder / "model.toml", toml_text({**table, "networks": networks}).encode())
    say(len(GRAPHS), len(GRAPHS), "done")
    return ExportReport(Bundle.open(Path(out)).location, tuple(rows))


def file_entry(file: str, data: bytes) -> dict[str, Any]:
    """A file as ``model.toml`` names it."""
    return {"file": file, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _safetensors(net: HumanNet) -> bytes:
    from safetensors.torch import save

    return save({key: value.contiguous() for key, value in net.state_dict().items()})


def network_table(spec: GraphSpec) -> dict[str, Any]:
    """A network as ``model.toml`` describes it, but for its files."""
    check: dict[str, Any] = {"rule": "waves", "ranges": {k: list(v) for k, v in spec.ranges.items()}}
    table: dict[str, Any] = {
        "opset": OPSET,
        "inputs": {k: list(v) for k, v in spec.inputs.items()},
        "outputs": {k: list(v) for k, v in spec.outputs.items()},
        "check_input": check,
    }
    if spec.free:
        check["free"] = spec.free
        table["profile"] = {k: list(v) for k, v in spec.profile.items()}
    return table


def export_network(
    module: nn.Module, spec: GraphSpec, precisions: tuple[str, ...], store_fp16: bool
) -> list[tuple[ExportRow, bytes]]:
    """Graphs of one network with what was measured of each."""
    from h2k_engines.onnxruntime_engine import OnnxRuntimeEngine
    from h2k_engines.torch_engine import TorchEngine

    from h2k_export.fold import fold_batch_norms, round_weights
    from h2k_export.graph import check_graph, to_onnx
    from h2k_export.half import store_half, to_half
    from h2k_export.parity import (
        FP16_TOLERANCE,
        FP32_TOLERANCE,
        check_against,
        compare,
        random_input,
        structured_input,
        tensor_specs,
    )

    start = time.perf_counter()
    folded = fold_batch_norms(module)
    rounding = 0.0
    waves, noise = structured_input(spec), random_input(spec)
    specs = tensor_specs(spec.inputs), tensor_specs(spec.outputs)
    reference = TorchEngine(module, spec.name, *specs)
    if store_fp16:
        try:
            folded = round_weights(folded)
        except OverflowError as error:
            raise ExportError(f"{spec.name}: {error}; export it without store_fp16") from error
        exact, reference = reference, TorchEngine(folded, spec.name, *specs)
        rounding = max(d.error for d in compare(exact.run(waves), reference.run(waves), unsure=0.02).values())
    model = to_onnx(folded, spec)
    graph = store_half(model, spec) if store_fp16 else model
    check_graph(graph, spec)
    data = graph.SerializeToString(deterministic=True)
    engine = OnnxRuntimeEngine(data, name=spec.name)
    found = [
        d
        for feeds in (waves, noise)
        for d in check_against(reference, engine, feeds, FP32_TOLERANCE, unsure=1e-4 * _masks(spec)).values()
    ]
    files = [(_row(spec, "fp32", len(data), found, rounding, start), data)]
    if "fp16" in precisions:
        start = time.perf_counter()
        half = to_half(model, spec)
        check_graph(half, spec)
        data = half.SerializeToString(deterministic=True)
        half_engine = OnnxRuntimeEngine(data, name=f"{spec.name} fp16")
        found = list(check_against(engine, half_engine, waves, FP16_TOLERANCE, unsure=0.02 * _masks(spec)).values())
        files.append((_row(spec, "fp16", len(data), found, 0.0, start), data))
    return [entry for entry in files if entry[0].precision in precisions]


def _row(spec: GraphSpec, precision: str, size: int, found: list[Difference], rounding: float, start: float) -> ExportRow:
    error, mean = max(d.error for d in found), max(d.mean for d in found)
    return ExportRow(spec.name, precision, size, error, mean, rounding, time.perf_counter() - start)


def _masks(spec: GraphSpec) -> int:
    """1 where the mask gates the depth, so that single pixels at the threshold may flip."""
    return int(spec.name == "low_depth")
