"""English and Korean."""

import re

from playwright.sync_api import Page, expect

from tests.conftest import ROOT
from tests.service.web.conftest import Open

WEB = ROOT / "service" / "web"
TITLES = {"en": "What the network sees", "ko": "신경망이 보는 것"}


def test_a_language_that_the_page_does_not_have_becomes_english(open_page: Open) -> None:
    with open_page(language="fr-FR") as page:
        expect(page.locator("h1")).to_have_text(TITLES["en"])
        assert page.evaluate("document.documentElement.lang") == "en"


def test_the_reader_may_choose_another_and_it_stays(page: Page) -> None:
    page.locator("#language").select_option("ko")
    expect(page.locator("h1")).to_have_text(TITLES["ko"])
    expect(page.locator("#layer-conv2d_1 .facts")).to_contain_text("매개변수")
    expect(page.locator(".label")).to_contain_text("앵클부츠")
    page.reload()
    expect(page.locator("h1")).to_have_text(TITLES["ko"])
    page.locator("#language").select_option("en")
    expect(page.locator("h1")).to_have_text(TITLES["en"])


def test_a_korean_browser_leaves_no_sentence_in_english(open_page: Open) -> None:
    """What remains are names: of layers, settings, classes and formats."""
    with open_page("#sample=6&layer=conv2d_2&channel=9&pixel=6,9", language="ko-KR") as page:
        expect(page.locator("h1")).to_have_text(TITLES["ko"])
        assert page.evaluate("document.documentElement.lang") == "ko"
        page.locator("#snippets summary").click()
        words = page.evaluate("document.body.innerText")
        assert not re.search(r"\b(the|of|and|is|which|from)\b", words.split("import json")[0])


def test_every_sentence_is_in_use() -> None:
    names = re.findall(r"(?:^|[{,]) *(\w+): [\"`]", (WEB / "language/english.js").read_text(), re.M)
    assert len(names) > 100
    used = "".join(
        file.read_text()
        for file in WEB.rglob("*.*")
        if file.suffix in {".js", ".html"} and file.stem not in {"english", "korean"}
    )
    unused = [name for name in names if not re.search(rf"[\"`]{name}[\"`]", used)]
    # Of these the page makes the names up: of the kind of a layer, of a step of the tour, and of
    # the steps of a preparation.
    made_up = {name for name in unused if name.startswith(("explain_", "tour_", "tourText_"))}
    steps = {"decoded", "cut_out", "light_on_black", "grey", "cropped", "centred", "resized"}
    assert set(unused) - made_up - steps == set()
