"""The CPU twin of ``sample_features``: against PyTorch's own sampling, and known places."""

from __future__ import annotations

import numpy as np
import torch
from h2k_kernels import sample_features
from view_rules import feature_case

from h2k_rt.networks.view_net import sample_maps


def test_equals_pytorch() -> None:
    maps, projections, points = feature_case(3, (5, 17), 3000)
    expected = sample_maps(
        [torch.from_numpy(m.transpose(0, 3, 1, 2).copy()) for m in maps],
        torch.from_numpy(projections),
        torch.from_numpy(points)[None],
    )
    for threads in (1, 2):
        np.testing.assert_allclose(sample_features(maps, projections, points, threads), expected[:, :, 0].numpy(), atol=2e-5)


def test_known_places() -> None:
    # A ramp in x and one in y, seen by a parallel-looking camera: u = (x + 1) / 2, v = (1 - y) / 2.
    ramp = np.stack(np.meshgrid(np.arange(8.0), np.arange(4.0)), axis=-1)[None].astype(np.float32)
    projection = np.array([[[0.5, 0, 0, 0.5], [0, -0.5, 0, 0.5], [0, 0, 0, 1.0]]], np.float32)
    points = np.array([[0, 0, 0], [-0.5, 0.5, 9], [0.99, 0, 0], [3, 0, 0]], np.float32)
    out = sample_features([ramp], projection, points)
    assert out.shape == (1, 3, 4)
    np.testing.assert_allclose(out[0, :, 0], [3.5, 1.5, 0])
    np.testing.assert_allclose(out[0, :, 1], [1.5, 0.5, 0])
    np.testing.assert_allclose(out[0, 0, 2], 7 * (1 - 0.46), atol=1e-5)  # 0.46 of a pixel beyond the last centre: zeros there
    assert not out[0, :, 3].any()
