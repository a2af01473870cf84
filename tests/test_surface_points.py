"""Point clouds, 16-bit depth and encoded normals against the published program's output."""

from __future__ import annotations

import numpy as np
import pytest
from surface_bodies import bulge

from h2k_rt.constants import METHOD, PUBLISHED_WORLD_SCALE, Method
from h2k_rt.surface.clean import parity_depth
from h2k_rt.surface.normals import camera_normals, decode_normals, normal_from_depth, normals_to_u8, slopes
from h2k_rt.surface.points import depth_to_png, erode_back, lift, png_to_depth, point_cloud, seam_layers
from h2k_rt.surface.rays import distance_from_nu, nu_from_distance

PUBLISHED = Method(world_scale=PUBLISHED_WORLD_SCALE)


def network_maps(size: int, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """The maps that the vectors were made from: bulge, background 6 and 0, and a block with front behind back."""
    front, back = bulge(size, offset)
    outside = front == 0
    front[outside], back[outside] = 6, 0
    if size == 2048:
        front[1000:1016, 1000:1016], back[1000:1016, 1000:1016] = 2.3, 2.1
    return front, back


@pytest.fixture(scope="module")
def maps(vector_set) -> tuple[np.ndarray, np.ndarray]:
    return network_maps(2048, vector_set["wave_offset"])


@pytest.fixture(scope="module")
def published(load_vectors) -> dict[str, np.ndarray]:
    return load_vectors("pointcloud")


def photo(offset: float) -> np.ndarray:
    from oracle_rules import unit

    return np.moveaxis(np.floor(255 * unit(3, 2048, 2048, 2, offset) + 0.5).astype(np.uint8), 0, -1)


def moments(points: np.ndarray) -> np.ndarray:
    points = points.astype(np.float64)
    return np.concatenate((points.mean(0), points.std(0), points.min(0), points.max(0)))


@pytest.mark.parity
def test_png_equals_published(maps, published):
    front, back = parity_depth(*maps)
    for steps, name, k in ((depth_to_png(front, "wrap"), "front", 0), (depth_to_png(back, "wrap"), "back", 1)):
        np.testing.assert_array_equal(steps[::8, ::8], published[f"depth_png_{name}_stride8"])
        assert steps.sum(dtype=np.float64) == published["depth_png_sum"][k]
        assert np.count_nonzero(steps) == published["depth_png_nonzero"][k]


@pytest.mark.parity
def test_layers_equal_published(maps, published):
    front, back = (depth_to_png(d, "wrap") for d in parity_depth(*maps))
    eroded = erode_back(front, back)
    layers = {"front": front, "back": eroded, **seam_layers(front, eroded)}
    assert list(layers) == [str(name) for name in published["layer_names"]]
    for k, (name, layer) in enumerate(layers.items()):
        points, _ = lift(layer)
        assert len(points) == published["layer_count"][k]
        np.testing.assert_allclose(moments(points), published["layer_xyz_mean_std_min_max"][k], atol=1e-5)
        np.testing.assert_allclose(points[::997], published[f"raw_xyz_{name}_every997"], atol=1e-5)
        np.testing.assert_allclose(layer[700] / 32, published[f"layer_depth_{name}_row700"], atol=2e-4)


@pytest.mark.parity
def test_clouds_equal_published(maps, published, vector_set):
    front, back = parity_depth(*maps)
    rgb = photo(vector_set["wave_offset"])
    plain = point_cloud(front, back, rgb, parity=True, overflow="wrap", method=PUBLISHED)
    seamed = point_cloud(front, back, rgb, parity=True, seams=True, overflow="wrap", method=PUBLISHED)
    assert [len(plain.vertices), len(seamed.vertices)] == list(published["ply_count"])
    np.testing.assert_allclose(plain.vertices[::499], published["ply_xyz_every499"], atol=1e-5)
    np.testing.assert_allclose(seamed.vertices[::4999], published["plyc_xyz_every4999"], atol=1e-5)
    np.testing.assert_allclose(moments(plain.vertices), published["ply_xyz_mean_std_min_max"], atol=1e-5)
    count = published["layer_count"][0]
    np.testing.assert_array_equal(plain.colors[:count][::997], published["rgb_front_every997"])
    np.testing.assert_array_equal(plain.colors[count:][::997], published["rgb_back_every997"])
    assert (seamed.colors[len(plain.vertices) :] == 128).all()


@pytest.mark.parity
def test_normals_equal_published(maps, published, vector_set):
    front, back = maps
    # Differences of nearly equal float32 depths: 1e-3, as the vectors' text says; most are far closer.
    for depth, name in ((front, "front"), (back, "back")):
        normal = normal_from_depth(depth)
        np.testing.assert_allclose(normal[:, 8::16, 8::16], published[f"get_normal_{name}_stride16"], atol=1e-3)
    dense = normal_from_depth(front)[:, 1024:1056, 900:932]
    np.testing.assert_allclose(dense, published["get_normal_front_dense32"], atol=1e-3)
    assert np.quantile(np.abs(dense - published["get_normal_front_dense32"]), 0.99) < 1e-4
    low, _ = bulge(256, vector_set["wave_offset"])
    np.testing.assert_allclose(normal_from_depth(low)[:, ::2, ::2], published["get_normal_low_front"], atol=1e-3)


@pytest.mark.parity
def test_normal_png_equals_published(maps, published):
    picture = normals_to_u8(normal_from_depth(parity_depth(*maps)[0]))[::16, ::16, ::-1]
    difference = np.abs(picture.astype(int) - published["normal_png_front_stride16_bgr"])
    assert difference.max() <= 1


@pytest.mark.parity
def test_lift_equals_published_renderer(load_vectors):
    data = load_vectors("render")
    depth = data["depth_near"]
    size = depth.shape[0]
    small = Method(size=size, depth_unit_px=METHOD.depth_unit_px, erosion=3)
    points, _ = lift((depth * 32).astype(np.float32), small)
    np.testing.assert_allclose(points, data["pers2pc_xyz"], atol=1e-5)


def test_depth_of_four_and_more_is_clipped_or_wraps() -> None:
    depth = np.array([[0.0, 1.0, 3.9999, 4.0, 4.5, 6.0]], np.float32)
    assert depth_to_png(depth).tolist() == [[0, 16384, 65534, 65535, 65535, 65535]]
    assert depth_to_png(depth, "wrap").tolist() == [[0, 16384, 65534, 0, 8192, 32768]]
    np.testing.assert_allclose(png_to_depth(depth_to_png(depth[:, :3])), depth[:, :3], atol=1 / 16384)


def test_distance_and_depth_are_inverse() -> None:
    depth = np.linspace(0.5, 3.9, 50).astype(np.float32)
    np.testing.assert_allclose(nu_from_distance(distance_from_nu(depth)), depth, atol=1e-5)
    assert distance_from_nu(np.float32(2.0)) == pytest.approx(1.0, abs=1e-6)  # the plane through the origin


def test_decoding_undoes_encoding() -> None:
    depth = (2 + 0.02 * np.sin(np.arange(40) / 5)[:, None] * np.cos(np.arange(40) / 7)).astype(np.float32)
    gradient = slopes(normal_from_depth(depth))
    np.testing.assert_allclose(gradient[0, :, :-1], depth[:, :-1] - depth[:, 1:], atol=1e-6)
    np.testing.assert_allclose(gradient[1, 1:], depth[:-1] - depth[1:], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(decode_normals(normal_from_depth(depth)), axis=0), 1, atol=1e-5)
    assert (decode_normals(np.zeros((3, 2, 2), np.float32))[2] == 1).all()


def test_true_normals_of_a_tilted_plane() -> None:
    """A front that falls away to the right by 45 degrees looks half to the right, half to the camera, at any resolution."""
    for size in (64, 256):
        fall = np.arange(size) * METHOD.size / size / METHOD.depth_unit_px  # as many pixels deep as to the side
        depth = np.broadcast_to((1 + fall).astype(np.float32), (size, size))
        front = camera_normals(normal_from_depth(depth))[5, 5]
        np.testing.assert_allclose(front, (np.sqrt(0.5), 0, np.sqrt(0.5)), atol=1e-3)
        np.testing.assert_allclose(camera_normals(normal_from_depth(depth), back=True)[5, 5], -front, atol=1e-6)


def test_plain_cloud_keeps_the_whole_back_and_exact_depth() -> None:
    front, back = bulge(128)
    palette = np.random.default_rng(0).integers(0, 255, (2, 128, 128, 3)).astype(np.uint8)
    cloud = point_cloud(front, back, palette[0], back_rgb=palette[1])
    count = int((front > 0).sum())
    assert len(cloud.vertices) == 2 * count and len(cloud.faces) == 0
    np.testing.assert_array_equal(cloud.colors[:count], palette[0][front > 0])
    np.testing.assert_array_equal(cloud.colors[count:], palette[1][front > 0])
    away = np.linalg.norm(cloud.vertices - (0, 0, 1), axis=1)
    np.testing.assert_allclose(away[:count], distance_from_nu(front[front > 0]), atol=1e-6)
    towards = np.einsum("ij,ij->i", cloud.normals, np.array([0, 0, 1]) - cloud.vertices)
    assert (towards[:count] > 0).all() and (towards[count:] < 0).all()
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-4)
