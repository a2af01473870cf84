"""Launching the CUDA kernels. Nothing here needs a GPU, PyCUDA or a compiler until something is launched."""

from h2k_kernels.launch.arrays import DeviceArray, from_cuda_array, from_dlpack
from h2k_kernels.launch.errors import DeviceFailure, MissingDevicePackage
from h2k_kernels.launch.plan import LaunchPlan
from h2k_kernels.launch.runtime import Runtime

__all__ = ["DeviceArray", "DeviceFailure", "LaunchPlan", "MissingDevicePackage", "Runtime", "from_cuda_array", "from_dlpack"]
