"""Explanations: the heat map, the contributing units, and the trail from a class to its pixels."""

import re

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.service.conftest import Encode
from tests.service.web.conftest import PHONE, Open, Visit
from tests.service.web.reading import formula_of, number, numbers, value_of


def test_the_heat_lies_on_the_garment_of_the_photograph(
    visit: Visit, encode: Encode, server: httpx.Client
) -> None:
    photograph = Image.new("RGB", (300, 400), "#eee8dd")
    ImageDraw.Draw(photograph).rectangle((180, 100, 259, 259), "#203060")
    content = encode(photograph)
    left, top, right, bottom = server.post("/explain", content=content).json()["frame"]
    page = visit()
    page.locator("#file").set_input_files(
        {"name": "photo.png", "mimeType": "image/png", "buffer": content}
    )
    image, heat = page.locator(".photograph img"), page.locator(".heat")
    expect(image).to_have_attribute("alt", "photo.png, as sent")
    expect(heat).to_be_visible()
    whole, lit = image.bounding_box(), heat.bounding_box()
    assert whole
    assert lit
    assert whole["height"] / whole["width"] == pytest.approx(4 / 3, abs=0.02)
    shares = [
        (lit["x"] - whole["x"]) / whole["width"],
        (lit["y"] - whole["y"]) / whole["height"],
        (lit["x"] + lit["width"] - whole["x"]) / whole["width"],
        (lit["y"] + lit["height"] - whole["y"]) / whole["height"],
    ]
    assert shares == pytest.approx([left, top, right, bottom], abs=0.01)
    page.locator("#heat").click()
    expect(heat).to_be_hidden()
    page.locator("#heat").press("Enter")
    expect(heat).to_be_visible()


def test_the_answer_says_what_it_is_worth(visit: Visit, server: httpx.Client) -> None:
    page = visit()
    label = page.locator("#bars [aria-pressed=true] .class").inner_text()
    scores = server.get("/model/summary").json()["scores"]
    precision = scores["classes"][label]["precision"]
    said = f"When it says {label}, it is right in {round(100 * precision)} %"
    expect(page.locator(".precision")).to_contain_text(said)
    expect(page.locator(".precision")).not_to_contain_text("photographs")


def test_under_a_photograph_the_figure_of_photographs_comes_first(
    either: Page, server: httpx.Client, encode: Encode
) -> None:
    photograph = Image.new("RGB", (300, 400), "#eee8dd")
    photograph.paste("#203060", (60, 80, 240, 360))
    either.locator("#file").set_input_files(
        {"name": "photograph.jpg", "mimeType": "image/jpeg", "buffer": encode(photograph, "JPEG")}
    )
    expect(either.locator("#steps li")).not_to_have_count(1)
    scores = server.get("/model/summary").json()["scores"]
    label = str(either.locator("#bars li:has([aria-pressed=true])").get_attribute("data-garment"))
    figures = [scores["photographs"]["macro_average"], scores["classes"][label]["precision"]]
    worth = either.locator(".precision")
    language = either.evaluate("document.documentElement.lang")
    expect(worth).to_contain_text(
        {"en": "not photographs", "ko": "직접 찍은 사진이 아님"}[language]
    )
    assert numbers(worth.inner_text())[:2] == [round(100 * figure) for figure in figures]


def test_another_class_is_explained_when_its_bar_is_pressed(
    visit: Visit, server: httpx.Client
) -> None:
    image = server.get("/web/samples/9.png").content
    page = visit()
    expect(page.locator("#heat")).to_have_text("Why Ankle boot?")
    with page.expect_response("**/explain*") as answered:
        page.locator("#bars [data-garment=Sandal] button").press("Enter")
    expected = server.post("/explain?class_id=5", content=image).json()
    assert answered.value.json()["heat"] == expected["heat"]
    expect(page.locator("#heat")).to_have_text("Why Sandal?")
    expect(page.locator("#bars [aria-pressed=true] .class")).to_have_text("Sandal")
    expect(page.locator("#bars [data-garment=Sandal] button")).to_be_focused()
    expect(page.locator("#unit-contributions h3").first).to_contain_text("for Sandal")
    expect(page.locator(".label")).to_contain_text("Ankle boot")
    expect(page).to_have_url(re.compile("why=5"))
    page.locator("#bars [data-garment='Ankle boot'] button").click()
    expect(page.locator("#heat")).to_have_text("Why Ankle boot?")
    expect(page).not_to_have_url(re.compile("why"))


