import io
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin

from benchmarks.images import read_image
from service.errors import EmptyBody, ImageTooLarge, InvalidImage
from service.images.decode import Prepare, PreparedImage
from tests.service.conftest import Encode

SHAPE = (28, 28)
GRADIENT = np.arange(784, dtype=np.uint16).reshape(28, 28) // 4
GREY = GRADIENT.astype(np.uint8)


def read(data: bytes, prepare: Prepare = "auto", max_pixels: int = 10_000) -> PreparedImage:
    return read_image(data, prepare=prepare, shape=SHAPE, max_pixels=max_pixels)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("PNG", {}), ("BMP", {}), ("GIF", {}), ("WEBP", {"lossless": True})],
)
def test_lossless_grey_28x28_image_is_read_unchanged(
    encode: Encode, file_format: str, options: dict[str, Any]
) -> None:
    image = read(encode(GREY, file_format, **options))
    assert image.preparation == "none"
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, GREY)


def test_grey_28x28_jpeg_is_read_as_pillow_decodes_it(encode: Encode) -> None:
    data = encode(GREY, "JPEG")
    np.testing.assert_array_equal(read(data).pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_values_survive_colour_modes(encode: Encode, mode: str) -> None:
    image = Image.fromarray(GREY).convert(mode)
    np.testing.assert_array_equal(read(encode(image)).pixels, GREY)


def test_one_bit_pixels_become_0_and_255(encode: Encode) -> None:
    image = Image.fromarray(GREY > 100)
    assert image.mode == "1"
    np.testing.assert_array_equal(read(encode(image)).pixels, np.where(GREY > 100, 255, 0))


def test_16_bit_pixels_are_scaled_not_clipped(encode: Encode) -> None:
    image = Image.fromarray((GRADIENT * 257).astype(np.uint16))
    np.testing.assert_array_equal(read(encode(image)).pixels, GREY)


def test_transparent_pixels_become_white(encode: Encode) -> None:
    image = Image.new("RGBA", SHAPE, (0, 0, 0, 0))
    image.putpixel((3, 4), (0, 0, 0, 255))
    pixels = read(encode(image)).pixels
    assert pixels[4, 3] == 0
    assert (np.delete(pixels, 4 * 28 + 3) == 255).all()


def test_transparent_palette_entry_becomes_white(encode: Encode) -> None:
    image = Image.new("P", SHAPE, 0)
    image.putpalette([0, 0, 0, 10, 10, 10])
    image.putpixel((0, 0), 1)
    pixels = read(encode(image, transparency=0)).pixels
    assert pixels[0, 0] == 10
    assert pixels[5, 5] == 255


def png_with_transparent_colour(
    depth: int, colour: int, samples: NDArray[np.unsignedinteger[Any]]
) -> bytes:
    """Return a PNG whose tRNS chunk makes the colour of the first pixel transparent."""
    rows = samples.astype(">u2" if depth == 16 else np.uint8)
    packed = rows.reshape(len(rows), -1).view(np.uint8)
    if depth < 8:
        bits = (samples[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        packed = np.packbits(bits.reshape(len(rows), -1), axis=1)
    key = b"".join(int(value).to_bytes(2) for value in np.atleast_1d(samples[0, 0]))
    header = b"".join(side.to_bytes(4) for side in samples.shape[1::-1])
    content = b"".join(b"\0" + row.tobytes() for row in packed)
    chunks = [
        (b"IHDR", header + bytes([depth, colour, 0, 0, 0])),
        (b"tRNS", key),
        (b"IDAT", zlib.compress(content)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(part).to_bytes(4) + kind + part + zlib.crc32(kind + part).to_bytes(4)
        for kind, part in chunks
    )


@pytest.mark.parametrize("prepare", ["auto", "plain"])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("key", [0, 0.3, 1])
def test_transparent_grey_level_of_a_png_becomes_white(
    depth: int, key: float, prepare: Prepare
) -> None:
    white = 2**depth - 1
    samples = np.full(SHAPE, round(key * white), np.uint16)
    samples[4, 3] = white if samples[0, 0] == 0 else 0
    pixels = read(png_with_transparent_colour(depth, 0, samples), prepare).pixels
    assert pixels[4, 3] == 255 * (samples[0, 0] == 0)
    assert (np.delete(pixels, 4 * 28 + 3) == 255).all()


@pytest.mark.parametrize("side", [28, 60])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("key", [(0, 0, 0), (201, 3, 77)])
def test_transparent_colour_of_a_png_equals_an_alpha_channel(
    depth: int, side: int, key: tuple[int, int, int], encode: Encode
) -> None:
    colours = np.random.default_rng(0).integers(1, 200, (side, side, 3), np.uint16)
    colours[:10] = colours[:, :9] = key
    alpha = np.where((colours == key).all(axis=2), 0, 255).astype(np.uint8)
    with_alpha = encode(np.dstack([colours.astype(np.uint8), alpha]))
    keyed = png_with_transparent_colour(depth, 2, colours * 256 + 17 if depth == 16 else colours)
    np.testing.assert_array_equal(read(keyed).pixels, read(with_alpha).pixels)


def test_transparent_index_of_a_gif_becomes_white(encode: Encode) -> None:
    pixels = np.full(SHAPE, 7, np.uint8)
    pixels[4, 3] = 9
    given = read(encode(pixels, "GIF", transparency=7)).pixels
    assert given[4, 3] == 9
    assert (np.delete(given, 4 * 28 + 3) == 255).all()


@pytest.mark.parametrize("header", [56, 108, 124])
def test_bmp_alpha_is_ignored_only_if_every_pixel_is_transparent(header: int) -> None:
    info = header.to_bytes(4, "little") + b"".join(
        number.to_bytes(size, "little")
        for number, size in [(28, 4), (28, 4), (1, 2), (32, 2), (3, 4), *[(0, 4)] * 5]
    )
    info += bytes.fromhex("0000ff00 00ff0000 ff000000 000000ff")
    info += bytes(header - len(info))
    start = b"BM" + bytes(8) + (14 + header).to_bytes(4, "little")
    for alpha in (0, 255):
        rows = np.dstack([GREY[::-1]] * 3 + [np.full_like(GREY, alpha)])
        np.testing.assert_array_equal(read(start + info + rows.tobytes()).pixels, GREY)
    rows[1:, :, 3] = 0  # Only the first stored row, the bottom one, is opaque.
    pixels = read(start + info + rows.tobytes()).pixels
    np.testing.assert_array_equal(pixels, np.vstack([np.full((27, 28), 255), GREY[-1:]]))


def test_cmyk_without_ink_becomes_white(encode: Encode) -> None:
    image = Image.new("CMYK", SHAPE, (0, 0, 0, 0))
    assert (read(encode(image, "JPEG")).pixels > 250).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(encode: Encode, orientation: int) -> None:
    upright = Image.fromarray(GREY)
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    np.testing.assert_array_equal(read(encode(stored, exif=exif)).pixels, GREY)


def test_damaged_exif_data_is_ignored(encode: Encode) -> None:
    data = encode(GREY, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read(data).pixels, GREY)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation_is_read(encode: Encode, file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    frames = [Image.fromarray(255 - GREY), Image.new("L", SHAPE)]
    data = encode(
        Image.fromarray(GREY), file_format, save_all=True, append_images=frames, **options
    )
    np.testing.assert_array_equal(read(data).pixels, GREY)


def test_image_of_another_size_is_prepared_as_a_photo(encode: Encode) -> None:
    image = read(encode(np.full((29, 28), 200, np.uint8)))
    assert image.preparation == "photo"
    assert image.pixels.shape == SHAPE


def test_plain_only_converts_to_grey_and_resizes(encode: Encode) -> None:
    green = Image.new("RGB", (60, 90), (10, 200, 30))
    image = read(encode(green), "plain")
    assert image.preparation == "plain"
    np.testing.assert_array_equal(image.pixels, np.full(SHAPE, green.convert("L").getpixel((0, 0))))


def test_plain_decodes_a_jpeg_at_full_size(encode: Encode) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (600, 600), np.uint8))
    data = encode(image, "JPEG", quality=95)
    whole = Image.open(io.BytesIO(data)).resize(SHAPE, Image.Resampling.LANCZOS)
    pixels = read(data, "plain", max_pixels=360_000).pixels
    np.testing.assert_array_equal(pixels, np.asarray(whole))


def test_empty_file_is_rejected() -> None:
    with pytest.raises(EmptyBody):
        read(b"")


def test_too_many_pixels_are_rejected_from_the_header_alone(encode: Encode) -> None:
    data = encode(np.zeros((200, 200), np.uint8))
    header_only = data[: data.index(b"IDAT") + 4]
    with pytest.raises(ImageTooLarge, match=r"200 × 200 = 40000 pixels, the limit is 10000"):
        read(header_only)


def test_longest_side_is_limited(encode: Encode) -> None:
    for size in ((32_769, 1), (1, 32_769)):
        with pytest.raises(ImageTooLarge, match="32768 per side"):
            read(encode(Image.new("L", size)), max_pixels=100_000)
    for prepare in ("auto", "plain"):
        for size in ((32_768, 3), (3, 32_768)):
            image = read(encode(Image.new("L", size, 77)), prepare, max_pixels=100_000)
            assert image.pixels.shape == SHAPE


def test_run_length_encoded_bmp_is_limited_to_65536_pixels() -> None:
    def run_length_encoded(side: int) -> bytes:
        numbers = [(40, 4), (side, 4), (side, 4), (1, 2), (8, 2), (1, 4), *[(0, 4)] * 3, (256, 4)]
        info = b"".join(number.to_bytes(size, "little") for number, size in numbers) + bytes(4)
        row = bytes([side, 200, 0, 0]) if side < 256 else bytes([0, 0])
        start = b"BM" + bytes(8) + (54 + 1024).to_bytes(4, "little")
        return start + info + bytes(v for n in range(256) for v in (n, n, n, 0)) + row * side

    assert (read(run_length_encoded(28)).pixels == 200).all()
    with pytest.raises(ImageTooLarge, match="the limit is 65536"):
        read(run_length_encoded(5000), max_pixels=25_000_000)


@pytest.mark.parametrize("prepare", ["auto", "plain"])
@pytest.mark.parametrize("progressive", [False, True])
def test_pixel_limit_of_a_jpeg_is_four_times_as_high(
    progressive: bool, prepare: Prepare, encode: Encode
) -> None:
    image = Image.new("RGB", (2400, 2400), "white")
    image.paste((90, 60, 30), (600, 300, 1800, 2100))
    data = encode(image, "JPEG", progressive=progressive)
    large = read(data, prepare, max_pixels=1_440_000).pixels
    small = read(encode(image.resize((300, 300))), prepare, max_pixels=90_000).pixels
    assert np.abs(large.astype(int) - small).max() <= 8
    with pytest.raises(ImageTooLarge, match="the limit is 5600000"):
        read(data, prepare, max_pixels=1_400_000)


def test_pixel_limit_is_lower_for_images_that_decode_in_more_memory(encode: Encode) -> None:
    webp = bytearray(encode(Image.new("RGBA", (1, 1)), "WEBP", lossless=True))
    webp[21:25] = (4999 | 4999 << 14 | 1 << 28).to_bytes(4, "little")
    jpeg = bytearray(encode(Image.new("RGB", (8, 8)), "JPEG", progressive=True, subsampling=0))
    frame = jpeg.index(b"\xff\xc2")
    jpeg[frame + 5 : frame + 9] = (6000).to_bytes(2) * 2
    for data, limit in ((webp, 10_485_760), (jpeg, 27_391_373)):
        with pytest.raises(ImageTooLarge, match=f"the limit is {limit},"):
            read(bytes(data), max_pixels=25_000_000)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "RGB", "L", "1"])
def test_large_image_is_composited_and_resized_as_pillow_does(mode: str, encode: Encode) -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (40, 50, 4), np.uint8)
    image = Image.fromarray(small).resize((2500, 2000), Image.Resampling.NEAREST)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    data = encode(image, transparency=3) if mode == "P" else encode(image)
    expected: Image.Image = Image.open(io.BytesIO(data))
    if mode == "I;16":
        expected = Image.fromarray((np.asarray(expected) // 257).astype(np.uint8))
    if expected.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        expected = Image.alpha_composite(white, expected.convert("RGBA"))
    plain = expected.convert("L").resize(SHAPE, Image.Resampling.LANCZOS)
    pixels = read(data, "plain", max_pixels=5_000_000).pixels
    assert np.abs(pixels.astype(int) - np.asarray(plain)).max() <= 4


def test_number_of_segments_and_chunks_is_limited(encode: Encode) -> None:
    jpeg, png = encode(GREY, "JPEG"), encode(GREY)
    comment = b"\x00\x00\x00\x00abCd" + zlib.crc32(b"abCd").to_bytes(4)
    for data in (jpeg[:2] + b"\xff\xe5\x00\x02" * 1_000_000, png[:33] + comment * 1_000_000):
        with pytest.raises(InvalidImage, match="has more than 25000 pieces"):
            read(data)
    many = encode(GREY, pnginfo=text_chunks(9_000))
    assert len(many) > 100_000
    np.testing.assert_array_equal(read(many).pixels, GREY)


def text_chunks(count: int) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for number in range(count):
        info.add_text("n", str(number))
    return info


def test_number_of_jpeg_scans_is_limited(encode: Encode) -> None:
    data = encode(GREY, "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    assert read(data[:-2] + last * 80 + data[-2:]).preparation == "none"
    with pytest.raises(InvalidImage, match="has more than 100 scans"):
        read(data[:-2] + last * 100 + data[-2:])


def test_scan_markers_in_a_segment_or_after_the_jpeg_do_not_count(encode: Encode) -> None:
    data = encode(GREY, "JPEG")
    other = b"\xff\xda" * 1000
    segment = b"\xff\xe5" + (len(other) + 2).to_bytes(2) + other
    np.testing.assert_array_equal(
        read(data[:2] + segment + data[2:] + other).pixels, read(data).pixels
    )


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    damage = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        damage[rng.integers(len(damage))] = rng.integers(256)
    return bytes(damage[: rng.integers(1, len(damage) + 1)] if rng.random() < 0.3 else damage)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_damaged_file_is_read_or_rejected_with_an_image_error(
    encode: Encode, file_format: str
) -> None:
    rng = np.random.default_rng(7)
    noise: NDArray[np.uint8] = rng.integers(0, 256, (40, 30, 3), np.uint8)
    data = encode(noise, file_format)
    rejected = 0
    for _ in range(400):
        try:
            image = read(damaged(data, rng))
        except (InvalidImage, ImageTooLarge):
            rejected += 1
        else:
            assert image.pixels.shape == SHAPE
    assert rejected > 20
