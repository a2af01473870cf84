"""The second method's networks to a bundle of two graphs: the encoder for one view, the point network for a chunk of points."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2k_export.errors import missing
from h2k_export.specs import GraphSpec, Shape
from h2k_export.weights import read_safetensors
from h2k_export.write_bundle import new_bundle, read_card, toml_text, write_file
from h2k_rt.bundle import FORMAT, METHODS, Bundle
from h2k_rt.bundle_files import CARD
from h2k_rt.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

    from h2k_export.export import ExportReport, Progress
    from h2k_rt.networks.view_net import ViewNet, ViewNetShape

METHOD_NAME = "implicit"
#: Views and points for which engines are built: scratch memory is that of the largest. And at which the point network is checked.
_PROFILE = {"views": (1, 4, 16), "points": (512, 8192, 16384)}
_FREE = {"views": 3, "points": 512}


def stated_method(path: Path) -> str:
    """Whose weights a .safetensors file says it holds: "2k2k", or "implicit".

    Raises:
        CheckpointError: it is not there or not sound.
    """
    return json.loads(_metadata(path).get("method", '"2k2k"'))


def load_view_net(path: str | os.PathLike[str]) -> ViewNet:
    """Networks in evaluation mode from a training's result or its folder.

    Raises:
        CheckpointError: the file is missing, damaged, of the other method, or does not fit the shape that it states.
        MissingPackageError: torch or safetensors is not installed.
    """
    try:
        import torch

        from h2k_rt.networks.view_net import ViewNet, ViewNetShape
    except ImportError as error:
        raise missing(error) from error
    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    stated = _metadata(file)
    if json.loads(stated.get("method", '"2k2k"')) != METHOD_NAME:
        raise CheckpointError(f"{file} does not hold networks of the second method; h2k-rt train --method implicit makes them")
    try:
        net = ViewNet(ViewNetShape(**json.loads(stated["shape"])))
        state = read_safetensors(file)
        net.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file} does not fit the shape that it states: {str(error).splitlines()[0]}") from error
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise CheckpointError(f"{file} holds numbers that are not finite; the file is damaged or the training diverged")
    return net.eval().requires_grad_(False)


def _metadata(file: Path) -> Mapping[str, str]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise missing(error) from error
    if not file.is_file():
        raise CheckpointError(f"there are no weights at {file}")
    try:
        with safe_open(file, "pt") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is not a sound .safetensors file: {error}") from error


def view_specs(shape: ViewNetShape) -> dict[str, GraphSpec]:
    """What both graphs take and give."""
    from h2k_rt.views.network_picture import CHANNELS

    size = shape.picture
    sizes = zip(shape.feature_sizes, shape.feature_channels, strict=True)
    maps: dict[str, Shape] = {f"features{i}": (1, s, s, c) for i, (s, c) in enumerate(sizes, 1)}
    encoder = GraphSpec(
        "encoder",
        {"picture": (1, CHANNELS, size, size)},
        maps,
        {"picture": (-1.0, 1.0)},
        keep_operators=("InstanceNormalization",),
        fixed=True,
    )
    points = GraphSpec(
        "points",
        {"features": ("views", shape.point_channels, 1, "points")},
        {"occupancy": (1, 1, 1, "points")},
        {"features": (-1.5, 1.5)},
        dict(_FREE),
        dict(_PROFILE),
        keep_head=True,
        fixed=True,
    )
    return {"encoder": encoder, "points": points}


def view_modules(net: ViewNet) -> dict[str, nn.Module]:
    """The two modules that are exported, by network name; they share their weights with ``net``."""
    from torch import Tensor
    from torch import nn as torch_nn

    class EncoderGraph(torch_nn.Module):
        """Picture -> the maps that points read, channels last, as ``sample_features`` takes them."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net.encoder

        def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
            maps = self.net(picture)
            return tuple(m.permute(0, 2, 3, 1) for m in (maps if net.shape.multi_scale else maps[-1:]))

    return {"encoder": EncoderGraph().eval(), "points": net.points.eval()}


def export_view_bundle(
    weights: ViewNet | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str,
    licence: str,
    trained_on: str,
    precision: str = "both",
    store_fp16: bool = False,
    card: Path | None = None,
    progress: Progress | None = None,
    replace: bool = False,
) -> ExportReport:
    """Export the second method's networks as a model bundle; arguments and errors as for ``export_bundle``."""
    try:
        import onnxruntime  # noqa: F401
        import onnxslim  # noqa: F401

        from h2k_export.export import PRECISIONS, ExportReport, export_network, file_entry, network_table
    except ImportError as error:
        raise missing(error) from error
    net = load_view_net(weights) if isinstance(weights, (str, os.PathLike)) else weights.eval()
    say = progress or (lambda done, total, what: None)
    about = read_card(card)
    rows, networks = [], {}
    names = METHODS[METHOD_NAME]
    specs, modules = view_specs(net.shape), view_modules(net)
    with new_bundle(Path(out), replace=replace) as folder:
        for done, network in enumerate(names):
            say(done, len(names), network)
            entry: dict[str, Any] = network_table(specs[network])
            for row, data in export_network(modules[network], specs[network], PRECISIONS[precision], store_fp16):
                file = f"{network}.onnx" if row.precision == "fp32" else f"{network}.{row.precision}.onnx"
                write_file(folder / file, data)
                entry[row.precision] = {**file_entry(file, data), "error": float(f"{row.error:.1e}")}
                rows.append(row)
            networks[network] = entry
        table = {
            "format": FORMAT,
            "name": name,
            "method": METHOD_NAME,
            "width": net.shape.width,
            "licence": licence,
            "trained_on": trained_on,
            "networks": networks,
        }
        if about is not None:
            write_file(folder / CARD, about)
        write_file(folder / "model.toml", toml_text(table).encode())
    say(len(names), len(names), "done")
    return ExportReport(Bundle.open(Path(out)).location, tuple(rows))
