"""The headers the page comes with, and what it weighs."""

import gzip

import httpx

from service.http.web import WEB

MOST_BYTES = 150_000


def test_the_page_may_load_nothing_from_elsewhere(strict_client: httpx.Client) -> None:
    for path in ("/", "/web/main.js"):
        headers = strict_client.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "camera=(self)" in headers["Permissions-Policy"]


def test_what_the_browser_has_is_not_sent_again(strict_client: httpx.Client) -> None:
    for path in ("/", "/web/main.js"):
        etag = strict_client.get(path).headers["ETag"]
        assert strict_client.get(path, headers={"If-None-Match": etag}).status_code == 304


def test_modules_are_compressed_for_who_takes_it(strict_client: httpx.Client) -> None:
    with strict_client.stream("GET", "/web/main.js", headers={"Accept-Encoding": "gzip"}) as sent:
        assert sent.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(b"".join(sent.iter_raw())) == (WEB / "main.js").read_bytes()
    plain = strict_client.get("/web/main.js", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.content == (WEB / "main.js").read_bytes()


def test_the_page_is_light(strict_client: httpx.Client) -> None:
    """Over the wire, heads included, each file once."""
    weight = 0
    paths = ["/", *(f"/web/{file.relative_to(WEB)}" for file in WEB.rglob("*") if file.is_file())]
    for path in paths:
        with strict_client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as sent:
            head = sum(len(name) + len(value) + 4 for name, value in sent.headers.raw)
            weight += head + len(b"".join(sent.iter_raw()))
    assert len(paths) > 40
    assert weight < MOST_BYTES
