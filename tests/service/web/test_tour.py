"""The guided tour, and the kernel playground: the window moves by itself and can be paused."""

import re

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.service.conftest import wait_for
from tests.service.web.conftest import Visit
from tests.service.web.reading import numbers, value_of

STEPS = {
    "Pixels": "images · map", "Edges": "conv2d_1 · map", "Parts": "conv2d_2 · map",
    "Votes": "dense_1 · unit", "Answer": "dense_2 · unit",
}  # fmt: skip


def test_five_steps_lead_from_the_pixels_to_the_answer(visit: Visit) -> None:
    page = visit()
    page.locator("#tour-start").click()
    for at, (step, what) in enumerate(STEPS.items(), 1):
        expect(page.locator("#tour-steps [aria-current]")).to_have_text(f"{at} {step}")
        expect(page.locator("#inspected-name")).to_contain_text(what)
        expect(page.locator("#tour-text")).not_to_be_empty()
        expect(page.locator("#overview")).to_be_in_viewport()
        expect(page.locator("#derivation .formula .result").first).to_be_visible()
        expect(page).to_have_url(re.compile(f"step={at}"))
        page.locator("#tour-next").press("Enter")
    expect(page.locator("#tour")).to_be_hidden()
    expect(page.locator("#tour-start")).to_be_focused()
    expect(page).not_to_have_url(re.compile("step"))


def test_a_step_can_be_linked_to_skipped_and_left(visit: Visit) -> None:
    page = visit("#sample=3&step=4")
    expect(page.locator("#tour-text")).to_contain_text("voted most for Dress")
    page.locator("#tour-steps button").first.click()
    expect(page.locator("#tour-text")).to_contain_text("only 784 numbers")
    # Another image is shown at the same step.
    page.evaluate("location.hash = '#sample=1&step=4'")
    expect(page.locator("#tour-text")).to_contain_text("voted most for Trouser")
    page.locator("#tour-end").click()
    expect(page.locator("#tour")).to_be_hidden()


def test_the_window_slides_only_when_it_is_asked_to_where_motion_is_reduced(visit: Visit) -> None:
    page = visit("#sample=9&step=2")
    where = page.locator("#inspected-value")
    expect(where).to_contain_text("row")
    before = where.inner_text()
    page.wait_for_timeout(1000)
    assert where.inner_text() == before
    page.locator("#tour-pause").click()
    expect(where).not_to_have_text(before)
    page.locator("#tour-pause").click()
    held = where.inner_text()
    page.wait_for_timeout(1000)
    assert where.inner_text() == held


def test_the_window_slides_by_itself_and_can_be_held(browser: Browser, address: str) -> None:
    page = browser.new_page(locale="en", reduced_motion="no-preference")
    page.goto(f"{address}#sample=9&step=2")
    where = page.locator("#inspected-value")
    expect(where).to_contain_text("row")
    first = where.inner_text()
    expect(where).not_to_have_text(first)
    page.locator("#tour-pause").click()
    held = where.inner_text()
    page.wait_for_timeout(1000)
    assert where.inner_text() == held
    page.context.close()


def test_the_tour_changes_its_language_and_unpins_the_inspector_at_its_end(visit: Visit) -> None:
    page = visit("#sample=9&step=4")
    sentence, step = page.locator("#tour-text"), page.locator("#tour-steps [aria-current]")
    expect(sentence).to_contain_text("voted most for Ankle boot")
    page.locator("#language").select_option("ko")
    expect(sentence).to_contain_text("앵클부츠")
    expect(step).to_have_text("4 투표")
    page.locator("#language").select_option("en")
    expect(step).to_have_text("4 Votes")
    page.locator("#tour-end").click()
    expect(page.locator("#pin")).to_have_attribute("aria-pressed", "false")
    page.locator("#layer-conv2d_1 .tile").first.hover()
    expect(page.locator("#inspected-name")).to_contain_text("conv2d_1")


