"""Image files to the pixels the network was made for."""

import io
import re
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, PngImagePlugin

from service.arrays import Pixels
from service.capacity.admission import Permit
from service.capacity.parallel import parallel_map
from service.errors import EmptyBody, ImageTooLarge, InvalidImage, RequestError
from service.images.photo import WORKING_SIDE, prepare_photo
from service.images.steps import Step
from service.telemetry.record import RequestRecord

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

# Formats let a file be made of pieces of a few bytes, which Pillow walks through in Python. A file
# of 16 MiB from a usual encoder takes less than a tenth of these reads, and a short one never more.
_MAX_READS = 100_000
_SHORT_FILE_BYTES = 65536

# A progressive JPEG has about ten scans. Each costs the time of all pixels, however short it is.
_MAX_SCANS = 100
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_HEADER_BYTES = len(_PNG_SIGNATURE) + 25
_IDAT = slice(_PNG_HEADER_BYTES + 8, -len(_PNG_END) - 4)
"""Compressed pixels of a plain PNG: behind their length and type, before their checksum."""

Prepare = Literal["auto", "photo", "plain"]
Preparation = Literal["none", "photo", "plain"]

# Pillow's own guard warns at one size and raises at twice that size. `read_image` rejects by the
# declared size before anything is decoded, with the limit the caller gives.
Image.MAX_IMAGE_PIXELS = None


class PreparedImage(NamedTuple):
    """One image as the network takes it."""

    pixels: Pixels
    """(height, width) uint8 or float32 in [0, 255]."""
    preparation: Preparation
    """How they were made; `none` is bit for bit what was sent."""


def read_image(
    data: bytes, *, prepare: Prepare, shape: tuple[int, int], max_pixels: int
) -> PreparedImage:
    """Decode an image and prepare it for the network.

    Args:
        data: A PNG, JPEG, WebP, GIF or BMP file; the first frame of an animation.
        prepare: `auto` takes an image that already has `shape` as it is and prepares any other
            as a photograph; `photo` always prepares; `plain` only converts to grey and resizes.
        shape: (height, width) of the network's input.
        max_pixels: Largest width times height that is decoded.

    Raises:
        EmptyBody: `data` is empty.
        InvalidImage: `data` is no image in an accepted format, or is truncated or damaged.
        ImageTooLarge: The image declares more than `max_pixels` pixels.
    """
    return _prepare(_decode(data, prepare, shape, max_pixels, None), prepare, shape, None)


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Reads the image files of one request, as `read_image` does, and collects `steps` if given.

    The permit is charged before an image is decoded, and its record gets the phases.
    """

    prepare: Prepare
    shape: tuple[int, int]
    permit: Permit
    steps: list[Step] | None = None

    def read(self, data: bytes, place: str | None = None) -> PreparedImage:
        """Return the image of a file; a RequestError begins with its place in the request."""
        return self._read(data, place, self.permit.record)

    def read_all(self, files: Sequence[bytes], name: str) -> list[PreparedImage]:
        """Return the images of some files in order, decoded in parallel if that is faster.

        Raises:
            RequestError: The first file that is rejected, at `name[index]`.
        """
        permit = self.permit
        if self.prepare == "auto":
            # One thread does all: Pillow releases the interpreter's lock at each of these small
            # images, and getting it back from another thread takes longer than decoding.
            pixels = read_plain_pngs(files, self.shape, permit.limits.max_pixels, permit)
            if pixels is not None:
                permit.record.record_phase("decode")
                return [_prepare(each, self.prepare, self.shape, self.steps) for each in pixels]
        images = parallel_map(
            lambda index: self._read(files[index], f"{name}[{index}]", None),
            range(len(files)),
            permit.workers,
            total_bytes=sum(map(len, files)),
        )
        permit.record.record_phase("prepare")  # Once: the record is not thread-safe.
        return images

    def _read(self, data: bytes, place: str | None, record: RequestRecord | None) -> PreparedImage:
        max_pixels = self.permit.limits.max_pixels
        try:
            decoded = _decode(data, self.prepare, self.shape, max_pixels, self.permit)
            if record is not None:
                record.record_phase("decode")
            prepared = _prepare(decoded, self.prepare, self.shape, self.steps)
        except RequestError as error:
            if place is None:
                raise
            raise error.at(place) from error
        if record is not None:
            record.record_phase("prepare")
        return prepared


def read_plain_pngs(
    files: Sequence[bytes], shape: tuple[int, int], max_pixels: int, permit: Permit | None = None
) -> NDArray[np.uint8] | None:
    """Decode PNGs like those of the data set three times as fast as Pillow opens them.

    Returns:
        (n, height, width); None if a file is something else, damaged or too large, for which
        `read_image` has the right error.
    """
    area = shape[0] * shape[1]
    if area > max_pixels or not all(is_plain_png(data, shape) for data in files):
        return None
    if permit is not None:
        permit.charge_pixels(area * len(files))
    pixels = np.empty((len(files), *shape), np.uint8)
    canvas, image = _canvas(shape, threading.get_ident())
    try:
        for index, data in enumerate(files):
            image.frombytes(data[_IDAT], "zip", "L", False)
            pixels[index] = canvas
    except Exception:  # Pillow's decoders promise nothing about what they raise.
        return None
    return pixels


@cache
def _canvas(
    shape: tuple[int, int],
    thread: int,  # noqa: ARG001 (each has its own: decoding releases the interpreter's lock)
) -> tuple[NDArray[np.uint8], Image.Image]:
    """Return an array and an image in the same memory.

    Pillow takes as long to make an image, and to return its pixels, as to decode it.
    """
    canvas = np.zeros(shape, np.uint8)
    return canvas, Image.frombuffer("L", shape[::-1], canvas, "raw", "L", 0, 1)


def is_plain_png(data: bytes, shape: tuple[int, int]) -> bool:
    """Whether a file is an 8-bit grey PNG of `shape` with its pixels in one undamaged chunk."""
    if not (data.startswith(_png_header(shape)) and data.endswith(_PNG_END)):
        return False
    length = len(data[_IDAT]).to_bytes(4)
    checked = data[_PNG_HEADER_BYTES + 4 : _IDAT.stop]
    return (
        data[_PNG_HEADER_BYTES : _IDAT.start] == length + b"IDAT"
        and zlib.crc32(checked).to_bytes(4) == data[_IDAT.stop : -len(_PNG_END)]
    )


@cache
def _png_header(shape: tuple[int, int]) -> bytes:
    """Return the signature and the only header that such a file can have."""
    height, width = shape
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    return _PNG_SIGNATURE + (13).to_bytes(4) + header + zlib.crc32(header).to_bytes(4)


def _decode(
    data: bytes, prepare: Prepare, shape: tuple[int, int], max_pixels: int, permit: Permit | None
) -> Image.Image | Pixels:
    """Return the first frame, upright, in the file's own mode; an array for a plain PNG."""
    if not data:
        raise EmptyBody("the picture is empty: 0 bytes")
    if prepare == "auto":
        pixels = read_plain_pngs([data], shape, max_pixels, permit)
        if pixels is not None:
            first: Pixels = pixels[0]
            return first
    image = _open(data, max_pixels)
    if permit is not None:
        permit.charge_pixels(image.width * image.height)
    damaged = f"the {image.format} picture cannot be decoded: it is truncated or damaged"
    if image.format == "PNG" and b"IEND" not in data:  # Pillow accepts it if it has all pixels.
        raise InvalidImage(damaged)
    try:
        if prepare != "plain" and image.format == "JPEG":
            # A JPEG decoder halves an image many times cheaper than resizing it would.
            image.draft(None, (WORKING_SIDE, WORKING_SIDE))
        image.load()
    except InvalidImage:
        raise
    except Exception as error:
        raise InvalidImage(damaged) from error
    return _upright(image)


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    """Return the image with its header read and nothing decoded."""
    file = io.BytesIO(data) if len(data) <= _SHORT_FILE_BYTES else _LongFile(data)
    try:
        if data.startswith(_PNG_SIGNATURE):  # Image.open gets there too, after the other formats.
            image: ImageFile.ImageFile = PngImagePlugin.PngImageFile(file)
        else:
            image = Image.open(file, formats=FORMATS)
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
    """A file that limits how often it is read."""

    _reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self._reads += 1
        if self._reads > _MAX_READS:
            raise InvalidImage(f"the picture file is in more than {_MAX_READS} pieces")
        return super().read(size)


