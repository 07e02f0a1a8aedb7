"""Health, metrics, the web page and the API documentation, and their headers."""

import gzip
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from service.model import repository as repository_module
from service.model.classifier import Classifier
from service.model.repository import load_classifier
from service.settings import EngineChoice, Settings
from tests.conftest import DATA, ROOT
from tests.service.browser import start_browser
from tests.service.conftest import (
    ARTIFACTS,
    DEFAULT_VERSION,
    publish,
    samples_of,
    serve,
    wait_for,
    wait_until_ready,
)
from tests.service.http.test_predict import parse_error


def test_livez_and_readyz_of_a_ready_service(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "live", "worker": 0}
    assert client.get("/readyz").json() == {
        "status": "ready",
        "worker": 0,
        "model": {"name": "fashion_mnist", "version": int(DEFAULT_VERSION)},
        "engine": "litert",
    }


@pytest.mark.parametrize("path", ["/readyz", "/model/summary"])
def test_service_is_live_but_not_ready_until_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    may_load = threading.Event()

    def load_after_event(directory: Path, engine: EngineChoice) -> Classifier:
        may_load.wait(timeout=30)
        return load_classifier(directory, engine)

    monkeypatch.setattr(repository_module, "load_classifier", load_after_event)
    with serve(Settings(artifacts=ARTIFACTS, engine="litert"), wait=False) as client:
        try:
            assert client.get("/livez").status_code == 200
            response = client.get(path)
            assert parse_error(response, 503)[0] == "not_ready"
            assert response.headers["Retry-After"] == "1"
            response = client.post("/predict", content=b"x")
            assert parse_error(response, 503)[0] == "not_ready"
        finally:
            may_load.set()
        wait_until_ready(client)
        assert client.get(path).status_code == 200


PHASES = ("receive", "queue", "decode", "prepare", "infer", "encode")
V1 = "/v1/models/fashion_mnist:predict"
V2 = "/v2/models/fashion_mnist/infer"


@pytest.fixture
def fresh_client() -> Iterator[httpx.Client]:
    """A client of a new server, whose counters are zero."""
    with serve(Settings(artifacts=ARTIFACTS, engine="litert", max_pixels=10_000)) as client:
        yield client


def scrape(client: httpx.Client) -> dict[str, float]:
    response = client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples_of(response.text)


def infer_request(images: int) -> dict[str, Any]:
    data = [0] * 784 * images
    return {
        "inputs": [{"name": "images", "shape": [images, 784], "datatype": "UINT8", "data": data}]
    }


def test_all_http_protocols_are_counted_alike(fresh_client: httpx.Client, boot_png: bytes) -> None:
    before = scrape(fresh_client)
    fresh_client.put("/predict", content=boot_png)
    fresh_client.post("/feature-maps", content=boot_png)
    fresh_client.post(V1, json={"instances": [[0] * 784] * 2})
    fresh_client.post(V2, json=infer_request(3))
    after = scrape(fresh_client)
    for route, method in [
        ("/predict", "PUT"),
        ("/feature-maps", "POST"),
        ("/v1/models/{name}:predict", "POST"),
        ("/v2/models/{name}/infer", "POST"),
    ]:
        series = f'method="{method}",route="{route}",status="200"'
        assert after[f"fashion_mnist_requests_total{{{series}}}"] == 1
        assert after[f'fashion_mnist_request_seconds_count{{route="{route}"}}'] == 1
    assert after["fashion_mnist_images_total"] == 7
    assert after["fashion_mnist_batch_images_count"] == 4
    assert after["fashion_mnist_batch_images_sum"] == 7
    assert after["fashion_mnist_images_in_flight"] == 0
    # Feature maps are not counted as predictions.
    assert after["fashion_mnist_confidence_count"] == 6
    predicted = [n for n in after if n.startswith("fashion_mnist_predicted_total")]
    assert len(predicted) == 10
    assert sum(after[name] - before[name] for name in predicted) == 6
    assert (
        after[f'fashion_mnist_predicted_total{{label="Ankle boot",version="{DEFAULT_VERSION}"}}']
        == 1
    )


