"""Model bundles: how they are found and read, and every way in which one can be wrong or hostile."""

from __future__ import annotations

import hashlib
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY
from tiny_bundle import copy_of_tiny_bundle, tiny_bundle

from h2k_rt.bundle import NETWORKS, Bundle, bundle_folders, list_bundles
from h2k_rt.bundle_toml import parse_description
from h2k_rt.constants import METHOD
from h2k_rt.errors import BundleError
from h2k_rt.onnx_scan import NotOnnx, external_tensors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_of_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is searched first; nothing of the user's own."""
    monkeypatch.setenv("H2K_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def zipped(folder: Path, target: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{inside}{path.name}")
    return target


def test_folder_and_zip_give_the_same(folder: Path, tmp_path: Path) -> None:
    plain = Bundle.open(folder)
    plain.verify()
    flat, nested = zipped(folder, tmp_path / "flat.zip"), zipped(folder, tmp_path / "nested.zip", "tiny/")
    for path in (flat, nested):
        bundle = Bundle.open(path)
        assert bundle.description == plain.description
        for name in NETWORKS:
            assert bundle.network(name, "fp16") == Path(plain.network(name, "fp16")).read_bytes()
            assert bundle.network(name) is bundle.network(name), "read and checked once"
        assert bundle.weights() == Path(plain.weights()).read_bytes()
    digest = hashlib.sha256((folder / "low_normal.onnx").read_bytes()).hexdigest()
    assert plain.sha256("low_normal") == digest
    assert plain.precisions("face") == ("fp32", "fp16") and plain.precisions("nose") == ()
    assert plain.networks["high_depth"].outputs["mask"] == (1, 1, "height8", "width8")


def test_constants_replace_the_methods(folder: Path) -> None:
    text = (folder / "model.toml").read_text()
    assert Bundle.open(folder).settings() == METHOD
    extra = "[constants]\nworld_scale = 1.5\ncolour_factors = [0.9, 1, 1.0]\n"
    (folder / "model.toml").write_text(text.replace("[weights]", extra + "[weights]"))
    settings = Bundle.open(folder).settings()
    assert settings.world_scale == 1.5 and settings.colour_factors == (0.9, 1.0, 1.0)
    assert settings.size == METHOD.size


def test_lookup_by_name(models: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bundle_folders()[0] == models and bundle_folders()[1] == tmp_path / "home" / "h2k-rt" / "models"
    with pytest.raises(BundleError, match="no model bundle named 'mine'"):
        Bundle.open("mine")
    zipped(folder, models / "mine.zip")
    (models / "broken").mkdir()
    (models / "broken" / "model.toml").write_text("format = 1")
    (models / "no-bundle").mkdir()
    folder.rename(models / "other")
    assert Bundle.open("mine").location == models / "mine.zip"
    assert Bundle.open("other").location == models / "other"
    found = {b.name: b for b in list_bundles()}
    assert found["mine"].bundle is not None and found["other"].bundle is not None
    assert found["broken"].bundle is None and "colour" not in found["broken"].problem and "missing" in found["broken"].problem
    assert "no-bundle" not in found
    monkeypatch.chdir(models)
    assert Bundle.open("no-bundle/../other").location.samefile(models / "other")
    with pytest.raises(BundleError, match=r"not a model bundle: it has no model\.toml"):
        Bundle.open("no-bundle")
    for wrong in ("", "mine.zip/x", "../nowhere", str(models / "nothing.zip"), "."):
        with pytest.raises(BundleError):
            Bundle.open(wrong)


def change(key: str, value: str) -> Callable[[str], str]:
    """Replace the value of the first line ``key = ...``."""
    return lambda text: re.sub(rf"^{key} = .*$", f"{key} = {value}", text, count=1, flags=re.M)


def drop(pattern: str) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, "", text, count=1, flags=re.M | re.S)


