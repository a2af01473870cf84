"""Compiled kernels: how they come about, how they are kept, and what happens when something is in the way."""

from __future__ import annotations

import hashlib
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from h2k_kernels.launch import DeviceFailure, compile, nvcc, nvrtc, prebuild, ptx, runtime
from h2k_kernels.launch.compile import cache_key, compile_kernel, forget, images, ptx_mark, read_source

STEM = "warp_parts"


class Compiler:
    """Stands for nvcc: "compiles" by hashing the source; counts its calls."""

    def __init__(self, version: str = "nvcc 13.0.88") -> None:
        self.version, self.calls = version, 0

    def find(self) -> tuple[str, Callable[..., bytes]]:
        return self.version, self.build

    def build(self, source: compile.Source, architecture: str) -> bytes:
        self.calls += 1
        return hashlib.sha256(source.text.encode()).digest() + architecture.encode()


def absent() -> tuple[str, Callable[..., bytes]]:
    raise DeviceFailure("not here")


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    stand_in = Compiler()
    monkeypatch.setattr(nvcc, "find", stand_in.find)
    monkeypatch.setattr(nvrtc, "find", absent)
    return stand_in


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_compiled_once(compiler: Compiler, tmp_path: Path) -> None:
    cache = tmp_path / "new" / "cache"
    first = compile_kernel(STEM, "sm_89", cache)
    again = compile_kernel(STEM, "sm_89", cache)
    assert (first.kind, first.origin, again.origin) == ("cubin", "nvcc 13.0.88", "cache (nvcc 13.0.88)")
    assert first.data == again.data and compiler.calls == 1
    other = compile_kernel(STEM, "sm_90", cache)
    assert compiler.calls == 2 and other.data != first.data
    compiler.version = "nvcc 13.1.2"
    assert compile_kernel(STEM, "sm_89", cache).origin == "nvcc 13.1.2"
    assert len(files(cache)) == 3
    if sys.platform != "win32":
        assert stat.S_IMODE(cache.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in files(cache)} == {0o600}
    forget(STEM, "sm_89", cache)
    assert [path.name.split("-")[1] for path in files(cache)] == ["sm_90"]


