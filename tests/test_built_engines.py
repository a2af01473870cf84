"""Engines built ahead: built, checked, kept, chosen. The builder is ONNX Runtime's, the device the emulated one."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from cli_runner import Cli, in_process
from h2k_engines import EngineFailure, OnnxRuntimeEngine, check_feeds_of
from h2k_engines.cache import EngineCache
from host_builder import HostBuilder
from host_runtime import HostRuntime

from h2k_rt import engine_check
from h2k_rt.build_engines import Row, build_engines, unusable
from h2k_rt.built_engines import BuiltEngines, any_built, precisions
from h2k_rt.bundle import NETWORKS, Bundle
from h2k_rt.engine_check import compare, run_once
from h2k_rt.engines import DeviceEngines, resolve, why_not_gpu
from h2k_rt.errors import BundleError, EngineError


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open("small")


class Case:
    """Built engines of the model small with what they told."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.told: list[str] = []
        self.runtime = HostRuntime()
        self.builder = HostBuilder(self.runtime, folder / "sources")
        self.cache = EngineCache(folder / "engines", self.told.append)
        self.engines = self.again(bundle)

    def again(self, bundle: Bundle) -> BuiltEngines:
        return BuiltEngines(bundle, self.builder, self.cache, self.runtime, threads=1, tell=self.told.append)  # type: ignore[arg-type]


@pytest.fixture
def case(tmp_path: Path, bundle: Bundle) -> Case:
    return Case(tmp_path, bundle)


def test_precisions(bundle: Bundle) -> None:
    assert precisions(bundle, "face", "auto") == precisions(bundle, "face", "fp16") == ("fp16", "fp32")
    assert precisions(bundle, "high_depth", "auto") == ("fp32",), "the trunk carries depth"
    assert precisions(bundle, "high_depth", "fp16") == ("fp16", "fp32")
    assert precisions(bundle, "face", "fp32") == ("fp32",)


def test_built_checked_and_kept(case: Case, bundle: Bundle) -> None:
    stream = case.runtime.stream()
    assert case.engines.usable("shoe", "auto") is None and not any_built(bundle, case.cache)
    obtained = case.engines.obtain("shoe", "fp16", stream)  # type: ignore[arg-type]
    facts = obtained.facts
    assert not obtained.cached and facts["problem"] is None and facts["layers"] == 3 and facts["model"] == "small"
    assert 1e-6 < facts["errors"]["normals"] < 0.01, "FP16 is not FP32"
    assert case.engines.usable("shoe", "auto") == "fp16" and any_built(bundle, case.cache)
    again = case.again(bundle)
    assert again.obtain("shoe", "fp16", stream).cached and len(case.builder.builds) == 1  # type: ignore[arg-type]
    # What was opened answers as the graph does.
    entry = bundle.networks["shoe"].check_input
    feeds = check_feeds_of(obtained.engine.inputs, entry.ranges, entry.free)
    want = OnnxRuntimeEngine(bundle.network("shoe", "fp16"), threads=1).run(feeds)
    have = run_once(obtained.engine, feeds, {"normals": want["normals"].shape}, case.runtime, stream)  # type: ignore[arg-type]
    assert np.abs(have["normals"] - want["normals"]).max() < 0.01
    case.builder.parts = {**case.builder.parts, "version": "2"}
    assert case.again(bundle).usable("shoe", "auto") is None, "another version needs its own"


def test_fp32_stands_in_for_fp16(case: Case, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engine_check.BOUNDS, "normals", 1e-5)  # FP16 cannot keep it, FP32 does
    engine = case.engines.open("shoe", case.runtime.stream())  # type: ignore[arg-type]
    assert engine.name == "shoe" and [size for _, size in case.builder.builds] == [
        bundle.networks["shoe"].files[precision].size for precision in ("fp16", "fp32")
    ]
    assert "shoe: the engine in fp16 is not used: its normals differs from FP32 by" in " ".join(case.told)
    assert case.engines.usable("shoe", "auto") == "fp32"
    case.engines.open("shoe", case.runtime.stream())  # type: ignore[arg-type]
    assert len(case.builder.builds) == 2, "what was found is kept"