def test_the_trail_leads_from_the_class_to_the_pixels(visit: Visit, server: httpx.Client) -> None:
    page = visit("#sample=9")
    vote = page.locator("#unit-contributions button").first
    unit, adds = str(vote.get_attribute("data-unit")), number(vote.locator("b").inner_text())
    votes = np.array(server.get("/model/layers/dense_2?channels=9").json()["kernels"][0])
    vote.click()
    expect(page.locator("#inspector")).to_be_in_viewport(ratio=0.95)  # all that it has room for
    expect(page.locator("#pin")).to_have_attribute("aria-pressed", "true")
    what, where = page.locator("#inspected-name"), page.locator("#inspected-value")
    expect(what).to_have_text(f"dense_1 · unit {unit}")
    formula_of(page)
    # The unit's vote is its value times its weight for the class.
    assert value_of(page) * votes[int(unit)] == pytest.approx(adds, abs=0.01)
    for layer in ("max_pooling2d_2", "conv2d_2", "max_pooling2d_1", "conv2d_1", "images"):
        if layer == "max_pooling2d_2":
            page.locator("#derivation .formula .link").first.click()
        elif page.locator("#derivation .winner").count():
            page.locator("#derivation .winner").click()
        else:
            page.locator("#derivation .products button:not(:disabled)").first.press("Enter")
        expect(what).to_contain_text(f"{layer} · map")
        expect(page.locator("#inspector")).to_be_focused()
        result = number(page.locator("#derivation .formula .result dd").inner_text())
        assert result == pytest.approx(value_of(page), abs=2e-4), layer
    expect(where).to_contain_text("row")
    trail = page.locator("#trail button")
    expect(trail).to_have_count(6)
    expect(trail.first).to_contain_text("Ankle boot")
    expect(trail.nth(1)).to_have_text(f"dense_1 · unit {unit}")
    trail.nth(3).click()
    expect(what).to_contain_text("conv2d_2 · map")
    expect(trail).to_have_count(3)
    # Selecting another map clears the trail.
    page.locator("#layer-conv2d_1 .tile").first.click()
    expect(page.locator("#trail")).to_be_hidden()


def test_where_a_sum_is_shown_the_largest_come_first(visit: Visit) -> None:
    page = visit("#sample=9&layer=conv2d_2&channel=9&pixel=6,9")
    adds = [number(text) for text in page.locator("#derivation .inputs button").all_inner_texts()]
    assert np.abs(adds).tolist() == sorted(np.abs(adds), reverse=True)
    chosen = page.locator("#derivation .inputs [aria-pressed=true]")
    assert number(chosen.inner_text()) == adds[0]
    page.evaluate("location.hash = '#sample=9&layer=dense_1&channel=3'")
    maps = page.locator("#derivation .contributions button")
    expect(maps).to_have_count(64)
    adds = [number(text) for text in maps.all_inner_texts()]
    assert np.abs(adds).tolist() == sorted(np.abs(adds), reverse=True)


def test_on_a_phone_the_answer_is_beside_the_image_and_the_inspector_a_sheet(
    open_page: Open,
) -> None:
    with open_page("#sample=9", size=PHONE) as page:
        image = page.locator(".photograph").bounding_box()
        label = page.locator(".label").bounding_box()
        assert image
        assert label
        assert label["x"] > image["x"] + image["width"]
        assert label["y"] + label["height"] < PHONE[1]
        expect(page.locator("#inspector")).to_be_hidden()
        said = page.locator("body").inner_text()
        assert not re.search(r"\bdrop\b|paste|arrow key|point at|click", said, re.IGNORECASE)
        page.locator("#unit-contributions button").first.tap()
        sheet = page.locator("#inspector")
        expect(sheet).to_be_in_viewport()
        box = sheet.bounding_box()
        assert box
        assert box["y"] > 0.35 * PHONE[1]
        page.locator("#close").tap()
        expect(sheet).to_be_hidden()


def test_two_images_part_where_they_are_least_alike(visit: Visit) -> None:
    page = visit()
    page.locator("#compare").check()
    page.locator("#samples button").nth(0).click()
    expect(page.locator("#overview .similarity")).to_have_count(9)
    expect(page.locator("#overview .divergence")).to_have_count(1)
    page.locator("#compare").uncheck()
    expect(page.locator("#overview .similarity")).to_have_count(0)
