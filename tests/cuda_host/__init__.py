"""Runs the CUDA kernels on the CPU: compiles the unmodified .cu file with g++ and executes launch plans on NumPy arrays."""

from cuda_host.module import HostModule, MissingCompiler, device_view, load

__all__ = ["HostModule", "MissingCompiler", "device_view", "load"]