def _check_scans(data: bytes) -> None:
    """Raise InvalidImage for a JPEG of too many scans."""
    # Every marker is such a pair of bytes, but not every pair is a marker.
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
    """Return `data.count(pair)`, which would keep the interpreter's lock for milliseconds."""
    words = [np.frombuffer(data, "<u2", (len(data) - start) // 2, start) for start in (0, 1)]
    return sum(int(np.count_nonzero(each == int.from_bytes(pair, "little"))) for each in words)


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; damaged EXIF data is ignored."""
    if not image.info:  # The file holds only pixels.
        return image
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except Exception:  # As above: the pixels were fine, the metadata need not be.
        return image


def _prepare(
    decoded: Image.Image | Pixels,
    prepare: Prepare,
    shape: tuple[int, int],
    steps: list[Step] | None,
) -> PreparedImage:
    if not isinstance(decoded, Image.Image):
        if steps is not None:
            steps += [Step("decoded", decoded), Step("grey", decoded)]
        return PreparedImage(decoded, "none")
    steps = [] if steps is None else steps
    if prepare == "photo" or (prepare == "auto" and decoded.size != shape[::-1]):
        return PreparedImage(prepare_photo(_to_rgb(decoded), shape=shape, steps=steps), "photo")
    grey = _to_grey(decoded)
    steps += [Step("decoded", decoded), Step("grey", grey)]
    if prepare == "auto":
        # Half the time of numpy's array interface.
        return PreparedImage(np.frombuffer(grey.tobytes(), np.uint8).reshape(shape), "none")
    small = grey.resize(shape[::-1], Image.Resampling.LANCZOS)
    steps.append(Step("resized", small))
    return PreparedImage(np.asarray(small), "plain")


def _to_grey(image: Image.Image) -> Image.Image:
    return image if image.mode == "L" else _flatten(image).convert("L")


def _to_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else _flatten(image).convert("RGB")


def _flatten(image: Image.Image) -> Image.Image:
    """Return an opaque image of 8 bits a channel, transparency over white."""
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion would clip at 255 instead of scaling.
        sixteen_bit = np.asarray(image).astype(np.float32).clip(0, 65535)
        return Image.fromarray(np.rint(sixteen_bit / 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA"))
    return image
