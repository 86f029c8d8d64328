"""The one decoder of image and label files: what a file holds is read exactly, or the file is refused by its name.

Images become 8-bit RGB: palettes are resolved, gray is repeated, 16-bit samples keep their high byte, CMYK and LAB are
converted. The EXIF orientation is applied to images and labels alike: a file is read as viewers show it. Color profiles
are not applied. What has no exact meaning is refused: several frames, transparent pixels, 32-bit and float samples,
damaged files. Label files hold ids or colors and are lossless.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from kdtrain.data.source import Pixels
from kdtrain.data.stored import Stored
from kdtrain.errors import InputError, unreadable

Color = tuple[int, int, int]
Decoded = TypeVar("Decoded")
DECODING = 2
"""Counts up whenever files are decoded otherwise: recorded samples of another number are not read."""
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM")
"""What files may be, whatever their names end with; no format that needs another program to be read."""
LABEL_FORMATS = ("PNG", "BMP", "DIB", "TIFF")
LOSSY = ("jpeg", "tiff_jpeg", "webp", "jpeg2000")
"""Compressions of TIFF that change values."""
SCALED = {"L;2": 85, "L;4": 17}
"""Gray samples of 2 and 4 bits, which Pillow multiplies to fill 0 to 255."""
WHOLE = ("L", "P", "P;1", "P;2", "P;4")
"""Raw modes that Pillow gives as they are in the file."""
IMAGE_MODES = ("1", "L", "P", "RGB", "RGBX", "YCbCr", "CMYK", "LAB", "LA", "PA", "RGBA", "La", "RGBa")
COLOR_MODES = ("1", "L", "P", "RGB", "LA", "PA", "RGBA")
_HOLDS_ORIENTATION = ("exif", "Raw profile type exif", "XML:com.adobe.xmp")
_MAY_HOLD_ORIENTATION = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_DARK = 1 << 12
"""16-bit images below this hold values of 8 to 12 bits that were not scaled."""
_PHOTOMETRIC = 262
_OLD_BMP_HEADER = 12
_BMP_BITS = {"1": 1, "L": 8}
"""Bits per pixel of gray BMP files; Pillow decodes those of other depths as if they had these."""
_COLORS_TODO = "save it as 8-bit ids, or list the colors of the classes in data.label_colors of the data set folder"


def read_image(file: Stored) -> Pixels:
    """An image as RGB `(H, W, 3)`.

    Raises:
        InputError: If it cannot be read, or what it holds has no exact meaning as 8-bit RGB.
    """
    return _read("image", file, _rgb)


def read_ids(file: Stored) -> tuple[Pixels, dict[int, Color]]:
    """The ids `(H, W)` in a label file as the file stores them, and the color of each that occurs, from its palette.

    Raises:
        InputError: If it cannot be read, is lossy, or holds something else than ids of 8 bits or fewer.
    """
    return _read("label map", file, _ids)


def read_colors(file: Stored, gray: bool) -> Pixels:
    """The colors `(H, W, 3)` in a label file; files of one channel are allowed where `gray` is set.

    Raises:
        InputError: If it cannot be read, is lossy, or its colors are not exact.
    """
    return _read("label map", file, lambda image, raw: _colors(image, raw, gray))


def opened(file: Stored) -> Image.Image:
    """An image whose header is read, of one of `FORMATS`."""
    return Image.open(file if isinstance(file, Path) else io.BytesIO(file.read_bytes()), formats=FORMATS)


def orientation_of(file: Stored) -> int:
    """The EXIF orientation of a file that can be read; 1 if it has none, or is no image."""
    try:
        with opened(file) as image:
            return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except UnidentifiedImageError:
        return 1


def is_silently_turned(image_file: Stored, label_file: Stored) -> bool:
    """Whether only the image has an EXIF orientation, of a kind that keeps its size, so that the sizes agree anyway.

    Only the headers are read; False for files that cannot be read.
    """
    try:
        with opened(image_file) as image:
            orientation, keeps_size = _orientation_in_header(image), image.width == image.height
        if orientation not in (range(2, 9) if keeps_size else range(2, 5)):
            return False
        try:
            with opened(label_file) as label_map:
                return _orientation_in_header(label_map) not in range(2, 9)
        except UnidentifiedImageError:  # labels that are drawn have no orientation
            return True
    except Exception:  # such a file is refused when it is read
        return False


def image_reading(content: bytes) -> str:
    """How the bytes of an image file are read otherwise than the first version did; empty for nearly all files."""
    return _reading(content, lambda image: "16 bits" if image.mode.startswith("I;16") else "")


def label_reading(content: bytes) -> str:
    """How the bytes of a label file are read otherwise than the first version did; empty for nearly all files."""
    return _reading(content, lambda image: "raw ids" if _raw_mode(image) in SCALED else "")


def _read(kind: str, file: Stored, decode: Callable[[Image.Image, str], Decoded]) -> Decoded:
    """What `decode` makes of the loaded image and the raw mode in which the file stores it."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise unreadable(f"the image file {file}", error) from error
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # code of a user may have set it, which fills what is cut off with gray
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.format == "PNG":
            image.verify()  # a flipped bit often decodes without an error
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # whose first frame is the photo
            raise _RefusedError(f"holds {frames} frames; keep the one that counts")
        raw = _raw_mode(image)
        if image.format == "BMP" and _bits_of_bmp(content) != _BMP_BITS.get(image.mode, _bits_of_bmp(content)):
            raise _RefusedError("is a BMP whose gray pixels are packed, which is not read exactly; save it as PNG")
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return decode(image, raw)
    except _RefusedError as refusal:
        raise InputError(f"the {kind} {file} {refusal}") from None
    except UnidentifiedImageError:
        raise InputError(
            f"cannot read the image file {file}: it is damaged or none of the formats {', '.join(FORMATS)}; copy it "
            "again, or save it as PNG"
        ) from None
    except Exception as error:  # decoders raise errors of every kind
        raise InputError(
            f"cannot read the image file {file}: {str(error) or type(error).__name__}; save it again without what "
            "cannot be read, or remove it together with its partner"
        ) from None