def test_phases_of_a_request_are_timed_and_sum_to_at_most_its_duration(
    fresh_client: httpx.Client, boot_png: bytes
) -> None:
    fresh_client.put("/predict", content=boot_png)
    after = scrape(fresh_client)
    for phase in PHASES:
        assert after[f'fashion_mnist_phase_seconds_count{{phase="{phase}"}}'] == 1
        assert after[f'fashion_mnist_phase_seconds_sum{{phase="{phase}"}}'] > 0
    total = sum(after[f'fashion_mnist_phase_seconds_sum{{phase="{phase}"}}'] for phase in PHASES)
    assert total <= after['fashion_mnist_request_seconds_sum{route="/predict"}']


def test_decoding_and_preparation_are_timed_separately(
    fresh_client: httpx.Client, boot_png: bytes
) -> None:
    files = [("files", path.read_bytes()) for path in sorted((DATA / "png").glob("*.png"))[:3]]
    assert fresh_client.post("/predict?prepare=photo", files=files).status_code == 200
    after = scrape(fresh_client)
    # Finding the garment takes many times longer than decoding 784 pixels.
    prepare = after['fashion_mnist_phase_seconds_sum{phase="prepare"}']
    assert prepare > after['fashion_mnist_phase_seconds_sum{phase="decode"}']
    assert after['fashion_mnist_phase_seconds_count{phase="prepare"}'] == 1


def test_metric_labels_contain_no_arbitrary_paths_or_methods(fresh_client: httpx.Client) -> None:
    for number, verb in enumerate(["PROPFIND", "PURGE", "REPORT"]):
        fresh_client.get(f"/nowhere/{number}")
        fresh_client.request(verb, "/predict")
        fresh_client.get(f"/v2/models/name{number}/versions/{number}")
    after = scrape(fresh_client)
    requests = {name for name in after if name.startswith("fashion_mnist_requests_total")}
    assert {
        'fashion_mnist_requests_total{method="GET",route="other",status="404"}',
        'fashion_mnist_requests_total{method="other",route="/predict",status="405"}',
        "fashion_mnist_requests_total{"
        'method="GET",route="/v2/models/{name}/versions/{version}",status="404"}',
    } <= requests
    assert not [name for name in after if "nowhere" in name or "PURGE" in name or "name1" in name]


def test_rejected_requests_are_counted_by_reason(fresh_client: httpx.Client) -> None:
    reasons: dict[str, Callable[[], httpx.Response]] = {
        "invalid_image": lambda: fresh_client.post("/predict", content=b"no image"),
        "empty_body": lambda: fresh_client.post(V1, content=b""),
        "invalid_tensor": lambda: fresh_client.post(V2, json=infer_request(0)),
        "not_found": lambda: fresh_client.get("/nowhere"),
        "method_not_allowed": lambda: fresh_client.get("/predict"),
        "invalid_parameter": lambda: fresh_client.post("/predict?top_k=0", content=b"x"),
    }
    before = scrape(fresh_client)
    for ask in reasons.values():
        assert 400 <= ask().status_code < 500
    after = scrape(fresh_client)
    for reason in reasons:
        name = f'fashion_mnist_rejected_total{{reason="{reason}"}}'
        assert after[name] - before.get(name, 0) == 1, reason
    assert before['fashion_mnist_rejected_total{reason="body_too_large"}'] == 0


def test_request_with_nan_is_rejected_and_not_counted_as_a_prediction(
    fresh_client: httpx.Client,
) -> None:
    rows = b"[" + b",".join([b"NaN"] * 784) + b"],[" + b",".join([b"0"] * 784) + b"]"
    response = fresh_client.post(V1, content=b'{"instances": [' + rows + b"]}")
    assert "NaN" in response.text
    after = scrape(fresh_client)
    assert after["fashion_mnist_images_total"] == 2
    assert after["fashion_mnist_confidence_count"] == 1


def test_metrics_count_served_and_refused_versions(copied_artifacts: Path) -> None:
    settings = Settings(artifacts=copied_artifacts, engine="litert", poll_seconds=0.05)
    with serve(settings) as client:
        samples = scrape(client)
        assert samples['fashion_mnist_model_version{version="1"}'] == 1
        assert samples["fashion_mnist_workers"] == samples["fashion_mnist_workers_ready"] == 1
        publish(copied_artifacts, 2, good=False)
        wait_for(lambda: scrape(client)["fashion_mnist_versions_refused_total"] == 1)
        publish(copied_artifacts, 3)
        wait_for(lambda: 'fashion_mnist_model_version{version="3"}' in scrape(client))
        wait_for(lambda: scrape(client)['fashion_mnist_model_version{version="1"}'] == 0)
        samples = scrape(client)
        assert samples['fashion_mnist_model_version{version="3"}'] == 1
        assert samples['fashion_mnist_predicted_total{label="Bag",version="3"}'] == 0
        client.post("/v2/repository/models/fashion_mnist/unload")
        assert scrape(client)["fashion_mnist_workers_ready"] == 0


