import pytest

from service.http.multipart import read_files
from service.errors import InvalidMultipart, TooManyImages

CONTENT_TYPE = "multipart/form-data; boundary=limit"


def form(*parts: tuple[str, bytes]) -> bytes:
    sections = [
        b"--limit\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + data + b"\r\n"
        for disposition, data in parts
    ]
    return b"".join(sections) + b"--limit--\r\n"


FILE = 'form-data; name="files"; filename="a.png"'


def read(body: bytes, content_type: str = CONTENT_TYPE, max_files: int = 2) -> list[bytes]:
    return read_files(body, content_type=content_type, max_files=max_files)


def test_files_come_back_in_the_order_sent_whatever_their_names() -> None:
    other = 'form-data; name="other"; filename="b.png"'
    assert read(form((other, b"\r\n--lim"), (FILE, b"two"))) == [b"\r\n--lim", b"two"]


def test_an_empty_file_is_kept_in_its_place() -> None:
    assert read(form((FILE, b""), (FILE, b"x"))) == [b"", b"x"]


def test_a_name_in_any_encoding_is_a_name() -> None:
    content = form((FILE, b"x")).replace(b"a.png", b"\xe9\xff.png")
    assert read(content) == [b"x"]


def test_what_comes_before_and_after_the_parts_does_not_matter() -> None:
    assert read(b"preamble\r\n" + form((FILE, b"x")) + b"epilogue") == [b"x"]


def test_a_plain_field_is_refused_with_the_way_to_send_a_file() -> None:
    with pytest.raises(InvalidMultipart, match=r"part 1 .*curl -F files=@picture.png"):
        read(form((FILE, b"x"), ('form-data; name="note"', b"hello")))


def test_one_file_too_many_is_refused() -> None:
    with pytest.raises(TooManyImages, match="more than 2 files"):
        read(form(*[(FILE, b"x")] * 3))


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (form((FILE, b"x")), "multipart/form-data", "no boundary"),
        (form((FILE, b"x")), "multipart/form-data; boundary=" + "b" * 1100, "malformed"),
        (b"nothing of the kind", CONTENT_TYPE, "malformed"),
        (form((FILE, b"x"))[:-6], CONTENT_TYPE, "closing boundary"),
        (form((FILE, b"x"))[:20], CONTENT_TYPE, "closing boundary"),
        (b"--limit--\r\n", CONTENT_TYPE, "no files"),
        (b"--limit\r\n\r\nx\r\n--limit--\r\n", CONTENT_TYPE, "Content-Disposition"),
        (b"--limit\r\nContent-Disposition: attachment\r\n\r\nx\r\n--limit--", CONTENT_TYPE, "type"),
        (form((FILE.replace("form-data; ", "form-data"), b"x")), CONTENT_TYPE, "malformed"),
        (form((FILE, b"x"))[4:], CONTENT_TYPE, "no files"),
    ],
)
def test_a_malformed_form_is_refused_with_the_reason(
    body: bytes, content_type: str, reason: str
) -> None:
    with pytest.raises(InvalidMultipart, match=reason):
        read(body, content_type)