def test_engine_that_writes_nothing(case: Case) -> None:
    case.builder.spoil = lambda network: False
    with pytest.raises(EngineFailure, match="shoe: no tensorrt engine can be used: normals holds values that are no numbers"):
        case.engines.open("shoe", case.runtime.stream())  # type: ignore[arg-type]
    assert case.engines.usable("shoe", "auto") is None


def test_depth_is_compared_where_the_masks_agree() -> None:
    mask = np.zeros((1, 1, 100, 100), np.float32)
    mask[..., :50] = 1
    depth = np.where(mask > 0, 2, 6).astype(np.float32).repeat(2, 1)
    moved = mask.copy()
    moved[0, 0, 0, 50:60] = 1  # ten pixels of ten thousand
    other = np.where(moved > 0, 2, 6).astype(np.float32).repeat(2, 1)
    assert compare("low_depth", {"depth": depth, "mask": mask}, {"depth": other, "mask": moved}).errors["depth"] == 0
    moved[..., 50:60] = 1
    check = compare("low_depth", {"depth": depth, "mask": mask}, {"depth": other, "mask": moved})
    assert check.problem == "its mask differs on 10.0 % of the pixels"
    off = {"depth": depth + np.float32(0.0019), "mask": mask}
    assert compare("low_depth", {"depth": depth, "mask": mask}, off).problem is None
    problem = compare("high_depth", {"depth": depth, "mask": mask}, off).problem
    assert problem == "its depth differs from FP32 by 0.0019, more than 0.001"
    off["depth"][0, 0, 0, 0] = np.inf
    assert compare("low_depth", {"depth": depth, "mask": mask}, off).problem == "depth holds values that are no numbers"


# Building them all


def test_build_engines(case: Case, bundle: Bundle) -> None:
    told: list[tuple[str, int, int, str]] = []
    seen: list[Row] = []
    names = ["shoe", "high_depth"]
    rows = build_engines(
        case.engines,
        case.runtime,  # type: ignore[arg-type]
        names,
        done=seen.append,
        progress=lambda *words: told.append(words),
    )
    assert [(row.network, row.precision, row.state, row.problem, row.not_kept) for row in rows] == [
        ("shoe", "fp16", "built", None, None),
        ("high_depth", "fp32", "built", None, None),
    ]
    assert seen == rows and set(told) == {(name, 1, 1, "optimising") for name in names} and not unusable(rows)
    assert all(row.size > 10_000 and max(row.errors.values()) < 0.01 for row in rows)
    again = build_engines(case.again(bundle), case.runtime, names)  # type: ignore[arg-type]
    assert [row.state for row in again] == ["cached", "cached"] and again[0].errors == rows[0].errors
    forced = build_engines(case.again(bundle), case.runtime, ["shoe"], force=True)  # type: ignore[arg-type]
    assert [row.state for row in forced] == ["built"]


def test_build_that_fails_in_fp16_is_tried_in_fp32(case: Case) -> None:
    def refuse(network: str) -> bool:
        if len(case.builder.builds) == 1:
            raise EngineFailure(f"{network}: no implementation")
        return True

    case.builder.spoil = refuse
    rows = build_engines(case.engines, case.runtime, ["shoe"])  # type: ignore[arg-type]
    assert [(row.precision, row.state) for row in rows] == [("fp16", "failed"), ("fp32", "built")] and not unusable(rows)
    assert rows[0].problem == "shoe: no implementation"


