"""Photos and masks: what must come in right, and every file that must be refused with one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from h2k_rt.errors import H2KError, MaskError, MissingPackageError, PhotoError
from h2k_rt.photo import Photo, find_photos, load_mask, load_photo

HEIGHT, WIDTH = 96, 80


def picture(channels: int = 3, seed: int = 0) -> np.ndarray:
    """Noise with soft edges, no two corners alike: (96, 80, channels) uint8."""
    noise = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2).reshape(HEIGHT, WIDTH, channels)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(side: int) -> bytes:
    """A PNG of side x side black pixels, small as a file."""
    rows = zlib.compress(bytes(1 + 3 * side), 9)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def refused(path: str | os.PathLike[str], kind: type[H2KError] = PhotoError) -> str:
    """The sentence with which a photo is refused; it is one line and names the file."""
    with pytest.raises(kind) as caught:
        load_photo(path)
    message = str(caught.value)
    assert "\n" not in message and Path(path).name in message
    return message


# --- right pixels ---


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_pixels_are_kept(tmp_path: Path, suffix: str) -> None:
    rgb = picture()
    Image.fromarray(rgb).save(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    photo = load_photo(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(photo.rgb, rgb)
    assert photo.name == f"a.{suffix}" and photo.focal_35mm is None
    assert photo.rgb.dtype == np.uint8 and photo.rgb.flags.writeable and photo.rgb.flags.c_contiguous


@pytest.mark.parametrize("suffix", ["jpg", "avif", "jp2", "heic"])
def test_lossy_formats(tmp_path: Path, suffix: str) -> None:
    rgb = cv2.resize(picture(), None, fx=4, fy=4)
    Image.init()
    if suffix == "heic":  # written without telling Pillow of the format: reading must do that
        pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(rgb)).save(tmp_path / "a.heic", quality=95)
    elif f".{suffix}" not in Image.EXTENSION:
        pytest.skip(f"this Pillow writes no {suffix}")
    else:
        Image.fromarray(rgb).save(tmp_path / f"a.{suffix}", quality=95)
    assert np.abs(load_photo(tmp_path / f"a.{suffix}").rgb.astype(int) - rgb).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = picture()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif)
    # EXIF 2.32, 4.6.4: what the 0th row and 0th column of the stored picture are in the visual picture.
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1), 7: stored[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(stored, 1),
    }[orientation]  # fmt: skip
    np.testing.assert_array_equal(load_photo(tmp_path / f"a.{suffix}").rgb, upright)


def test_orientation_agrees_with_opencv(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(cv2.resize(picture(), None, fx=4, fy=4)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    theirs = cv2.imread(str(tmp_path / "a.jpg"))
    assert theirs is not None
    assert np.abs(load_photo(tmp_path / "a.jpg").rgb.astype(int) - theirs[..., ::-1]).max() <= 3


def test_focal_length_survives_a_turn(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=exif)
    photo = load_photo(tmp_path / "a.jpg")
    assert photo.focal_35mm == 26.0 and photo.rgb.shape == (WIDTH, HEIGHT, 3)
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 0
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=exif)
    assert load_photo(tmp_path / "a.jpg").focal_35mm is None


def test_damaged_exif_does_not_cost_the_photo(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(range(64)))
    assert load_photo(tmp_path / "a.jpg").rgb.shape == (HEIGHT, WIDTH, 3)


def display_p3() -> bytes:
    """An ICC profile of Display P3: the primaries of SMPTE EG 432-1 adapted to D50, with a gamma of 2.2."""
    matrix = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))

    def s15(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    name = b"desc\0\0\0\0" + struct.pack(">I", 3) + b"P3\0" + bytes(78 + 1)
    tags = [(b"desc", name), (b"wtpt", s15((0.9642, 1.0, 0.8249)))]
    tags += [(key, s15(row)) for key, row in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix, strict=True)]
    tags += [(key, gamma) for key in (b"rTRC", b"gTRC", b"bTRC")]
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for key, data in tags:
        data += bytes(-len(data) % 4)
        table += key + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02200000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    header += bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def p3_to_srgb(rgb: np.ndarray) -> np.ndarray:
    """The same conversion from the definitions of both spaces, in floating point."""
    to_xyz = np.array([[0.51512, 0.24120, -0.00105], [0.29198, 0.69225, 0.04189], [0.15710, 0.06657, 0.78407]]).T
    srgb = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
    linear = np.clip(np.linalg.solve(srgb, to_xyz @ ((rgb / 255.0) ** 2.2).reshape(-1, 3).T).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).reshape(rgb.shape)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_display_p3_is_converted(tmp_path: Path, mode: str) -> None:
    rgb = (64 + picture() // 2).astype(np.uint8)
    image = Image.fromarray(rgb).convert(mode)
    stored = np.array(image.convert("RGB"))
    image.save(tmp_path / "a.png", icc_profile=display_p3())
    ours = load_photo(tmp_path / "a.png").rgb
    assert np.abs(ours - p3_to_srgb(stored)).max() <= 2
    assert np.abs(ours.astype(int) - stored).max() > 5  # it did something


def test_grey_and_cmyk_profiles(tmp_path: Path) -> None:
    grey = picture(1)[..., 0]
    Image.fromarray(grey).save(tmp_path / "wrong_kind.png", icc_profile=display_p3())  # an RGB profile says nothing about grey
    np.testing.assert_array_equal(load_photo(tmp_path / "wrong_kind.png").rgb, np.repeat(grey[..., None], 3, 2))
    cmyk = Image.fromarray(picture()).convert("CMYK")
    cmyk.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(load_photo(tmp_path / "a.tif").rgb, np.array(cmyk.convert("RGB")))


def test_srgb_and_broken_profiles_change_nothing(tmp_path: Path) -> None:
    rgb = picture()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, profile in enumerate((srgb, b"not a profile", srgb[:60], display_p3()[:300], srgb[:200] + bytes(len(srgb) - 200))):
        Image.fromarray(rgb).save(tmp_path / f"{number}.png", icc_profile=profile)
        np.testing.assert_array_equal(load_photo(tmp_path / f"{number}.png").rgb, rgb)


def test_alpha_is_dropped_and_colours_stay(tmp_path: Path) -> None:
    rgba = picture(4)
    rgba[: HEIGHT // 2, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_photo(tmp_path / "a.png").rgb, rgba[..., :3])
    grey = np.dstack([picture(1), picture(1, seed=1)])
    Image.fromarray(grey).save(tmp_path / "la.png")
    np.testing.assert_array_equal(load_photo(tmp_path / "la.png").rgb, np.repeat(grey[..., :1], 3, 2))


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    indexed = Image.fromarray(picture()).quantize(16)
    colours = np.array(indexed.convert("RGB"))
    indexed.save(tmp_path / "plain.png")
    indexed.save(tmp_path / "one.png", transparency=3)
    indexed.save(tmp_path / "many.png", transparency=bytes(range(16)))
    indexed.save(tmp_path / "a.gif")
    for name in ("plain.png", "one.png", "many.png", "a.gif"):
        np.testing.assert_array_equal(load_photo(tmp_path / name).rgb, colours, err_msg=name)


def test_grey_and_bilevel(tmp_path: Path) -> None:
    grey = picture(1)[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(load_photo(tmp_path / "grey.png").rgb, np.repeat(grey[..., None], 3, 2))
    Image.fromarray(grey > 128).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(load_photo(tmp_path / "bits.png").rgb[..., 0], np.where(grey > 128, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_scaled(tmp_path: Path, channels: int, suffix: str) -> None:
    deep = np.random.default_rng(3).integers(0, 65536, (HEIGHT, WIDTH, channels), dtype=np.uint16)
    deep[0, 0], deep[0, 1] = 0, 65535
    stored = deep if channels == 1 else deep[..., [2, 1, 0, 3][:channels]]  # OpenCV writes B, G, R
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), stored)
    expected = deep[..., :3].astype(float) / 257
    ours = load_photo(tmp_path / f"a.{suffix}").rgb
    assert np.abs(ours - expected).max() <= 1.0
    assert (ours[0, 0] == 0).all() and (ours[0, 1] == 255).all()


def test_8_bit_values_in_a_16_bit_file(tmp_path: Path) -> None:
    grey = picture(1)[..., 0]
    Image.fromarray(grey.astype(np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_photo(tmp_path / "a.png").rgb[..., 0], grey)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_first_frame_of_many(tmp_path: Path, suffix: str) -> None:
    first, second = (Image.fromarray(np.full((HEIGHT, WIDTH, 3), value, np.uint8)) for value in (40, 200))
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second])
    assert np.abs(load_photo(tmp_path / f"a.{suffix}").rgb.astype(int) - 40).max() <= 2


def test_arrays_of_another_kind_are_refused() -> None:
    for array in (np.zeros((80, 80), np.uint8), np.zeros((80, 80, 4), np.uint8), np.zeros((80, 80, 3), np.float32)):
        with pytest.raises(PhotoError, match="uint8 array"):
            Photo(array, "camera")


# --- files that must be refused ---


def test_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("This is not a photo.\n" * 100)
    assert "not a picture" in refused(tmp_path / "text.jpg")
    (tmp_path / "empty.jpg").touch()
    assert "empty" in refused(tmp_path / "empty.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert "folder" in refused(tmp_path / "folder.jpg")
    assert "no such file" in refused(tmp_path / "missing.jpg")
    assert "cannot be read" in refused(tmp_path / "text.jpg" / "below_a_file.jpg")
    (tmp_path / "program.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(x) show\n")
    assert "not a picture" in refused(tmp_path / "program.jpg")  # never handed to an interpreter


def test_null_byte_in_a_name() -> None:
    with pytest.raises(PhotoError, match="not a file name"):
        load_photo("a\0b.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "pipe or device" in refused(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    assert "pipe or device" in refused(tmp_path / "zero.jpg")


def test_no_permission(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with without_privileges():
        assert "cannot be read (Permission denied)" in refused(tmp_path / "a.png")


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """The superuser may read everything: be somebody else for a while."""
    if not hasattr(os, "geteuid"):
        pytest.skip("no users here")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_cut_off_files(tmp_path: Path, kind: str, share: float) -> None:
    Image.init()
    if kind != "progressive" and kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    image = Image.fromarray(cv2.resize(picture(), None, fx=3, fy=3))
    data = saved(image, "JPEG", progressive=True) if kind == "progressive" else saved(image, kind)
    (tmp_path / "cut.jpg").write_bytes(data[: int(share * len(data))])
    refused(tmp_path / "cut.jpg")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_jpeg_cut_off_with_an_end_marker(tmp_path: Path, share: float) -> None:
    """libjpeg fills the missing blocks with grey and reports no error."""
    data = saved(Image.fromarray(cv2.resize(picture(), None, fx=3, fy=3)), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(data[: int(share * len(data))] + b"\xff\xd9")
    assert "cut off" in refused(tmp_path / "cut.jpg")


def test_a_grey_jpeg_is_no_cut_off_one(tmp_path: Path) -> None:
    grey = Image.new("RGB", (320, 256), (128, 128, 128))
    grey.save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_array_equal(load_photo(tmp_path / "a.jpg").rgb, 128)
    half = np.array(grey)
    half[:100] = cv2.resize(picture(), (320, 100))
    Image.fromarray(half).save(tmp_path / "b.jpg", quality=90, progressive=True)
    assert (load_photo(tmp_path / "b.jpg").rgb[-40:] == 128).all()


def test_changed_bytes_never_escape_as_other_errors(tmp_path: Path) -> None:
    image = Image.fromarray(picture())
    random = np.random.default_rng(5)
    Image.init()
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF"):
        if kind not in Image.SAVE:
            continue
        data = saved(image, kind)
        for _ in range(40):
            damaged = bytearray(data)
            for place in random.integers(0, min(len(data), 400), 6):
                damaged[place] = random.integers(256)
            (tmp_path / "a.jpg").write_bytes(damaged)
            try:
                photo = load_photo(tmp_path / "a.jpg")
            except (PhotoError, MissingPackageError) as error:
                assert "\n" not in str(error)
            else:
                assert photo.rgb.ndim == 3


def test_too_small_and_too_large(tmp_path: Path) -> None:
    for size in ((1, 1), (63, 500), (500, 63)):
        Image.new("RGB", size).save(tmp_path / "small.png")
        assert "at least 64" in refused(tmp_path / "small.png")
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    assert load_photo(tmp_path / "a.png", max_pixels=20_000).rgb.shape == (100, 200, 3)
    with pytest.raises(PhotoError, match="200 x 100 pixels"):
        load_photo(tmp_path / "a.png", max_pixels=19_999)


def refused_in_little_memory(path: Path, spare: int) -> tuple[str, int]:
    """Load in a process of its own that may allocate ``spare`` bytes more than it has: the sentence, and the kB it grew by."""
    script = (
        "import resource, sys; from h2k_rt.photo import load_photo; from h2k_rt.errors import PhotoError\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(sys.argv[2]),) * 2)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: load_photo(sys.argv[1])\n"
        "except PhotoError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    run = subprocess.run([sys.executable, "-c", script, str(path), str(spare)], capture_output=True, text=True, check=True)
    message, grown = run.stdout.splitlines()
    return message, int(grown)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("side", [11_000, 40_000])
def test_decompression_bombs_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(huge_png(side))
    message, grown = refused_in_little_memory(tmp_path / "bomb.png", 50 << 20)  # decoded it has 363 MB or 4.8 GB
    assert "more than 100 million pixels" in message
    assert grown < 20_000


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_webp_of_the_largest_size(tmp_path: Path) -> None:
    """A WebP of 16383 x 16383 pixels. Its decoder reserves memory on opening, but must not fill it."""
    header = 0x2F | 16382 << 8 | 16382 << 22
    stream = header.to_bytes(5, "little") + bytes(65)
    chunk = b"VP8L" + struct.pack("<I", len(stream)) + stream
    (tmp_path / "a.webp").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk)
    message, grown = refused_in_little_memory(tmp_path / "a.webp", 8 << 30)
    assert "more than 100 million pixels" in message
    assert grown < 20_000


def test_floating_point_pictures_are_refused(tmp_path: Path) -> None:
    Image.fromarray(picture(1)[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    assert "floating-point" in refused(tmp_path / "a.tif")
    Image.fromarray(picture(1)[..., 0].astype(np.int32) * 100_000).save(tmp_path / "b.tif")
    assert "32-bit" in refused(tmp_path / "b.tif")


def test_heic_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(200))
    assert 'pip install "h2k-rt[heic]"' in refused(tmp_path / "a.heic", MissingPackageError)


# --- finding photos ---


def test_find_photos(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "a_preview.png", "c_preview.png", "note.txt", ".hidden.png", "a_keypoints.json"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    names = [path.name for path in find_photos([tmp_path])]
    assert names == ["a.png", "b.JPG", "c_preview.png"]
    assert find_photos([tmp_path / "b.JPG", tmp_path, tmp_path / "missing.jpg"]) == [
        tmp_path / "b.JPG", tmp_path / "a.png", tmp_path / "c_preview.png", tmp_path / "missing.jpg",
    ]  # fmt: skip
    with pytest.raises(PhotoError, match="no photos"):
        find_photos([tmp_path / "sub"])


# --- masks ---


def test_masks_from_grey_alpha_and_deep_files(tmp_path: Path) -> None:
    mask = picture(1)[..., 0]
    mask[:5] = 0
    Image.fromarray(mask).save(tmp_path / "grey.png")
    Image.fromarray(np.repeat(mask[..., None], 3, 2)).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([picture(), mask])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([mask, mask, mask, np.full_like(mask, 255)])).save(tmp_path / "opaque.png")
    Image.fromarray(mask.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("grey", "rgb", "rgba", "opaque", "deep"):
        ours = load_mask(tmp_path / f"{name}.png", (HEIGHT, WIDTH))
        assert ours.dtype == np.uint8
        np.testing.assert_array_equal(ours, mask, err_msg=name)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_maps_of_0_and_1(tmp_path: Path, dtype: type) -> None:
    labels = (picture(1)[..., 0] > 128).astype(dtype)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "labels.png", (HEIGHT, WIDTH)), labels * 255)


def test_mask_is_turned_like_the_photo(tmp_path: Path) -> None:
    mask = picture(1)[..., 0]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(mask).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(load_mask(tmp_path / "a.png", (WIDTH, HEIGHT)), np.rot90(mask, -1))


def test_masks_that_are_refused(tmp_path: Path) -> None:
    Image.new("L", (WIDTH, HEIGHT), 0).save(tmp_path / "black.png")
    Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    Image.new("L", (HEIGHT, WIDTH), 255).save(tmp_path / "turned.png")
    Image.new("L", (1, 1), 255).save(tmp_path / "tiny.png")
    (tmp_path / "text.png").write_text("no picture")
    expected = {
        "black": "0 everywhere",
        "clear": "0 everywhere",
        "turned": "must be equal",
        "tiny": "must be equal",
        "text": "not a picture",
    }
    for name, words in {**expected, "missing": "no such file"}.items():
        with pytest.raises(MaskError, match=words):
            load_mask(tmp_path / f"{name}.png", (HEIGHT, WIDTH))


@pytest.mark.photos
def test_real_photos_come_in_as_opencv_reads_them(photos_dir: Path) -> None:
    for path in find_photos([photos_dir]):
        ours, theirs = load_photo(path).rgb, cv2.imread(str(path))
        assert theirs is not None and ours.shape == theirs.shape
        assert np.abs(ours.astype(int) - theirs[..., ::-1]).max() <= (0 if path.suffix == ".png" else 6)
