"""Every image source."""

import base64

import httpx
import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw
from playwright.sync_api import Page, expect

from tests.conftest import DATA
from tests.service.conftest import Encode
from tests.service.web.conftest import Open, Visit

TROUSER = DATA / "png" / "0002-trouser.png"


def test_every_sample_is_classified_as_what_it_is(visit: Visit) -> None:
    page = visit()
    samples = page.locator("#samples button").all()
    assert len(samples) == 10
    for sample in samples:
        sample.click()
        expect(page.locator(".label")).to_contain_text(str(sample.get_attribute("data-garment")))
        expect(sample).to_have_attribute("aria-pressed", "true")
        expect(page.locator(".known")).to_be_visible()  # none of them is called strange


def test_a_chosen_file_is_answered(visit: Visit) -> None:
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.locator("#choose").click()
    chooser.value.set_files(TROUSER)
    expect(page.locator(".label")).to_contain_text("Trouser")
    expect(page.locator("#samples [aria-pressed=true]")).to_have_count(0)


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_dropped_or_pasted_image_is_answered(visit: Visit, event: str) -> None:
    page = visit()
    hand_over(page, event, TROUSER.read_bytes(), "image/png")
    expect(page.locator(".label")).to_contain_text("Trouser")


def hand_over(page: Page, event: str, content: bytes, media_type: str) -> None:
    """Drop or paste a file, as a person does: with an event that carries it."""
    page.evaluate(
        """([event, content, type]) => {
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], "given", { type }));
            const at = document.querySelector("#drop");
            const how = { bubbles: true, cancelable: true };
            if (event === "paste") {
                at.dispatchEvent(new ClipboardEvent(event, { ...how, clipboardData: carried }));
                return;
            }
            at.dispatchEvent(new DragEvent("dragover", { ...how, dataTransfer: carried }));
            if (!at.classList.contains("over")) throw new Error("not lit");
            at.dispatchEvent(new DragEvent("drop", { ...how, dataTransfer: carried }));
            if (at.classList.contains("over")) throw new Error("still lit");
        }""",
        [event, base64.b64encode(content).decode(), media_type],
    )


def test_what_is_refused_is_refused_where_it_was_dropped_in_the_services_words(
    visit: Visit, server: httpx.Client
) -> None:
    page = visit()
    for content, media_type, sample, garment in (
        (b"no image", "", 1, "Trouser"),
        (b"%PDF-1.7", "application/pdf", 3, "Dress"),
        (b"", "image/png", 9, "Ankle boot"),
    ):
        hand_over(page, "drop", content, media_type)
        headers = {"Content-Type": media_type} if media_type else {}
        error = server.post("/predict", content=content, headers=headers).json()["error"]
        failure = page.locator(f"#verdicts .failure[data-code={error['code']}]")
        expect(failure.locator("small")).to_have_text(error["message"])
        expect(failure.locator("button")).to_have_count(0)
        page.locator("#samples button").nth(sample).click()
        expect(page.locator(".label")).to_contain_text(garment)
        expect(page.locator(".failure")).to_have_count(0)


DRAWING = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 400">
<rect width="300" height="400" fill="#eee8dd"/><rect x="60" y="80" width="180" height="280"
fill="#203060"/></svg>"""

SMALL_DRAWING = DRAWING.replace(b"viewBox", b'width="3" height="4" viewBox')


def test_what_only_the_browser_can_read_or_make_small_enough_is_sent_small(
    visit: Visit, encode: Encode
) -> None:
    page = visit()
    photograph = Image.new("RGB", (300, 400), "#eee8dd")
    ImageDraw.Draw(photograph).rectangle((60, 80, 239, 359), "#203060")
    grain = np.random.default_rng(1).integers(0, 40, (1200, 900, 3), np.uint8)
    grainy = ImageChops.add(photograph.resize((900, 1200)), Image.fromarray(grain))
    huge = photograph.convert("L").resize((5001, 6668), Image.Resampling.NEAREST)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("#snippets summary").click()
    for content, media_type, requests, side in (
        (DRAWING, "image/svg+xml", 1, 448),
        (SMALL_DRAWING, "image/svg+xml", 1, 448),
        (encode(photograph, "AVIF"), "image/avif", 1, 400),
        (encode(grainy), "image/png", 1, 448),  # 3 MB, which would take long to send
        (encode(huge), "image/png", 2, 448),  # over the service's limit
    ):
        asked.clear()
        with page.expect_response(
            lambda answer: "/predict" in answer.url and answer.ok
        ) as answered:
            hand_over(page, "drop", content, media_type)
        prediction = answered.value.json()["predictions"][0]
        assert prediction["preparation"] == "photo", media_type
        expect(page.locator(".label")).to_contain_text(prediction["label"])
        expect(page.locator(".failure")).to_have_count(0)
        expect(page.locator("#layers .tile").first).to_be_visible()
        assert len([url for url in asked if "/predict" in url]) == requests, media_type
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save what was sent").click()
        assert saved.value.path().stat().st_size < 1_000_000
        with Image.open(saved.value.path()) as sent:
            assert max(sent.size) == side, media_type


def test_a_drawing_is_answered_and_wiped(either: Page) -> None:
    either.locator("#pen").click()
    sheet = either.locator("#sheet")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    assert box
    with either.expect_response("**/predict*"):
        either.mouse.move(box["x"] + 50, box["y"] + 50)
        either.mouse.down()
        either.mouse.move(box["x"] + 60, box["y"] + 200, steps=4)
        either.mouse.up()
    assert either.evaluate(BRIGHTEST) == 255
    expect(either.locator("#samples [aria-pressed=true]")).to_have_count(0)
    with either.expect_response("**/predict*"):
        either.locator("#wipe").click()
    assert either.evaluate(BRIGHTEST) == 0
    either.locator("#pen").click()
    expect(sheet).to_be_hidden()


BRIGHTEST = """() => {
    const sheet = document.querySelector("#sheet");
    const copy = new OffscreenCanvas(sheet.width, sheet.height).getContext("2d");
    copy.drawImage(sheet, 0, 0);
    const { data } = copy.getImageData(0, 0, sheet.width, sheet.height);
    return Math.max(...data.filter((_, i) => i % 4 === 0));
}"""


def test_a_drawing_of_the_networks_own_pixels_needs_no_mouse(visit: Visit) -> None:
    page = visit()
    page.locator("#pen").press("Enter")
    assert page.evaluate("[document.all.sheet.width, document.all.sheet.height]") == [28, 28]
    page.locator("#sheet").focus()
    with page.expect_response("**/predict*"):
        page.keyboard.press("ArrowDown")
    assert page.evaluate(BRIGHTEST) == 255
    page.locator("#rubber").check()
    page.locator("#sheet").focus()
    page.keyboard.press("ArrowUp")
    assert page.evaluate(BRIGHTEST) < 255


def test_a_photograph_is_answered(open_page: Open) -> None:
    with open_page(permissions=["camera"]) as page:
        page.locator("#camera").click()
        expect(page.locator("#viewfinder")).to_be_visible()
        with page.expect_response("**/predict*") as answered:
            page.locator("#shoot").click()
        prediction = answered.value.json()["predictions"][0]
        assert prediction["preparation"] == "photo"
        expect(page.locator(".label")).to_contain_text(prediction["label"])
        expect(page.locator("#viewfinder")).to_be_hidden()
        assert page.evaluate("document.querySelector('#video').srcObject") is None


def test_an_unavailable_camera_shows_an_error(visit: Visit) -> None:
    page = visit()
    page.locator("#camera").click()
    expect(page.locator("#error")).to_contain_text("The camera is not available.")
