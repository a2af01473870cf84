"""PyTorch weights -> model bundles of ONNX graphs. Imports torch and onnx only when something is exported."""

from h2k_export.errors import ExportError
from h2k_export.export import ExportReport, ExportRow, export_bundle
from h2k_export.weights import load_human_net, torch_engines

__all__ = ["ExportError", "ExportReport", "ExportRow", "export_bundle", "load_human_net", "torch_engines"]
