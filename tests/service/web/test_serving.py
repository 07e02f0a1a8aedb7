"""The page with a service that requires a key or publishes a new version."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from service.keys import make_key
from service.settings import Settings
from tests.conftest import ROOT
from tests.service.conftest import ARTIFACTS, publish, serve, wait_for
from tests.service.web.conftest import Open


@pytest.fixture
def key() -> tuple[str, str]:
    secret, key = make_key("page", ["predict"])
    return secret, key.line()


def test_a_service_with_keys_is_asked_with_the_readers_key(
    browser: Browser, key: tuple[str, str]
) -> None:
    secret, line = key
    with serve(Settings(artifacts=ARTIFACTS, engine="litert", api_keys=line)) as client:
        page = browser.new_page(locale="en")
        page.goto(str(client.base_url))
        expect(page.locator("#error")).to_contain_text("API key")
        page.locator("#language").select_option("ko")
        page.locator("#language").select_option("en")
        page.locator("#key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#error")).not_to_be_empty()
        page.locator("#key").fill(secret)
        page.keyboard.press("Enter")
        expect(page.locator(".label")).to_contain_text("Ankle boot")
        expect(page.locator("#key")).to_be_hidden()
        expect(page.locator("#derivation .formula").first).to_be_visible()
        page.locator("#snippets summary").click()
        programs = page.locator("#snippet-list pre").all_inner_texts()
        assert '-H "Authorization: Bearer $KEY"' in programs[0]
        assert "os.environ['KEY']" in programs[1]
        assert not any(secret in program for program in programs)
        page.context.close()


def test_a_new_version_is_noticed_with_the_next_image(
    open_page: Open, copied_artifacts: Path
) -> None:
    settings = Settings(artifacts=copied_artifacts, engine="litert", poll_seconds=0.1)
    with serve(settings) as client, open_page(at=str(client.base_url)) as page:
        expect(page.locator("#served")).to_contain_text("version 1")
        publish(copied_artifacts, 2)
        wait_for(lambda: client.get("/model/summary").json()["version"] == 2)
        page.locator("#samples button").nth(3).click()
        expect(page.locator("#served")).to_contain_text("version 2")
        expect(page.locator(".label")).to_contain_text("Dress")


def test_a_version_is_chosen_from_those_that_are_served(
    open_page: Open, copied_artifacts: Path
) -> None:
    publish(copied_artifacts, 2)
    settings = Settings(artifacts=copied_artifacts, engine="litert", version_policy="all")
    with serve(settings) as client, open_page(at=str(client.base_url)) as page:
        chosen = page.locator("#version")
        expect(chosen).to_have_value("2")
        with page.expect_response("**/predict*version=1") as answered:
            chosen.select_option("1")
        assert answered.value.json()["model"]["version"] == 1
        expect(page.locator("#served")).to_contain_text("version 1")
        expect(page.locator(".label")).to_contain_text("Ankle boot")
        expect(page.locator("#layers .tile").first).to_be_visible()
        expect(page.locator("#unit-contributions button").first).to_be_visible()
        expect(page).to_have_url(re.compile("version=1"))
        # A link to a version that is not served leads to the one that is.
        page.goto("about:blank")
        page.goto(f"{client.base_url}#sample=1&version=7")
        expect(page.locator("#served")).to_contain_text("version 2")
        expect(page.locator(".label")).to_contain_text("Trouser")


def test_all_that_the_page_loads_is_small(server: httpx.Client) -> None:
    loaded = 0
    for file in (ROOT / "service/web").rglob("*.*"):
        path = file.relative_to(ROOT / "service")
        with server.stream("GET", f"/{path}", headers={"Accept-Encoding": "gzip"}) as answer:
            answer.read()
            assert answer.status_code == 200, path
            loaded += answer.num_bytes_downloaded
    assert 50_000 < loaded < 90_000
