"""PyTorch -> ONNX graph: traced, simplified, given its real shapes, and checked against what TensorRT's parser takes."""

from __future__ import annotations

import inspect
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from h2k_export.errors import ExportError
from h2k_export.specs import IR_VERSION, OPSET, GraphSpec

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

#: Side of the pictures with which the modules are traced; their graphs do not depend on it. A multiple of 16.
_TRACE_SIDE = 32

_FLOATS = {"FLOAT", "FLOAT16"}
#: Operators that the graphs may hold and the element types of their tensors: a part of what the ONNX parser of TensorRT
#: 10.0 to 11.4 documents. Shapes and indices are INT64.
ALLOWED_OPERATORS = {
    "Add": _FLOATS,
    "AveragePool": _FLOATS,
    "Cast": _FLOATS,
    "Clip": _FLOATS,
    "Concat": _FLOATS,
    "Conv": _FLOATS,
    "Greater": _FLOATS | {"BOOL"},
    "InstanceNormalization": _FLOATS,
    "MaxPool": _FLOATS,
    "Mul": _FLOATS,
    "ReduceMean": _FLOATS | {"INT64"},
    "ReduceSum": _FLOATS | {"INT64"},
    "Relu": _FLOATS,
    "Reshape": _FLOATS | {"INT64"},
    "Resize": _FLOATS,
    "Sigmoid": _FLOATS,
    "Slice": _FLOATS | {"INT64"},
    "Softmax": _FLOATS,
    "Transpose": _FLOATS,
    "Where": _FLOATS | {"BOOL"},
}


def to_onnx(module: nn.Module, spec: GraphSpec) -> ModelProto:
    """Trace ``module`` (batch norms already folded) and return its simplified FP32 graph with the shapes of ``spec``."""
    import onnx
    import onnxslim
    import torch

    shapes = {name: _trace_shape(shape, spec) for name, shape in spec.inputs.items()}
    # The exporter without torch.export needs no further package and keeps the modules' names.
    legacy = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        file = Path(folder) / "traced.onnx"
        torch.onnx.export(
            module.eval(),
            tuple(torch.zeros(shape) for shape in shapes.values()),
            str(file),
            opset_version=OPSET,
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            dynamic_axes={name: _free_axes(name, shape, spec) for name, shape in (spec.inputs | spec.outputs).items()},
            **legacy,  # type: ignore[arg-type]
        )
        model = onnx.load(file)
    set_shapes(model, spec)
    model = onnxslim.slim(model)
    return finish(model, spec)


def _free_axes(name: str, shape: tuple[int | str, ...], spec: GraphSpec) -> dict[int, str]:
    """The axes whose sizes the traced graph must not depend on."""
    if spec.fixed:
        return {axis: n for axis, n in enumerate(shape) if isinstance(n, str)}
    return {2: f"{name}_height", 3: f"{name}_width"}


def _trace_shape(shape: tuple[int | str, ...], spec: GraphSpec) -> list[int]:
    """Small pictures where the graph does not depend on it; a free dimension named "...8" is eight times another."""
    if spec.fixed:
        return [spec.free[n] if isinstance(n, str) else n for n in shape]
    return [
        n if i < 2 and isinstance(n, int) else _TRACE_SIDE * (8 if str(n).endswith("8") and isinstance(n, str) else 1)
        for i, n in enumerate(shape)
    ]


def set_shapes(model: ModelProto, spec: GraphSpec) -> None:
    """Give the inputs and outputs of ``model`` the shapes of ``spec`` and forget all shapes in between."""
    for values, shapes in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
        for value in values:
            dims = value.type.tensor_type.shape
            dims.ClearField("dim")
            for n in shapes[value.name]:
                dim = dims.dim.add()
                if isinstance(n, int):
                    dim.dim_value = n
                else:
                    dim.dim_param = n
    del model.graph.value_info[:]


def finish(model: ModelProto, spec: GraphSpec) -> ModelProto:
    """The same graph with the shapes of ``spec``, inferred in between, in an order and with a header of its own only."""
    import onnx

    set_shapes(model, spec)
    graph = model.graph
    graph.name, graph.doc_string = spec.name, ""
    for node in graph.node:
        node.doc_string = ""
    initializers = sorted(graph.initializer, key=lambda t: t.name)
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    header = onnx.ModelProto(ir_version=IR_VERSION, producer_name="h2k-rt", domain="h2k-rt", graph=graph)
    header.opset_import.add(domain="", version=OPSET)
    return onnx.shape_inference.infer_shapes(header, check_type=True, strict_mode=True, data_prop=True)


def check_graph(model: ModelProto, spec: GraphSpec) -> None:
    """Check a finished graph: sound ONNX, the tensors of ``spec``, only operators and types that TensorRT's parser takes.

    Raises:
        ExportError: naming the node.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{spec.name}: the exported graph is not sound ONNX: {str(error).splitlines()[0]}") from error
    for values, shapes in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
        found = {v.name: tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
        if found != shapes:
            raise ExportError(f"{spec.name}: the exported graph has {found} instead of {shapes}")
    for operator, kinds in operators(model).items():
        if operator not in ALLOWED_OPERATORS:
            raise ExportError(f"{spec.name}: operator {operator} is not on the list of those that every engine takes")
        if kinds - ALLOWED_OPERATORS[operator]:
            raise ExportError(
                f"{spec.name}: operator {operator} has tensors of type {', '.join(kinds - ALLOWED_OPERATORS[operator])}"
            )


def operators(model: ModelProto) -> dict[str, set[str]]:
    """Operator -> element types of its tensors (names of onnx.TensorProto), without the sizes that Resize and Slice read."""
    import onnx

    graph = model.graph
    kinds = {t.name: t.data_type for t in graph.initializer}
    kinds |= {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    used: dict[str, set[str]] = {}
    for node in graph.node:
        # Resize's scales are FP32 in an FP16 graph too; they are numbers of the graph, no tensor that is computed.
        names = [*(node.input[:1] if node.op_type == "Resize" else node.input), *node.output]
        used.setdefault(node.op_type, set()).update(onnx.TensorProto.DataType.Name(kinds[n]) for n in names if n)
    return used
