"""Formats are identified by their first bytes; metadata is removed before decoding."""

import io
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, features

from benchmarks.images import read_image
from service.errors import InvalidImage
from service.images.formats import orientation_of, without_metadata
from tests.service.conftest import Encode

SHAPE = (28, 28)
GREY = np.arange(784, dtype=np.uint16).reshape(28, 28).astype(np.uint8)
SUPPORTED = ["PNG", "JPEG", "WEBP", "GIF", "BMP"] + ["AVIF"] * bool(features.check("avif"))


def read(data: bytes) -> np.ndarray:
    return read_image(data, prepare="auto", shape=SHAPE, max_pixels=10_000).pixels


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return len(content).to_bytes(4) + checked + zlib.crc32(checked).to_bytes(4)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2) + content


def ifd(*entries: tuple[int, int, int, int], order: str = "II") -> bytes:
    """Return TIFF data with entries of tag, type, count and value or offset."""
    endian = "little" if order == "II" else "big"
    start = order.encode() + (42).to_bytes(2, endian) + (8).to_bytes(4, endian)  # type: ignore[arg-type]  # a literal either way
    body = len(entries).to_bytes(2, endian)  # type: ignore[arg-type]  # as above
    for tag, kind, count, value in entries:
        for number, size in ((tag, 2), (kind, 2), (count, 4)):
            body += number.to_bytes(size, endian)  # type: ignore[arg-type]  # as above
        body += value.to_bytes(2, endian) + bytes(2) if kind == 3 else value.to_bytes(4, endian)  # type: ignore[arg-type]  # as above
    return start + body


@pytest.mark.parametrize("name", SUPPORTED)
def test_error_about_a_truncated_file_names_its_format(name: str, encode: Encode) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(noise, name)
    for length in (16, 30, len(data) // 2):
        with pytest.raises(InvalidImage, match=rf"the {name} image .* truncated or damaged"):
            read(data[:length])


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("HEIC", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"),
        ("TIFF", b"II*\0\x08\0\0\0"),
        ("TIFF", b"MM\0*\0\0\0\x08"),
        ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg">'),
        ("SVG", b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n<svg>"),
        ("PDF", b"%PDF-1.7\n"),
    ],
)
def test_error_about_an_unsupported_format_names_it_and_suggests_conversion(
    name: str, start: bytes
) -> None:
    with pytest.raises(InvalidImage, match=rf"^{name} is not supported: convert it to .*PNG, JPEG"):
        read(start + bytes(100))


def test_unrecognised_content_is_rejected_as_not_an_image() -> None:
    for data in (b"no image", b"<html><body>svg", b"\0\0\0\x18ftypmp42", b"RIFF\0\0\0\0WAVE"):
        with pytest.raises(InvalidImage, match=r"^not an image in a supported format"):
            read(data)


@pytest.mark.skipif("AVIF" not in SUPPORTED, reason="Pillow was built without AVIF")
def test_avif_is_decoded_and_rotated_by_its_own_properties(encode: Encode) -> None:
    image = Image.fromarray(np.repeat(GREY[:, :, None], 3, axis=2))
    plain = read(encode(image, "AVIF", quality=100, subsampling="4:4:4"))
    assert np.abs(plain.astype(int) - GREY).max() <= 3
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read(encode(image, "AVIF", quality=100, subsampling="4:4:4", exif=exif))
    assert np.abs(turned.astype(int) - np.rot90(GREY, -1)).max() <= 3


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


START = box(b"ftyp", b"avif\0\0\0\0avifmif1")


@pytest.mark.parametrize(
    "boxes",
    [
        box(b"meta", bytes(4) + box(b"iinf", bytes(32768))),
        box(b"meta", bytes(4) + box(b"iprp", box(b"ipco") + box(b"ipma", bytes(32768)))),
        box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", box(b"free") * 4096))),
        box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", bytes(32768)))))),
        box(b"meta", bytes(4) + struct.pack(">I4sQ", 1, b"iloc", 32784) + bytes(32768)),
        # A box whose length reaches beyond its parent, and so beyond the tables.
        box(b"meta", bytes(4) + box(b"trak", b"\xff\xff\xff\xffmdat") + box(b"iloc", bytes(32768))),
        box(b"meta") * 4096,
    ],
)
def test_avif_with_tables_over_32_kib_is_rejected(boxes: bytes) -> None:
    for data in (START + boxes, START + boxes + box(b"mdat"), START + box(b"mdat") + boxes):
        with pytest.raises(InvalidImage, match="has more than 32768 bytes of tables"):
            without_metadata(data, "AVIF")


def test_colour_profiles_and_pixels_of_an_avif_do_not_count_as_tables() -> None:
    profile = box(b"ipco", box(b"colr", bytes(99_999)))
    meta = box(b"meta", bytes(4) + box(b"iprp", profile) + box(b"idat", bytes(99_999)))
    data = START + meta + box(b"iloc", bytes(30_000)) + box(b"uuid", bytes(99_999))
    for pixels in (box(b"mdat", bytes(99_999)), b"\0\0\0\0mdat" + bytes(99_999)):
        assert without_metadata(data + pixels, "AVIF").data == data + pixels


def test_jpeg_with_two_frames_is_rejected() -> None:
    frame = b"\xff\xc0\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0"
    start, end = b"\xff\xd8", b"\xff\xda\0\x02\xff\xd9"
    without_metadata(start + frame + end, "JPEG")
    with pytest.raises(InvalidImage, match="more than 100 scans or one frame"):
        without_metadata(start + frame * 2 + end, "JPEG")


BIG = zlib.compress(bytes(2**21))
ANCILLARY = {
    "zTXt": chunk(b"zTXt", b"k\0\0" + BIG),
    "zTXt of unknown method": chunk(b"zTXt", b"k\0\1x"),
    "iTXt": chunk(b"iTXt", b"k\0\1\0\0\0" + BIG),
    "iCCP": chunk(b"iCCP", b"k\0\0" + BIG),
    "many zTXt": chunk(b"zTXt", b"k\0\0" + BIG) * 70,
    "tEXt": chunk(b"tEXt", b"k\0" + b"a" * 1_200_000),
    "wrong checksum": chunk(b"tEXt", b"a\0b")[:-1] + b"\0",
    "short gAMA": chunk(b"gAMA", b"\0\0"),
    "short cHRM": chunk(b"cHRM", b"\0\0"),
    "short pHYs": chunk(b"pHYs", b"\0\0"),
    "short acTL": chunk(b"acTL", b"\0\0"),
    "damaged eXIf": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "short tRNS": chunk(b"tRNS", b"\0"),
    "damaged tRNS": chunk(b"tRNS", b"\0\0")[:-1] + b"\0",
    "unknown": chunk(b"abCd", b"abc"),
}


@pytest.mark.parametrize("extra", ANCILLARY.values(), ids=ANCILLARY)
@pytest.mark.parametrize("colour", ["L", "RGB"])
def test_png_chunks_without_effect_on_pixels_are_removed(
    extra: bytes, colour: str, encode: Encode
) -> None:
    png = encode(Image.fromarray(GREY).convert(colour))
    for data in (png[:33] + extra + png[33:], png[:-12] + extra + png[-12:]):
        assert without_metadata(data, "PNG").data == png
        np.testing.assert_array_equal(read(data), GREY)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_segments_without_effect_on_pixels_are_removed(
    progressive: bool, encode: Encode
) -> None:
    jpeg = encode(GREY, "JPEG", progressive=progressive)
    start = jpeg.index(b"\xff\xdb")
    many = ifd(*[(0x8000 + n, 7, 65_000, 0) for n in range(5_000)])
    for extra in (
        segment(0xE1, b"Exif\0\0" + many[:65_000]) * 100,  # expensive if its entries were parsed
        segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000)),
        segment(0xE2, b"MPF\0" + ifd((0xB001, 4, 1, 5))),
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04"),
        segment(0xFE, b"a comment with \xff\xda and \xff\xd9"),
        b"junk",
    ):
        data = jpeg[:start] + extra + jpeg[start:]
        assert without_metadata(data, "JPEG").data == jpeg
        begin = time.process_time()
        np.testing.assert_array_equal(read(data), read(jpeg))
        assert time.process_time() - begin < 1


