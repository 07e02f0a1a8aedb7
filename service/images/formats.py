"""Recognises the format of an image file and strips its metadata."""

import re
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

from PIL import features

from ..errors import InvalidImage

_FORMATS = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8",
    "WEBP": rb"RIFF.{4}WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "AVIF": rb".{4}ftyp(avi[fs]|m[is]f1.{4,64}?avi[fs])",
    "HEIC": rb".{4}ftyp(hei|hev|m[is]f1)",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "SVG": rb"(\xef\xbb\xbf)?\s{,2000}<([?!].{,2000}<)?svg",
    "PDF": rb"%PDF",
}
_READ = ["PNG", "JPEG", "WEBP", "GIF", "BMP"] + ["AVIF"] * bool(features.check("avif"))

# Chunks or segments of a file; a 16 MiB file from a common encoder has a tenth of these.
MAX_PIECES = 25_000

# A progressive JPEG has about ten scans. Decoding one visits all pixels, however short it is.
_MAX_SCANS = 100
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_SCAN_OR_END = re.compile(rb"\xff[\xd9\xda]")
_MAX_GAP = 65536  # bytes of garbage before a marker
_SEARCHED_BYTES = 2**20  # at a time: a search holds the GIL
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = b"\xff\xda", b"\xff\xd9", b"\xff\xe1"