WRONG_DESCRIPTIONS: dict[str, tuple[Callable[[str], str], str]] = {
    "not TOML": (lambda t: t + "\n=", "not TOML"),
    "key twice": (lambda t: 'name = "again"\n' + t, "not TOML"),
    "no format": (drop(r"^format = 1$"), "format: it must be the format's number"),
    "format from the future": (change("format", "2"), "version 2 cannot be read, this h2k-rt reads 1; update h2k-rt"),
    "format true": (change("format", "true"), "format"),
    "method": (change("method", '"pifu"'), "method: 'pifu' is not known"),
    "method of another type": (change("method", "[1]"), "method"),
    "no licence": (drop(r"^licence = [^\n]*$"), "licence: it is missing"),
    "empty licence": (change("licence", '" "'), "licence: it must be a text"),
    "unknown key": (lambda t: 'code = "import os"\n' + t, "code: this key is not known"),
    "name with a path": (change("name", '"../x"'), "name: it may hold"),
    "width 0": (change("width", "0"), "width: it must be positive"),
    "width nan": (change("width", "nan"), "width: it must be a finite number"),
    "width huge": (change("width", "1" + "0" * 400), "width: it must be a finite number"),
    "width of 5000 digits": (change("width", "1" + "0" * 5000), "not TOML"),
    "width text": (change("width", '"1"'), "width"),
    "unknown constant": (
        lambda t: t.replace("[weights]", "[constants]\nsize = 4096\n[weights]"),
        "constants.size: this key is not known",
    ),
    "constant of two numbers": (lambda t: t.replace("[weights]", "[constants]\ncolour_factors = [1, 2]\n[weights]"), "3 numbers"),
    "negative constant": (lambda t: t.replace("[weights]", "[constants]\nworld_scale = -1\n[weights]"), "must be positive"),
    "a share of 1": (lambda t: t.replace("[weights]", "[constants]\nback_low_share = 1\n[weights]"), "must be below 1"),
    "constants no table": (lambda t: "constants = 3\n" + t, "constants: it must be a table"),
    "network missing": (lambda t: t[: t.index("[networks.high_depth]")], "networks.high_depth: it is missing"),
    "network unknown": (lambda t: t + "\n[networks.hair]\nopset = 18\n", "networks.hair: this key is not known"),
    "networks no table": (lambda t: "networks = []\n" + t[: t.index("[networks")], "networks: it must be a table"),
    "no file": (lambda t: re.sub(r"\[networks\.face\.fp\d\d\][^[]*", "", t), "networks.face: it names no file"),
    "opset": (change("opset", "-1"), "opset: it must be a positive whole number"),
    "shape of three": (change("picture", "[3, 256, 256]"), "inputs.picture: it must be four sizes"),
    "shape of zero": (change("picture", "[1, 3, 0, 256]"), "inputs.picture"),
    "shape of true": (change("picture", "[true, 3, 256, 256]"), "inputs.picture"),
    "no profile": (drop(r"^height8 = \[[^\n]*$"), "profile: it must give"),
    "profile falls": (lambda t: t.replace("height = [16, 208, 256]", "height = [256, 16, 16]"), "the sizes must not fall"),
    "other rule": (change("rule", '"exec"'), "check_input.rule: 'exec' is not known"),
    "range of one": (lambda t: t.replace("crops = [-1.0, 1.0]", "crops = [1.0]", 1), "lowest and highest"),
    "digest short": (change("sha256", '"abc"'), "64 lower-case"),
    "digest upper case": (lambda t: re.sub('"([0-9a-f]{64})"', lambda m: m[0].upper(), t, count=1), "64 lower-case"),
    "size beyond the limit": (change("size", str(1 << 40)), "more than a network may have"),
    "size 0": (change("size", "0"), "positive whole number"),
    "other extension": (lambda t: t.replace('"face.onnx"', '"face.pkl"'), "not a .onnx file"),
    "weights pickled": (lambda t: t.replace('"weights.safetensors"', '"weights.pth"'), "not a .safetensors file"),
    **{
        f"path {path}": (lambda t, path=path: t.replace('"face.onnx"', f"'{path}'"), "not a plain path inside the bundle")
        for path in (
            "../face.onnx",
            "/etc/face.onnx",
            "a/../../face.onnx",
            "C:\\face.onnx",
            "C:face.onnx",
            "..\\face.onnx",
            "./face.onnx",
        )
    },
}


