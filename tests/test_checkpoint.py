"""Import of checkpoints in the published format: strict about names and shapes, and deaf to code."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import WIDTH, published, tiny_bundle, tiny_state

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import h2k_export.checkpoint as checkpoint  # noqa: E402
from h2k_export import export_bundle, import_checkpoint, load_human_net, read_checkpoint  # noqa: E402
from h2k_export.export import export_network  # noqa: E402
from h2k_export.specs import GRAPHS  # noqa: E402
from h2k_export.weights import net_of_state, stated_constants  # noqa: E402
from h2k_export.wrappers import exported_modules  # noqa: E402

from h2k_rt.bundle import Bundle  # noqa: E402
from h2k_rt.constants import METHOD, PUBLISHED_WORLD_SCALE  # noqa: E402
from h2k_rt.errors import BundleError, CheckpointError, MissingPackageError, OutputError  # noqa: E402


@pytest.fixture
def state() -> dict[str, Any]:
    return dict(tiny_state())


def test_published_format_makes_the_bundle_of_its_weights(tmp_path: Path, state: dict[str, Any]) -> None:
    """The bundle of a checkpoint with prefixed keys; a graph is byte for byte that of the same weights without the detour."""
    bundle = Bundle.open(tiny_bundle())
    weights = load_human_net(bundle.weights())
    assert all(np.array_equal(weights.state_dict()[key].numpy(), value) for key, value in state.items())
    module = exported_modules(load_human_net(state))["shoe"]
    ((_, direct),) = export_network(module, GRAPHS["shoe"], ("fp32",), False)
    assert Path(bundle.network("shoe")).read_bytes() == direct
    assert bundle.licence.startswith("CC BY-NC") and bundle.width == WIDTH
    assert bundle.constants == {}, "the constants of the published weights are not those of another training"
    torch.save(published(state), tmp_path / "c")
    with pytest.raises(OutputError, match="exists already"):
        import_checkpoint(tmp_path / "c", tmp_path)


def test_published_size_loads_strictly(tmp_path: Path) -> None:
    """All 1504 entries at width 1, 77 655 212 parameters; zeros, since only names and shapes matter here."""
    from h2k_rt.networks import HumanNet

    with torch.device("meta"):
        shapes = {k: (tuple(v.shape), v.dtype) for k, v in HumanNet(1.0).state_dict().items()}
    assert len(shapes) == 1504
    full = {f"module.{k}": torch.zeros((), dtype=dtype).expand(shape) for k, (shape, dtype) in shapes.items()}
    torch.save(
        {"epoch": 1, "model": "Model", "best_loss": 1.0, "model_state_dict": full, "optimizer_state_dict": {}}, tmp_path / "c"
    )
    net = net_of_state(read_checkpoint(tmp_path / "c"), "c", 1.0)
    assert sum(p.numel() for p in net.parameters()) == 77_655_212 and not net.training
    assert checkpoint.PUBLISHED_CONSTANTS["world_scale"] == PUBLISHED_WORLD_SCALE
    assert checkpoint.PUBLISHED_CONSTANTS["person_height_px"] == pytest.approx(METHOD.person_height_px * 2.8 / 2.7, rel=1e-3)


@pytest.mark.parametrize("best", [0.5, np.float64(0.5), np.float32(0.5), torch.tensor(0.5)], ids=lambda b: type(b).__name__)
def test_the_best_loss_may_be_any_number(tmp_path: Path, best: Any) -> None:
    torch.save(published({"a": np.ones(3, np.float32)}, best_loss=best), tmp_path / "c")
    assert list(read_checkpoint(tmp_path / "c")) == ["a"]


def test_the_older_file_format_is_read_too(tmp_path: Path) -> None:
    torch.save(published({"a": np.ones(3, np.float32)}, "module.module."), tmp_path / "c", _use_new_zipfile_serialization=False)
    assert read_checkpoint(tmp_path / "c")["a"].tolist() == [1, 1, 1]


def without(pattern: str) -> Callable[[dict], dict]:
    return lambda state: {k: v for k, v in state.items() if pattern not in k}


def with_value(key: str, value: Any) -> Callable[[dict], dict]:
    return lambda state: state | {key: value}


KEY = "refine.depth1.up.1.weight"
WRONG_STATES: dict[str, tuple[Callable[[dict], dict], str]] = {
    "phase 1": (without("refine."), "training phase 1: it has no refine"),
    "one missing": (without(KEY), f"lacks {KEY}"),
    "many missing": (without("img2normal_leg"), "and 181 more"),
    "one more": (with_value("extra.weight", np.ones(3, np.float32)), "holds extra.weight, which"),
    "another network": (lambda s: {"conv1.weight": np.ones((4, 3, 3, 3), np.float32)}, "does not hold the networks of this method"),
    "shape": (with_value(KEY, np.ones((3, 2, 3, 3), np.float32)), f"{KEY} has shape \\(3, 2, 3, 3\\) instead of"),
    "flattened": (with_value(KEY, np.ones(36, np.float32)), f"{KEY} has shape"),
    "type": (with_value("refine.merge3_2.bias", np.ones(3, np.int64)), "has type torch.int64 instead of torch.float32"),
    "nan": (with_value("refine.merge3_2.bias", np.array([0, np.nan, 0], np.float32)), "not finite"),
    "inf": (with_value("refine.merge3_2.bias", np.array([0, np.inf, 0], np.float32)), "not finite"),
    "negative variance": (lambda s: s | {k: -v for k, v in s.items() if k.endswith("running_var")}, "negative variance"),
    "odd width": (with_value("img2normal_face.Conv1.conv.0.weight", np.ones((6, 6, 3, 3), np.float32)), "multiple of 4"),
}


@pytest.mark.parametrize("case", WRONG_STATES)
def test_wrong_weights(tmp_path: Path, state: dict[str, Any], case: str) -> None:
    edit, message = WRONG_STATES[case]
    torch.save(published(edit(state)), tmp_path / "c.pth.tar")
    with pytest.raises(CheckpointError, match=message) as caught:
        import_checkpoint(tmp_path / "c.pth.tar", tmp_path / "bundle")
    assert "c.pth.tar" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "bundle").exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    target, file = tmp_path / "ran", tmp_path / "c"
    bomb = Bomb(target)
    assert pickle.loads(pickle.dumps(bomb)) is None and target.exists(), "the bomb works"
    target.unlink()
    writers = {
        "as the whole": lambda: torch.save(bomb, file),
        "as the state": lambda: torch.save({"model_state_dict": bomb}, file),
        "as a value": lambda: torch.save(published({"a": np.ones(1, np.float32)}, best_loss=bomb), file),
        "as a key's value": lambda: torch.save(published({}) | {"model_state_dict": {"a": bomb}}, file),
        "old format": lambda: torch.save({"a": bomb}, file, _use_new_zipfile_serialization=False),
        "bare pickle": lambda: file.write_bytes(pickle.dumps({"model_state_dict": bomb})),
        "old protocol": lambda: file.write_bytes(pickle.dumps({"model_state_dict": bomb}, 2)),
        "module": lambda: torch.save({"model_state_dict": torch.nn.Linear(1, 1)}, file),
        "script": lambda: torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), file),
    }
    for case, write in writers.items():
        write()
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(file)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value), case
        assert not target.exists(), case


def test_other_files(tmp_path: Path) -> None:
    file = tmp_path / "c"
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        read_checkpoint(file)
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        read_checkpoint(tmp_path)
    torch.save(published({"a": np.ones(1000, np.float32)}), file)
    whole = file.read_bytes()
    contents = [
        b"",
        b"hello",
        b"\0" * 1000,
        whole[:200],
        whole[: len(whole) // 2],
        struct.pack("<Q", 1 << 60) + b"{}",
        b"\x80\x02.",
    ]
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"is not a PyTorch checkpoint, or it is damaged|refused unopened"):
            read_checkpoint(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.toml", "")
    with pytest.raises(CheckpointError):
        read_checkpoint(file)
    for content, message in (
        ([1, 2], "holds a list"),
        ({"state_dict": {}}, "no model_state_dict"),
        ({"model_state_dict": [1]}, "no model_state_dict"),
        ({"model_state_dict": {"a": "text"}}, "is not a tensor"),
        ({"model_state_dict": {3: torch.ones(1)}}, "is not a tensor"),
        ({"model_state_dict": {"a": torch.ones(3).to_sparse()}}, "is not a plain tensor"),
        ({"model_state_dict": {"a": torch.ones(1), "module.a": torch.ones(1)}}, "holds a twice"),
    ):
        torch.save(content, file)
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(file)


def test_a_torch_that_can_be_made_to_run_code_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(MissingPackageError, match="CVE-2025-32434"):
        read_checkpoint(tmp_path / "c")


def test_safetensors_files(tmp_path: Path, state: dict[str, Any]) -> None:
    from safetensors.numpy import save_file

    file = tmp_path / "w.safetensors"
    save_file(state, file)
    assert load_human_net(file).width == WIDTH
    assert load_human_net(file.read_bytes(), WIDTH).width == WIDTH
    assert stated_constants(file) == {}
    save_file(state, file, {"constants": '{"background_value": -2.0}'})
    assert stated_constants(file) == {"background_value": -2.0}
    save_file(state, file, {"constants": '{"size": 1}'})
    with pytest.raises(BundleError, match="cannot state size; it can state colour_factors"):
        export_bundle(file, tmp_path / "bundle", name="x", licence="x", trained_on="x")
    for wrong in ("[1]", "{"):
        save_file(state, file, {"constants": wrong})
        with pytest.raises(CheckpointError, match="not a JSON object"):
            stated_constants(file)
    with pytest.raises(CheckpointError, match=r"w\.safetensors has width 0\.0625, not 0\.25"):
        load_human_net(file, 0.25)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"w\.safetensors is not a sound \.safetensors file"):
        load_human_net(file)
    with pytest.raises(CheckpointError, match="there are no weights"):
        load_human_net(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="the bundle's weights"):
        load_human_net(b"nothing")