_NEEDED = {b"IHDR", b"PLTE", b"IDAT", b"IEND"} | {
    bytes([0xFF, each])  # frames, scans, tables, the end, JFIF's and Adobe's colour information
    for each in (*range(0xC0, 0xD0), *range(0xD9, 0xDE), 0xE0, 0xEE)
}
_COLOUR_KEY_BYTES = {0: [2], 2: [6], 3: range(257)}  # lengths of tRNS by colour type
_FRAMES = {bytes([0xFF, each]) for each in range(0xC0, 0xD0) if each not in {0xC4, 0xC8, 0xCC}}
_ORIENTATION_TAG, _MAX_TAGS = 0x0112, 1000
_MAX_TABLE_BYTES = 32768  # AVIF's decoder holds the GIL, and searches a table for each entry.
_CONTAINERS = {b"meta", b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_CONTENTS = {b"mdat", b"idat", b"colr", b"uuid", b"free", b"skip"}  # Their bytes are no table.


class EncodedImage(NamedTuple):
    """An image file without metadata; `has_end` and `scans` are known of PNG and JPEG."""

    data: bytes
    exif: bytes = b""
    has_end: bool = True
    scans: int = 0


def format_of(data: bytes) -> str:
    """Return the format by the first bytes; raises InvalidImage if it is not supported."""
    names = (name for name, start in _FORMATS.items() if re.match(start, data, re.DOTALL))
    name = next(names, None)
    if name in _READ:
        return name
    problem = "not an image in" if name is None else f"{name} is not supported: convert it to"
    raise InvalidImage(f"{problem} a supported format ({', '.join(_READ)})")


def without_metadata(data: bytes, name: str) -> EncodedImage:
    """Drop metadata, which decoders decompress and parse without limits.

    Raises InvalidImage if there are too many chunks, segments, scans, frames or tables.
    """
    if name == "AVIF":  # EXIF data under another name is not parsed.
        _check_tables(data)
        return EncodedImage(re.sub(rb"(?s)(infe.{8,10}?)Exif", rb"\1none", data))
    if name not in {"PNG", "JPEG"}:
        return EncodedImage(data)
    view, exif, kind, scans, frames = memoryview(data), b"", b"", 0, 0
    kept: list[bytes | memoryview] = [view[: 8 if name == "PNG" else 2]]
    for number, piece in enumerate(_chunks(data) if name == "PNG" else _segments(data)):
        if number == MAX_PIECES:
            raise InvalidImage(f"the image file has more than {MAX_PIECES} pieces")
        kind, start, end = piece
        if kind in _NEEDED:
            kept.append(view[start:end])
        elif kind == b"tRNS":
            kept.append(_colour_key(data[start:end], *data[24:26]))
        elif not exif and (
            kind == b"eXIf" or (kind == _APP1 and data.startswith(b"Exif", start + 4))
        ):
            exif = data[start + (8 if name == "PNG" else 4) : end]
        scans, frames = scans + (kind == _START_OF_SCAN), frames + (kind in _FRAMES)
        if scans > _MAX_SCANS or frames > 1:
            raise InvalidImage(f"the JPEG image has more than {_MAX_SCANS} scans or one frame")
    return EncodedImage(b"".join(kept), exif, kind in {b"IEND", _END_OF_IMAGE}, scans)


def _check_tables(data: bytes) -> None:
    """Raise InvalidImage if the boxes of an AVIF have larger tables than any image needs."""
    boxes, left = [(0, len(data))], _MAX_TABLE_BYTES
    while boxes and left >= 0:
        at, end = boxes.pop()
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        size = int.from_bytes(data[at + 8 : at + 16]) if size == 1 else size
        stop = min(at + size, end) if size >= 8 else end
        left -= 8 if kind in _CONTAINERS | _CONTENTS else stop - at
        inner = at + 8 + 4 * (kind == b"meta"), stop if kind in _CONTAINERS else 0
        boxes += [span for span in ((stop, end), inner) if span[0] < span[1]]
    if left < 0:
        raise InvalidImage(f"the AVIF image has more than {_MAX_TABLE_BYTES} bytes of tables")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the chunks of a PNG."""
    kind, end = b"", 8
    while end < len(data) and kind != b"IEND":
        kind, start = data[end + 4 : end + 8], end
        end += 12 + int.from_bytes(data[start : start + 4])
        yield kind, start, end


def _segments(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the segments of a JPEG; all scan data come with the last."""
    kind, end = b"", 2
    while kind != _START_OF_SCAN:
        marker = _MARKER.search(data, end, end + _MAX_GAP)
        if marker is None:
            return
        kind, start = marker[0], marker.end() - 2
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        if kind != _START_OF_SCAN:
            yield kind, start, end
    at, end = start + 2, 0
    while at < len(data) and not end:
        found = _SCAN_OR_END.search(data, at, at + _SEARCHED_BYTES)
        if found is None:
            at += _SEARCHED_BYTES - 1
        elif found[0] == _START_OF_SCAN:
            yield _START_OF_SCAN, start, start
            at = found.end()
        else:
            end = found.start()
    yield _START_OF_SCAN, start, end or len(data)
    if end:
        yield _END_OF_IMAGE, end, end + 2


def _colour_key(chunk: bytes, depth: int, colour: int) -> bytes:
    """Return a tRNS chunk scaled like the decoded pixels; nothing if it is damaged."""
    key = chunk[8:-4]
    is_whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
    if not is_whole or len(key) not in _COLOUR_KEY_BYTES.get(colour, []):
        return b""
    if colour == 0 and depth < 8:  # The decoder scales grey to 0…255.
        key = (int.from_bytes(key) * 255 // (2**depth - 1) % 256).to_bytes(2)
    elif colour == 2 and depth == 16:  # The decoder keeps the upper eight bits of a colour.
        key = bytes([0, key[0], 0, key[2], 0, key[4]])
    content = b"tRNS" + key
    return len(key).to_bytes(4) + content + zlib.crc32(content).to_bytes(4)


def orientation_of(exif: bytes) -> int:
    """Return the orientation in EXIF data: 1 is upright, 2 to 8 are others; else invalid."""
    exif = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if exif.startswith(b"II") else "big"
    first = int.from_bytes(exif[4:8], order) + 2
    count = int.from_bytes(exif[first - 2 : first], order)
    for entry in range(first, first + 12 * min(count, _MAX_TAGS), 12):
        if int.from_bytes(exif[entry : entry + 2], order) == _ORIENTATION_TAG:
            return int.from_bytes(exif[entry + 8 : entry + 10], order)
    return 1