def test_the_map_of_edges_shows_more_than_its_bias(visit: Visit, server: httpx.Client) -> None:
    """A map that its bias lights wherever the image is black shows no edges."""
    biases = server.get("/model/layers/conv2d_1").json()["bias"]
    page = visit("#sample=0&step=2")
    for sample in range(10):
        page.evaluate(f"location.hash = '#sample={sample}&step=2'")
        expect(page.locator("#network-section")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#inspected-name")).to_contain_text("conv2d_1 · map")
        channel = int(numbers(page.locator("#inspected-name").inner_text())[-1])
        expect(page.locator("#inspected-value")).to_contain_text("row")
        assert value_of(page) > 2 * biases[channel], sample


def test_at_every_step_the_inspector_is_seen_from_its_top(visit: Visit) -> None:
    page = visit()
    for step in range(1, len(STEPS) + 1):
        page.evaluate(f"location.hash = '#sample=9&step={step}'")
        expect(page.locator("#inspected-name")).to_contain_text([*STEPS.values()][step - 1])
        # The compass may have grown, which the page sees with the next frame.
        wait_for(lambda: page.evaluate(INSPECTOR_IS_BELOW))


INSPECTOR_IS_BELOW = """document.all.inspector.getBoundingClientRect().top
    >= document.all.sticky.getBoundingClientRect().bottom - 1"""


@pytest.fixture
def lab_page(visit: Visit) -> Page:
    page = visit()
    expect(page.locator("#lab-sum")).not_to_be_empty()
    return page


def test_ten_numbers_under_a_kernel_of_three_give_eight_and_pooling_four(lab_page: Page) -> None:
    lab_page.locator("#lab-what").select_option("numbers")
    sizes = lab_page.locator("#lab-sizes")
    expect(sizes).to_have_text("10 inputs → 8 outputs → 4 after pooling")
    lab_page.locator("#lab-padding").select_option("same")
    expect(sizes).to_have_text("10 inputs → 10 outputs → 5 after pooling")
    lab_page.locator("#lab-stride").select_option("2")
    expect(sizes).to_have_text("10 inputs → 5 outputs → 2 after pooling")
    lab_page.locator("#lab-stride").select_option("1")
    lab_page.locator("#lab-padding").select_option("valid")


def test_the_sum_is_the_window_times_the_kernel(lab_page: Page) -> None:
    lab_page.locator("#lab-what").select_option("numbers")
    for column, weight in enumerate(("2", "-1", "0.5")):
        lab_page.locator(f"[data-weight='0,{column}']").fill(weight)
    expect(lab_page.locator("#lab-preset")).to_have_value("own")
    output = lab_page.locator("#lab-output")
    output.focus()
    for _ in range(9):
        lab_page.keyboard.press("ArrowLeft")
    expect(lab_page.locator("#lab-sum")).to_have_text(
        "row 0, column 0: 1 × 2 + 1 × (−1) + 2 × 0.50 = 2"
    )
    lab_page.keyboard.press("ArrowRight")
    expect(lab_page.locator("#lab-sum")).to_contain_text("row 0, column 1")
    lab_page.locator("[data-weight='0,0']").fill("")
    expect(lab_page.locator("[data-weight='0,0']")).to_have_attribute("aria-invalid", "true")


def test_a_kernel_slides_over_the_readers_own_image(lab_page: Page) -> None:
    lab_page.locator("#lab-what").select_option("image")
    for preset in ("edge", "flatEdge", "blur", "sharpen"):
        lab_page.locator("#lab-preset").select_option(preset)
        expect(lab_page.locator("#lab-sizes")).to_contain_text("28 × 28 inputs → 26 × 26 outputs")
        terms, result = lab_page.locator("#lab-sum").inner_text().split(": ")[1].split(" = ")
        products = [np.prod(numbers(term)) for term in terms.split(" + ") if "×" in term]
        assert sum(products) == pytest.approx(numbers(result)[0], abs=0.1), preset
        assert np.abs(products).tolist() == sorted(np.abs(products), reverse=True)
    play, place = lab_page.locator("#lab-play"), lab_page.locator("#lab-sum")
    before = place.inner_text()
    play.click()
    expect(place).not_to_have_text(before)
    play.click()
    held = place.inner_text()
    lab_page.wait_for_timeout(800)
    assert place.inner_text() == held
