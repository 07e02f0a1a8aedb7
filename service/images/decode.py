"""Decodes image files into the network's input."""

import io
import operator
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from ..arrays import Pixels
from ..capacity.admission import Deferred, Permit
from ..capacity.memory import MAX_IMAGE_BYTES, image_memory
from ..capacity.parallel import parallel_map
from ..errors import EmptyBody, ImageTooLarge, InvalidImage, RequestError
from ..telemetry.record import RequestRecord
from . import formats
from .photo import prepare_photo
from .steps import LONGEST_SIDE, Step

Prepare = Literal["auto", "photo", "plain"]
Preparation = Literal["none", "photo", "plain"]

# Measured memory of the decoders in bytes per pixel. Several scans of a JPEG also keep all samples.
_PIXEL_BYTES = {"PNG": 4, "JPEG": 8, "GIF": 4, "BMP": 5, "WEBP": 16, "AVIF": 20}
_SAMPLE_BYTES = 2
_JPEG_SHARE = 4  # A JPEG may have more pixels: its decoder skips most of a large one.
_MAX_SIDE = 32768
_RLE, _MAX_RLE_PIXELS = {1, 2}, 65536  # Pillow decodes run-length encoded BMPs in Python.

# Larger images are converted and reduced in strips: no full-size copy, no long hold of the GIL.
_READ_SIDE, _STRIP_PIXELS = 1024, 2**17

# A truncated JPEG is accepted if different data in place of its end decode to the same pixels.
_JPEG_END, _NOISE = b"\xff\xd9", bytes(range(1, 255))
_NOISE += b"".join(bytes([0xFF, 0xD0 + restart]) + _NOISE for restart in range(8))

# The transposition that turns an image upright, by EXIF orientation.
_TURNS = dict(enumerate(map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), 2))

# A plain PNG is signature, header, one IDAT chunk (length, type, pixels and checksum), then IEND.
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LENGTH, _CHUNK, _PIXELS = slice(33, 37), slice(37, -16), slice(41, -16)
_CHECKSUM, _PNG_END = slice(-16, -12), b"\0\0\0\0IEND\xaeB`\x82"

# Pillow's limit is not needed: images are rejected by their declared size before decoding.
Image.MAX_IMAGE_PIXELS = None