def test_stopped_in_the_middle_goes_on_later(case: Case, bundle: Bundle) -> None:
    def stop(network: str) -> bool:
        if network == "high_depth":
            raise KeyboardInterrupt
        return True

    case.builder.spoil = stop
    with pytest.raises(KeyboardInterrupt):
        build_engines(case.engines, case.runtime, ["shoe", "high_depth", "face"])  # type: ignore[arg-type]
    assert ("face", 0) not in [(name, 0) for name, _ in case.builder.builds]
    case.builder.spoil = lambda network: True
    rows = build_engines(case.again(bundle), case.runtime, ["shoe", "high_depth"])  # type: ignore[arg-type]
    assert [row.state for row in rows] == ["cached", "built"]


def test_several_jobs(case: Case) -> None:
    together = threading.Barrier(2, timeout=60)

    def meet(network: str) -> bool:
        together.wait()
        return True

    case.builder.spoil = meet
    rows = build_engines(case.engines, case.runtime, ["shoe", "high_depth"], jobs=2)  # type: ignore[arg-type]
    assert [(row.network, row.state) for row in rows] == [("shoe", "built"), ("high_depth", "built")]


# The command line


@pytest.fixture
def cli(case: Case, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    from h2k_rt.cli import engines

    monkeypatch.setenv("H2K_CACHE", str(case.cache.folder.parent))
    monkeypatch.setattr(engines, "open_built", lambda bundle, engine: (case.engines, case.runtime))
    return in_process(capfd)


def test_command_builds_lists_verifies_and_clears(cli: Cli, case: Case) -> None:
    run = cli("build-engines", "--only", "shoe", "--only", "high_depth")
    assert run.code == 0, run.err
    lines = run.out.splitlines()
    assert lines[0].startswith("a stand-in for TensorRT on ") and str(case.cache.folder) in lines[0]
    assert lines[1].split()[:3] in (["shoe", "fp16", "built"], ["high_depth", "fp32", "built"])
    assert "3 layers, finite, off FP32 by normals" in run.out and lines[-1].startswith("2 of 2 networks ready, 2 built now in ")
    assert lines[-1].endswith("in FP32: high_depth")
    document = json.loads(cli("build-engines", "--only", "shoe", "--json").out)
    assert (document["model"], document["engine"]) == ("small", "tensorrt")
    assert [(row["network"], row["state"], row["layers"]) for row in document["networks"]] == [("shoe", "cached", 3)]
    listed = cli("engines", "list").out
    assert "small" in listed and "shoe" in listed and "2 engines, " in listed
    assert cli("engines", "verify").code == 0
    engine = next(case.cache.folder.glob("*shoe*.engine"))
    engine.write_bytes(engine.read_bytes() + b"x")
    verified = cli("engines", "verify")
    assert verified.code == 7 and "its file has changed since it was built" in verified.out
    assert "error: 1 entries of the cache are damaged" in verified.err
    entries = json.loads(cli("engines", "list", "--json").out)
    assert {entry["network"] for entry in entries} == {"shoe", "high_depth"}
    assert cli("engines", "clear", "--only", "shoe").out.startswith("removed 1 engines")
    assert cli("engines", "clear").out.startswith("removed 1 engines") and "0 engines" in cli("engines", "list").out


def test_command_tells_failures(cli: Cli, case: Case) -> None:
    assert cli("build-engines", "--only", "nose").code == 2
    case.builder.spoil = lambda network: False
    run = cli("build-engines", "--only", "shoe")
    assert run.code == 7 and "not used: normals holds values that are no numbers" in run.out
    assert run.err == "error: no engine can be used for shoe: normals holds values that are no numbers\n"
    case.builder.spoil = lambda network: True
    case.cache.folder.chmod(0o777)
    run = cli("build-engines", "--only", "shoe")
    assert run.code == 8 and "engines were built but not kept: other users may write to" in run.err
    case.cache.folder.chmod(0o700)


def test_command_without_a_gpu(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("H2K_CACHE", str(tmp_path))
    from h2k_kernels.launch import DeviceFailure
    from h2k_kernels.launch.driver import library

    try:
        library()
    except DeviceFailure as error:
        run = in_process(capfd)("build-engines")
        assert run.code == 7 and run.sentence.startswith(str(error).partition(";")[0])
        assert run.sentence.endswith("run: h2k-rt doctor") and "--engine cpu" not in run.sentence, "no option of this command"
        assert list(tmp_path.iterdir()) == []
    else:
        pytest.skip("there is a driver")


# Choosing


@pytest.mark.parametrize(
    ("engine", "device", "meant"),
    [
        ("auto", "auto", ("auto", "auto")),
        ("auto", "cuda", ("auto", "cuda")),
        ("onnxruntime", "auto", ("onnxruntime", "auto")),
        ("onnxruntime", "cuda", ("onnxruntime", "cuda")),
        ("torch", "cpu", ("torch", "cpu")),
        ("cpu", "auto", ("onnxruntime", "cpu")),
        ("cuda", "auto", ("onnxruntime", "cuda")),
        ("tensorrt", "auto", ("tensorrt", "cuda")),
        ("tensorrt-rtx", "cuda", ("tensorrt-rtx", "cuda")),
    ],
)
def test_engine_and_device(engine: str, device: str, meant: tuple[str, str]) -> None:
    assert resolve(engine, device) == meant


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [
        ("cpu", "cuda", "--engine cpu does not run on --device cuda"),
        ("tensorrt", "cpu", "--engine tensorrt does not run on --device cpu"),
        ("cuda", "cpu", "--engine cuda does not run on --device cpu"),
        ("steam", "auto", "there is no engine 'steam'; choose auto, tensorrt, "),
        ("auto", "tpu", "there is no device 'tpu'; choose auto, cpu or cuda"),
    ],
)
def test_contradictions(engine: str, device: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        resolve(engine, device)


def test_auto_takes_what_is_built(case: Case, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from h2k_rt import built_engines, engines

    monkeypatch.setenv("H2K_CACHE", str(tmp_path))
    monkeypatch.setattr(engines, "_check_package", lambda kind: None)

    def builder(kind: str, runtime: Any, folder: Path) -> HostBuilder:
        if kind == "tensorrt-rtx":
            raise EngineFailure("its package is not installed")
        return case.builder

    monkeypatch.setattr(built_engines, "open_builder", builder)
    opener = DeviceEngines(bundle, "auto", "auto", case.runtime)  # type: ignore[arg-type]
    assert opener.notes == [
        "TensorRT is not used: its engines are not built; run: h2k-rt build-engines --engine tensorrt",
        "TensorRT for RTX is not used: its package is not installed",
    ]
    assert case.builder.builds == [], "auto builds nothing"
    monkeypatch.setattr(engine_check.Checker, "check", lambda *_: engine_check.Check({"normals": 0.0}))
    build_engines(case.engines, case.runtime, NETWORKS)  # type: ignore[arg-type]
    opener = DeviceEngines(bundle, "auto", "auto", case.runtime)  # type: ignore[arg-type]
    engine = opener("shoe", case.runtime.stream())  # type: ignore[arg-type]
    assert engine.provider == case.builder.title and opener.notes == [] and len(case.builder.builds) == len(NETWORKS)
    with pytest.raises(EngineError, match="TensorRT for RTX cannot be used: its package is not installed"):
        DeviceEngines(bundle, "tensorrt-rtx", "auto", case.runtime)  # type: ignore[arg-type]


def test_why_the_gpu_is_not_used(case: Case, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from h2k_kernels.launch import driver

    monkeypatch.setenv("H2K_CACHE", str(tmp_path))
    monkeypatch.setattr(driver, "library", lambda: None)
    assert (why_not_gpu(bundle) or "").startswith("no engines of this model are built for it (run h2k-rt build-engines")
    case.engines.obtain("shoe", "fp16", case.runtime.stream())  # type: ignore[arg-type]
    assert why_not_gpu(bundle) is None


def test_precision_that_the_model_does_not_have(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(bundle.networks["face"].files, "fp16")  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="bundle small has face only as fp32, not as fp16"):
        DeviceEngines(bundle, "cuda", "fp16")("face", object())  # type: ignore[arg-type]