def test_process_metrics_have_the_standard_names(fresh_client: httpx.Client) -> None:
    samples = scrape(fresh_client)
    assert samples['process_cpu_seconds_total{worker="0"}'] > 0
    assert samples['process_resident_memory_bytes{worker="0"}'] > 10_000_000
    assert samples['process_open_fds{worker="0"}'] > 3
    assert samples['process_start_time_seconds{worker="0"}'] > 1_700_000_000


def test_huge_pixel_values_cause_no_nan_in_the_metrics(client: httpx.Client) -> None:
    for value in (3e38, -3e38, 1e300):
        body = {"inputs": {"images": [[value] * 784]}}
        assert client.post("/v1/models/fashion_mnist:predict", json=body).status_code == 200
    text = client.get("/metrics").text
    assert "NaN" not in text
    assert "fashion_mnist_novelty_sum" in text


WEB = ROOT / "service" / "web"
MAX_PAGE_BYTES = 150_000


HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
"""The Accept header of browsers."""


def test_root_returns_the_page_to_browsers_and_liveness_to_programs(
    strict_client: httpx.Client,
) -> None:
    page = strict_client.get("/", headers=HTML)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    for accept in ("*/*", "application/json", ""):
        answer = strict_client.get("/", headers={"Accept": accept})
        assert answer.json() == {"status": "alive"}
    for one in (page, answer):
        assert "Accept" in one.headers["Vary"].split(", ")


def test_page_has_a_strict_content_security_policy(strict_client: httpx.Client) -> None:
    for path in ("/", "/web/main.js"):
        headers = strict_client.get(path, headers=HTML).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "camera=(self)" in headers["Permissions-Policy"]


def test_cached_page_files_are_a_304(strict_client: httpx.Client) -> None:
    for path in ("/", "/web/main.js"):
        etag = strict_client.get(path, headers=HTML).headers["ETag"]
        headers = {**HTML, "If-None-Match": etag}
        assert strict_client.get(path, headers=headers).status_code == 304


def test_javascript_is_compressed_if_the_client_accepts_gzip(strict_client: httpx.Client) -> None:
    with strict_client.stream("GET", "/web/main.js", headers={"Accept-Encoding": "gzip"}) as sent:
        assert sent.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(b"".join(sent.iter_raw())) == (WEB / "main.js").read_bytes()
    plain = strict_client.get("/web/main.js", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.content == (WEB / "main.js").read_bytes()


def test_transfer_size_of_the_page_is_within_the_limit(strict_client: httpx.Client) -> None:
    """Count each file once, compressed and with its headers."""
    weight = 0
    paths = ["/", *(f"/web/{file.relative_to(WEB)}" for file in WEB.rglob("*") if file.is_file())]
    for path in paths:
        headers = {**HTML, "Accept-Encoding": "gzip"}
        with strict_client.stream("GET", path, headers=headers) as sent:
            head = sum(len(name) + len(value) + 4 for name, value in sent.headers.raw)
            weight += head + len(b"".join(sent.iter_raw()))
    assert len(paths) > 40
    assert weight < MAX_PAGE_BYTES


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_browser() as browser:
        yield browser


@pytest.mark.parametrize("path", ["/", "/docs", "/web/main.js", "/livez", "/nowhere", "/metrics"])
def test_every_response_has_security_headers(strict_client: httpx.Client, path: str) -> None:
    headers = strict_client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    [policy] = headers.get_list("Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("prefix", ["", "/ml"])
def test_api_documentation_works_offline_and_under_its_security_policy(
    browser: Browser, prefix: str
) -> None:
    settings = Settings(artifacts=ARTIFACTS, engine="litert", root_path=prefix)
    with serve(settings) as client:
        page = browser.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("request", lambda request: problems.append(request.url))
        page.goto(f"{client.base_url}{prefix}/docs")
        page.get_by_role("button", name="POST /predict Classify").click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        answered = page.locator(".live-responses-table .response")
        expect(answered).to_contain_text('"label": "Ankle boot"')
        page.close()
    own = f"{str(client.base_url).rstrip('/')}{prefix}/"
    assert [text for text in problems if not text.startswith((own, "data:"))] == []