def test_key_follows_everything(compiler: Compiler) -> None:
    source = read_source(STEM)
    assert "common.cuh" in source.headers
    keys = {
        cache_key(source, "sm_89", "nvcc 13"),
        cache_key(replace(source, text=source.text + "\n"), "sm_89", "nvcc 13"),
        cache_key(replace(source, headers=source.headers | {"common.cuh": ""}), "sm_89", "nvcc 13"),
        cache_key(replace(source, options=(*source.options, "--fmad=false")), "sm_89", "nvcc 13"),
        cache_key(source, "sm_90", "nvcc 13"),
        cache_key(source, "sm_89", "nvcc 12"),
    }
    assert len(keys) == 6
    assert cache_key(source, "sm_89", "nvcc 13") in keys, "and follows from nothing else"


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-1], lambda data: data[:-1] + b"?", lambda data: data[:32]]
)
def test_damaged_file_is_made_anew(compiler: Compiler, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    good = compile_kernel(STEM, "sm_89", tmp_path)
    (path,) = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    mended = compile_kernel(STEM, "sm_89", tmp_path)
    assert mended.origin == "nvcc 13.0.88" and mended.data == good.data
    assert compile_kernel(STEM, "sm_89", tmp_path).origin.startswith("cache")


@pytest.mark.skipif(sys.platform == "win32", reason="folders there belong to the user's profile")
def test_folder_that_others_can_write_to_is_not_trusted(compiler: Compiler, tmp_path: Path) -> None:
    compile_kernel(STEM, "sm_89", tmp_path)
    tmp_path.chmod(0o777)
    assert compile_kernel(STEM, "sm_89", tmp_path).origin == "nvcc 13.0.88"
    assert len(files(tmp_path)) == 1
    tmp_path.chmod(0o700)


def test_cache_that_cannot_be_made(compiler: Compiler, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        assert compile_kernel(STEM, "sm_89", tmp_path / "file" / "cache").origin == "nvcc 13.0.88"


def test_no_space_leaves_nothing_behind(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert compile_kernel(STEM, "sm_89", tmp_path).data
    assert files(tmp_path) == []


def test_several_at_once(compiler: Compiler, tmp_path: Path) -> None:
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(compile_kernel(STEM, "sm_89", tmp_path).data)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and len(set(results)) == 1
    assert len(files(tmp_path)) == 1, "no half-written file"


def test_no_way_leads_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvcc, "find", absent)
    monkeypatch.setattr(nvrtc, "find", absent)
    monkeypatch.setattr(compile, "_FOLDER", tmp_path)
    (tmp_path / f"{STEM}.cu").write_text("// nvcc: --fmad=false --ftz=true\n")
    assert read_source(STEM).options[-2:] == ("--fmad=false", "--ftz=true")
    with pytest.raises(DeviceFailure) as caught:
        compile_kernel(STEM, "sm_89", tmp_path / "cache")
    said = "kernel warp_parts cannot be compiled for sm_89: not here; not here; this installation holds no prebuilt PTX"
    assert str(caught.value) == said
    (tmp_path / "ptx").mkdir()
    prebuilt = tmp_path / "ptx" / f"{STEM}.ptx"
    prebuilt.write_bytes(ptx_mark(read_source(STEM)) + b".version 8.0")
    image = compile_kernel(STEM, "sm_89", tmp_path / "cache")
    assert (image.kind, image.origin) == ("ptx", "prebuilt PTX") and image.data.endswith(b".version 8.0\0")
    # Of another source: its parameters may be others.
    (tmp_path / f"{STEM}.cu").write_text("// changed\n")
    with pytest.raises(DeviceFailure, match="; the prebuilt PTX was made from another source"):
        compile_kernel(STEM, "sm_89", tmp_path / "cache")
    with pytest.raises(DeviceFailure, match=r"absent.cu cannot be read"):
        read_source("absent")


def test_every_way_in_order(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver refuses gives way to the next: here nvcc's code, then nothing more."""
    ways = images(STEM, "sm_89", tmp_path / "cache")
    assert next(ways).origin == "nvcc 13.0.88"
    monkeypatch.setattr(compile, "prebuilt_image", lambda source: compile.Image("ptx", b"text", "prebuilt PTX"))
    assert next(ways).origin == "prebuilt PTX"
    with pytest.raises(DeviceFailure, match=r"cannot be compiled for sm_89: not here$"):
        next(ways)


def test_a_refused_file_that_cannot_be_removed_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bytes] = []

    class Driver:
        def module_from_buffer(self, data: bytes) -> None:
            tried.append(data)
            raise OSError("device kernel image is invalid")

    def ways(stem: str, architecture: str) -> Iterator[compile.Image]:
        yield compile.Image("cubin", b"kept", "cache (nvcc 13.0.88)")
        raise DeviceFailure("no other way")

    monkeypatch.setattr(runtime, "images", ways)
    monkeypatch.setattr(runtime, "forget", lambda stem, architecture: None)
    gpu = runtime.Runtime()
    monkeypatch.setattr(gpu, "_cuda", Driver())
    with pytest.raises(DeviceFailure, match=r"does not load kernel warp_parts \(cache .*image is invalid; no other way$"):
        gpu._load(STEM, "sm_89")
    assert tried == [b"kept", b"kept"]


def test_ptx_for_old_drivers() -> None:
    text = b'// made by\n.version 9.0\n.target sm_75\n\t.pragma "used_bytes_mask 0x7";\n\tld.global.u32 %r1, [%rd1];\n'
    assert ptx.portable(text) == b"// made by\n.version 8.0\n.target sm_75\n\tld.global.u32 %r1, [%rd1];\n"
    with pytest.raises(ValueError, match="0 times"):
        ptx.portable(b".target sm_75\n")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("H2K_CACHE", str(tmp_path))
    assert compile.cache_dir() == tmp_path / "kernels"
    monkeypatch.delenv("H2K_CACHE")
    if sys.platform.startswith("linux"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert compile.cache_dir() == tmp_path / "h2k-rt" / "kernels"


# Real compilers

DEMO = """// nvcc: --fmad=false
#include "own.cuh"
extern "C" __global__ void demo(float* out) { out[threadIdx.x] = OWN * (float)threadIdx.x; }
"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "demo.cu").write_text(DEMO)
    (sources / "own.cuh").write_text("#pragma once\n#define OWN 3.0f\n")
    (sources / "broken.cu").write_text('extern "C" __global__ void broken() { undeclared(); }\n')
    monkeypatch.setattr(compile, "_FOLDER", sources)
    return tmp_path


def is_cubin(data: bytes) -> bool:
    return data[:4] == b"\x7fELF" and int.from_bytes(data[18:20], "little") == 190  # EM_CUDA


def test_nvcc(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        nvcc.find()
    except DeviceFailure:
        pytest.skip("there is no nvcc here")
    monkeypatch.setattr(nvrtc, "find", absent)
    image = compile_kernel("demo", "sm_89", demo / "cache")
    assert is_cubin(image.data) and b"demo" in image.data and image.origin.startswith("nvcc 1")
    assert compile_kernel("demo", "sm_89", demo / "cache").data == image.data
    with pytest.raises(DeviceFailure, match=r"nvcc failed on broken.cu for sm_89: .*undeclared.*; not here; this installation"):
        compile_kernel("broken", "sm_89", demo / "cache")
    with pytest.raises(DeviceFailure, match=r"nvcc failed on demo.cu for sm_12345: .*sm_12345"):
        compile_kernel("demo", "sm_12345", demo / "cache")
    (demo / "sources" / "broken.cu").unlink()
    monkeypatch.setattr(prebuild, "SOURCES", demo / "sources")
    monkeypatch.setenv("H2K_CACHE", str(demo / "ptx cache"))
    folder = demo / "sources" / "ptx"
    assert not prebuild.is_current(folder)
    (path,) = prebuild.write_ptx(folder)
    text = path.read_text()
    assert path == folder / "demo.ptx" and ".target sm_75" in text and ".entry demo" in text and ".version 8.0" in text
    assert prebuild.is_current(folder)
    assert compile.prebuilt_image(read_source("demo")).data == path.read_bytes() + b"\0"
    with pytest.raises(DeviceFailure, match=r"demo: PTX 8.0 cannot hold it: .*"):
        prebuild.check("demo", path.read_bytes().replace(b"ret;", b"fence.proxy.tensormap::generic.release.cta; ret;"))


def test_nvrtc(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        nvrtc.find()
    except DeviceFailure:
        pytest.skip("there is no NVRTC here")
    monkeypatch.setattr(nvcc, "find", absent)
    image = compile_kernel("demo", "sm_89", demo / "cache")
    assert is_cubin(image.data) and b"demo" in image.data and image.origin.startswith("NVRTC 1")
    with pytest.raises(DeviceFailure, match=r"NVRTC failed on broken.cu for sm_89: .*undeclared"):
        compile_kernel("broken", "sm_89", demo / "cache")


def test_nvrtc_compiles_every_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        nvrtc.find()
    except DeviceFailure:
        pytest.skip("there is no NVRTC here")
    monkeypatch.setattr(nvcc, "find", absent)
    stems = [path.stem for path in compile._FOLDER.glob("*.cu")]
    assert stems
    for stem in stems:
        assert is_cubin(compile_kernel(stem, "sm_75", tmp_path).data)


def test_nvcc_is_looked_for_where_it_may_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bin" / ("nvcc.exe" if sys.platform == "win32" else "nvcc")
    program.parent.mkdir()
    program.write_text("")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    nvcc.path.cache_clear()
    try:
        assert nvcc.path() == program
        with pytest.raises(DeviceFailure, match="cannot be run"):
            nvcc.version(program)
    finally:
        nvcc.path.cache_clear()
