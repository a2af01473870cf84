"""Part and trunk examples against the pipeline's own warps and fusion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from h2k_export import torch_engines
from h2k_kernels import warp_parts
from training_data import WIDTH, capsule_dataset, tiny_config

from h2k_rt.constants import METHOD, PART_GROUPS
from h2k_rt.data.dataset import Sample
from h2k_rt.inference import CROPS, run_networks
from h2k_rt.parts import fit_parts
from h2k_rt.picture import prepare_picture
from h2k_rt.training.data import FolderSource
from h2k_rt.training.initial import fresh_networks
from h2k_rt.training.low_stage import both_normals
from h2k_rt.training.nets import PART_NAMES
from h2k_rt.training.parts_stage import PartExamples, collate_parts, upsampled, warp_prior
from h2k_rt.training.phase2 import TrunkExamples, random_crop
from h2k_rt.training.prepared import FrozenNetworks, Prepared, load_prepared, save_prepared
from h2k_rt.training.state import Networks
from h2k_rt.training.trainer import to_device

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return capsule_dataset(tmp_path_factory.mktemp("data") / "set", METHOD.size, 1)


@pytest.fixture(scope="module")
def sample(folder: Path) -> Sample:
    return FolderSource([folder]).read(0)


def test_crops_without_augmentation_are_those_of_use(folder: Path, sample: Sample) -> None:
    assert sample.rgb is not None and sample.mask is not None and sample.depth is not None
    example = PartExamples(tiny_config(), PART_NAMES, augmented=False)(FolderSource([folder]), 0, RNG(0))
    picture = prepare_picture(sample.rgb, sample.mask, METHOD.colour_factors, -2.0)
    matrices = fit_parts(sample.joints, METHOD.size).to_canvas
    low = RNG(1).uniform(0, 1, (3, 256, 256)).astype(np.float32)
    expected = warp_parts(picture, low, matrices, CROPS)
    normals = both_normals(torch.from_numpy(sample.depth)[None])[0].permute(1, 2, 0).numpy()
    blank = np.zeros((3, 8, 8), np.float32)
    targets = [warp_parts(np.ascontiguousarray(normals[..., side]), blank, matrices, CROPS) for side in (np.s_[:3], np.s_[3:])]
    batch = collate_parts([example | {"sample": 0}])
    canvases = upsampled(torch.from_numpy(low)[None])
    for place, group in enumerate(PART_GROUPS):
        crops = batch["crops"][group.name]
        assert len(crops["picture"]) == len(group.parts), group.name
        np.testing.assert_allclose(crops["picture"].numpy(), expected[place][:, :3], atol=1e-5)
        prior = warp_prior(canvases, crops, group).numpy()
        np.testing.assert_allclose(prior, expected[place][:, 3:], atol=1e-3)
        front, back = (side[place][:, :3] for side in targets)
        np.testing.assert_allclose(crops["target"].numpy(), np.concatenate([front, back], 1), atol=1e-5)


def test_augmented_crops_move_and_name_their_sample(folder: Path) -> None:
    maker = PartExamples(tiny_config(parts={"crops": [2, 1, 0, 1, 3], "batch": 1}), PART_NAMES)
    examples = [maker(FolderSource([folder]), 0, RNG(seed)) | {"sample": 7} for seed in (0, 1)]
    batch = collate_parts(examples)
    counts = {name: len(crops["picture"]) for name, crops in batch["crops"].items()}
    assert counts == {"face": 4, "upper": 2, "leg": 2, "shoe": 6}
    assert batch["crops"]["face"]["of"].tolist() == [0, 0, 1, 1] and batch["sample"].tolist() == [7, 7]
    first, second = batch["crops"]["face"]["to_canvas"][:2]
    assert not torch.equal(first, second)


def test_a_window_is_a_piece_of_its_crop(folder: Path) -> None:
    """A crop of which a window is trained on gives the same numbers there as the whole crop."""
    names = ("upper", "arm")
    crops = {"crops": [0, 1, 4, 0, 0], "flip": 0.0}
    source = FolderSource([folder])
    whole = PartExamples(tiny_config(parts=crops), names)(source, 0, RNG(3))
    piece = PartExamples(tiny_config(parts=crops | {"window": 0.6}), names)(source, 0, RNG(3))
    group = next(group for group in PART_GROUPS if group.name == "upper")
    ours, theirs = piece["crops"]["upper"], whole["crops"]["upper"]
    (row, column), (height, width) = ours["corner"][0].tolist(), ours["picture"].shape[2:]
    assert (height, width) == (320, 208) and (row, column) != (0, 0)
    window = np.s_[:, :, row : row + height, column : column + width]
    assert torch.equal(ours["picture"], theirs["picture"][window]) and torch.equal(ours["target"], theirs["target"][window])
    canvases = upsampled(torch.rand(1, 3, 256, 256))
    at = {"of": torch.zeros(1, dtype=torch.int64)}
    torch.testing.assert_close(warp_prior(canvases, ours | at, group), warp_prior(canvases, theirs | at, group)[window])


def test_parts_without_joints_are_left_out(folder: Path) -> None:
    class Headless(FolderSource):
        def read(self, index: int) -> Sample:
            found = super().read(index)
            joints = found.joints.copy()
            joints[:5] = 0
            return replace(found, joints=joints)

    example = PartExamples(tiny_config(), PART_NAMES, augmented=False)(Headless([folder]), 0, RNG(0))
    assert "face" not in example["crops"] and len(example["crops"]["arm"]["picture"]) == 4


@pytest.mark.slow
def test_the_trunk_reads_what_it_reads_in_use(folder: Path, sample: Sample, tmp_path: Path) -> None:
    assert sample.rgb is not None and sample.mask is not None and sample.depth is not None
    config = tiny_config(trunk={"prepared": 4})
    net = fresh_networks(WIDTH, 1, "random").eval()
    method = replace(METHOD, background_value=-2.0)
    picture = prepare_picture(sample.rgb, sample.mask, METHOD.colour_factors, -2.0)
    transforms = fit_parts(sample.joints, METHOD.size)
    maps = run_networks(torch_engines(net, fold=True), picture, transforms, method, person=sample.mask, threads=1)
    prepared = FrozenNetworks(net, method).prepare(sample, config, RNG(0), augmented=False)
    x0, y0, x1, y1 = prepared.box
    assert not any(n % 8 for n in prepared.box)
    np.testing.assert_allclose(prepared.normals, maps.normals[:, y0:y1, x0:x1], atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose(prepared.low_depth, maps.low_depth[:, y0 // 8 : y1 // 8, x0 // 8 : x1 // 8], atol=1e-6)
    np.testing.assert_array_equal(prepared.depth, sample.depth[:, y0:y1, x0:x1])
    assert (sample.depth > 0).sum() == (prepared.depth > 0).sum()
    # A second draw of the same sample reads the file of the first.
    maker = TrunkExamples(config, FrozenNetworks(net, method), tmp_path, "key")
    first = maker(FolderSource([folder]), 0, RNG(5))
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    again = maker(FolderSource([folder]), 0, RNG(5))
    assert file.stat().st_mtime_ns == stamp and torch.equal(first["normals"], again["normals"])


def test_crops_of_the_trunk_keep_their_phase(tmp_path: Path) -> None:
    """Low depth, normals and depth of a crop are of one place, and it begins on a whole low-resolution pixel."""
    y, x = np.mgrid[:160, :240].astype(np.float32)
    place = y * 1000 + x
    coarse = np.stack([place[::8, ::8]] * 2)
    made = Prepared((64, 8, 304, 168), np.stack([y, x, y, x, y, x]).astype(np.float16), np.stack([place + 1] * 2), coarse)
    save_prepared(tmp_path / "a.bin", made)
    prepared = load_prepared(tmp_path / "a.bin")
    assert prepared.box == made.box
    starts = set()
    for seed in range(12):
        low, normals, depth = random_crop(prepared, (64, 80), RNG(seed))
        assert low.shape == (2, 8, 10) and normals.shape == (6, 64, 80) and depth.shape == (2, 64, 80)
        np.testing.assert_array_equal(depth[0, ::8, ::8] - 1, low[0])
        np.testing.assert_array_equal(normals[0] * 1000 + normals[1], depth[0] - 1)
        assert low[0, 0, 0] % 1000 % 8 == 0 and low[0, 0, 0] // 1000 % 8 == 0
        starts.add(float(low[0, 0, 0]))
    assert len(starts) > 6
    low, _, depth = random_crop(prepared, (192, 256), RNG(0))
    assert (low[0, 20:] == METHOD.front_background).all() and not depth[:, 160:].any() and (low[1, 20:] == 0).all()


@pytest.mark.slow
def test_steps_of_parts_have_gradients(folder: Path, tmp_path: Path) -> None:
    from h2k_rt.training.stages import make_stages

    names = ("face", "arm", "shoe")
    config = tiny_config()
    networks = Networks(fresh_networks(WIDTH, 1, "random"), names, config, torch.device("cpu"))
    (stage,) = make_stages(config, names, lambda size: FolderSource([folder], size), networks, tmp_path)
    batch = stage.collate([stage.maker(stage.source, 0, RNG(0)) | {"sample": 0}])
    updates = []
    for update in stage.updates(to_device(batch, networks.device), networks):
        update.loss.backward()
        updates.append(update.networks)
    assert updates == [("face",), ("arm",), ("shoe",)]
    for name in names:
        gradients = [p.grad for p in networks.raw[name].parameters()]
        assert all(g is not None and torch.isfinite(g).all() for g in gradients), name
    figures = stage.measure(stage.collate([stage.holdout_maker(stage.source, 0, RNG(0)) | {"sample": 0}]), networks)
    assert {"face/normal_front", "arm/normal_back", "shoe/normal_front_constant"} <= figures.keys()
    assert stage.pictures(batch, networks).shape[0] == 3
