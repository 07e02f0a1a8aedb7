"""The steps of the image's preparation."""

import re

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.service.conftest import Encode
from tests.service.web.conftest import Visit

PHOTO_STEPS = {
    "ko": ["배경 제거", "반전: 검정 위에 밝게", "잘라내기", "가운데 정렬"],
    "en": ["Background removed", "Inverted: light on black", "Cropped", "Centred"],
}


@pytest.fixture(scope="module")
def photograph(encode: Encode) -> bytes:
    image = Image.new("RGB", (300, 400), "#eee8dd")
    ImageDraw.Draw(image).rectangle((60, 80, 239, 359), "#203060")
    return encode(image)


def give(page: Page, image: bytes) -> None:
    page.locator("#file").set_input_files(
        {"name": "photo.png", "mimeType": "image/png", "buffer": image}
    )


def test_each_step_of_a_photograph_is_shown(visit: Visit, photograph: bytes) -> None:
    page = visit()
    give(page, photograph)
    expect(page.locator(".steps li")).to_have_count(4)
    for language, steps in PHOTO_STEPS.items():
        page.locator("#language").select_option(language)
        for item, step in zip(page.locator(".steps li").all(), steps, strict=True):
            expect(item.locator("figcaption")).to_contain_text(step)
    for image in page.locator(".steps img").all():
        assert image.evaluate("async (image) => (await image.decode(), image.naturalWidth)") > 0


def test_the_last_image_is_what_the_network_gets(visit: Visit) -> None:
    page = visit()
    with page.expect_response("**/preparation*") as answered:
        page.locator("#samples button").nth(3).click()
    image = answered.value.json()["image"]
    expect(page.locator(".label")).to_contain_text("Dress")
    shown = page.evaluate(
        """() => {
            const { data } = document.querySelector(".steps .input").getContext("2d")
                .getImageData(0, 0, 28, 28);
            return Array.from({ length: 28 }, (_, y) =>
                Array.from({ length: 28 }, (_, x) => data[4 * (28 * y + x)]));
        }"""
    )
    assert shown == image


def test_an_image_of_the_networks_own_size_is_marked_as_unchanged(visit: Visit) -> None:
    page = visit()
    expect(page.locator(".steps li")).to_have_count(1)
    expect(page.locator(".steps li").last).to_contain_text("Used unchanged")


def test_the_preparation_can_be_switched(visit: Visit, photograph: bytes) -> None:
    page = visit()
    give(page, photograph)
    expect(page.locator(".steps li").last).to_contain_text("Centred")
    page.locator("#prepare").select_option("plain")
    expect(page.locator(".steps li").last).to_contain_text("Resized")
    expect(page.locator(".steps li")).to_have_count(2)
    expect(page).to_have_url(re.compile("prepare=plain"))


def test_the_preparation_is_in_the_address(visit: Visit) -> None:
    page = visit("#sample=0&prepare=photo")
    expect(page.locator("#prepare")).to_have_value("photo")
    expect(page.locator(".steps li").last).to_contain_text("Centred")
