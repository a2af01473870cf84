"""Networks on PyTorch: the reference that every other engine is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from h2k_engines.engine import EngineFailure, TensorSpec, check_feeds

if TYPE_CHECKING:
    from torch import nn


class TorchEngine:
    """A PyTorch module as an engine, in evaluation mode and without gradients.

    Args:
        module: called with the inputs in the order of ``inputs``; returns one tensor, or a tuple in the order of ``outputs``.
        name: the network's name for messages.
        inputs: what it takes.
        outputs: what it gives.
        device: a PyTorch device; the module is moved there.

    Raises:
        EngineFailure: PyTorch is not installed, or has no such device.
    """

    def __init__(
        self, module: nn.Module, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *, device: str = "cpu"
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise EngineFailure('PyTorch is not installed; run: pip install "h2k-rt[export]"') from error
        self.name = name
        try:
            self._device = torch.device(device)
            self._module = module.to(self._device).eval()
        except (RuntimeError, AssertionError) as error:
            raise EngineFailure(f"{name}: PyTorch has no device {device!r} here: {str(error).splitlines()[0]}") from error
        self.inputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in inputs}
        self.outputs: Mapping[str, TensorSpec] = {spec.name: spec for spec in outputs}
        self.provider = f"torch {torch.__version__} {self._device}"

    def run(self, feeds: Mapping[str, NDArray]) -> dict[str, NDArray]:
        import torch

        check_feeds(self.inputs, feeds, self.name)
        tensors = [torch.from_numpy(np.ascontiguousarray(feeds[name])).to(self._device) for name in self.inputs]
        try:
            with torch.inference_mode():
                result = self._module(*tensors)
        except RuntimeError as error:
            raise EngineFailure(f"{self.name}: PyTorch failed: {str(error).splitlines()[0]}") from error
        values = result if isinstance(result, tuple) else (result,)
        if len(values) != len(self.outputs):
            raise EngineFailure(f"{self.name}: the module gives {len(values)} tensors, not {len(self.outputs)}")
        return {name: value.cpu().numpy() for name, value in zip(self.outputs, values, strict=True)}
