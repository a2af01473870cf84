"""The one door through which photos and masks come in: files in, sRGB arrays out, every failure a named error.

Files are untrusted: their kind, size and format are looked at before any pixel is decoded.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from h2k_rt.errors import H2KError, MaskError, MissingPackageError, PhotoError

#: Default limit of pixels in a photo; a larger one is refused before it is decoded.
MAX_PIXELS = 100_000_000
#: Photos with a shorter side than this hold no usable person.
MIN_SIDE = 64
#: Larger files are refused unread: a 16-bit RGBA TIFF of ``MAX_PIXELS`` has 800 MB.
MAX_FILE_BYTES = 1 << 30

#: Suffixes that ``find_photos`` takes from a folder.
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".ppm")
#: Pillow's decoders that are let near a file. Its others are for formats no camera writes, and some start programs (EPS).
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"))
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """A photo, upright and in sRGB.

    Attributes:
        rgb: (H, W, 3) uint8, sRGB.
        name: the file's name, for messages.
        focal_35mm: focal length in mm as on 35 mm film, from EXIF; None where the file does not say.
    """

    rgb: NDArray[np.uint8]
    name: str
    focal_35mm: float | None = None

    def __post_init__(self) -> None:
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            raise PhotoError(f"{self.name}: a photo is a (height, width, 3) uint8 array, not {self.rgb.shape} {self.rgb.dtype}")


def load_photo(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo: first frame, turned as EXIF says, converted to sRGB with the embedded colour profile, alpha dropped.

    16-bit pictures keep their upper 8 bits; a damaged colour profile or EXIF block is ignored.

    Raises:
        PhotoError: the file is missing, unreadable, no picture, damaged, cut off, too large or too small.
        MissingPackageError: a HEIC photo, and the package that reads it is not installed.
    """
    image = _read_picture(path, PhotoError, max_pixels, MIN_SIDE)
    profile = image.info.get("icc_profile")
    flat = _with_8_bits(image, path, PhotoError)
    rgb = _apply_profile(flat, profile) if profile else None
    return Photo(np.array(rgb or _to_rgb(flat)), Path(path).name, _focal_35mm(image))


def load_mask(path: str | os.PathLike[str], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a mask for a photo of ``shape`` (height, width): (H, W) uint8, 0 background to 255 person.

    The alpha channel counts where there is one that is not opaque everywhere, otherwise the grey value.
    A picture with no value above 1 is taken as a map of 0 and 1.

    Raises:
        MaskError: the file cannot be read, has another size than the photo (both as EXIF turns them), or is 0 everywhere.
    """
    image = _read_picture(path, MaskError, MAX_PIXELS, 1)
    height, width = shape
    if image.size != (width, height):
        raise MaskError(
            f"{path}: the mask has {image.width} x {image.height} pixels, the photo {width} x {height}; they must be equal"
        )
    flat = _with_8_bits(image, path, MaskError)
    values = np.array(_to_rgb(flat).convert("L"))
    if flat.mode in ("RGBA", "LA", "PA") or "transparency" in flat.info:
        alpha = np.array(flat.convert("RGBA").getchannel("A"))
        values = values if (alpha == 255).all() else alpha
    if not values.any():
        raise MaskError(f"{path}: the mask is 0 everywhere; the person must be white (or opaque)")
    return values * np.uint8(255) if values.max() == 1 else values


def find_photos(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Files as given, and of each folder its photos by known suffix, sorted by name; no file twice.

    A folder's hidden files are left out, and so is ``x_preview.png`` beside a photo ``x``: an earlier output.
    A file that does not exist is kept: loading it says so, and the rest of a batch goes on.

    Raises:
        PhotoError: a folder cannot be read or holds no photos.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        for photo in _photos_in(path) if path.is_dir() else [path]:
            found.setdefault(photo.resolve(), photo)
    return list(found.values())


def _photos_in(folder: Path) -> list[Path]:
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PHOTO_SUFFIXES and not file.name.startswith("."))
    except OSError as error:
        raise PhotoError(f"{folder}: the folder cannot be read ({error.strerror})") from error
    stems = {file.stem for file in files}
    photos = [file for file in files if not (file.name.endswith("_preview.png") and file.stem.removesuffix("_preview") in stems)]
    if not photos:
        raise PhotoError(f"{folder}: no photos in this folder (looked for {', '.join(PHOTO_SUFFIXES)})")
    return photos


def _read_picture(path: str | os.PathLike[str], kind: type[H2KError], max_pixels: int, min_side: int) -> Image.Image:
    """The first frame, decoded and upright, in the file's own mode. ``kind`` is the error to raise."""
    with _open_regular_file(path, kind) as file, warnings.catch_warnings():
        _check_decoder(path, file.read(64))
        file.seek(0)
        warnings.simplefilter("ignore")  # of pictures below Pillow's own size limit, and of odd metadata
        try:
            Image.init()
            image = Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])
        except UnidentifiedImageError as error:
            raise kind(f"{path}: not a picture in a known format (JPEG, PNG, WebP, HEIC, AVIF, TIFF)") from error
        except Image.DecompressionBombError as error:
            raise kind(_too_large(path, "", min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels)))) from error
        except Exception as error:  # decoders raise nearly anything on damaged data
            raise kind(_damaged(path, error)) from error
        if image.width * image.height > max_pixels:
            raise kind(_too_large(path, f"{image.width} x {image.height} pixels, ", max_pixels))
        if min(image.size) < min_side:
            raise kind(f"{path}: {image.width} x {image.height} pixels are too few; the shorter side must have at least {min_side}")
        try:
            image.load()
            cut_off = image.format == "JPEG" and _ends_before_its_last_block(image, file)
        except Exception as error:
            raise kind(_damaged(path, error)) from error
        if cut_off:
            raise kind(f"{path}: the picture is cut off: its lower part is missing; get a complete copy")
    orientation = _exif(image).get(ExifTags.Base.Orientation)
    return image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image


