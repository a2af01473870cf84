"""A tiny bundle of the second method whose occupancy is inside for about a third of the points, made once for all tests."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import pytest

PICTURE = 64


@functools.cache
def view_bundle(merge: str = "mean") -> Path:
    """The bundle's folder, not to be changed; FP32 and FP16 graphs."""
    for package in ("torch", "onnx", "onnxslim", "onnxruntime"):
        pytest.importorskip(package)
    import numpy as np
    import torch
    from h2k_export.views import export_view_bundle
    from view_rules import feature_case

    from h2k_rt.networks.view_net import ViewNet, ViewNetShape
    from h2k_rt.views.network_picture import outline_distance

    torch.set_num_threads(1)
    torch.manual_seed(3)
    net = ViewNet(ViewNetShape(width=0.125, stages=2, merge=merge, picture=PICTURE, local=8)).eval()
    _, projections, points = feature_case(2, (1,), 400)
    with torch.no_grad():
        last = net.points.layers[-1]
        y, x = np.mgrid[:PICTURE, :PICTURE] / PICTURE - 0.5
        share = (np.hypot(x, y) < 0.4).astype(np.float32)
        seen = torch.from_numpy(np.stack((share, outline_distance(share)))).expand(1, 2, 2, -1, -1)
        pictures = torch.cat((torch.rand(1, 2, 3, PICTURE, PICTURE) * seen[:, :, :1], seen), 2)
        given = pictures, torch.from_numpy(projections)[None], torch.from_numpy(points)[None]
        # Untrained networks say nearly the same everywhere: spread it over (0, 1).
        value = torch.logit(net(*given).occupancies[-1])
        gain = 1.5 / value.std()
        last.weight.mul_(gain)
        last.bias.copy_((last.bias - value.quantile(0.3)) * gain)
    folder = Path(tempfile.mkdtemp(prefix="h2k-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return export_view_bundle(net, folder / "tiny-views", name="tiny-views", licence="CC0", trained_on="nothing").bundle
