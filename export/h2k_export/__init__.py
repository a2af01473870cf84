"""PyTorch weights -> model bundles of ONNX graphs. Imports torch and onnx only when something is exported."""

from h2k_export.checkpoint import import_checkpoint, read_checkpoint
from h2k_export.errors import ExportError
from h2k_export.export import ExportReport, ExportRow, export_bundle
from h2k_export.weights import load_human_net, torch_engines

__all__ = [
    "ExportError",
    "ExportReport",
    "ExportRow",
    "export_bundle",
    "import_checkpoint",
    "load_human_net",
    "read_checkpoint",
    "torch_engines",
]
