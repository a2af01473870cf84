"""CUDA sources to code for one GPU, compiled once and kept.

In this order: the user's cache, nvcc, NVRTC, and the PTX that a wheel carries (the driver translates it at load).
A cached file is native code that will run: it is taken only from a folder of the user's own that nobody else can write to,
and only if its digest is right.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from h2k_kernels import user_cache
from h2k_kernels.launch import nvcc, nvrtc, ptx
from h2k_kernels.launch.errors import DeviceFailure
from h2k_kernels.user_cache import read_digested, why_not_private, write_digested

#: Options of every kernel. A source adds its own in lines ``// nvcc: OPTION ...``.
OPTIONS = ("-std=c++17", "-O3")
#: GPUs that code is made for: Turing to Blackwell.
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")

_FOLDER = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Source:
    """One kernel source with all that its code depends on.

    Attributes:
        stem: the file's name without suffix.
        text: the source.
        headers: name -> text of the package's own headers.
        options: for the compiler, without the architecture.
    """

    stem: str
    text: str
    headers: dict[str, str]
    options: tuple[str, ...]

    @property
    def path(self) -> Path:
        return _FOLDER / f"{self.stem}.cu"


@dataclass(frozen=True)
class Image:
    """Code that the driver can load.

    Attributes:
        kind: "cubin" (for one architecture) or "ptx".
        origin: where it comes from, for messages: "cache", "nvcc 13.0", ...
    """

    kind: str
    data: bytes
    origin: str


def read_source(stem: str) -> Source:
    """The packaged source of a kernel.

    Raises:
        DeviceFailure: there is none of that name.
    """
    path = _FOLDER / f"{stem}.cu"
    try:
        text = path.read_text(encoding="utf-8")
        headers = {header.name: header.read_text(encoding="utf-8") for header in sorted(_FOLDER.glob("*.cuh"))}
    except OSError as error:
        raise DeviceFailure(f"the kernel source {path} cannot be read; install h2k-rt again") from error
    own = [word for line in text.splitlines() if line.startswith("// nvcc:") for word in line[len("// nvcc:") :].split()]
    return Source(stem, text, headers, (*OPTIONS, *own))


def cache_dir() -> Path:
    """Where compiled kernels are kept: H2K_CACHE, or the user's cache folder. It need not exist."""
    return user_cache.cache_dir("kernels")


def cache_key(source: Source, architecture: str, compiler: str) -> str:
    """Digest of everything that the code follows from."""
    digest = hashlib.sha256()
    for part in (source.text, *(f"{n}\0{t}" for n, t in source.headers.items()), *source.options, architecture, compiler):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def compile_kernel(stem: str, architecture: str, cache: Path | None = None) -> Image:
    """Code of a kernel for one architecture, for example "sm_89".

    Args:
        cache: folder of the compiled kernels; None: :func:`cache_dir`.

    Raises:
        DeviceFailure: no way leads there; the message holds each way's reason.
    """
    return next(images(stem, architecture, cache))


def images(stem: str, architecture: str, cache: Path | None = None) -> Iterator[Image]:
    """Code of a kernel by every way there is, best first, each made when it is asked for.

    A driver may refuse the first: a toolkit that is newer than the driver makes code that the driver does not know, which the
    prebuilt PTX is not.

    Raises (at the end):
        DeviceFailure: there is no further way; the message holds the reasons of those that failed.
    """
    source = read_source(stem)
    folder = cache or cache_dir()
    reasons = []
    for compiler in (nvcc.find, nvrtc.find):
        try:
            name, build = compiler()
            key = cache_key(source, architecture, name)
            image = _cached(folder / f"{stem}-{architecture}-{key[:24]}.cubin", name, lambda: build(source, architecture))  # noqa: B023
        except DeviceFailure as error:
            reasons.append(str(error))
        else:
            yield image
    try:
        yield prebuilt_image(source)
    except DeviceFailure as error:
        reasons.append(str(error))
    raise DeviceFailure(f"kernel {stem} cannot be compiled for {architecture}: {'; '.join(reasons)}")


def ptx_mark(source: Source) -> bytes:
    """The first line of a source's PTX: what it was made from."""
    return ptx.mark(cache_key(source, ptx.ARCHITECTURE, ""))


def prebuilt_image(source: Source) -> Image:
    """The PTX that came with the wheel.

    Raises:
        DeviceFailure: there is none, or it was made from another source.
    """
    try:
        data = (_FOLDER / "ptx" / f"{source.stem}.ptx").read_bytes()
    except OSError:
        raise DeviceFailure("this installation holds no prebuilt PTX") from None
    if not data.startswith(ptx_mark(source)):
        raise DeviceFailure("the prebuilt PTX was made from another source")
    return Image("ptx", data + b"\0", "prebuilt PTX")  # the driver reads text up to a zero


def _cached(path: Path, compiler: str, build: Callable[[], bytes]) -> Image:
    own = why_not_private(path.parent) is None  # else compiled anew each time
    if own and (data := read_digested(path)) is not None:
        return Image("cubin", data, f"cache ({compiler})")
    data = build()
    if own:
        with contextlib.suppress(OSError):  # a full or read-only disk only costs the next run's time
            write_digested(path, data)
    return Image("cubin", data, compiler)


def forget(stem: str, architecture: str, cache: Path | None = None) -> None:
    """Remove what is cached of a kernel, after the driver refused it."""
    for path in (cache or cache_dir()).glob(f"{stem}-{architecture}-*.cubin"):
        with contextlib.suppress(OSError):
            path.unlink()
