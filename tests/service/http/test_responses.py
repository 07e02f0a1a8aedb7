"""Responses to HEAD, compression, ETags, ranges, and root paths of proxies."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from service.settings import Settings
from tests.service.conftest import ARTIFACTS, serve

PAGES = ("/", "/docs", "/openapi.json", "/web/main.js", "/swagger/swagger-ui-bundle.js")
ROUTES = (
    *PAGES,
    *("/livez", "/readyz", "/metrics", "/model/summary", "/model/layers/dense_2"),
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/fashion_mnist"),
    *("/v1/models/fashion_mnist", "/v1/models/fashion_mnist/metadata"),
)


def fetch(client: httpx.Client, path: str, encoding: str, **headers: str) -> httpx.Response:
    return client.get(path, headers={"Accept-Encoding": encoding, **headers})


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_head_returns_the_headers_of_get(client: httpx.Client, encoding: str) -> None:
    for path in (*ROUTES, "/nowhere", "/model/layers/nowhere"):
        answer = fetch(client, path, encoding)
        head = client.head(path, headers={"Accept-Encoding": encoding})
        assert head.status_code == answer.status_code, path
        assert head.content == b""
        names = ["Content-Type", "ETag", "Content-Encoding", "Vary"]
        if path not in {"/metrics", "/model/summary"}:  # Their length varies.
            names.append("Content-Length")
        for name in names:
            assert head.headers.get(name) == answer.headers.get(name), path


def test_head_of_readiness_is_a_503_after_unload() -> None:
    with serve(Settings(artifacts=ARTIFACTS, engine="litert")) as client:
        assert client.head("/readyz").status_code == 200
        client.post("/v2/repository/models/fashion_mnist/unload")
        for path in ("/readyz", "/v2/health/ready"):
            assert client.head(path).status_code == 503
        lines = client.get("/metrics").text.splitlines()
        series = 'fashion_mnist_requests_total{method="HEAD",route="/readyz",status="503"} 1'
        assert any(line.startswith(series) for line in lines)


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5, br", True),
        ("br;q=1, gzip ; q=0.001", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, br", False),
        ("identity", False),
        ("xgzip", False),
        ("", False),
    ],
)
def test_long_responses_are_compressed_if_the_client_accepts_gzip(
    client: httpx.Client, boot_png: bytes, accepted: str, is_compressed: bool
) -> None:
    headers = {"Accept-Encoding": accepted}
    for path, content in (("/feature-maps", boot_png), ("/web/main.js", None), ("/docs", None)):
        method = "GET" if content is None else "POST"
        with client.stream(method, path, content=content, headers=headers) as answer:
            body = b"".join(answer.iter_raw())
        is_long = path != "/docs"
        expected = "gzip" if is_compressed and is_long else None
        assert answer.headers.get("Content-Encoding") == expected, path
        assert int(answer.headers["Content-Length"]) == len(body)
        if is_long:
            assert answer.headers["Vary"] == "Accept-Encoding"
        if expected:
            assert len(gzip.decompress(body)) > 2 * len(body)


def test_short_and_png_responses_are_not_compressed(client: httpx.Client, boot_png: bytes) -> None:
    drawn = client.post("/feature-maps?format=png", content=boot_png)
    short = client.post("/predict?prepare=photo", content=boot_png)
    for answer in (drawn, short, client.get("/livez")):
        assert "Content-Encoding" not in answer.headers


def test_each_content_encoding_has_its_own_etag(client: httpx.Client) -> None:
    plain, packed = (fetch(client, "/web/main.js", name) for name in ("identity", "gzip"))
    assert plain.content == packed.content
    assert plain.headers["ETag"] != packed.headers["ETag"]
    for answer, encoding in ((plain, "identity"), (packed, "gzip")):
        tag = answer.headers["ETag"]
        for tags in (tag, f'"other", {tag}', f"W/{tag}"):
            known = fetch(client, "/web/main.js", encoding, **{"If-None-Match": tags})
            assert (known.status_code, known.headers["ETag"]) == (304, tag)
    tag = packed.headers["ETag"]
    other = fetch(client, "/web/main.js", "identity", **{"If-None-Match": tag})
    assert (other.status_code, other.headers["ETag"]) == (200, plain.headers["ETag"])


def test_single_byte_range_is_served_and_other_ranges_are_ignored(client: httpx.Client) -> None:
    whole = fetch(client, "/web/main.js", "identity")
    invalid = (
        "bytes=",
        "bytes=5-1",
        "bytes=-",
        "bytes=a-b",
        "bytes=0-1,x",
        f"bytes=0-{'1' * 5000}",
    )
    for unit in ("lines=1-2", "bytes", "", *invalid, "bytes=0-1,4-5"):
        answer = fetch(client, "/web/main.js", "identity", Range=unit)
        assert (answer.status_code, answer.content) == (200, whole.content)
    for encoding in ("identity", "gzip"):
        answer = fetch(client, "/web/main.js", encoding, Range="bytes=2-5")
        assert (answer.status_code, answer.content) == (206, whole.content[2:6])
    for span, part in (("2-", whole.content[2:]), ("-3", whole.content[-3:]), ("0-0", b"/")):
        answer = fetch(client, "/web/main.js", "identity", Range=f"bytes={span}")
        assert (answer.status_code, answer.content[:1], len(answer.content)) == (
            *(206, part[:1]),
            len(part),
        )
    beyond = fetch(client, "/web/main.js", "identity", Range="bytes=99999999-")
    assert beyond.status_code == 416


@pytest.fixture(scope="module")
def prefixed() -> Iterator[httpx.Client]:
    """A client of a service with the root path /ml."""
    with serve(Settings(artifacts=ARTIFACTS, engine="litert", root_path="/ml")) as client:
        yield client


def test_urls_are_relative_and_ignore_forwarded_headers(client: httpx.Client) -> None:
    forwarded = {
        "X-Forwarded-Prefix": "/ml",
        "X-Forwarded-Host": "shop.example",
        "X-Forwarded-Proto": "https",
    }
    for headers in ({}, forwarded):
        page = client.get("/docs", headers=headers).text
        assert 'src="web/docs.js"' in page
        assert not re.search('(href|src)="/', page)
        for path, target in (
            ("/livez/", "../livez"),
            ("/livez//", "../../livez"),
            ("/v2/models/fashion_mnist/?a=b&c", "../fashion_mnist?a=b&c"),
        ):
            answer = client.get(path, headers=headers)
            assert (answer.status_code, answer.headers["Location"]) == (307, target)
            assert client.get(urljoin(path, target)).status_code == 200
    assert 'url: "openapi.json"' in client.get("/web/docs.js").text
    assert client.get("/openapi.json").json()["servers"] == [{"url": "."}]


def test_root_path_may_be_stripped_or_kept_by_the_proxy(
    prefixed: httpx.Client, boot_png: bytes
) -> None:
    for path in ROUTES:
        for target in (path, f"/ml{path}"):
            assert prefixed.get(target).status_code == 200, target
            assert prefixed.head(target).status_code == 200, target
    for prefix in ("", "/ml"):
        for path in ("/predict", "/feature-maps"):
            assert prefixed.post(prefix + path, content=boot_png).status_code == 200
        error = prefixed.get(f"{prefix}/v2/models/other").json()["error"]
        assert isinstance(error, str)
        assert prefixed.get(f"{prefix}/livez/").headers["Location"] == "../livez"
    assert prefixed.get("/mlivez").status_code == 404
    for target in ("ml/", "ml/?a=b"):
        answer = prefixed.get(f"/{target}".replace("ml/", "ml"))
        assert (answer.status_code, answer.headers["Location"]) == (307, target)


def test_web_files_contain_no_absolute_paths() -> None:
    web = Path(__file__).parents[3] / "service" / "web"
    for file in (*web.rglob("*.html"), *web.rglob("*.css"), *web.rglob("*.js")):
        text = file.read_text()
        for start in ('href="/', 'src="/', 'url("/', "url(/", 'fetch("/', "fetch(`/", 'from "/'):
            assert start not in text, file
