"""The implicit function's networks: shapes, merging, supervised stages; and their two graphs against PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from h2k_engines import Engine, OnnxRuntimeEngine, TorchEngine
from h2k_engines.onnx_in_torch import open_graph
from h2k_kernels import sample_features
from view_rules import feature_case

from h2k_rt.bundle import Bundle
from h2k_rt.networks.view_net import PointNet, ViewNet, ViewNetShape
from h2k_rt.views.network_picture import CHANNELS

TINY = ViewNetShape(width=0.125, stages=3, picture=64)


def tiny_net(shape: ViewNetShape = TINY) -> ViewNet:
    torch.manual_seed(3)
    return ViewNet(shape).eval()


def inputs(views: int, picture: int, points: int = 50) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _, projections, cube = feature_case(views, (1,), points)
    torch.manual_seed(1)
    return torch.randn(1, views, CHANNELS, picture, picture), torch.from_numpy(projections)[None], torch.from_numpy(cube)[None]


def onnx_runtime(graph: Path | bytes, name: str) -> Engine:
    return OnnxRuntimeEngine(graph, name=name, threads=1)


def in_torch(graph: Path | bytes, name: str) -> Engine:
    return TorchEngine(*open_graph(graph, name)[:1], name, *open_graph(graph, name)[1:])


def test_shapes_at_full_width_are_pifus() -> None:
    pifu = ViewNetShape(multi_scale=False)
    assert (pifu.base, pifu.feature_channels, pifu.feature_sizes, pifu.point_channels) == (256, (256,), (128,), 257)
    with torch.device("meta"):
        layers = [(layer.in_channels, layer.out_channels) for layer in PointNet(pifu).layers]
    assert layers == [(257, 1024), (1281, 512), (769, 256), (513, 128), (385, 1)]
    ours = ViewNetShape()
    assert ours.feature_sizes == (128, 64, 32, 16) and ours.stride == 128
    for wrong in ({"width": 0.1}, {"stages": 0}, {"merge": "max"}, {"picture": 320}, {"local": 4}):
        with pytest.raises(ValueError, match="must"):
            ViewNetShape(**wrong)


@pytest.mark.parametrize("merge", ["mean", "attention"])
def test_views_are_merged_whatever_their_order_and_number(merge: str) -> None:
    net = PointNet(ViewNetShape(width=0.125, stages=1, merge=merge)).eval()
    torch.manual_seed(0)
    x = torch.randn(3, net.layers[0].in_channels, 1, 7)
    with torch.no_grad():
        out = net(x)
        torch.testing.assert_close(net(x[[2, 0, 1]]), out)
        torch.testing.assert_close(net(torch.cat((x, x))), out)  # the same views twice


@pytest.mark.parametrize("merge", ["mean", "attention"])
def test_training_computes_the_exported_graph(merge: str) -> None:
    shape = ViewNetShape(width=0.125, stages=2, merge=merge, picture=64, local=8)
    net = PointNet(shape).eval()
    torch.manual_seed(0)
    people = torch.randn(2, 3, shape.point_channels, 1, 7)
    read = [0, 3, 5, shape.point_channels - 1]
    with torch.no_grad():
        expected = torch.cat([net(person)[0, 0] for person in people])
        torch.testing.assert_close(net.rows(people[:, :, :, 0].transpose(2, 3)), expected)
        some = torch.zeros_like(people)
        some[:, :, read] = people[:, :, read]
        expected = torch.cat([net(person)[0, 0] for person in some])
        torch.testing.assert_close(net.rows(some[:, :, read, 0].transpose(2, 3), read), expected)


def test_stages_read_what_they_may() -> None:
    net = tiny_net()
    pictures, projections, points = inputs(2, TINY.picture)
    with torch.no_grad():
        before = net(pictures, projections, points).occupancies
        # The last stage's own head: nothing of it may reach the earlier stages' results.
        net.encoder.features[2].bias.add_(1.0)
        after = net(pictures, projections, points).occupancies
    assert len(before) == 3 and before[0].shape == (1, 50)
    torch.testing.assert_close(before[0], after[0])
    torch.testing.assert_close(before[1], after[1])
    assert (before[2] - after[2]).abs().max() > 1e-4


@pytest.mark.parametrize(
    "shape",
    [TINY, ViewNetShape(0.125, 2, True, "mean", 64, 8), ViewNetShape(0.125, 2, False, "attention", 64)],
    ids=["multi-scale, mean", "with the picture", "pifu, attention"],
)
def test_graphs_compute_what_pytorch_does(shape: ViewNetShape, tmp_path: Path) -> None:
    from h2k_export.views import export_view_bundle

    net = tiny_net(shape)
    report = export_view_bundle(net, tmp_path / "tiny", name="tiny", licence="CC0", trained_on="nothing")
    assert [(row.network, row.precision) for row in report.rows] == [
        (name, precision) for name in ("encoder", "points") for precision in ("fp32", "fp16")
    ]
    bundle = Bundle.open(tmp_path / "tiny")
    assert bundle.method == "implicit" and bundle.precisions("points") == ("fp32", "fp16")
    pictures, projections, points = inputs(2, shape.picture)
    with torch.no_grad():
        expected = net(pictures, projections, points).occupancies[-1][0].numpy()
    for precision, tolerance in (("fp32", 1e-4), ("fp16", 5e-3)):
        for open_engine in (onnx_runtime, in_torch):
            encoder, head = (open_engine(bundle.network(n, precision), n) for n in ("encoder", "points"))
            maps = [encoder.run({"picture": p[None].numpy()}) for p in pictures[0]]
            joined = [np.concatenate([m[name] for m in maps]) for name in encoder.outputs]
            features = sample_features(joined, projections[0].numpy(), points[0].numpy())
            found = head.run({"features": features[:, :, None]})["occupancy"][0, 0, 0]
            np.testing.assert_allclose(found, expected, atol=tolerance)
    assert np.ptp(expected) > 100 * 1e-5  # something depends on the points