def test_data_after_the_end_of_a_jpeg_is_removed(encode: Encode) -> None:
    first, second = encode(GREY, "JPEG"), encode(255 - GREY, "JPEG")
    assert without_metadata(first + second, "JPEG").data == first


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("container", [without_metadata, None], ids=["PNG", "bare"])
def test_exif_orientation_is_read_in_either_byte_order(
    order: str, container: Callable[..., object] | None, encode: Encode
) -> None:
    exif = ifd((0x010F, 2, 4, 0), (0x0112, 3, 1, 6), order=order)
    assert orientation_of(exif) == orientation_of(b"Exif\0\0" + exif) == 6
    if container is not None:
        png = encode(GREY)
        for data in (
            png[:33] + chunk(b"eXIf", exif) + png[33:],
            png[:-12] + chunk(b"eXIf", exif) + png[-12:],
        ):
            np.testing.assert_array_equal(read(data), np.rot90(GREY, -1))


def test_damaged_exif_data_means_no_rotation() -> None:
    whole = ifd((0x0112, 3, 1, 6))
    for data in (b"", b"Exif\0\0", b"II*\0", whole[:9], whole[:14], b"MM\0*\xff\xff\xff\xff"):
        assert orientation_of(data) in {0, 1}


JPEGS: dict[str, dict[str, object]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("kind", ["noise", "smooth", "grey"])
def test_jpeg_without_end_marker_is_read_only_if_no_pixel_is_missing(
    options: dict[str, object], kind: str, encode: Encode
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    images = {
        "noise": noise,
        "smooth": noise[:4, :4].repeat(16, 0).repeat(16, 1),
        "grey": noise[:, :, 0],
    }
    data = encode(images[kind], "JPEG", **options)
    whole = read(data)
    for tail in (b"", b"\xff", bytes(64)):
        np.testing.assert_array_equal(read(data[:-2] + tail), whole)
    for missing in (len(data) // 8, len(data) // 4, len(data) // 2):
        with pytest.raises(InvalidImage, match=r"the JPEG image .* truncated or damaged"):
            read(data[: -2 - missing])


def test_pillow_rejects_a_jpeg_without_end_marker(encode: Encode) -> None:
    """Once Pillow accepts such a file, the workaround can be removed."""
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(encode(GREY, "JPEG")[:-2])).load()
