"""Uploads are decoded to images in the order sent; malformed forms are rejected."""

import base64
import json

import numpy as np
import pytest

from service.arrays import Pixels
from service.capacity.admission import Admission, Limits, Permit
from service.errors import (
    EmptyBody,
    InvalidImage,
    InvalidMultipart,
    Overloaded,
    TooManyImages,
    UnsupportedMediaType,
)
from service.http.uploads import (
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    Form,
    Upload,
    read_form,
    read_upload,
)
from service.images.decode import ImageReader
from service.telemetry.record import RequestRecord
from tests.service.conftest import Encode

CONTENT_TYPE = "multipart/form-data; boundary=limit"


def form(*parts: tuple[str, bytes]) -> bytes:
    sections = [
        b"--limit\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + data + b"\r\n"
        for disposition, data in parts
    ]
    return b"".join(sections) + b"--limit--\r\n"


FILE = 'form-data; name="files"; filename="a.png"'


def read(body: bytes, content_type: str = CONTENT_TYPE, max_files: int = 2) -> list[bytes]:
    return read_form(body, content_type, max_files).files


def test_files_are_returned_in_the_order_sent() -> None:
    other = 'form-data; name="other"; filename="b.png"'
    assert read(form((other, b"\r\n--lim"), (FILE, b"two"))) == [b"\r\n--lim", b"two"]


def test_empty_file_is_kept() -> None:
    assert read(form((FILE, b""), (FILE, b"x"))) == [b"", b"x"]


def test_filename_in_an_unknown_encoding_is_accepted() -> None:
    content = form((FILE, b"x")).replace(b"a.png", b"\xe9\xff.png")
    assert read(content) == [b"x"]


def test_preamble_and_epilogue_are_ignored() -> None:
    assert read(b"preamble\r\n" + form((FILE, b"x")) + b"epilogue") == [b"x"]


def test_text_fields_are_separated_from_files_and_limited() -> None:
    field = ('form-data; name="channels"', b"1")
    assert read_form(form((FILE, b"x"), field, field), CONTENT_TYPE, 2) == Form(
        [b"x"], {"channels": "1,1"}
    )
    with pytest.raises(InvalidMultipart, match=f"more than {MAX_FIELDS} text fields"):
        read(form(*[field] * (MAX_FIELDS + 1)))
    assert len(read_form(form(*[field] * MAX_FIELDS), CONTENT_TYPE, 2).fields) == 1
    longest = (field[0], b"1" * MAX_FIELD_BYTES)
    assert len(read_form(form(longest), CONTENT_TYPE, 2).fields["channels"]) == MAX_FIELD_BYTES
    with pytest.raises(InvalidMultipart, match=f"more than {MAX_FIELD_BYTES} bytes"):
        read(form((field[0], b"1" * (MAX_FIELD_BYTES + 1))))


def test_text_that_starts_like_an_image_is_a_field_and_an_image_a_file() -> None:
    def fields(value: bytes) -> Form:
        return read_form(form(('form-data; name="a"', value)), CONTENT_TYPE, 2)

    for text in (b"BMW", b"GIF89", b"RIFF", b"BM"):
        assert fields(text) == Form([], {"a": text.decode()})
    for image in (
        b"BM\x1a\0\0\0",
        b"GIF89a\x01\0",
        b"\x89PNG\r\n\x1a\n\0",
        b"RIFF\x1a\0\0\0WEBP",
    ):
        assert fields(image) == Form([image], {})


@pytest.mark.parametrize(
    "headers",
    [
        "form-data; name=\"a\"; filename*=utf-8''a.png",
        'form-data; name="a"\r\nContent-Type: text/plain; name=a.png',
        'form-data; name="a"\r\nContent-Type: application/pdf',
        'form-data; name="a"; filename=""',
    ],
)
def test_part_with_the_name_or_type_of_a_file_is_a_file(headers: str) -> None:
    assert read(form((headers, b"x"))) == [b"x"]


