"""The fast path for plain PNGs has the outcome of the general decoder, Pillow's."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.images import read_image
from service.capacity.admission import Admission, Permit
from service.errors import RequestError
from service.images import decode
from service.images.decode import is_plain_png, read_plain_png
from service.telemetry.record import RequestRecord
from tests.conftest import ROOT
from tests.service.conftest import Encode

SHAPE = (28, 28)
MAX_PIXELS = 10_000
CONTENT = slice(41, -16)


@pytest.fixture
def permit() -> Permit:
    return Admission(max_images=9, max_bytes=9).admit(RequestRecord("an-id"))


def with_content(png: bytes, content: bytes) -> bytes:
    """Return the PNG with this compressed pixel data and a matching length and checksum."""
    chunk = b"IDAT" + content
    return b"".join(
        [
            png[:33],
            len(content).to_bytes(4),
            chunk,
            zlib.crc32(chunk).to_bytes(4),
            png[-12:],
        ]
    )


def outcome(data: bytes) -> bytes | str:
    """Return the pixels of a file, or the error message."""
    try:
        return read_image(data, prepare="auto", shape=SHAPE, max_pixels=MAX_PIXELS).pixels.tobytes()
    except RequestError as error:
        return str(error)


def general_outcome(data: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes | str:
    with monkeypatch.context() as patch:
        patch.setattr(decode, "read_plain_png", lambda *_: None)
        return outcome(data)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/data/png").glob("*.png")), ids=lambda path: path.name
)
def test_data_set_images_take_the_fast_path_and_equal_pillow_decoding(
    path: Path, permit: Permit
) -> None:
    data = path.read_bytes()
    assert is_plain_png(data, SHAPE)
    pixels = read_plain_png(data, SHAPE, permit)
    assert pixels is not None
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))))


def test_fast_path_reads_the_test_slice_unchanged(
    test_slice: tuple[NDArray[np.uint8], NDArray[np.uint8]], encode: Encode, permit: Permit
) -> None:
    pixels = [read_plain_png(encode(image), SHAPE, permit) for image in test_slice[0]]
    np.testing.assert_array_equal(pixels, test_slice[0])


def test_fast_path_declines_damaged_pixel_data(boot_png: bytes, permit: Permit) -> None:
    damaged = with_content(boot_png, boot_png[CONTENT][:-8] + bytes(8))
    assert is_plain_png(damaged, SHAPE)
    assert read_plain_png(damaged, SHAPE, permit) is None


def test_fast_path_charges_pixels_only_for_files_that_it_reads(
    boot_png: bytes, permit: Permit
) -> None:
    permit.pixel_budget = 10_000
    assert read_plain_png(boot_png, SHAPE, permit) is not None
    assert permit.pixel_budget == 10_000 - 28 * 28
    assert read_plain_png(b"GIF89a", SHAPE, permit) is None
    assert permit.pixel_budget == 10_000 - 28 * 28


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "LA", "P", "I;16"])
def test_other_colour_modes_are_not_plain(encode: Encode, mode: str) -> None:
    assert not is_plain_png(encode(Image.new(mode, SHAPE)), SHAPE)


def test_other_sizes_and_formats_are_not_plain(encode: Encode) -> None:
    grey = Image.new("L", (28, 27))
    assert not is_plain_png(encode(grey), SHAPE)
    assert is_plain_png(encode(grey), (27, 28))
    assert not is_plain_png(encode(Image.new("L", SHAPE), "BMP"), SHAPE)
    assert not is_plain_png(b"", SHAPE)


def test_damaged_or_truncated_file_has_the_outcome_of_the_general_decoder(
    boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in range(len(boot_png)):
        damaged = bytearray(boot_png)
        damaged[place] ^= 0x55
        for data in (bytes(damaged), boot_png[:place]):
            assert outcome(data) == general_outcome(data, monkeypatch)


def test_damaged_data_with_valid_checksum_has_the_outcome_of_the_general_decoder(
    boot_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = boot_png[CONTENT]
    changed = []
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        changed += [bytes(damaged), content[:place]]
    rows = zlib.decompress(content)
    changed += [zlib.compress(rows[:-1]), zlib.compress(rows + bytes(29)), content + b"more"]
    rejected = 0
    for data in (with_content(boot_png, one) for one in changed):
        assert is_plain_png(data, SHAPE)
        given = outcome(data)
        assert given == general_outcome(data, monkeypatch)
        rejected += isinstance(given, str)
    assert rejected > len(content)


@pytest.mark.parametrize("rows", [27, 14, 1])
def test_missing_rows_are_black_and_not_left_over_from_the_previous_file(
    encode: Encode, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    previous, own = (encode(Image.new("L", SHAPE, grey)) for grey in (200, 50))
    sent = zlib.decompress(own[CONTENT])[: rows * 29]
    short = with_content(own, zlib.compress(sent))
    assert is_plain_png(short, SHAPE)
    assert isinstance(outcome(previous), bytes)
    given = outcome(short)
    assert given == general_outcome(short, monkeypatch)
    assert isinstance(given, bytes)
    assert set(given) == {50, 0}


def test_fast_path_applies_the_pixel_limit(boot_png: bytes) -> None:
    with pytest.raises(RequestError, match="the limit is 700"):
        read_image(boot_png, prepare="auto", shape=SHAPE, max_pixels=700)
