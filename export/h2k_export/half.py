"""FP16 graphs, and FP32 graphs whose weights are stored as FP16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from h2k_export.errors import ExportError
from h2k_export.graph import finish
from h2k_export.specs import GraphSpec

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto


def to_half(model: ModelProto, spec: GraphSpec) -> ModelProto:
    """An FP16 graph with FP32 inputs and outputs, typed throughout: casts stand where the type changes, and only there.

    Weights are rounded to the nearest FP16 number. ``spec.keep_head`` leaves the last convolution before an output, and
    what follows it, in FP32. Batch norms must be folded already: their statistics would not bear FP16.

    Raises:
        ExportError: a weight is too large for FP16.
    """
    import onnx
    from onnx import TensorProto, helper

    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    floats = _float_tensors(model.graph)
    keep = _head(graph) if spec.keep_head else set()
    keep |= {node.output[0] for node in graph.node if node.op_type in spec.keep_operators}
    weights = {t.name: t for t in graph.initializer}
    full_readers = {n for node in graph.node if node.output[0] in keep for n in node.input} | _scales(graph)
    for name, tensor in weights.items():
        if tensor.data_type == TensorProto.FLOAT and name not in full_readers:
            tensor.CopyFrom(_half_tensor(tensor, spec.name))
    # Every float tensor has one type where it is made; readers of the other type get a cast, made once.
    made_full = keep | {v.name for v in graph.input}
    outputs = {v.name for v in graph.output}
    nodes: list[onnx.NodeProto] = []
    casts: dict[str, str] = {}
    for node in graph.node:
        full = node.output[0] in keep
        for i, name in enumerate(node.input):
            if name not in floats or name in weights or (name in made_full) == full:
                continue
            if name not in casts:
                casts[name] = f"{name}.{'fp32' if full else 'fp16'}"
                to = TensorProto.FLOAT if full else TensorProto.FLOAT16
                nodes.append(helper.make_node("Cast", [name], [casts[name]], f"cast/{casts[name]}", to=to))
            node.input[i] = casts[name]
        nodes.append(node)
        for i, name in enumerate(node.output):
            if name in outputs and not full:
                node.output[i] = f"{name}.fp16"
                nodes.append(helper.make_node("Cast", [node.output[i]], [name], f"cast/{name}", to=TensorProto.FLOAT))
    copied = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copied)
    return finish(half, spec)


def store_half(model: ModelProto, spec: GraphSpec) -> ModelProto:
    """The same FP32 graph with its convolution weights stored as FP16 and cast when it is loaded: half the file.

    Exact where the weights are FP16 numbers already (``fold.round_weights``).
    """
    import onnx
    from onnx import TensorProto, helper

    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    graph = stored.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 4 and np.prod(tensor.dims) > 64:
            name = tensor.name
            tensor.CopyFrom(_half_tensor(tensor, spec.name))
            tensor.name = f"{name}.fp16"
            casts.append(helper.make_node("Cast", [tensor.name], [name], f"cast/{name}", to=TensorProto.FLOAT))
    nodes = [*casts, *(onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)
    return finish(stored, spec)


def _half_tensor(tensor: TensorProto, network: str) -> TensorProto:
    from onnx import numpy_helper

    with np.errstate(over="ignore"):
        values = numpy_helper.to_array(tensor).astype(np.float16)
    if not np.isfinite(values).all():
        raise ExportError(f"{network}: a weight in {tensor.name} is too large for FP16")
    return numpy_helper.from_array(values, tensor.name)


def _float_tensors(graph: GraphProto) -> set[str]:
    """Names of all FP32 tensors that are computed or fed."""
    from onnx import TensorProto

    values = (*graph.input, *graph.output, *graph.value_info)
    return {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}


def _scales(graph: GraphProto) -> set[str]:
    return {n for node in graph.node if node.op_type == "Resize" for n in node.input[1:] if n}


def _head(graph: GraphProto) -> set[str]:
    """First outputs of the last convolutions and of every node behind them."""
    producers = {name: node for node in graph.node for name in node.output}
    feeds_conv: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type == "Conv" or (set(node.output) & feeds_conv):
            feeds_conv.update(n for n in node.input if n in producers)
    return {node.output[0] for node in graph.node if not set(node.output) & feeds_conv}
