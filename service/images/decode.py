"""Bytes of a picture to the pixels the network was made for. Knows nothing of HTTP."""

import io
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, PngImagePlugin

from service.arrays import Pixels
from service.errors import EmptyBody, ImageTooLarge, InvalidImage
from service.telemetry.record import finish
from service.images.plain_png import SIGNATURE, read_plain_pngs
from service.images.photo import WORKING_SIDE, prepare_photo
from service.images.steps import Step, show

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

_MAX_READS = 100_000
"""Formats let a file be made of pieces of a few bytes, which Pillow walks through in Python. Of a
file in such pieces as encoders make, 16 MiB take less than a tenth of these."""

_SHORT_FILE_BYTES = 65536
"""What is as short cannot need that many."""

_MAX_SCANS = 100
"""Of a JPEG. A progressive one has about ten. Each costs the time of all pixels, however few bytes
it has."""

_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA

Prepare = Literal["auto", "photo", "plain"]
Preparation = Literal["none", "photo", "plain"]

# Pillow's own guard warns at one size and raises at twice that size. `read_image` refuses by the
# declared size before anything is decoded, with the limit the caller gives.
Image.MAX_IMAGE_PIXELS = None


class PreparedImage(NamedTuple):
    """One picture as the network will see it.

    Attributes:
        pixels: (height, width) uint8 or float32 in [0, 255].
        preparation: What was done to get there; `none` is bit for bit what was sent.
    """

    pixels: Pixels
    preparation: Preparation


def read_image(
    data: bytes,
    *,
    prepare: Prepare,
    shape: tuple[int, int],
    max_pixels: int,
    weigh: Callable[[int], None] | None = None,
) -> PreparedImage:
    """Decode a picture and prepare it for the network.

    Args:
        data: A PNG, JPEG, WebP, GIF or BMP file; of an animation the first frame counts.
        prepare: `auto` takes a picture that already has `shape` as it is and prepares any other
            as a photograph; `photo` always prepares; `plain` only turns it grey and resizes it.
        shape: (height, width) of the network's input.
        max_pixels: Largest width times height that is decoded.
        weigh: Is told width times height before anything is decoded; what it raises passes.

    Returns:
        The (height, width) uint8 pixels and what was done to get them.

    Raises:
        EmptyBody: `data` is empty.
        InvalidImage: `data` is no picture in an accepted format, or is truncated or damaged.
        ImageTooLarge: The picture declares more than `max_pixels` pixels.
    """
    if not data:
        raise EmptyBody("the picture is empty: 0 bytes")
    if prepare == "auto":
        plain = read_plain_pngs([data], shape, max_pixels, weigh)
        if plain is not None:
            return PreparedImage(plain[0], "none")
    image = _open(data, max_pixels=max_pixels)
    if weigh is not None:
        weigh(image.width * image.height)
    decoded = _decode(image, data, may_shrink=prepare != "plain")
    finish("decode")
    prepared = _prepare(decoded, prepare, shape)
    finish("prepare")
    return prepared


def _prepare(image: Image.Image, prepare: Prepare, shape: tuple[int, int]) -> PreparedImage:
    height, width = shape
    if prepare == "auto" and image.size == (width, height):
        show(Step("decoded", image))
        grey = _to_grey(image)
        show(Step("grey", grey))
        # Half the time of numpy's array interface, which counts for a picture as small as this.
        return PreparedImage(np.frombuffer(grey.tobytes(), np.uint8).reshape(shape), "none")
    if prepare == "plain":
        show(Step("decoded", image))
        grey = _to_grey(image)
        show(Step("grey", grey))
        small = grey.resize((width, height), Image.Resampling.LANCZOS)
        show(Step("resized", small))
        return PreparedImage(np.asarray(small), "plain")
    return PreparedImage(prepare_photo(_to_rgb(image), shape=shape), "photo")


