"""The snippets for a shell and for Python send the page's requests."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.conftest import DATA
from tests.service.web.conftest import Open, Visit


def run(page: Page, language: str, folder: Path) -> str:
    """Run what the page shows, in an empty folder; return what it prints."""
    program = page.locator(f"#snippet-list .code:has(b:text-is('{language}')) pre").inner_text()
    command = ["bash", "-ec", program] if language == "curl" else [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def parsed(printed: str) -> object:
    # Python prints its own notation.
    return json.loads(printed) if printed.startswith('{"') else eval(printed)  # noqa: S307


LANGUAGES = ["curl", "Python"]


@pytest.fixture(scope="module", autouse=True)
def _requests_are_shown(shared_page: Page) -> None:
    shared_page.locator("#snippets summary").click()


def test_the_answer_of_a_sample(visit: Visit, server: httpx.Client, tmp_path: Path) -> None:
    page = visit()
    image = server.get("/web/samples/9.png").content
    expected = server.post("/predict", content=image).json()
    for language in LANGUAGES:
        assert parsed(run(page, language, tmp_path)) == expected, language


def test_the_answer_of_ones_own_image(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    page.locator("#file").set_input_files(
        {
            "name": "my trousers.png",
            "mimeType": "image/png",
            "buffer": (DATA / "png" / "0002-trouser.png").read_bytes(),
        }
    )
    expect(page.locator(".label")).to_contain_text("Trouser")
    (tmp_path / "my-trousers.png").write_bytes((DATA / "png" / "0002-trouser.png").read_bytes())
    for language in LANGUAGES:
        answer = parsed(run(page, language, tmp_path))
        assert answer["predictions"][0]["label"] == "Trouser", language  # type: ignore[index]


def test_the_map_that_is_looked_into(visit: Visit, tmp_path: Path) -> None:
    page = visit("#sample=0&layer=conv2d_2&channel=5&pixel=1,1&prepare=plain")
    page.locator("#request").select_option("maps")
    for language in LANGUAGES:
        answer = parsed(run(page, language, tmp_path))
        assert isinstance(answer, dict)
        [layer] = answer["layers"]
        assert (answer["preparation"], layer["name"], layer["channels"]) == (
            "plain",
            "conv2d_2",
            [5],
        ), language


def test_all_maps_and_why_as_images(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    for language in LANGUAGES:
        folder = tmp_path / language
        folder.mkdir()
        for kind, name, height in (("image", "feature-maps", 401), ("why", "why", 448)):
            page.locator("#request").select_option(kind)
            run(page, language, folder)
            with Image.open(folder / f"{name}.png") as image:
                assert image.height >= height, (language, kind)


def test_a_program_is_copied(open_page: Open) -> None:
    with open_page(permissions=["clipboard-read", "clipboard-write"]) as page:
        page.locator("#snippets summary").click()
        page.locator("#snippet-list button").first.click()
        expect(page.locator("#snippet-list button").first).to_have_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.locator("#snippet-list pre").first.inner_text()


def test_where_the_browser_does_not_copy_the_program_is_selected(page: Page) -> None:
    # As on a page from another machine without TLS.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.locator("#snippets summary").click()
    page.locator("#snippet-list button").first.click()
    selected = page.evaluate("String(getSelection()).trim()")
    assert selected == page.locator("#snippet-list pre").first.inner_text().strip()


def test_the_pixels_that_the_network_gets_are_saved(
    visit: Visit, server: httpx.Client, tmp_path: Path
) -> None:
    page = visit()
    photograph = Image.new("RGB", (300, 400), "#eee8dd")
    ImageDraw.Draw(photograph).rectangle((60, 80, 239, 359), "#203060")
    photograph.save(tmp_path / "my coat.jpg")
    content = (tmp_path / "my coat.jpg").read_bytes()
    image = server.post("/preparation", content=content).json()["image"]
    page.locator("#file").set_input_files(tmp_path / "my coat.jpg")
    expect(page.locator(".steps li")).to_have_count(4)
    with page.expect_download() as download:
        page.locator("#save-image").click()
    assert download.value.suggested_filename == "my coat-28x28.png"
    download.value.save_as(tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as saved:
        assert np.asarray(saved.convert("L")).tolist() == image
