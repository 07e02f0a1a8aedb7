"""A head that was parsed is recognised, and nothing else is taken for it."""

import pytest

from service.http.heads import Head, KnownHead, Options

HEAD = Head("POST", "/predict", "/predict", {}, {}, "image/png", "image/png", Options())
BYTES = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 393\r\nAccept: */*\r\n\r\n"


@pytest.fixture
def known() -> KnownHead[Head]:
    learned = KnownHead.learn(BYTES, HEAD)
    assert learned is not None
    return learned


@pytest.mark.parametrize("length", [b"1", b"393", b"16384", b"1" * 19])
def test_the_same_head_with_any_length(known: KnownHead[Head], length: bytes) -> None:
    data = BYTES.replace(b"393", length)
    assert known.match(data + b"body") == (len(data), int(length))
    assert known.match(data) == (len(data), int(length))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        BYTES[:-1],
        BYTES.replace(b"Host: a", b"Host: b"),
        BYTES.replace(b"POST", b"PUT"),
        BYTES.replace(b"*/*", b"*"),
        BYTES.replace(b"393", b""),
        BYTES.replace(b"393", b"+393"),
        BYTES.replace(b"393", b"-1"),
        BYTES.replace(b"393", b"3 3"),
        BYTES.replace(b"393", b"393, 393"),
        BYTES.replace(b"393", b"1" * 20),
        BYTES.replace(b"393", "٣٩٣".encode()),
        BYTES.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n"),
        BYTES.replace(b"393\r\n", b"393\r\nTransfer-Encoding: chunked\r\n"),
        b"\r\n" + BYTES,
    ],
)
def test_any_other_is_not(known: KnownHead[Head], data: bytes) -> None:
    assert known.match(data) is None


@pytest.mark.parametrize(
    "data",
    [
        BYTES + b"\r\n",
        BYTES + b"body",
        b"\r\n\r\n" + BYTES,
        BYTES[:-2],
        BYTES.replace(b"Content-Length: 393\r\n", b""),
        BYTES.replace(b"Accept", b"Content-Length: 393\r\nAccept"),
        BYTES.replace(b"393", b"393 "),
    ],
)
def test_what_is_in_doubt_is_not_learned(data: bytes) -> None:
    assert KnownHead.learn(data, HEAD) is None