def _open(data: bytes, *, max_pixels: int) -> ImageFile.ImageFile:
    """Return the picture with its header read and nothing decoded."""
    file = io.BytesIO(data) if len(data) <= _SHORT_FILE_BYTES else _LongFile(data)
    try:
        image = (
            # What Pillow would come to as well, after asking each format whether it is that.
            PngImagePlugin.PngImageFile(file)
            if data.startswith(SIGNATURE)
            else Image.open(file, formats=FORMATS)
        )
    except InvalidImage:
        raise
    except Exception as error:  # Pillow's parsers raise almost anything on hostile headers.
        raise InvalidImage(
            f"not a picture in a format this service reads ({', '.join(FORMATS)})"
        ) from error
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the picture has {width} × {height} = {width * height} pixels, "
            f"the limit is {max_pixels}"
        )
    if image.format in {"JPEG", "MPO"}:
        _check_scans(data)
    return image


class _LongFile(io.BytesIO):
    """A file that is not read in pieces without end."""

    _reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self._reads += 1
        if self._reads > _MAX_READS:
            raise InvalidImage(f"the picture file is in more than {_MAX_READS} pieces")
        return super().read(size)


def _check_scans(data: bytes) -> None:
    """Raise InvalidImage for a JPEG of very many scans."""
    # What is no marker may look like one, but never the other way round.
    if _count_pairs(data, bytes([0xFF, _START_OF_SCAN])) <= _MAX_SCANS:
        return
    scans = position = 0
    while marker := _JPEG_MARKER.search(data, position):
        kind, position = marker[0][1], marker.end()
        scans += kind == _START_OF_SCAN
        if scans > _MAX_SCANS:
            raise InvalidImage(f"the JPEG picture is in more than {_MAX_SCANS} scans")
        if kind == _END_OF_IMAGE:
            return
        if kind != _START_OF_IMAGE:
            position += int.from_bytes(data[position : position + 2])


def _count_pairs(data: bytes, pair: bytes) -> int:
    """Count two bytes that follow one another; `bytes.count` would keep the interpreter for long.

    Of a photograph of twelve megapixels, so long that others' small requests would notice.
    """
    count = 0
    for start in (0, 1):
        words = np.frombuffer(data, "<u2", (len(data) - start) // 2, start)
        count += int(np.count_nonzero(words == int.from_bytes(pair, "little")))
    return count


def _decode(image: ImageFile.ImageFile, data: bytes, *, may_shrink: bool) -> Image.Image:
    """Return the first frame, upright, in whatever mode the file has."""
    try:
        if may_shrink and image.format == "JPEG":
            # A JPEG decoder can halve the picture on the way out, many times cheaper than after.
            image.draft(None, (WORKING_SIDE, WORKING_SIDE))
        image.load()
    except InvalidImage:
        raise
    except Exception as error:
        raise _damaged(image) from error
    # Pillow forgives a PNG that stops short as long as the pixels came out.
    if image.format == "PNG" and b"IEND" not in data:
        raise _damaged(image)
    return _upright(image)


def _damaged(image: ImageFile.ImageFile) -> InvalidImage:
    return InvalidImage(f"the {image.format} picture cannot be decoded: it is truncated or damaged")


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture the way its EXIF orientation says; damaged EXIF data turns nothing."""
    if not image.info:  # Nothing but pixels is in the file.
        return image
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except Exception:  # As above: the pixels were fine, the metadata need not be.
        return image


def _to_grey(image: Image.Image) -> Image.Image:
    """Return the picture in 8-bit grey, transparency over white."""
    return image if image.mode == "L" else _flatten(image).convert("L")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture in 8-bit RGB, transparency over white."""
    return image if image.mode == "RGB" else _flatten(image).convert("RGB")


def _flatten(image: Image.Image) -> Image.Image:
    """Return an opaque picture of 8 bits a channel."""
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion would clip at 255 instead of scaling.
        sixteen_bit = np.asarray(image).astype(np.float32).clip(0, 65535)
        return Image.fromarray(np.rint(sixteen_bit / 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA"))
    return image
