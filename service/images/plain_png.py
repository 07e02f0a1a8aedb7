"""Decodes the plainest PNG there is: grey, 8 bits, of one size, its pixels in one chunk.

That is how a picture of the data set is saved. Pillow's decoder in C takes an eighth of the time
of all that Pillow does around it to find out what it has before it, so it is asked here directly.
Whatever is otherwise, or wrong, is left to the general way, which says what.
"""

import zlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from PIL import _imaging

from service.arrays import Pixels
from service.telemetry.record import finish
from service.images.steps import somebody_looks

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_END = b"\0\0\0\0IEND\xaeB`\x82"
_LENGTH_BYTES = _CHECKSUM_BYTES = _TYPE_BYTES = 4
_HEADER = len(SIGNATURE) + 25
_CONTENT = slice(_HEADER + _LENGTH_BYTES + _TYPE_BYTES, -len(_END) - _CHECKSUM_BYTES)
_CHECKED = slice(_HEADER + _LENGTH_BYTES, _CONTENT.stop)
_CHECKSUM = slice(_CONTENT.stop, -len(_END))


def read_plain_pngs(
    files: Sequence[bytes],
    shape: tuple[int, int],
    max_pixels: int,
    weigh: Callable[[int], None] | None = None,
) -> Pixels | None:
    """Decode files that all are such a PNG.

    Args:
        files: One or more.
        shape: (height, width).
        max_pixels: Largest width times height that is decoded.
        weigh: Is told the pixels of all of them before any is decoded; what it raises passes.

    Returns:
        (n, height, width) uint8 in the order given; None if one is something else, is damaged or
        is too large, or if the steps of its preparation are to be shown.
    """
    area = shape[0] * shape[1]
    if area > max_pixels or somebody_looks():
        return None
    for data in files:
        if not is_plain_png(data, shape):
            return None
    if weigh is not None:
        weigh(area * len(files))
    pixels = _decode(files, shape)
    if pixels is not None:
        finish("decode")
    return pixels


def is_plain_png(data: bytes, shape: tuple[int, int]) -> bool:
    """Say whether a file is such a PNG of `shape`, (height, width), with all checksums right."""
    if not (data.startswith(_beginning(shape)) and data.endswith(_END)):
        return False
    length = len(data[_CONTENT])
    return (
        data[_HEADER : _CONTENT.start] == length.to_bytes(_LENGTH_BYTES) + b"IDAT"
        and zlib.crc32(data[_CHECKED]).to_bytes(_CHECKSUM_BYTES) == data[_CHECKSUM]
    )


def _decode(files: Sequence[bytes], shape: tuple[int, int]) -> Pixels | None:
    """Return the pixels of plain ones, or None if any are damaged.

    They are decoded into one picture, one below the other, which is then taken out whole.
    """
    height, width = shape
    count, top = len(files), 0
    total = height * count
    try:
        image = _imaging.new("L", (width, total))
        for data in files:
            decoder = _imaging.zip_decoder("L", "L", False)
            decoder.setimage(image, (0, top, width, top := top + height))
            consumed, error = decoder.decode(data[_CONTENT])
            # What is not negative asks for more, and a negative error says that it cannot go on.
            if consumed >= 0 or error < 0:
                return None
        encoder = _imaging.raw_encoder("L", "L", 0, 1)
        encoder.setimage(image, (0, 0, width, total))
        pixels = encoder.encode(total * width)[2]
    except Exception:  # Of its inner functions, Pillow promises nothing.
        return None
    if len(pixels) != total * width:
        return None
    return np.frombuffer(pixels, np.uint8).reshape(count, height, width)


@cache
def _beginning(shape: tuple[int, int]) -> bytes:
    """Return the signature and the only header such a picture can have."""
    height, width = shape
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    checksum = zlib.crc32(header).to_bytes(_CHECKSUM_BYTES)
    return SIGNATURE + (13).to_bytes(_LENGTH_BYTES) + header + checksum
