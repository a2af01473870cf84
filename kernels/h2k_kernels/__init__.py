"""The method's own kernels. Each has a CPU twin here; the CUDA versions share their stems."""

from h2k_kernels.fuse_parts import fuse_parts, window_weight
from h2k_kernels.integrate_normals import integrate_normals
from h2k_kernels.sample_features import sample_features
from h2k_kernels.warp_parts import Crops, warp_parts

__all__ = ["Crops", "fuse_parts", "integrate_normals", "sample_features", "warp_parts", "window_weight"]
