"""A bundle's ONNX graph executed by PyTorch, operator by operator, in the types that the graph states.

So PyTorch runs every bundle, FP16 graphs included, without the training code and without the weights in another format. Only what
the exported networks consist of is known here; anything else is refused when the graph is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from h2k_engines.engine import EngineFailure, TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

_DTYPES = {1: np.float32, 10: np.float16}  # TensorProto.FLOAT, FLOAT16

#: Inputs that are read as numbers when the graph is opened, by operator: the graph's shape must not depend on what is computed.
_FIXED_INPUTS = {
    "Clip": (1, 2),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
}


def open_graph(model: str | Path | bytes, name: str) -> tuple[nn.Module, list[TensorSpec], list[TensorSpec]]:
    """A graph as a PyTorch module, with its inputs and outputs in order.

    Raises:
        EngineFailure: onnx or PyTorch is not installed, the file is no graph, or it holds an operator that is not known here.
    """
    try:
        import onnx
        import torch
    except ImportError as error:
        raise EngineFailure(f'{error.name} is not installed; run: pip install "h2k-rt[export]"') from error
    try:
        loaded = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))
    except Exception as error:  # protobuf's own family
        raise EngineFailure(f"{name}: the file is no ONNX graph: {str(error).splitlines()[0]}") from error
    graph = loaded.graph
    inputs, outputs = [_spec(value, name) for value in graph.input], [_spec(value, name) for value in graph.output]
    constants = {t.name: torch.from_numpy(np.array(onnx.numpy_helper.to_array(t))) for t in graph.initializer}
    steps = [_Step.of(node, constants, onnx.helper.get_attribute_value, name) for node in graph.node]
    return _module(steps, constants, [spec.name for spec in inputs], [spec.name for spec in outputs]), inputs, outputs


def _spec(value: Any, name: str) -> TensorSpec:
    kind = value.type.tensor_type
    if kind.elem_type not in _DTYPES:
        raise EngineFailure(f"{name}: {value.name} is of a type that is not supported")
    shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim)
    return TensorSpec(value.name, np.dtype(_DTYPES[kind.elem_type]), shape)


class _Step:
    """One node: what it reads, what it computes, where that goes."""

    def __init__(self, reads: list[str], compute: Callable[..., Tensor], writes: str) -> None:
        self.reads, self.compute, self.writes = reads, compute, writes
        self.frees: list[str] = []

    @staticmethod
    def of(node: Any, constants: Mapping[str, Tensor], value_of: Callable[[Any], Any], network: str) -> _Step:
        attributes = {a.name: value_of(a) for a in node.attribute}
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
        fixed = {}
        for place in _FIXED_INPUTS.get(node.op_type, ()):
            if place < len(node.input) and node.input[place]:
                if node.input[place] not in constants:
                    raise EngineFailure(f"{network}: {node.op_type} {node.name} depends on what is computed; that is not supported")
                fixed[place] = constants[node.input[place]].tolist()
        make = _OPERATORS.get(node.op_type)
        if make is None:
            raise EngineFailure(f"{network}: operator {node.op_type} is not supported by PyTorch's engine")
        try:
            compute = make(attributes, fixed)
        except (KeyError, ValueError) as error:
            raise EngineFailure(f"{network}: {node.op_type} {node.name} is not supported in this form: {error}") from error
        places = _FIXED_INPUTS.get(node.op_type, ())
        return _Step([n for i, n in enumerate(node.input) if n and i not in places], compute, node.output[0])


def _module(steps: list[_Step], constants: Mapping[str, Tensor], inputs: list[str], outputs: list[str]) -> nn.Module:
    from torch import nn

    kept: set[str] = {*outputs, *constants}
    for step in reversed(steps):  # a value is let go after its last reader
        step.frees = [name for name in dict.fromkeys(step.reads) if name not in kept]
        kept.update(step.reads)
    names = {name: f"constant_{i}" for i, name in enumerate(constants)}

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, value in constants.items():
                self.register_buffer(names[name], value, persistent=False)

        def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
            known = dict(zip(inputs, values, strict=True))
            for step in steps:
                arguments = [known[n] if n in known else self.get_buffer(names[n]) for n in step.reads]
                known[step.writes] = step.compute(*arguments)
                for name in step.frees:
                    del known[name]
            return tuple(known[name] for name in outputs)

    return Graph()


# Operators: from attributes and fixed inputs to a function of the tensors. A form that is not meant raises ValueError or KeyError.


def _only(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _conv(attributes: dict[str, Any], _: dict[int, Any]) -> Callable[..., Tensor]:
    from torch.nn import functional as F

    pads = attributes.get("pads", [0, 0, 0, 0])
    _only(pads[:2] == pads[2:] and attributes.get("auto_pad", "NOTSET") == "NOTSET", f"pads {pads}")
    strides, dilations, group = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1]), attributes.get("group", 1)

    def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, strides, pads[:2], dilations, group)

    return conv


def _max_pool(attributes: dict[str, Any], _: dict[int, Any]) -> Callable[..., Tensor]:
    from torch.nn import functional as F

    pads = attributes.get("pads", [0, 0, 0, 0])
    _only(pads == [0, 0, 0, 0] and not attributes.get("ceil_mode", 0), f"pads {pads}")
    return lambda x: F.max_pool2d(x, attributes["kernel_shape"], attributes.get("strides", [1, 1]))


def _average_pool(attributes: dict[str, Any], _: dict[int, Any]) -> Callable[..., Tensor]:
    from torch.nn import functional as F

    pads = attributes.get("pads", [0, 0, 0, 0])
    _only(not any(pads) and not attributes.get("ceil_mode", 0), f"pads {pads}")
    return lambda x: F.avg_pool2d(x, attributes["kernel_shape"], attributes.get("strides", [1, 1]))


def _instance_norm(attributes: dict[str, Any], _: dict[int, Any]) -> Callable[..., Tensor]:
    from torch.nn import functional as F

    epsilon = attributes.get("epsilon", 1e-5)
    return lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def _reduce(function: str) -> Callable[..., Callable[..., Tensor]]:
    def make(attributes: dict[str, Any], fixed: dict[int, Any]) -> Callable[..., Tensor]:
        import torch

        axes, keep = fixed[1], bool(attributes.get("keepdims", 1))
        return lambda x: getattr(torch, function)(x, dim=axes, keepdim=keep)

    return make


def _reshape(attributes: dict[str, Any], fixed: dict[int, Any]) -> Callable[..., Tensor]:
    _only(not attributes.get("allowzero", 0), "allowzero")
    return lambda x: x.reshape([x.shape[axis] if n == 0 else n for axis, n in enumerate(fixed[1])])


def _softmax(attributes: dict[str, Any], _: dict[int, Any]) -> Callable[..., Tensor]:
    axis = attributes.get("axis", -1)
    return lambda x: x.softmax(axis)


def _transpose(attributes: dict[str, Any], _: dict[int, Any]) -> Callable[..., Tensor]:
    return lambda x: x.permute(attributes["perm"])


def _resize(attributes: dict[str, Any], fixed: dict[int, Any]) -> Callable[..., Tensor]:
    from torch.nn import functional as F

    scales = fixed[2]
    nearest = attributes.get("mode", "nearest") == "nearest" and attributes.get("nearest_mode") == "floor"
    whole = scales[:2] == [1, 1] and all(s == int(s) for s in scales)
    _only(nearest and attributes.get("coordinate_transformation_mode") == "asymmetric" and whole, f"scales {scales}")
    factors = (float(scales[2]), float(scales[3]))
    return lambda x: F.interpolate(x, scale_factor=factors, mode="nearest")


def _slice(_: dict[str, Any], fixed: dict[int, Any]) -> Callable[..., Tensor]:
    starts, ends = fixed[1], fixed[2]
    axes, steps = fixed.get(3, list(range(len(starts)))), fixed.get(4, [1] * len(starts))
    _only(all(step > 0 for step in steps), f"steps {steps}")
    cuts = {axis: slice(start, end, step) for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)}

    def cut(x: Tensor) -> Tensor:
        return x[tuple(cuts.get(axis, slice(None)) for axis in range(x.ndim))]

    return cut


def _concat(attributes: dict[str, Any], _: dict[int, Any]) -> Callable[..., Tensor]:
    import torch

    axis = attributes["axis"]
    return lambda *values: torch.cat(values, axis)


def _cast(attributes: dict[str, Any], _: dict[int, Any]) -> Callable[..., Tensor]:
    import torch

    to = {1: torch.float32, 10: torch.float16}[attributes["to"]]
    return lambda x: x.to(to)


def _clip(_: dict[str, Any], fixed: dict[int, Any]) -> Callable[..., Tensor]:
    low, high = fixed.get(1), fixed.get(2)
    return lambda x: x.clamp(low, high)


def _torch_function(name: str) -> Callable[..., Callable[..., Tensor]]:
    def make(_: dict[str, Any], __: dict[int, Any]) -> Callable[..., Tensor]:
        import torch

        function: Callable[..., Tensor] = getattr(torch, name)
        return function

    return make


_OPERATORS: dict[str, Callable[[dict[str, Any], dict[int, Any]], Callable[..., Tensor]]] = {
    "Add": _torch_function("add"),
    "AveragePool": _average_pool,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Greater": _torch_function("gt"),
    "InstanceNormalization": _instance_norm,
    "MaxPool": _max_pool,
    "Mul": _torch_function("mul"),
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "Relu": _torch_function("relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _torch_function("sigmoid"),
    "Slice": _slice,
    "Softmax": _softmax,
    "Transpose": _transpose,
    "Where": _torch_function("where"),
}
