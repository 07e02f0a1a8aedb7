"""What answers tell browsers, and the documentation under its own policy."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from service.http.docs import SCRIPT, STYLE
from tests.service.browser import start_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_browser() as browser:
        yield browser


@pytest.mark.parametrize("path", ["/", "/docs", "/web/main.js", "/livez", "/nowhere", "/metrics"])
def test_every_answer_is_taken_for_what_it_says(strict_client: httpx.Client, path: str) -> None:
    headers = strict_client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    [policy] = headers.get_list("Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_the_documentation_runs_under_its_policy(
    strict_client: httpx.Client, browser: Browser
) -> None:
    """With a stand-in for Swagger UI, which comes from a network that tests do without."""
    stand_in = """window.SwaggerUIBundle = (options) => {
        fetch(options.url).then((r) => r.json()).then((document_) => {
            document.querySelector('#swagger-ui').textContent = document_.info.title;
        });
        const added = document.createElement('script');
        added.textContent = "document.title = 'injected'";
        document.body.append(added);
    };
    window.SwaggerUIBundle.presets = {};
    window.SwaggerUIBundle.SwaggerUIStandalonePreset = {};"""
    page = browser.new_page()
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        if route.request.url == SCRIPT:
            route.fulfill(body=stand_in, content_type="text/javascript")
        else:
            route.fulfill(body="h1 {}", content_type="text/css")

    page.route(re.compile(r"^https://"), answer)
    page.goto(f"{strict_client.base_url}/docs")
    expect(page.locator("#swagger-ui")).to_have_text("Fashion-MNIST service")
    assert page.title() != "injected"
    assert sorted(asked) == sorted([SCRIPT, STYLE])
    page.close()