def test_too_many_files_are_rejected() -> None:
    with pytest.raises(TooManyImages, match="more than 2 files"):
        read(form(*[(FILE, b"x")] * 3))


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (form((FILE, b"x")), "multipart/form-data", "no boundary"),
        (form((FILE, b"x")), "multipart/form-data; boundary=other", "closing boundary"),
        (b"nothing of the kind", CONTENT_TYPE, "closing boundary"),
        (form((FILE, b"x"))[:-6], CONTENT_TYPE, "closing boundary"),
        (form((FILE, b"x"))[:20], CONTENT_TYPE, "closing boundary"),
        (b"--limit\r\n\r\nx\r\n--limit--\r\n", CONTENT_TYPE, "Content-Disposition"),
        (b"--limit\r\nContent-Disposition: attachment\r\n\r\nx\r\n--limit--", CONTENT_TYPE, "type"),
        (form((FILE.replace("form-data; ", "form-data"), b"x")), CONTENT_TYPE, "malformed"),
        (form((FILE + "\r\nContent-Transfer-Encoding: x", b"")), CONTENT_TYPE, "Encoding 'x'"),
        (form((FILE + "\r\nContent-Transfer-Encoding: base64", b"!")), CONTENT_TYPE, "base64"),
    ],
)
def test_malformed_form_is_rejected_with_the_reason(
    body: bytes, content_type: str, reason: str
) -> None:
    with pytest.raises(InvalidMultipart, match=reason):
        read(body, content_type)


def admit(max_images: int = 1000) -> Permit:
    admission = Admission(
        max_images=max_images, max_bytes=10**9, limits=Limits(max_images=100, max_pixels=10**6)
    )
    return admission.admit(RequestRecord("test"))


def upload_of(content_type: str, body: bytes) -> Upload:
    return Upload(content_type, body, 100)


def form_of(files: list[bytes]) -> Upload:
    return upload_of(CONTENT_TYPE, form(*[(FILE, file) for file in files]))


def reader(permit: Permit) -> ImageReader:
    return ImageReader("auto", (28, 28), permit)


def test_images_of_a_form_are_decoded_in_the_order_sent(
    test_slice: tuple[Pixels, Pixels], encode: Encode
) -> None:
    for count in (1, 2, 33, 100):
        pixels = test_slice[0][:count]
        permit = admit()
        images = read_upload(form_of([encode(one) for one in pixels]), reader(permit))
        for image, one in zip(images, pixels, strict=True):
            assert image.preparation == "none"
            np.testing.assert_array_equal(image.pixels, one)
        assert permit._admission.images == count
        assert "decode" in permit.record.phases


@pytest.mark.parametrize("wrong", [[0], [40], [50, 90], [95]])
def test_error_names_the_first_invalid_file(boot_png: bytes, wrong: list[int]) -> None:
    files = [b"no image" if index in wrong else boot_png for index in range(96)]
    with pytest.raises(InvalidImage, match=rf"^files\[{wrong[0]}\]: "):
        read_upload(form_of(files), reader(admit()))
    files[wrong[0]] = b""
    with pytest.raises(EmptyBody, match=rf"^files\[{wrong[0]}\]: "):
        read_upload(form_of(files), reader(admit()))


def test_too_many_files_are_rejected_before_any_is_decoded(boot_png: bytes) -> None:
    with pytest.raises(TooManyImages, match="more than 100 files"):
        read_upload(form_of([b"no image"] + [boot_png] * 100), reader(admit()))
    with pytest.raises(Overloaded):
        read_upload(form_of([b"no image"] + [boot_png] * 9), reader(admit(max_images=9)))


def test_upload_is_read_by_its_content_if_its_media_type_is_wrong(boot_png: bytes) -> None:
    document = json.dumps({"instances": [{"b64": base64.b64encode(boot_png).decode()}]}).encode()
    [plain] = read_upload(upload_of("", boot_png), reader(admit()))
    for content_type in ("", "image/*", "text/plain", "application/x-www-form-urlencoded"):
        for body in (boot_png, document, b"\xef\xbb\xbf \n" + document):
            [image] = read_upload(upload_of(content_type, body), reader(admit()))
            np.testing.assert_array_equal(image.pixels, plain.pixels)
    for content_type in ("application/json", CONTENT_TYPE):
        [image] = read_upload(upload_of(content_type, boot_png), reader(admit()))
        np.testing.assert_array_equal(image.pixels, plain.pixels)


def test_form_without_files_is_rejected() -> None:
    field = ('form-data; name="top_k"', b"1")
    for body in (b"--limit--\r\n", form((FILE, b"x"))[4:], form(field)):
        with pytest.raises(InvalidMultipart, match="no files"):
            read_upload(upload_of(CONTENT_TYPE, body), reader(admit()))


def test_media_type_is_parsed_and_rejected_if_unsupported() -> None:
    for content_type, media_type in (
        ("", ""),
        ("IMAGE/PNG", "image/png"),
        ("multipart/form-data; boundary=x", "multipart/form-data"),
        (" application/json ;charset=utf-8", "application/json"),
    ):
        assert upload_of(content_type, b"x").media_type == media_type
    for content_type in ("text/plain", "application/pdf", "x/y"):
        with pytest.raises(UnsupportedMediaType, match="image/png"):
            read_upload(upload_of(content_type, b"x"), reader(admit()))
