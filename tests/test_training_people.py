"""People drawn while they are trained on."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import shared_dir
from training_data import tiny_config

ASSETS = shared_dir() / "assets" / "makehuman"
pytestmark = pytest.mark.skipif(not ASSETS.is_dir(), reason="no MakeHuman assets; set H2K_SHARED")


@pytest.mark.slow
def test_a_sample_is_that_of_the_generator(tmp_path: Path) -> None:
    """Also after the source has gone to another process; and a training runs on it."""
    pytest.importorskip("anny")
    from h2k_rt.data.people.generate import make_sample, open_factory
    from h2k_rt.training.distributed import World
    from h2k_rt.training.job import Job, Limit, PeopleOptions
    from h2k_rt.training.people_source import PeopleSource
    from h2k_rt.training.trainer import Trainer, torch

    source = PeopleSource(256, 1000, seed=4, assets=ASSETS)
    first = source.read(3)
    again = pickle.loads(pickle.dumps(source)).read(3)
    _, made = make_sample(open_factory(ASSETS, "train", 256), 4, 3, 256)
    for sample in (first, again):
        assert sample.rgb is not None and sample.depth is not None and sample.mask is not None
        np.testing.assert_array_equal(sample.rgb, made.rgb)
        np.testing.assert_array_equal(sample.depth, made.depth)
        np.testing.assert_array_equal(sample.joints, made.joints)
    assert source.name(3) == "person 3 of seed 4" and len(source) == 1000
    options = PeopleOptions(1000, ASSETS)
    job = Job(tiny_config(low={"batch": 1}), 1, ("low_depth",), (), tmp_path / "run", Limit(steps=1), people=options)
    assert Trainer(job, World(0, 1, torch.device("cpu"))).run().is_file()
