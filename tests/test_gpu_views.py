"""On a GPU: the second method's networks against the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from h2k_kernels.launch import Runtime
from view_bundle import PICTURE, view_bundle
from view_rules import feature_case

from h2k_rt.bundle import Bundle
from h2k_rt.device.view_networks import open_view_networks
from h2k_rt.engines import open_engines
from h2k_rt.errors import EngineError
from h2k_rt.views.networks import HostNetworks

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("engine", ["cuda", "torch"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 3e-2)])
def test_occupancy_is_that_of_the_cpu(gpu: Runtime, engine: str, precision: str, tolerance: float) -> None:
    bundle = Bundle.open(view_bundle())
    try:
        networks = open_view_networks(bundle, engine, precision)  # type: ignore[arg-type]
    except EngineError as absent:
        if "not installed" in str(absent) or "CUDAExecutionProvider" in str(absent) or "no device" in str(absent):
            pytest.skip(str(absent))
        raise
    twin = HostNetworks(open_engines(bundle, "cpu"), bundle.name, 4)
    for views in (3, 4, 1):
        _, projections, points = feature_case(views, (1,), 50_000)
        pictures = np.random.default_rng(views).uniform(-1, 1, (views, 4, PICTURE, PICTURE)).astype(np.float32)
        want, have = (each.encode(pictures, projections)(points) for each in (twin, networks))
        assert np.quantile(np.abs(have - want), 0.999) < tolerance and np.ptp(want) > 0.5
