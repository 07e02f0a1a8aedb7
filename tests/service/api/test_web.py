"""The page in a real browser, and the headers it comes with."""

import re
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from service.api.web import WEB
from tests.conftest import DATA
from tests.service.browser import start_browser
from tests.service.conftest import Encode

MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_browser() as browser:
        yield browser


@pytest.fixture(params=[("en", 1280), ("ko", 360)], ids=["english-desktop", "korean-phone"])
def page(
    request: pytest.FixtureRequest, browser: Browser, strict_client: httpx.Client
) -> Iterator[Page]:
    """The page with its first sample answered; nothing may reach the console."""
    language, width = request.param
    context = browser.new_context(locale=language, viewport={"width": width, "height": 800})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(str(strict_client.base_url))
    expect(page.locator(".maps button")).to_have_count(192)
    yield page
    context.close()
    # Chromium itself reports every 4xx; anything else is the page's.
    assert [text for text in complaints if "status of 4" not in text] == []


def test_the_page_answers_a_sample_in_the_readers_language(page: Page) -> None:
    title = {"en": "What the network sees", "ko": "신경망이 보는 것"}
    language = page.evaluate("document.documentElement.lang")
    expect(page.locator("h1")).to_have_text(title[language])
    expect(page.locator("#label")).to_contain_text("Ankle boot")
    expect(page.locator("#bars li")).to_have_count(10)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_sample_is_classified_as_what_it_is(page: Page) -> None:
    for button in page.locator("#samples button").all():
        button.click()
        expect(page.locator("#label")).to_contain_text(str(button.get_attribute("title")))


def test_a_chosen_file_is_answered(page: Page) -> None:
    page.locator("#file").set_input_files(DATA / "png" / "0002-trouser.png")
    expect(page.locator("#label")).to_contain_text("Trouser")


def test_it_is_said_whether_the_picture_is_like_those_of_the_training(
    page: Page, encode: Encode
) -> None:
    known = {"en": "It looks like", "ko": "비슷합니다"}
    strange = {"en": "It is unlike", "ko": "달라서"}
    language = page.evaluate("document.documentElement.lang")
    page.locator("#file").set_input_files(DATA / "png" / "0002-trouser.png")
    expect(page.locator("#known")).to_contain_text(known[language])
    noise = np.random.default_rng(0).integers(256, size=(28, 28), dtype=np.uint8)
    page.locator("#file").set_input_files(
        {"name": "noise.png", "mimeType": "", "buffer": encode(noise)}
    )
    expect(page.locator("#known")).to_contain_text(strange[language])


def test_a_file_that_is_no_picture_is_refused_in_the_services_words(page: Page) -> None:
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "", "buffer": b"no"})
    expect(page.locator("#error")).not_to_be_empty()


def test_a_drawing_is_answered(page: Page) -> None:
    page.locator("#pen").click()
    page.locator("#sheet").scroll_into_view_if_needed()
    before = page.locator("#label").inner_text()
    box = page.locator("#sheet").bounding_box()
    assert box
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 200)
    page.mouse.up()
    expect(page.locator("#label")).not_to_have_text(before)


def test_the_arrow_keys_step_through_a_pooled_map(page: Page) -> None:
    page.locator(".layer").nth(1).locator(".maps button").first.click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    arithmetic = page.locator("#sum").inner_text().split(": ")[1]
    value, *window = map(float, re.findall(r"-?\d+\.\d+", arithmetic))
    assert len(window) == 4
    assert value == max(window)


def test_the_language_can_be_switched(page: Page) -> None:
    page.locator("#language").select_option("ko")
    expect(page.locator("#answer")).to_have_text("답")
    page.locator("#language").select_option("en")
    expect(page.locator("#answer")).to_have_text("The answer")


def test_the_page_may_load_nothing_from_elsewhere(strict_client: httpx.Client) -> None:
    for path in ("/", "/web/main.js"):
        headers = strict_client.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "camera=(self)" in headers["Permissions-Policy"]


def test_what_the_browser_has_is_not_sent_again(strict_client: httpx.Client) -> None:
    etag = strict_client.get("/").headers["ETag"]
    assert strict_client.get("/", headers={"If-None-Match": etag}).status_code == 304


def test_the_page_is_light() -> None:
    assert sum(file.stat().st_size for file in WEB.rglob("*") if file.is_file()) < MOST_BYTES
