"""Decodes the plainest PNG there is: grey, 8 bits, of one size, its pixels in one chunk.

That is how a picture of the data set is saved. Pillow's decoder in C takes an eighth of the time
of all that Pillow does around it to find out what it has before it, so it is asked here directly.
Whatever is otherwise, or wrong, is left to the general way, which says what.
"""

import zlib
from functools import cache

import numpy as np
from PIL import _imaging

from service.arrays import Pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_END = b"\0\0\0\0IEND\xaeB`\x82"
_LENGTH_BYTES = _CHECKSUM_BYTES = _TYPE_BYTES = 4
_HEADER = len(SIGNATURE) + 25
_CONTENT = slice(_HEADER + _LENGTH_BYTES + _TYPE_BYTES, -len(_END) - _CHECKSUM_BYTES)
_CHECKED = slice(_HEADER + _LENGTH_BYTES, _CONTENT.stop)
_CHECKSUM = slice(_CONTENT.stop, -len(_END))


def looks_plain(data: bytes, shape: tuple[int, int]) -> bool:
    """Say whether a file begins like such a PNG of `shape`, (height, width)."""
    return data.startswith(_beginning(shape))


def is_plain_png(data: bytes, shape: tuple[int, int]) -> bool:
    """Say whether a file is such a PNG of `shape`, (height, width), with all checksums right."""
    if not (looks_plain(data, shape) and data.endswith(_END)):
        return False
    length = len(data[_CONTENT])
    return (
        data[_HEADER : _CONTENT.start] == length.to_bytes(_LENGTH_BYTES) + b"IDAT"
        and zlib.crc32(data[_CHECKED]).to_bytes(_CHECKSUM_BYTES) == data[_CHECKSUM]
    )


def decode_plain_png(data: bytes, shape: tuple[int, int]) -> Pixels | None:
    """Return the pixels, (height, width) uint8, or None if they are damaged.

    Args:
        data: What `is_plain_png` has said yes to.
        shape: (height, width).
    """
    height, width = shape
    everywhere = (0, 0, width, height)
    try:
        image = _imaging.new("L", (width, height))
        decoder = _imaging.zip_decoder("L", "L", False)
        decoder.setimage(image, everywhere)
        consumed, error = decoder.decode(data[_CONTENT])
        encoder = _imaging.raw_encoder("L", "L", 0, 1)
        encoder.setimage(image, everywhere)
        pixels = encoder.encode(height * width)[2]
    except Exception:  # Of its inner functions, Pillow promises nothing.
        return None
    # One that is not negative asks for more, and a negative error says that it cannot go on.
    if consumed >= 0 or error < 0 or len(pixels) != height * width:
        return None
    return np.frombuffer(pixels, np.uint8).reshape(shape)


@cache
def _beginning(shape: tuple[int, int]) -> bytes:
    """Return the signature and the only header such a picture can have."""
    height, width = shape
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    checksum = zlib.crc32(header).to_bytes(_CHECKSUM_BYTES)
    return SIGNATURE + (13).to_bytes(_LENGTH_BYTES) + header + checksum
