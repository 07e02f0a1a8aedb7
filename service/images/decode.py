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
from service.capacity.admission import Admission, Deferred, Limits, Permit
from service.capacity.parallel import parallel_map
from service.errors import EmptyBody, ImageTooLarge, InvalidImage, RequestError
from service.images.photo import prepare_photo
from service.images.steps import LONGEST_SIDE, Step
from service.telemetry.record import RequestRecord

Prepare = Literal["auto", "photo", "plain"]
Preparation = Literal["none", "photo", "plain"]

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

# Formats let a file be made of pieces of a few bytes, which Pillow walks through in Python. A file
# of 16 MiB from a usual encoder takes less than a tenth of these reads, and a short one never more.
_MAX_READS = 100_000
_SHORT_FILE_BYTES = 65536

# A progressive JPEG has about ten scans. Each costs the time of all pixels, however short it is.
_MAX_SCANS = 100
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA

# A plain PNG: signature and header, the length of its only chunk of pixels, the chunk's type,
# compressed pixels and checksum, and its end.
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LENGTH, _CHUNK, _PIXELS = slice(33, 37), slice(37, -16), slice(41, -16)
_CHECKSUM, _PNG_END = slice(-16, -12), b"\0\0\0\0IEND\xaeB`\x82"

# Pillow's own guard warns at one size and raises at twice that size. Here images are rejected by
# the declared size before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


class PreparedImage(NamedTuple):
    """One image as the network takes it."""

    pixels: Pixels
    """(height, width) uint8 or float32 in [0, 255]."""
    preparation: Preparation
    """How they were made; `none` is bit for bit what was sent."""


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Decodes the image files of one request and prepares them for the network.

    The permit is charged before an image is decoded, and its record gets the phases.
    """

    prepare: Prepare
    """`auto` takes an image that already has `shape` as it is and prepares any other as a
    photograph; `photo` always prepares; `plain` only converts to grey and resizes."""
    shape: tuple[int, int]
    """(height, width) of the network's input."""
    permit: Permit
    steps: list[Step] | None = None
    """Collects the steps of the preparation."""

    def read(self, data: bytes, place: str | None = None) -> PreparedImage:
        """Return the image of a PNG, JPEG, WebP, GIF or BMP file; of an animation the first frame.

        Raises:
            RequestError: The file is empty, no image, damaged or too large. The message begins
                with its place in the request.
        """
        return self._read(data, place, self.permit.record)

    def read_all(self, files: Sequence[bytes], name: str) -> list[PreparedImage]:
        """Return the images of some files in order, decoded in parallel if that is faster.

        Raises:
            RequestError: The first file that is rejected, at `name[index]`.
        """
        record = self.permit.record
        if self.prepare == "auto":
            # One thread does all: Pillow releases the interpreter's lock at each of these small
            # images, and getting it back from another thread takes longer than decoding.
            pixels = read_plain_pngs(files, self.shape, self.permit)
            if pixels is not None:
                record.record_phase("decode")
                return [self._prepare(each) for each in pixels]
        unused = RequestRecord("")  # The other is not thread-safe.
        images = parallel_map(
            lambda index: self._read(files[index], f"{name}[{index}]", unused),
            range(len(files)),
            self.permit.workers,
            total_bytes=sum(map(len, files)),
        )
        record.record_phase("prepare")
        return images

    def _read(self, data: bytes, place: str | None, record: RequestRecord) -> PreparedImage:
        try:
            decoded = self._decode(data)
            record.record_phase("decode")
            prepared = self._prepare(decoded)
        except RequestError as error:
            if place is None:
                raise
            raise error.at(place) from error
        record.record_phase("prepare")
        return prepared

    def _decode(self, data: bytes) -> Image.Image | Pixels:
        """Return the first frame, upright, in the file's own mode; an array for a plain PNG."""
        if not data:
            raise EmptyBody("the picture is empty: 0 bytes")
        if self.prepare == "auto":
            pixels = read_plain_pngs([data], self.shape, self.permit)
            if pixels is not None:
                first: Pixels = pixels[0]
                return first
        file = io.BytesIO(data) if len(data) <= _SHORT_FILE_BYTES else _LongFile(data)
        problem = f"not a picture in a format this service reads ({', '.join(_FORMATS)})"
        try:
            image = (
                PngImagePlugin.PngImageFile(file)  # Image.open takes longer to get there.
                if data.startswith(_PNG_SIGNATURE)
                else Image.open(file, formats=_FORMATS)
            )
            _check_size(image, data, self.permit.limits.max_pixels)
            self.permit.charge_pixels(image.width * image.height)
            problem = f"the {image.format} picture cannot be decoded: it is truncated or damaged"
            if image.format == "PNG":
                data.index(b"IEND")  # Raises without it, where Pillow is content with all pixels.
            if self.prepare != "plain" and image.format == "JPEG":
                # A JPEG decoder halves an image many times cheaper than resizing it would.
                image.draft(None, (LONGEST_SIDE, LONGEST_SIDE))
            image.load()
        except (RequestError, Deferred):
            raise
        except Exception as error:  # Pillow raises almost anything on hostile files.
            raise InvalidImage(problem) from error
        return _upright(image)

    def _prepare(self, decoded: Image.Image | Pixels) -> PreparedImage:
        if not isinstance(decoded, Image.Image):
            if self.steps is not None:
                self.steps.extend([Step("decoded", decoded), Step("grey", decoded)])
            return PreparedImage(decoded, "none")
        steps = [] if self.steps is None else self.steps
        size = self.shape[::-1]
        if self.prepare == "photo" or (self.prepare == "auto" and decoded.size != size):
            rgb = _convert(decoded, "RGB")
            return PreparedImage(prepare_photo(rgb, shape=self.shape, steps=steps), "photo")
        grey = _convert(decoded, "L")
        steps += [Step("decoded", decoded), Step("grey", grey)]
        if self.prepare == "auto":
            pixels = np.frombuffer(grey.tobytes(), np.uint8)  # Half the time of `asarray`.
            return PreparedImage(pixels.reshape(self.shape), "none")
        small = grey.resize(size, Image.Resampling.LANCZOS)
        steps.append(Step("resized", small))
        return PreparedImage(np.asarray(small), "plain")