class PreparedImage(NamedTuple):
    """One image as the network takes it."""

    pixels: Pixels
    preparation: Preparation  # `none` if the pixels are bit for bit those of the request.


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Decodes and prepares the image files of one request, within the limits of its permit."""

    # `auto` keeps an image that already has `shape` and prepares any other as a photograph;
    # `photo` always prepares; `plain` only converts to grey and resizes.
    prepare: Prepare
    shape: tuple[int, int]  # (height, width) of the network's input.
    permit: Permit
    steps: list[Step] | None = None  # Collects the steps of the preparation.

    def read(self, data: bytes, place: str | None = None) -> PreparedImage:
        """Return the first frame of a file, or raise a RequestError whose message names `place`."""
        return self._read(data, place, self.permit.record)

    def read_all(self, files: Sequence[bytes], name: str) -> list[PreparedImage]:
        """Return the images of files called `name[index]`; raises as `read` for the first."""
        unused = RequestRecord("")  # A record is not thread-safe.
        images = parallel_map(
            lambda index: self._read(files[index], f"{name}[{index}]", unused),
            range(len(files)),
            self.permit.workers,
            total_bytes=sum(map(len, files)),
        )
        self.permit.record.record_phase("prepare")
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
        """Return the first frame, upright; a plain PNG as an array."""
        if not data:
            raise EmptyBody("the image is empty: 0 bytes")
        if self.prepare == "auto":
            pixels = read_plain_png(data, self.shape, self.permit)
            if pixels is not None:
                return pixels
        name = formats.format_of(data)
        try:
            return self._decode_file(data, name)
        except (RequestError, Deferred):
            raise
        except Exception as error:  # Pillow raises many types of errors on hostile files.
            problem = f"the {name} image cannot be decoded: it is truncated or damaged"
            raise InvalidImage(problem) from error

    def _decode_file(self, data: bytes, name: str) -> Image.Image:
        """Return an image in the file's own mode, or a large one reduced and converted."""
        permit = self.permit
        if name not in {"PNG", "JPEG"}:  # Opening it alone may take long.
            permit.charge_pixels(permit.limits.max_pixels)
        file = formats.without_metadata(data, name)
        image = _open(name, file.data if file.has_end else file.data + _JPEG_END)
        width, height = image.size
        # A JPEG decoder halves an image far faster than resizing does.
        side = _READ_SIDE if self.prepare == "plain" else LONGEST_SIDE
        image.draft(None, (side, side))
        size = _PIXEL_BYTES[name] * image.width * image.height
        if isinstance(image, JpegImageFile) and (file.scans > 1 or "progressive" in image.info):
            _, across, down, _ = zip(*image.layer, strict=True)
            samples = sum(map(operator.mul, across, down)) / (max(across) * max(down))
            size += round(_SAMPLE_BYTES * samples * width * height)
        most = permit.limits.max_pixels * (_JPEG_SHARE if name == "JPEG" else 1)
        most = min(most, MAX_IMAGE_BYTES * width * height // size)
        if name == "BMP" and image.info["compression"] in _RLE:
            most = min(most, _MAX_RLE_PIXELS)
        if width * height > most or max(width, height) > _MAX_SIDE:
            raise ImageTooLarge(
                f"the {name} image has {width} × {height} = {width * height} pixels, the limit "
                f"is {most}, or {_MAX_SIDE} per side"
            )
        permit.charge_pixels(width * height)
        with image_memory(size, permit.deadline):
            try:
                return self._load(image, name, file, side)
            finally:
                del image  # Frees the memory before the reservation ends.

    def _load(
        self, file: ImageFile.ImageFile, name: str, source: formats.EncodedImage, side: int
    ) -> Image.Image:
        file.load()
        if not source.has_end:
            if name == "PNG":
                raise ValueError("no IEND")  # Pillow does not need it.
            other = _open(name, source.data + _NOISE + _JPEG_END)
            other.draft(None, (side, side))
            if ImageChops.difference(file, other).getbbox():
                raise ValueError("not all pixels")
        if name == "BMP" and file.mode == "RGBA" and not file.getchannel("A").getbbox():
            file.putalpha(255)  # All zero: the writer did not use the channel.
        image: Image.Image = file
        if max(image.size) > _READ_SIDE:
            image = _convert(image, "L" if self.prepare == "plain" else "RGB")
        turn = _TURNS.get(formats.orientation_of(source.exif or file.info.get("exif", b"")))
        return image if turn is None else image.transpose(turn)

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


def read_plain_png(data: bytes, shape: tuple[int, int], permit: Permit) -> NDArray[np.uint8] | None:
    """Decode a PNG like those of the data set to (height, width), three times as fast as Pillow.

    Returns None if the file is of another kind, damaged or too large.
    """
    area = shape[0] * shape[1]
    if area > permit.limits.max_pixels or not is_plain_png(data, shape):
        return None
    permit.charge_pixels(area)
    canvas, image = _canvas(shape, threading.get_ident())
    canvas.fill(0)  # A stream may end after any row: Pillow reports no error, and writes no more.
    try:
        image.frombytes(data[_PIXELS], "zip", "L", False)
    except Exception:  # Pillow does not document which errors its decoders raise.
        return None
    return canvas.copy()


@cache
def _canvas(shape: tuple[int, int], _thread: int) -> tuple[NDArray[np.uint8], Image.Image]:
    """Return an array and an image in the same memory: creating one takes as long as decoding."""
    canvas = np.zeros(shape, np.uint8)
    return canvas, Image.frombuffer("L", shape[::-1], canvas, "raw", "L", 0, 1)


def is_plain_png(data: bytes, shape: tuple[int, int]) -> bool:
    """Return whether a file is an 8-bit grey PNG of `shape` with one undamaged IDAT chunk."""
    if not data.startswith(_png_header(shape)):
        return False  # Nothing is copied yet.
    chunk = data[_CHUNK]
    return (
        chunk.startswith(b"IDAT")
        and data[_LENGTH] == (len(chunk) - 4).to_bytes(4)
        and data[_CHECKSUM] == zlib.crc32(chunk).to_bytes(4)
        and data.endswith(_PNG_END)
    )


@cache
def _png_header(shape: tuple[int, int]) -> bytes:
    """Return the signature and header of a plain PNG."""
    height, width = shape
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    return _PNG_SIGNATURE + (13).to_bytes(4) + header + zlib.crc32(header).to_bytes(4)


class _LongFile(io.BytesIO):
    """Limits the number of reads, which Pillow makes for each piece of a file."""

    _reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self._reads += 1
        if self._reads > formats.MAX_PIECES:
            raise InvalidImage(f"the image file has more than {formats.MAX_PIECES} pieces")
        return super().read(size)


def _open(name: str, data: bytes) -> ImageFile.ImageFile:
    is_counted = name in {"PNG", "JPEG"}  # By `without_metadata`.
    return Image.open(io.BytesIO(data) if is_counted else _LongFile(data), formats=[name])


def _convert(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """Return the image in 8 bits a channel, transparency over white, no side above `_READ_SIDE`."""
    x_factor, y_factor = (-(-side // _READ_SIDE) for side in image.size)
    width, height = image.size
    if x_factor == y_factor == 1 and width * height <= _STRIP_PIXELS:
        return _convert_strip(image, mode)
    converted = Image.new(mode, (-(-width // x_factor), -(-height // y_factor)))
    rows = max(1, _STRIP_PIXELS // (width * y_factor)) * y_factor
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        strip = _convert_strip(strip, mode).reduce((x_factor, y_factor))
        converted.paste(strip, (0, top // y_factor))
    return converted


def _convert_strip(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's conversion would clip at 255 instead of scaling.
        values = np.asarray(image).clip(0, 65535)
        grey = np.rint(values / np.float32(257)).astype(np.uint8)
        grey[values == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(grey)
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)
