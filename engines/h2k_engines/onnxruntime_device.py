"""Networks on ONNX Runtime's CUDA provider, bound to tensors in device memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from h2k_engines.device import DeviceStream, DeviceTensor, check_binding
from h2k_engines.engine import EngineFailure, TensorSpec
from h2k_engines.onnxruntime_engine import first_line, import_onnxruntime, spec_of

CUDA = "CUDAExecutionProvider"


def cuda_options(device: int, stream: int) -> dict[str, str]:
    """Options of the CUDA provider for one network on one stream.

    ``user_compute_stream`` needs ONNX Runtime 1.17 or newer in Python. TF32 is off: FP32 graphs are there to be exact.
    """
    return {
        "device_id": str(device),
        "user_compute_stream": str(stream),
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "0",
        "use_tf32": "0",
    }


class SessionEngine:
    """An ONNX Runtime session on one stream of a GPU.

    Args:
        session: opened with that stream.
        name: the network's name for messages.
        memory: kind of memory that its provider works on, in ONNX Runtime's words: "cuda", or "cpu" in tests.
        device: number of the GPU.
        provider: what executes it, for messages.
    """

    def __init__(self, session: Any, *, name: str, stream: DeviceStream, memory: str, device: int, provider: str) -> None:
        self.name, self.provider = name, provider
        self._session, self._stream, self._memory, self._device = session, stream.handle, memory, device
        # Work stays in the stream; without this ONNX Runtime waits for it after each run, which also no graph can record.
        self._run_options = import_onnxruntime().RunOptions()
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self.inputs: Mapping[str, TensorSpec] = {a.name: spec_of(a) for a in session.get_inputs()}
        self.outputs: Mapping[str, TensorSpec] = {a.name: spec_of(a) for a in session.get_outputs()}

    def bind(
        self, inputs: Mapping[str, DeviceTensor], outputs: Mapping[str, DeviceTensor], stream: DeviceStream
    ) -> OnnxRuntimeBinding:
        self._check_stream(stream)
        check_binding(self, inputs, outputs)
        binding = self._session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_input(name, self._memory, self._device, tensor.dtype.type, list(tensor.shape), tensor.pointer)
        for name, tensor in outputs.items():
            binding.bind_output(name, self._memory, self._device, tensor.dtype.type, list(tensor.shape), tensor.pointer)
        return OnnxRuntimeBinding(self, binding, (*inputs.values(), *outputs.values()))

    def _check_stream(self, stream: DeviceStream) -> None:
        if stream.handle != self._stream:
            raise EngineFailure(f"{self.name}: ONNX Runtime runs it on the stream it was opened with, not on another one")

    def _run(self, binding: Any, stream: DeviceStream) -> None:
        self._check_stream(stream)
        try:
            self._session.run_with_iobinding(binding, self._run_options)
        except Exception as error:
            raise EngineFailure(f"{self.name}: ONNX Runtime failed: {first_line(error)}") from error


class OnnxRuntimeDeviceEngine(SessionEngine):
    """One ONNX graph in a session of its own, on one stream.

    Args:
        model: path of a single-file ONNX graph, or its bytes.
        name: the network's name for messages.
        stream: where it will run; ONNX Runtime ties a session to its stream.
        device: number of the GPU.
        provider: execution provider, and the kind of memory that it works on: ("CUDAExecutionProvider", "cuda"), or
            ("CPUExecutionProvider", "cpu") for tests of everything but the GPU.

    Raises:
        EngineFailure: ONNX Runtime or its CUDA provider is not there, the graph cannot be loaded, or a part of it would run on
            the CPU.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        name: str,
        stream: DeviceStream,
        device: int = 0,
        provider: tuple[str, str] = (CUDA, "cuda"),
    ) -> None:
        ort = import_onnxruntime()
        wanted, memory = provider
        if wanted not in ort.get_available_providers():
            raise EngineFailure(
                f"{name}: this ONNX Runtime has no {wanted}: the package for the CPU is installed; "
                'run: pip uninstall onnxruntime onnxruntime-gpu, then pip install "h2k-rt[gpu]"'
            )
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        provider_options: dict[str, str] = {}
        if wanted == CUDA:
            if hasattr(ort, "preload_dlls"):
                ort.preload_dlls(cuda=True, cudnn=True, msvc=False)  # CUDA and cuDNN of the pip packages, if they are there
            # Not one node may be left to the CPU: that would copy to the host and back in the middle of the graph.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            provider_options = cuda_options(device, stream.handle)
        source = model if isinstance(model, bytes) else os.fspath(Path(model))
        providers = [(wanted, provider_options)]
        try:
            session = ort.InferenceSession(source, sess_options=options, providers=providers)
        except Exception as error:  # ONNX Runtime raises its own, undocumented family
            # A provider that does not start is left out, and then all nodes are forbidden to fall back: the message is of that.
            if wanted == CUDA and not _starts(ort, source, providers):
                raise EngineFailure(
                    f"{name}: ONNX Runtime cannot start {wanted}: the driver, or libraries of CUDA or cuDNN 9, are missing "
                    'or do not fit; run: pip install "onnxruntime-gpu[cuda,cudnn]", or use --device cpu'
                ) from error
            raise EngineFailure(f"{name}: ONNX Runtime cannot load the network with {wanted}: {first_line(error)}") from error
        title = f"onnxruntime {ort.__version__} {wanted}"
        super().__init__(session, name=name, stream=stream, memory=memory, device=device, provider=title)


def _starts(ort: Any, source: str | bytes, providers: list[tuple[str, dict[str, str]]]) -> bool:
    """Whether a provider takes part where others may stand in for it."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        return providers[0][0] in ort.InferenceSession(source, sess_options=options, providers=providers).get_providers()
    except Exception:  # it is the network that is refused
        return True


class OnnxRuntimeBinding:
    """A session's tensors; holds them alive."""

    def __init__(self, engine: SessionEngine, binding: Any, tensors: tuple[DeviceTensor, ...]) -> None:
        self._engine, self._binding, self._tensors = engine, binding, tensors

    def enqueue(self, stream: DeviceStream) -> None:
        self._engine._run(self._binding, stream)