def _open_regular_file(path: str | os.PathLike[str], kind: type[H2KError]) -> BinaryIO:
    """Open what is a plain, non-empty file of bearable size. A pipe or device is not touched: opening one can block for ever."""
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise kind(f"{path}: a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise kind(f"{path}: a pipe or device, not a file")
        if status.st_size == 0:
            raise kind(f"{path}: the file is empty")
        if status.st_size > MAX_FILE_BYTES:
            raise kind(f"{path}: the file has {status.st_size / 1e9:.1f} GB, more than {MAX_FILE_BYTES / 1e9:.1f} GB")
        return Path(path).open("rb")
    except FileNotFoundError as error:
        raise kind(f"{path}: there is no such file") from error
    except OSError as error:
        raise kind(f"{path}: the file cannot be read ({error.strerror})") from error
    except ValueError as error:  # a null byte in the name
        raise kind(f"{os.fspath(path)!r}: not a file name") from error


def _check_decoder(path: str | os.PathLike[str], head: bytes) -> None:
    """Make Pillow's HEIC or AVIF reader ready where the file needs it.

    Raises:
        MissingPackageError: it is not installed.
    """
    if head[4:8] != b"ftyp":
        return
    brands = {head[i : i + 4] for i in range(8, len(head), 4) if i != 12}
    if b"avif" in brands or b"avis" in brands:
        Image.init()
        if "AVIF" not in Image.OPEN:
            raise MissingPackageError(f'{path}: AVIF photos need a newer Pillow: pip install "pillow>=11.3"')
    elif brands & _HEIC_BRANDS:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise MissingPackageError(f'{path}: HEIC photos need one more package: pip install "h2k-rt[heic]"') from error
        register_heif_opener()


def _ends_before_its_last_block(image: Image.Image, file: BinaryIO) -> bool:
    """Whether a JPEG has an end marker but no data for its last block, which libjpeg fills with mid-grey without an error.

    Only where the last block is mid-grey it is decoded a second time, with filling before the end marker: a complete
    picture does not change, a cut one takes the filling for picture data.
    """
    if (np.asarray(image.crop((image.width - 1, image.height - 1, image.width, image.height)).convert("L")) != 128).any():
        return False
    file.seek(0)
    data = file.read()
    end = data.rfind(b"\xff\xd9")
    if end < 0:
        return False
    filling = bytes(range(1, 251)) * 64
    with Image.open(io.BytesIO(data[:end] + filling + data[end:]), formats=["JPEG"]) as again:
        return again.tobytes() != image.tobytes()


def _with_8_bits(image: Image.Image, path: str | os.PathLike[str], kind: type[H2KError]) -> Image.Image:
    """A picture of 16-bit grey values as 8-bit grey; others (Pillow itself reduces 16-bit colours) as they are."""
    if image.mode == "F":
        raise kind(f"{path}: pictures of floating-point numbers are not read; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise kind(f"{path}: pictures of 32-bit numbers are not read; save it with 8 or 16 bits")
    # Some programs write 8-bit values, or a map of 0 and 1, into 16 bits.
    return Image.fromarray((values >> 8 if values.max() > 255 else values).astype(np.uint8))


def _to_rgb(image: Image.Image) -> Image.Image:
    """Colours as they are stored, alpha dropped (SPEC 1)."""
    if image.mode in ("P", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
    return image.convert("RGB")


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture in sRGB, or None where the profile is sRGB, damaged, or of another kind of picture."""
    if image.mode in ("P", "PA", "RGBA", "RGBa", "RGBX"):
        image = _to_rgb(image)
    elif image.mode in ("LA", "La"):
        image = image.convert("LA").getchannel("L")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        expected = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}.get(image.mode)
        if source.profile.xcolor_space != expected or "sRGB" in (source.profile.profile_description or ""):
            return None
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, ImportError, OSError, TypeError, ValueError):  # ImportError: a Pillow without Little CMS
        return None


def _exif(image: Image.Image) -> Image.Exif:
    try:
        return image.getexif()
    except Exception:  # a damaged EXIF block must not cost the photo
        return Image.Exif()


def _focal_35mm(image: Image.Image) -> float | None:
    try:
        focal = float(_exif(image).get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm])
    except Exception:  # absent, or a damaged EXIF block
        return None
    return focal if 1 <= focal <= 5000 else None  # 0 means unknown


def _too_large(path: str | os.PathLike[str], size: str, max_pixels: int) -> str:
    return f"{path}: {size}more than {max_pixels / 1e6:.0f} million pixels; make the photo smaller"


def _damaged(path: str | os.PathLike[str], error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{path}: the picture is damaged or cut off ({reason})"
