"""A CUDA driver without a GPU: real PyCUDA runs on it, and the kernels as tests/cuda_host compiles them for the CPU."""