def read_image(
    data: bytes, *, prepare: Prepare, shape: tuple[int, int], max_pixels: int
) -> PreparedImage:
    """Return the image of a file as an `ImageReader` does, without a request."""
    limits = Limits(max_pixels=max_pixels)
    permit = Admission(max_images=1, max_bytes=0, limits=limits).admit(RequestRecord(""))
    return ImageReader(prepare, shape, permit).read(data)


def read_plain_pngs(
    files: Sequence[bytes], shape: tuple[int, int], permit: Permit
) -> NDArray[np.uint8] | None:
    """Decode PNGs like those of the data set three times as fast as Pillow opens them.

    Returns:
        (n, height, width); None if a file is something else, damaged or too large, for which
        `ImageReader.read` has the right error.
    """
    area = shape[0] * shape[1]
    if area > permit.limits.max_pixels or not all(is_plain_png(data, shape) for data in files):
        return None
    permit.charge_pixels(area * len(files))
    pixels = np.empty((len(files), *shape), np.uint8)
    canvas, image = _canvas(shape, threading.get_ident())
    try:
        for index, data in enumerate(files):
            image.frombytes(data[_PIXELS], "zip", "L", False)
            pixels[index] = canvas
    except Exception:  # Pillow's decoders promise nothing about what they raise.
        return None
    return pixels


@cache
def _canvas(shape: tuple[int, int], _thread: int) -> tuple[NDArray[np.uint8], Image.Image]:
    """Return an array and an image in the same memory, its own for each thread.

    Pillow takes as long to make an image, and to return its pixels, as to decode it.
    """
    canvas = np.zeros(shape, np.uint8)
    return canvas, Image.frombuffer("L", shape[::-1], canvas, "raw", "L", 0, 1)


def is_plain_png(data: bytes, shape: tuple[int, int]) -> bool:
    """Whether a file is an 8-bit grey PNG of `shape` with its pixels in one undamaged chunk."""
    chunk = data[_CHUNK]
    return (
        data.startswith(_png_header(shape))
        and chunk.startswith(b"IDAT")
        and data[_LENGTH] == (len(chunk) - 4).to_bytes(4)
        and data[_CHECKSUM] == zlib.crc32(chunk).to_bytes(4)
        and data.endswith(_PNG_END)
    )


@cache
def _png_header(shape: tuple[int, int]) -> bytes:
    """Return the signature and the only header that such a file can have."""
    height, width = shape
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    return _PNG_SIGNATURE + (13).to_bytes(4) + header + zlib.crc32(header).to_bytes(4)


class _LongFile(io.BytesIO):
    """A file that limits how often it is read."""

    _reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self._reads += 1
        if self._reads > _MAX_READS:
            raise InvalidImage(f"the picture file is in more than {_MAX_READS} pieces")
        return super().read(size)


def _check_size(image: ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    """Raise ImageTooLarge for too many pixels, InvalidImage for a JPEG of too many scans."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the picture has {width} × {height} = {width * height} pixels, "
            f"the limit is {max_pixels}"
        )
    if image.format not in {"JPEG", "MPO"}:
        return
    # Every marker of a scan is the bytes FF DA, but not every FF DA is a marker. `data.count`
    # would keep the interpreter's lock for milliseconds.
    words = [np.frombuffer(data, "<u2", (len(data) - start) // 2, start) for start in (0, 1)]
    if sum(np.count_nonzero(each == 0xDAFF) for each in words) <= _MAX_SCANS:
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


def _convert(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """Return the image in 8 bits a channel, transparency over white."""
    if image.mode == mode:
        return image
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion would clip at 255 instead of scaling.
        sixteen_bit = np.asarray(image).astype(np.float32).clip(0, 65535)
        image = Image.fromarray(np.rint(sixteen_bit / 257).astype(np.uint8))
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(mode)
