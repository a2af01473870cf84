"""The photo on which the GPU is measured, and engines of any width for it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from h2k_engines import Binding, DeviceEngine, TorchDeviceEngine
from h2k_kernels.launch import DeviceArray, Runtime
from h2k_kernels.launch.runtime import Stream
from numpy.typing import NDArray

from h2k_rt.bundle import Bundle
from h2k_rt.constants import Method
from h2k_rt.device.job import Job
from h2k_rt.engines import device_engines
from h2k_rt.framing import frame_person
from h2k_rt.parts import fit_parts
from h2k_rt.person import PersonFinder
from h2k_rt.photo import load_photo

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "person.jpg"


@dataclass(frozen=True)
class Case:
    """A framed photo."""

    job: Job
    joints: NDArray[np.float64]
    method: Method


def example(bundle: Bundle) -> Case:
    """The example photo, its person found on the CPU."""
    method = bundle.settings()
    photo = load_photo(EXAMPLE)
    person = PersonFinder().find(photo.rgb)[0]
    framing = frame_person(person.mask, person.joints, method)
    joints = framing.joints(person.joints)
    return Case(Job.of(photo.rgb, person.mask, framing, fit_parts(joints, method.size)), joints, method)


class GivenDepth:
    """A trunk whose result is replaced by a given one: weights made by a rule have the published cost, but see no body."""

    def __init__(self, engine: DeviceEngine, runtime: Runtime, depth: Mapping[tuple[int, ...], DeviceArray]) -> None:
        self._engine, self._runtime, self._depth = engine, runtime, depth
        self.name, self.provider, self.inputs, self.outputs = engine.name, engine.provider, engine.inputs, engine.outputs

    def bind(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], stream: Any) -> Binding:
        binding, runtime, depth = self._engine.bind(inputs, outputs, stream), self._runtime, self._depth

        class Replaced:
            def enqueue(self, stream: Any) -> None:
                binding.enqueue(stream)
                runtime.copy(outputs["depth"], depth[outputs["depth"].shape], stream)

        return Replaced()


def full_size_engines(state: Mapping[str, Any], half: bool) -> Callable[[str, Stream], DeviceEngine]:
    """The published networks (width 1) with given weights on PyTorch; FP16 as in the exported graphs: all but the depths' last
    convolution."""
    import torch
    from h2k_export import load_human_net
    from h2k_export.fold import fold_batch_norms
    from h2k_export.parity import tensor_specs
    from h2k_export.specs import GRAPHS
    from h2k_export.wrappers import exported_modules

    modules = {name: fold_batch_norms(module).cuda() for name, module in exported_modules(load_human_net(state)).items()}
    if half:
        for name, module in modules.items():
            module.half().register_forward_pre_hook(lambda _, inputs: tuple(x.half() for x in inputs))
            for buffer in ("background",):
                if hasattr(module, buffer):
                    setattr(module, buffer, getattr(module, buffer).float())
            if GRAPHS[name].keep_head:
                head = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)][-1]
                head.float().register_forward_pre_hook(lambda _, inputs: tuple(x.float() for x in inputs))

    def open_engine(name: str, stream: Stream) -> DeviceEngine:
        specs = tensor_specs(GRAPHS[name].inputs), tensor_specs(GRAPHS[name].outputs)
        return TorchDeviceEngine(modules[name], name, *specs, device="cuda")

    return open_engine


def bundle_engines(bundle: Bundle, engine: str, precision: str) -> Callable[[str, Stream], DeviceEngine]:
    return device_engines(bundle, engine, precision)  # type: ignore[arg-type]


def machine(runtime: Runtime) -> dict[str, str]:
    """What was measured on."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory", "--format=csv,noheader"]
    try:
        smi = subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.strip()
    except OSError:
        smi = "nvidia-smi is not there"
    major, minor = runtime.capability
    return {"gpu": runtime.name, "capability": f"{major}.{minor}", "nvidia-smi": smi, "python": platform.python_version()}


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