class _RefusedError(ValueError):
    """A file is not what it must be; the text goes on after its name."""


def _rgb(image: Image.Image, raw: str) -> Pixels:
    if image.mode.startswith("I;16") and raw != "I;12" and "transparency" not in image.info and not _is_negative(image):
        return _high_byte(np.asarray(image))
    if image.mode not in IMAGE_MODES:
        raise _RefusedError(
            f"must be an image of 8 or 16 bits per channel, got the mode {image.mode} (raw {raw}), whose range is not "
            "known; scale it to 0 to 255 and save it as 8-bit RGB"
        )
    rgb = _opaque_rgb(image)
    if ";16" in raw and rgb.max(initial=0) < _DARK >> 8:  # Pillow has kept the high bytes alone
        raise _RefusedError(
            f"has 16 bits per channel, of which all values are below {_DARK}, so that it would be nearly black; scale "
            "its range to 0 to 255 and save it as 8-bit"
        )
    return rgb


def _high_byte(gray: npt.NDArray[np.uint16]) -> Pixels:
    largest = int(gray.max(initial=0))
    if 0 < largest < _DARK:
        raise _RefusedError(
            f"has 16 bits of gray, of which its largest value {largest} uses {largest.bit_length()}, so that it would "
            "be nearly black; scale its range to 0 to 255 and save it as 8-bit"
        )
    return np.repeat((gray >> 8).astype(np.uint8)[..., None], 3, axis=2)


def _ids(image: Image.Image, raw: str) -> tuple[Pixels, dict[int, Color]]:
    _check_lossless(image)
    if image.mode not in ("L", "P"):
        raise _RefusedError(
            f"must be 8-bit with one channel of class ids (mode L or P), got the mode {image.mode}; {_COLORS_TODO}"
        )
    if raw not in WHOLE and raw not in SCALED:
        raise _RefusedError(f"stores its ids in the raw mode {raw}, which is not read exactly; save it as 8-bit ids")
    ids = np.asarray(image)
    if raw in SCALED:
        return ids // SCALED[raw], {}
    return ids, _used_palette(image, ids) if image.mode == "P" else {}


def _colors(image: Image.Image, raw: str, gray: bool) -> Pixels:
    _check_lossless(image)
    modes = [mode for mode in COLOR_MODES if gray or mode not in ("1", "L", "LA")]
    if image.mode not in modes or ";16" in raw:
        raise _RefusedError(
            f"must be in colors of 8 bits (mode RGB), got the mode {image.mode} (raw {raw}); export it in the colors "
            "of the classes"
        )
    return _opaque_rgb(image)


def _opaque_rgb(image: Image.Image) -> Pixels:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if (np.asarray(image)[..., 3] < 255).any():
            raise _RefusedError(
                "has transparent pixels, whose color is not known; save it without transparency (mode RGB), on the "
                "background that it stands for"
            )
    return np.asarray(image.convert("RGB"))


def _check_lossless(image: Image.Image) -> None:
    packed = str(image.info.get("compression", "")) if image.format == "TIFF" else ""
    if image.format not in LABEL_FORMATS or packed in LOSSY:
        raise _RefusedError(
            f"must be one of {', '.join(LABEL_FORMATS)} without loss, got {f'{image.format} {packed}'.strip()}, which "
            "may change ids and colors; export it again"
        )


def _used_palette(image: Image.Image, ids: Pixels) -> dict[int, Color]:
    """The color of each entry that occurs and has one."""
    colors = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    used = np.unique(ids)
    used = used[used < len(colors)]  # a short palette often leaves 255 without a color
    if (colors == colors[:, :1]).all() and (moved := used[colors[used, 0] != used]).size:
        raise _RefusedError(
            f"has a gray palette whose entry {moved[0]} is the gray {colors[moved[0], 0]}, so its ids are not certain; "
            f"{_COLORS_TODO}"
        )
    return {int(entry): (int(r), int(g), int(b)) for entry, (r, g, b) in zip(used, colors[used], strict=True)}


def _is_negative(image: Image.Image) -> bool:
    """Whether a TIFF file stores white as 0, which Pillow turns around for up to 8 bits only."""
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0


def _bits_of_bmp(content: bytes) -> int:
    """Bits per pixel, from the header."""
    start = 24 if int.from_bytes(content[14:18], "little") == _OLD_BMP_HEADER else 28
    return int.from_bytes(content[start : start + 2], "little")


def _raw_mode(image: Image.Image) -> str:
    """How the samples lie in a file that is not loaded yet, as Pillow names it."""
    tiles = getattr(image, "tile", [])
    arguments = tiles[0][3] if tiles else image.mode
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _orientation_in_header(image: Image.Image) -> int:
    """The EXIF orientation as far as it shows without decoding, which asking a PNG file for it would do."""
    if image.format == "PNG" and not any(key in image.info for key in _HOLDS_ORIENTATION):
        return 1
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _reading(content: bytes, special: Callable[[Image.Image], str]) -> str:
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        marks = [special(image)]
        # Pillow has always turned TIFF files. Asking a PNG file for its orientation decodes it.
        if image.format != "TIFF" and (image.format != "PNG" or any(mark in content for mark in _MAY_HOLD_ORIENTATION)):
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            marks.append(f"orientation {orientation}" if orientation in range(2, 9) else "")
        return ", ".join(filter(None, marks))
    except Exception:  # such a file is refused when it is read
        return ""
