"""Slow or broken connections and rejected requests: the page never mixes the results of two
images, and shows every error in the user's language."""

import json
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from service.errors import error_codes
from tests.conftest import DATA, ROOT
from tests.service.web.conftest import PHONE, Open, Visit

TROUSER = DATA / "png" / "0002-trouser.png"
OF_AN_IMAGE = (
    "#bars .best",
    "#layers .tile",
    "#inspector",
    "#unit-contributions button",
    ".steps canvas",
)
"""What the page shows for an image, besides its label."""


@pytest.fixture(scope="module")
def shared_page(open_page: Open) -> Iterator[Page]:
    """Chromium logs the failures to its console."""
    with open_page("#sample=9", tolerates="Failed to load resource") as page:
        expect(page).to_have_url(re.compile("layer="))
        yield page


def assert_nothing_is_shown(page: Page) -> None:
    for shown in OF_AN_IMAGE:
        expect(page.locator(shown).locator("visible=true"), shown).to_have_count(0)
    assert page.locator("#bars b").all_inner_texts() == []


def hold(page: Page, pattern: str) -> list[Route]:
    """Collect requests and let them wait, as a slow network does."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    page.route(pattern, keep)
    return held


def wait_for_requests(page: Page, held: list[Route], count: int) -> None:
    for _ in range(600):
        if len(held) >= count:
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{len(held)} requests, expected {count}")


def refuse(status: int, code: str) -> Callable[[Route], None]:
    error = {"code": code, "message": "in the service's own words", "request_id": "1"}
    return lambda route: route.fulfill(status=status, json={"error": error})


def test_a_slow_answer_hides_the_results_of_the_previous_image(visit: Visit) -> None:
    page = visit()
    expect(page.locator("#unit-contributions button").first).to_be_visible()
    held = hold(page, "**/predict*")
    page.locator("#samples button").nth(3).click()
    expect(page.locator(".label")).to_have_text("Looking …")
    expect(page.locator("#answer-section")).to_have_attribute("aria-busy", "true")
    assert_nothing_is_shown(page)
    expect(page.locator(".label")).to_have_text("Still waiting for the service …")
    # Another image is wanted before the first has been answered: only its answer counts.
    page.locator("#samples button").nth(1).click()
    expect(page.locator(".photograph img")).to_have_attribute("src", "web/samples/1.png")
    wait_for_requests(page, held, 2)
    held[1].continue_()
    page.unroute("**/predict*")
    expect(page.locator(".label")).to_contain_text("Trouser")
    expect(page.locator("#layers .tile").first).to_be_visible()
    expect(page.locator("#answer-section")).to_have_attribute("aria-busy", "false")


@pytest.mark.parametrize("part", ["preparation", "feature-maps", "infer", "explain"])
def test_what_comes_late_is_not_shown_before(visit: Visit, part: str) -> None:
    page = visit()
    expect(page.locator("#unit-contributions button").first).to_be_visible()
    held = hold(page, f"**/{part}*")
    page.locator("#samples button").nth(3).click()
    expect(page.locator(".label")).to_contain_text("Dress")
    late = {
        "preparation": (".steps canvas", "#layers .tile", "#inspector"),
        "explain": (".heat",),
    }.get(part, ("#layers .tile", "#inspector"))
    for shown in late:
        expect(page.locator(shown).locator("visible=true"), shown).to_have_count(0)
    wait_for_requests(page, held, 1)
    held[0].continue_()
    page.unroute(f"**/{part}*")
    expect(page.locator("#layers .tile").first).to_be_visible()
    expect(page.locator(".heat")).to_be_visible()


def test_no_class_is_explained_before_the_prediction(visit: Visit) -> None:
    page = visit()
    predict, explain = hold(page, "**/predict*"), hold(page, "**/explain*")
    page.locator("#samples button").nth(3).click()
    wait_for_requests(page, predict, 1)
    page.evaluate("location.hash = '#sample=3&why=5'")
    expect(page).to_have_url(re.compile("why=5"))
    predict[0].continue_()
    wait_for_requests(page, explain, 1)
    assert re.search(r"class_id=5&version=[1-9]", explain[0].request.url)
    explain[0].continue_()
    page.unroute("**/predict*")
    page.unroute("**/explain*")
    expect(page.locator("#heat")).to_have_text("Why Sandal?")


def test_an_unreachable_service_shows_an_error_and_a_retry_succeeds(visit: Visit) -> None:
    said = {
        "en": "The service does not answer. Check the connection, then try again.",
        "ko": "서비스가 응답하지 않습니다. 연결을 확인하고 다시 시도하세요.",
    }
    page = visit()
    page.route("**/*", lambda route: route.abort())
    page.locator("#samples button").nth(3).click()
    failure = page.locator("#verdicts .failure")
    for language in ("ko", "en"):
        page.locator("#language").select_option(language)
        expect(failure).to_contain_text(said[language])
    assert_nothing_is_shown(page)
    page.unroute("**/*")
    failure.locator("button").click()
    expect(page.locator(".label")).to_contain_text("Dress")
    expect(page.locator("#layers .tile").first).to_be_visible()


def test_a_request_times_out(open_page: Open) -> None:
    with open_page("#sample=9", timezone_id="UTC") as page:  # a window that no other test takes
        expect(page.locator("#layers .tile").first).to_be_visible()
        page.clock.install()
        page.route("**/predict*", lambda route: None)
        page.locator("#samples button").nth(3).click()
        expect(page.locator(".label")).to_contain_text("Looking")
        page.clock.run_for(31_000)
        expect(page.locator(".failure")).to_contain_text("took too long")
        assert_nothing_is_shown(page)


def test_each_refusal_has_a_sentence_in_both_languages(visit: Visit) -> None:
    sentences: dict[str, dict[str, str]] = {}
    page = visit()
    for language in ("ko", "en"):
        page.locator("#language").select_option(language)
        for code in ("overloaded", "invalid_image", "not_ready", "deadline_exceeded", "other"):
            page.route("**/predict*", refuse(503, code))
            page.locator("#samples button").nth(3).click()
            failure = page.locator(f".failure[data-code={code}]")
            expect(failure).to_contain_text("in the service's own words")
            sentences.setdefault(code, {})[language] = failure.locator("p").first.inner_text()
            again = 0 if code == "invalid_image" else 1
            expect(failure.locator("button")).to_have_count(again)
            page.unroute("**/predict*")
    page.locator("#samples button").nth(9).click()
    expect(page.locator(".failure")).to_have_count(0)
    messages = [sentence for by_language in sentences.values() for sentence in by_language.values()]
    assert len(set(messages)) == len(messages), messages


def test_errors_follow_a_change_of_language(open_page: Open) -> None:
    with open_page("#sample=9", tolerates="Failed to load resource") as page:
        expect(page.locator("#layers .tile").first).to_be_visible()
        page.route("**/feature-maps*", lambda route: route.abort())
        page.locator("#save-maps").click()  # shown beside the button
        page.route("**/predict*", refuse(503, "overloaded"))
        page.locator("#samples button").nth(3).click()  # shown instead of the answer
        failures = page.locator(".failure")
        expect(failures).to_have_count(2)
        for failure in failures.all():
            expect(failure.locator("button")).to_have_text("Try again")
        page.locator("#language").select_option("ko")
        for failure in failures.all():
            expect(failure.locator("p").first).to_contain_text("서비스")
            expect(failure.locator("button")).to_have_text("다시 시도")
        page.unroute_all()


def test_every_code_that_a_user_can_meet_has_a_message() -> None:
    """The others are of requests that the page does not send."""
    known = (ROOT / "service/web/errors.js").read_text()
    not_sent = {
        "invalid_request", "invalid_parameter", "invalid_encoding", "invalid_json",
        "invalid_instances", "invalid_multipart", "invalid_tensor", "invalid_inference",
        "answer_too_large", "unknown_model", "unknown_layer", "not_acceptable",
    }  # fmt: skip
    missing = [code for code in error_codes() if f"{code}:" not in known]
    assert set(missing) == not_sent


def test_without_kernels_derivation_contributions_and_tour_show_the_error_and_can_retry(
    open_page: Open,
) -> None:
    state = "#sample=9&layer=conv2d_2&channel=9&pixel=6,9"
    kernels, of_units = "**/model/layers/**", "**/model/layers/dense**"
    with open_page(state, tolerates="net::ERR_FAILED", without=kernels) as page:
        derivation = page.locator("#derivation")
        votes, sentence = page.locator("#unit-contributions"), page.locator("#tour-text")
        expect(derivation.locator(".failure")).to_contain_text("does not answer")
        expect(derivation.locator(".formula")).to_have_count(0)
        expect(votes.locator(".failure")).to_contain_text("does not answer")
        page.route(of_units, lambda route: route.abort())
        page.unroute(kernels)
        derivation.locator(".failure button").click()
        expect(derivation.locator(".formula").first).to_be_visible()
        page.evaluate("location.hash = '#sample=9&step=4'")
        expect(sentence.locator(".failure")).to_contain_text("does not answer")
        page.unroute(of_units)
        votes.locator(".failure button").click()
        expect(votes.locator(".unit-button").first).to_be_visible()
        sentence.locator(".failure button").click()
        expect(sentence).to_contain_text("voted most for Ankle boot")


def test_a_failed_download_shows_its_error_beside_the_button(visit: Visit) -> None:
    page = visit()
    page.route("**/feature-maps?format*", refuse(503, "overloaded"))
    page.locator("#save-maps").click()
    expect(page.locator("#save-maps + .failure")).to_contain_text("overloaded")
    page.unroute("**/feature-maps?format*")
    with page.expect_download():
        page.locator("#save-maps + .failure button").click()
    expect(page.locator("#save-maps + .failure")).to_have_count(0)


def test_a_page_that_opens_while_the_service_is_unreachable_can_retry(open_page: Open) -> None:
    summary = "**/model/summary*"
    with open_page(
        "#sample=1", size=PHONE, tolerates="net::ERR_FAILED", begins_with="error", without=summary
    ) as page:
        expect(page.locator("#error")).to_contain_text("The service does not answer.")
        page.unroute(summary)
        page.locator("#error button").click()
        expect(page.locator(".label")).to_contain_text("Trouser")
        expect(page.locator("#error")).to_be_empty()


def test_an_answer_that_is_no_json_is_a_failure_too(visit: Visit) -> None:
    page = visit()
    page.route("**/predict*", lambda route: route.fulfill(status=502, body="<h1>Bad</h1>"))
    page.locator("#samples button").nth(3).click()
    expect(page.locator(".failure")).to_contain_text("request failed")
    page.unroute("**/predict*")
    page.route("**/preparation*", lambda route: route.fulfill(body=json.dumps({})[:1]))
    page.locator(".failure button").click()
    expect(page.locator(".failure")).to_contain_text("does not answer")
    assert_nothing_is_shown(page)
    page.unroute("**/preparation*")
