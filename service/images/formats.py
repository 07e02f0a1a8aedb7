"""Which format a picture file has, and the parts of a PNG or JPEG that its pixels need."""

import re
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from PIL import features

from service.errors import InvalidImage

_PATTERNS = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8",
    "WEBP": rb"RIFF.{4}WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "AVIF": rb".{4}ftyp(avi[fs]|m[is]f1.{4,64}?avi[fs])",
    "HEIC": rb".{4}ftyp(hei|hev|m[is]f1)",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "SVG": rb"(\xef\xbb\xbf)?\s*<([?!].{,2000}<)?svg",
    "PDF": rb"%PDF",
    "JPEG XL": rb"\xff\x0a|.{4}JXL ",
}
_READ = ("PNG", "JPEG", "WEBP", "GIF", "BMP") + ("AVIF",) * features.check("avif")

# A file may be made of pieces of a few bytes. One of 16 MiB from a usual encoder has a tenth of it.
MAX_PIECES = 25_000

# A progressive JPEG has about ten scans. Each costs the time of all pixels, however short it is.
_MAX_SCANS = 100
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_MAX_GAP = 65536  # bytes to the next marker, where there should be none
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = b"\xff\xda", b"\xff\xd9", b"\xff\xe1"

_ENDS = {b"IEND", _END_OF_IMAGE}
_NEEDED = {b"IHDR", b"PLTE", b"IDAT", _START_OF_SCAN, *_ENDS} | {
    # Frames, tables, and what JFIF and Adobe say of the colours.
    bytes([0xFF, each])
    for each in (*range(0xC0, 0xD0), 0xDB, 0xDD, 0xE0, 0xEE)
}
_COLOUR_KEY_BYTES = {0: [2], 2: [6], 3: range(257)}  # of tRNS, by the colour type
_ORIENTATION_TAG, _MAX_TAGS = 0x0112, 1000

_Piece = tuple[bytes, int, int]  # kind, start and end


class PictureFile(NamedTuple):
    """A picture file without metadata."""

    data: bytes
    exif: bytes = b""
    has_end: bool = True
    """False if a PNG or JPEG lacks the chunk or marker of its end."""
    scans: int = 0
    """Of a JPEG."""


def format_of(data: bytes) -> str:
    """Return the format that the first bytes name; raises InvalidImage if it is not read."""
    matches = (name for name, each in _PATTERNS.items() if re.match(each, data, re.DOTALL))
    name = next(matches, None)
    if name in _READ:
        return name
    problem = "not a picture in" if name is None else f"{name} is not read: convert it to"
    raise InvalidImage(f"{problem} a format this service reads ({', '.join(_READ)})")


def without_metadata(data: bytes, name: str) -> PictureFile:
    """Drop what decoders unpack and parse without limits although no pixel needs it.

    Raises:
        InvalidImage: It is in too many pieces, or a JPEG in too many scans.
    """
    if name == "AVIF":  # Under another name EXIF data is not parsed.
        return PictureFile(re.sub(rb"(?s)(infe.{8,10}?)Exif", rb"\1none", data))
    if name not in {"PNG", "JPEG"}:
        return PictureFile(data)
    is_png = name == "PNG"
    view, exif, has_end, scans = memoryview(data), b"", False, 0
    kept: list[bytes | memoryview] = [view[: 8 if is_png else 2]]
    for number, (kind, start, end) in enumerate(_chunks(data) if is_png else _segments(data)):
        if number == MAX_PIECES:
            raise InvalidImage(f"the picture file is in more than {MAX_PIECES} pieces")
        if kind in _NEEDED:
            kept.append(view[start:end])
        elif kind == b"tRNS":
            kept.append(_colour_key(data[start:end], *data[24:26]))
        elif kind == b"eXIf" or (kind == _APP1 and data[start + 4 : start + 8] == b"Exif"):
            exif = exif or data[start + (8 if is_png else 4) : end]
        scans += kind == _START_OF_SCAN
        if has_end := kind in _ENDS:
            break
    if scans > _MAX_SCANS:
        raise InvalidImage(f"the JPEG picture is in more than {_MAX_SCANS} scans")
    return PictureFile(b"".join(kept), exif, has_end, scans)


def _chunks(data: bytes) -> Iterator[_Piece]:
    """Yield the chunks of a PNG."""
    position = 8
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4])
        yield data[position + 4 : position + 8], position, end
        position = end


def _segments(data: bytes) -> Iterator[_Piece]:
    """Yield the segments of a JPEG, all scans as one."""
    end = 2
    while marker := _MARKER.search(data, end, end + _MAX_GAP):
        start = marker.end() - 2
        if marker[0] == _START_OF_SCAN:
            break
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        yield marker[0], start, end
    else:
        return
    # `find` and `count` of bytes would keep the interpreter's lock for milliseconds.
    words = [np.frombuffer(data, ">u2", (len(data) - at) // 2, at) for at in (start, start + 1)]
    ends = [
        start + at + 2 * int(found.argmax())
        for at, each in enumerate(words)
        if (found := each == int.from_bytes(_END_OF_IMAGE)).any()
    ]
    end = min(ends, default=len(data))
    scans = [each[: (end - start) // 2] == int.from_bytes(_START_OF_SCAN) for each in words]
    for _ in range(min(_MAX_SCANS, sum(map(np.count_nonzero, scans)) - 1)):
        yield _START_OF_SCAN, start, start
    yield _START_OF_SCAN, start, end
    if ends:
        yield _END_OF_IMAGE, end, end + 2


def _colour_key(chunk: bytes, depth: int, colour: int) -> bytes:
    """Return a tRNS chunk in the range of the decoded pixels; nothing if it is damaged."""
    key = chunk[8:-4]
    is_whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
    if not is_whole or len(key) not in _COLOUR_KEY_BYTES.get(colour, []):
        return b""
    if colour == 0 and depth < 8:  # Grey is scaled to 0…255.
        key = (int.from_bytes(key) * 255 // (2**depth - 1) % 256).to_bytes(2)
    elif colour == 2 and depth == 16:  # Of colours the upper eight bits are decoded.
        key = bytes([0, key[0], 0, key[2], 0, key[4]])
    content = b"tRNS" + key
    return len(key).to_bytes(4) + content + zlib.crc32(content).to_bytes(4)


def orientation_of(exif: bytes) -> int:
    """Return the orientation in EXIF data: 1 is upright, anything above 8 is damaged."""
    exif = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if exif.startswith(b"II") else "big"
    first = int.from_bytes(exif[4:8], order) + 2
    count = int.from_bytes(exif[first - 2 : first], order)
    for entry in range(first, first + 12 * min(count, _MAX_TAGS), 12):
        if int.from_bytes(exif[entry : entry + 2], order) == _ORIENTATION_TAG:
            return int.from_bytes(exif[entry + 8 : entry + 10], order)
    return 1
