"""The CUDA kernel ``sample_features``, run on the CPU: against its twin."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_host import HostModule, device_view
from cuda_kernels import host_module, poisoned
from h2k_kernels import sample_features
from h2k_kernels.launch.sample_features import plan
from numpy.typing import NDArray
from view_rules import feature_case


@pytest.fixture(scope="module")
def kernel(kernel_folder) -> HostModule:
    return host_module("sample_features", kernel_folder)


@pytest.mark.parametrize(("views", "channels", "count"), [(1, (5,), 1), (3, (33, 64, 7), 70), (2, (32, 1), 64)])
@pytest.mark.parametrize("map_type", [np.float32, np.float16])
@pytest.mark.parametrize("out_type", [np.float32, np.float16])
def test_equals_the_twin(
    kernel: HostModule, views: int, channels: tuple[int, ...], count: int, map_type: type, out_type: type
) -> None:
    maps, projections, points = feature_case(views, channels, count)
    given = [m.astype(map_type) for m in maps]
    out = poisoned((views, sum(channels) + 1, 1, count), out_type)
    kernel.run(plan([device_view(m) for m in given], device_view(projections), device_view(points), device_view(out)))
    twin = sample_features([m.astype(np.float32) for m in given], projections, points)
    tolerance = 2e-5 if out_type is np.float32 else 3e-3
    np.testing.assert_allclose(out[:, :, 0].astype(np.float32), twin, atol=tolerance, rtol=0)


def test_wrong_arguments_are_refused() -> None:
    maps, projections, points = feature_case(2, (4, 3), 9)
    good = {"maps": maps, "projections": projections, "points": points, "features": np.zeros((2, 8, 1, 9), np.float32)}

    def attempt(**changed: NDArray | list[NDArray]) -> None:
        given = good | changed
        views = {name: device_view(array) for name, array in given.items() if name != "maps"}
        plan([device_view(m) for m in given["maps"]], **views)

    attempt()
    wrong = {
        "maps": [[], [maps[0]] * 9, [maps[0], maps[1].astype(np.float16)], [m.astype(np.float64) for m in maps], [maps[0][:1]]],
        "projections": [projections[:1], projections.astype(np.float64)],
        "points": [points[:4], points[:, :2].copy()],
        "features": [np.zeros((2, 7, 1, 9), np.float32), np.zeros((2, 8, 9, 1), np.float32), np.zeros((2, 8, 1, 9))],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match="must"):
                attempt(**{name: value})
