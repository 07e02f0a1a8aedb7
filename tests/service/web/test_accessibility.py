"""Accessibility: axe, keyboard operation, colour schemes and phones."""

from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import ROOT
from tests.service.web.conftest import DESKTOP, PHONE, Open, Visit

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"

STATES = {
    "convolution": "#sample=9&layer=conv2d_2&channel=9&pixel=6,9",
    "pooling, a scale a layer": "#sample=3&layer=max_pooling2d_2&channel=3&pixel=2,3&scale=layer",
    "softmax": "#sample=6&layer=dense_2&channel=6",
    "two images": "#sample=6&other=3&layer=dense_1&channel=3",
    "the guided tour": "#sample=6&step=2",
}


def violations(page: Page) -> list[str]:
    assert AXE.exists(), "this test needs axe: npm ci"
    page.evaluate(AXE.read_text())
    result: dict[str, Any] = page.evaluate(
        """axe.run(document, { resultTypes: ["violations"], runOnly: [
            "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"
        ] })"""
    )
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(
    ("state", "size", "language", "colours"),
    [
        ("convolution", DESKTOP, "en", "light"),
        ("pooling, a scale a layer", PHONE, "ko", "dark"),
        ("softmax", DESKTOP, "ko", "dark"),
        ("two images", PHONE, "en", "light"),
        ("the guided tour", PHONE, "en", "dark"),
    ],
    ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value)),
)
def test_axe_finds_nothing(
    open_page: Open, state: str, size: tuple[int, int], language: str, colours: str
) -> None:
    """Every pair of size, language and colours, with every state once."""
    with open_page(STATES[state], size=size, language=language, color_scheme=colours) as page:
        page.locator("#pen").click()
        page.locator("#snippets summary").click()
        if page.locator("#inspector").is_hidden():  # a sheet, which a tap opens
            page.locator("#layers .tile[aria-pressed=true]").tap()
        expect(page.locator("#derivation .formula .result").first).to_be_visible()
        expect(page.locator("#unit-contributions button").first).to_be_visible()
        assert violations(page) == []


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
def test_nothing_is_cut_off(visit: Visit, state: str) -> None:
    page = visit(state)
    for width in (360, 768, 1024, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_header_of_a_phone_has_room_for_a_select_of_any_browser(open_page: Open) -> None:
    with open_page(size=PHONE) as page:
        page.locator("#language").evaluate("(select) => { select.style.minHeight = '3rem' }")
        language, served = (page.locator(at).bounding_box() for at in ("#language", "#served"))
        assert language
        assert served
        assert language["y"] + language["height"] <= served["y"]


def test_tab_reaches_every_control_and_its_focus_is_seen_and_the_first_skips_to_the_network(
    page: Page,
) -> None:
    page.evaluate("document.all.snippets.open = true; document.all.sketch.hidden = false")
    reached: list[str] = []
    while True:
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
                const at = document.activeElement;
                if (at === document.body) return null;
                const { outlineStyle, outlineWidth } = getComputedStyle(at);
                const name = at.id || at.dataset.setting || at.textContent.slice(0, 20);
                return [name, outlineStyle !== "none" && parseFloat(outlineWidth) > 1];
            }"""
        )
        if focused is None or len(reached) > 200:
            break
        name, seen = focused
        assert seen, f"the focus on {name} is not seen"
        reached.append(name)
    assert len(reached) < 120
    assert reached[0] == "skip"
    for control in (
        "language", "choose", "camera", "pen", "sheet", "thickness", "rubber", "wipe",
        "compare", "prepare", "save-image", "sorted", "save-answer", "request", "order", "scale",
        "heat", "tour-start", "lab-what", "lab-preset", "lab-padding", "lab-stride", "lab-play",
        "lab-output",
        "save-maps", "previous", "next", "pin", "zoomed", "filters", "kernel_size", "padding",
        "pooling", "pool_size", "activation", "dense_units", "dropout", "add-block", "inputs",
        "sliding-output",
    ):  # fmt: skip
        assert control in reached
    page.locator("#skip").press("Enter")
    expect(page.locator("#network-section")).to_be_focused()


def test_a_group_of_maps_is_one_stop_and_arrows_go_on(visit: Visit) -> None:
    page = visit()
    tiles = page.locator("#layer-conv2d_1 .tile")
    assert tiles.evaluate_all("(all) => all.filter(({ tabIndex }) => tabIndex === 0).length") == 1
    tiles.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tiles.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(tiles.last).to_be_focused()
    page.keyboard.press("Home")
    expect(tiles.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    row = page.evaluate("document.activeElement.offsetTop")
    assert row > tiles.first.evaluate("(tile) => tile.offsetTop")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_it_is_light_or_dark_as_the_reader_has_it(
    visit: Visit, colours: Literal["light", "dark"]
) -> None:
    page = visit()
    page.emulate_media(color_scheme=colours)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = max(int(part) for part in ground[4:-1].split(","))
    assert (brightness > 200) == (colours == "light")