@pytest.mark.parametrize("case", WRONG_DESCRIPTIONS)
def test_wrong_description(case: str) -> None:
    edit, message = WRONG_DESCRIPTIONS[case]
    good = (tiny_bundle() / "model.toml").read_text()
    parse_description(good.encode(), "B")
    wrong = edit(good)
    assert wrong != good
    with pytest.raises(BundleError, match=re.escape(message)) as caught:
        parse_description(wrong.encode(), "B")
    assert str(caught.value).startswith("B: model.toml") and "\n" not in str(caught.value)


def test_description_that_is_no_text_or_too_large(folder: Path) -> None:
    (folder / "model.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="not TOML"):
        Bundle.open(folder)
    (folder / "model.toml").write_text("x = " + "[" * 100_000)
    with pytest.raises(BundleError, match="not TOML"):
        Bundle.open(folder)
    (folder / "model.toml").write_text("#" * (1 << 20) + "#")
    with pytest.raises(BundleError, match="larger than"):
        Bundle.open(folder)


def test_changed_missing_and_linked_files(folder: Path, tmp_path: Path) -> None:
    face = folder / "face.onnx"
    data = bytearray(face.read_bytes())
    data[len(data) // 2] ^= 1
    face.write_bytes(data)
    with pytest.raises(BundleError, match=r"face\.onnx of bundle .* has changed since it was made; download or export it again"):
        Bundle.open(folder).network("face")
    face.write_bytes(data[:-1])
    with pytest.raises(BundleError, match="bytes instead of"):
        Bundle.open(folder).verify()
    face.unlink()
    with pytest.raises(BundleError, match=r"face\.onnx of bundle .* is missing"):
        Bundle.open(folder).network("face")
    outside = tmp_path / "outside.onnx"
    outside.write_bytes((folder / "upper.onnx").read_bytes())
    (folder / "upper.onnx").unlink()
    (folder / "upper.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="link out of the bundle"):
        Bundle.open(folder).network("upper")
    face.mkdir()
    with pytest.raises(BundleError, match="not a plain file"):
        Bundle.open(folder).network("face")
    with pytest.raises(BundleError, match="no network 'nose'"):
        Bundle.open(folder).network("nose")
    with pytest.raises(BundleError, match="only as fp32, fp16, not as int8"):
        Bundle.open(folder).network("leg", "int8")
    (folder / "weights.safetensors").write_bytes(b"x" * 9)
    with pytest.raises(BundleError, match=r"weights\.safetensors"):
        Bundle.open(folder).weights()


def state_file(folder: Path, name: str, data: bytes) -> None:
    """Put ``data`` in place of a file, and its size and digest into the description: what a hostile bundle would do."""
    text = (folder / "model.toml").read_text()
    head, tail = text.split(f'file = "{name}"', 1)
    tail = change("sha256", f'"{hashlib.sha256(data).hexdigest()}"')(tail)
    (folder / "model.toml").write_text(head + f'file = "{name}"' + change("size", str(len(data)))(tail))
    (folder / name).write_bytes(data)


def test_graphs_that_point_outside_or_are_none(folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(folder / "face.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    state_file(folder, "face.onnx", model.SerializeToString())
    with pytest.raises(BundleError, match="in another file; only single-file ONNX graphs"):
        Bundle.open(folder).network("face")
    for data in (b"\x80\x04K\x01.", b"hello", b"\0" * 100, (folder / "upper.onnx").read_bytes()[:-5]):
        state_file(folder, "upper.onnx", data)
        with pytest.raises(BundleError, match="is not an ONNX graph"):
            Bundle.open(folder).network("upper")


def test_external_data_is_found_wherever_a_tensor_can_be() -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    outside = helper.make_tensor("secret", TensorProto.FLOAT, [1], [1.0])
    outside.external_data.add(key="location", value="x")
    inside = helper.make_tensor("plain", TensorProto.FLOAT, [1], [1.0])

    def model(tensor: object, place: str) -> bytes:
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
        constant = helper.make_node("Constant", [], ["y"], value=tensor)
        nodes, functions, weights = [constant], [], []
        if place == "branch":
            branch = helper.make_graph([constant], "branch", [], [out])
            nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
        elif place == "function":
            functions = [helper.make_function("own", "F", [], ["y"], [constant], [helper.make_opsetid("", 18)])]
            nodes = [helper.make_node("F", [], ["y"], domain="own")]
        elif place == "weight":
            weights = [tensor]
        graph = helper.make_graph(nodes, "g", [], [out], weights)
        return helper.make_model(graph, functions=functions).SerializeToString()

    for place in ("attribute", "branch", "function", "weight"):
        assert external_tensors(model(inside, place)) == []
        assert set(external_tensors(model(outside, place))) == {"secret"}, place
    assert onnx.__version__


def test_scan_of_damaged_graphs_ends_with_its_own_error() -> None:
    data = (tiny_bundle() / "high_depth.onnx").read_bytes()
    assert external_tensors(memoryview(data)) == []
    for cut in range(0, len(data) - 1, 97):
        try:
            external_tensors(data[:cut])  # a cut between two fields can leave a sound message
        except NotOnnx:
            continue
    deep = b""
    for _ in range(100):  # graph in attribute in node in graph ...
        for key in (0x32, 0x2A, 0x0A):
            size = len(deep)
            length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
            deep = bytes([key]) + length + deep
    with pytest.raises(NotOnnx):
        external_tensors(bytes([0x3A]) + bytes([len(deep) & 0x7F | 0x80, len(deep) >> 7 & 0x7F | 0x80, len(deep) >> 14]) + deep)


def attack(target: Path, *entries: tuple[str, bytes], mode: int = 0o644, description: bytes | None = None) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.toml", description or (tiny_bundle() / "model.toml").read_bytes())
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return target


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    for name in ("../evil.onnx", "/evil.onnx", "a/../../evil", "C:/evil", "..\\evil"):
        with pytest.raises(BundleError, match="a path out of the bundle"):
            Bundle.open(attack(path, (name, b"")))
    with pytest.raises(BundleError, match="symbolic link"):
        Bundle.open(attack(path, ("face.onnx", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777))
    with pytest.raises(BundleError, match="twice"):
        Bundle.open(attack(path, ("face.onnx", b"a"), ("face.onnx", b"b")))
    with pytest.raises(BundleError, match="entries; that is no model bundle"):
        Bundle.open(attack(path, *((f"{i}.onnx", b"") for i in range(1001))))
    with pytest.raises(BundleError, match=r"more than one model\.toml"):
        Bundle.open(attack(path, ("a/model.toml", b"")))
    with pytest.raises(BundleError, match="is missing"):
        Bundle.open(attack(path)).network("face")


def test_archive_bombs_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    zeros = bytes(64 << 20)
    limit = Bundle.open(tiny_bundle()).networks["face"].files["fp32"].size
    with pytest.raises(BundleError, match=f"more than {limit} bytes instead of {limit}"):
        Bundle.open(attack(path, ("face.onnx", zeros))).network("face")
    with pytest.raises(BundleError, match="too large"):
        Bundle.open(attack(path, description=zeros))
    # The same with a directory that lies about the size.
    data = bytearray(attack(path, ("face.onnx", zeros)).read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"face.onnx"))
    data[at + 24 : at + 28] = limit.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(BundleError):
        Bundle.open(path).network("face")


def test_broken_archives(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"not an archive")
    with pytest.raises(BundleError, match=r"not a sound \.zip"):
        Bundle.open(path)
    data = zipped(folder, path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match=r"not a sound \.zip"):
        Bundle.open(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(BundleError, match=r"no model\.toml"):
        Bundle.open(path)
    at = data.index(b"face.onnx") + 2000  # inside its packed bytes
    path.write_bytes(data[:at] + bytes(b ^ 0xFF for b in data[at : at + 64]) + data[at + 64 :])
    with pytest.raises(BundleError):
        Bundle.open(path).network("face")
    encrypted = bytearray(data)
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        encrypted[encrypted.index(mark) + offset] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(BundleError, match="is encrypted"):
        Bundle.open(path)


def test_reading_needs_the_standard_library_only() -> None:
    code = (
        "import sys; from h2k_rt.bundle import Bundle\n"
        f"Bundle.open({str(tiny_bundle())!r}).verify()\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'onnx', 'torch', 'onnxruntime', 'cv2'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
