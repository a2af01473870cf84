"""Order of the samples, augmentation, and low-resolution examples: against the pipeline's own preparation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_data import capsule_dataset, tiny_config

from h2k_rt.constants import JOINT_NAMES, METHOD
from h2k_rt.data.dataset import Dataset
from h2k_rt.errors import DataError
from h2k_rt.picture import apply_colour_factors, cut_out, low_picture, prepare_picture
from h2k_rt.training.augment import (
    MIRRORED_JOINTS,
    colour_factors_of_crop,
    imperfect_mask,
    mirrored_joints,
    network_picture,
)
from h2k_rt.training.config import AugmentConfig
from h2k_rt.training.data import Draw, DrawSampler, Examples, FolderSource
from h2k_rt.training.losses import normal_from_depth
from h2k_rt.training.low_stage import LowExamples, both_normals, mirrored, person_window, reduced_depth, reduced_picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return capsule_dataset(tmp_path_factory.mktemp("data") / "set", 512, 3)


def test_each_epoch_has_every_sample_once_in_another_order() -> None:
    batches = iter(DrawSampler(10, 5, seed=3))
    epochs = [[draw.index for _ in range(2) for draw in next(batches)] for _ in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_processes_share_the_batches_of_one() -> None:
    one = iter(DrawSampler(7, 6, seed=1))
    shares = [iter(DrawSampler(7, 3, seed=1, rank=rank, world=2)) for rank in (0, 1)]
    for _ in range(5):
        whole = next(one)
        parts = [next(share) for share in shares]
        assert sorted(whole, key=lambda d: d.number) == sorted(parts[0] + parts[1], key=lambda d: d.number)


def test_a_later_start_gives_the_same_batches() -> None:
    early, late = iter(DrawSampler(7, 4, seed=1)), iter(DrawSampler(7, 4, seed=1, first=5))
    for _ in range(5):
        next(early)
    assert [next(early) for _ in range(3)] == [next(late) for _ in range(3)]


def test_an_example_follows_from_its_draw(folder: Path) -> None:
    config = tiny_config()
    examples = Examples(FolderSource([folder]), LowExamples(config), seed=1, stage=1)
    first, again, other = examples[Draw(0, 4)], examples[Draw(0, 4)], examples[Draw(0, 5)]
    assert torch.equal(first["picture"], again["picture"]) and torch.equal(first["depth"], again["depth"])
    assert not torch.equal(first["picture"], other["picture"])


def test_without_augmentation_the_picture_is_that_of_use(folder: Path) -> None:
    sample = Dataset(folder).read("000001")
    assert sample.rgb is not None and sample.mask is not None
    for background in (-2.0, None):
        ours = network_picture(sample.rgb, sample.mask, background, None, np.random.default_rng(0))
        theirs = prepare_picture(sample.rgb, sample.mask, METHOD.colour_factors, background)
        np.testing.assert_array_equal(ours.whole(), theirs)
        np.testing.assert_allclose(reduced_picture(ours), low_picture(theirs, 256)[0], atol=1e-6)


def test_colour_factors_of_a_crop_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(5)
    whole = np.zeros((60, 80, 3), np.uint8)
    whole[10:50, 20:70] = rng.integers(0, 256, (40, 50, 3))
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        factors = tuple(rng.uniform(0.7, 1, 3).tolist())
        crop, black = colour_factors_of_crop(whole[10:50, 20:70], factors, order, 60 * 80)
        expected = apply_colour_factors(whole, factors, order)
        np.testing.assert_array_equal(crop, expected[10:50, 20:70])
        assert (expected[0, 0] == black).all()


def test_depth_is_sub_sampled_as_published() -> None:
    depth = np.random.default_rng(0).uniform(0, 4, (2, 2048, 2048)).astype(np.float32)
    np.testing.assert_array_equal(reduced_depth(depth), depth[:, 3::8, 3::8])


def test_the_mask_moves_at_most_so_far() -> None:
    mask = np.zeros((512, 512), np.uint8)
    mask[100:400, 200:300] = 255
    config = AugmentConfig(mask_shift=6.0, mask_holes=0.0)
    scale, moved = 1.0, 0
    for seed in range(8):
        found = imperfect_mask(mask, config, np.random.default_rng(seed), scale)
        on = found > 127
        assert on[110:390, 210:290].all(), "more than 10 pixels in"
        assert not on[:, :190].any() and not on[:, 310:].any() and not on[:90].any() and not on[410:].any()
        moved += int((on != (mask > 127)).sum())
    assert moved > 1000
    unchanged = imperfect_mask(mask, AugmentConfig(mask_shift=0, mask_holes=0), np.random.default_rng(0), scale)
    np.testing.assert_array_equal(unchanged, mask)


def test_mirroring(folder: Path) -> None:
    sample = Dataset(folder).read("000000")
    twice = mirrored(mirrored(sample))
    np.testing.assert_allclose(twice.joints, sample.joints, rtol=1e-12)
    np.testing.assert_array_equal(twice.depth, sample.depth)
    names = [JOINT_NAMES[i] for i in MIRRORED_JOINTS]
    assert names[5] == "right_shoulder" and names[0] == "nose" and names[27] == "left_index"
    joints = np.zeros((31, 3))
    joints[5] = (10, 20, 1)
    there = mirrored_joints(joints, 100)
    np.testing.assert_array_equal(there[6], (90, 20, 1))
    assert not there[np.arange(31) != 6].any()


def test_mirrored_normals_are_those_of_the_mirrored_depth(folder: Path) -> None:
    """Targets come from the mirrored depth; a mirrored picture of the normals would be wrong by a pixel and a sign."""
    sample = mirrored(Dataset(folder).read("000000"))
    depth = torch.from_numpy(reduced_depth(sample.depth))[None]  # type: ignore[arg-type]
    normals = both_normals(depth)
    assert torch.equal(normals[:, :3], normal_from_depth(depth[:, :1])) and normals.shape == (1, 6, 256, 256)


def test_windows_hold_the_person_or_lie_on_it() -> None:
    rng = np.random.default_rng(0)
    person = np.zeros((256, 256), bool)
    person[40:230, 100:160] = True
    for _ in range(20):
        rows, columns = person_window(person, (224, 144), 12, rng)
        assert rows.stop - rows.start == 224 and columns.stop - columns.start == 144
        assert person[rows, columns].sum() == person.sum()
    person[:, 20:240] = True
    starts = {person_window(person, (224, 144), 12, rng)[1].start for _ in range(50)}
    assert min(starts) < 40 and max(starts) > 70 and max(starts) <= 256 - 144


def test_datasets_that_cannot_be_trained_on(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="not a dataset"):
        FolderSource([tmp_path])
    with pytest.raises(DataError, match="need samples of 2048 pixels"):
        FolderSource([folder], 2048)
    with pytest.raises(DataError, match="no samples yet"):
        FolderSource([capsule_dataset(tmp_path / "empty", 256, 0)])
    with pytest.raises(DataError, match="a multiple of 256"):
        FolderSource([capsule_dataset(tmp_path / "odd", 300, 1)])
    broken = capsule_dataset(tmp_path / "broken", 256, 1)
    file = broken / "samples" / "000000" / "depth_back.png"
    file.unlink()
    with pytest.raises(DataError, match=r"depth_back\.png: missing"):
        FolderSource([broken]).read(0)


def test_cut_out_is_what_the_picture_shows(folder: Path) -> None:
    """Background of the rendering must not be seen where the mask is 0."""
    sample = Dataset(folder).read("000002")
    assert sample.rgb is not None and sample.mask is not None
    picture = network_picture(sample.rgb, sample.mask, -2.0, tiny_config().augment, np.random.default_rng(1))
    assert (picture.values[picture.mask == 0] == -2).all() and picture.values[picture.mask == 255].min() >= -1
    assert cut_out(sample.rgb, sample.mask)[sample.mask == 0].max() == 0
