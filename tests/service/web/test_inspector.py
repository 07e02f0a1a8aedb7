"""The inspector: one value of the network and its derivation."""

import base64
import re

import httpx
import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.service.web.conftest import PHONE, Open, Visit
from tests.service.web.reading import formula_of, number, numbers, value_of


def point_at(page: Page, plane: Locator, row: int, column: int, side: int) -> None:
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    assert box
    page.mouse.move(
        box["x"] + (column + 0.5) / side * box["width"],
        box["y"] + (row + 0.5) / side * box["height"],
    )


def test_pointing_at_a_pixel_lights_the_window_it_comes_from(visit: Visit) -> None:
    page = visit()
    plane = page.locator("#layer-conv2d_1 [data-channel='3']").locator(".plane")
    point_at(page, plane, 13, 7, 28)
    expect(page.locator("#inspected-name")).to_have_text("conv2d_1 · map 3")
    expect(page.locator("#inspected-value")).to_contain_text("row 13, column 7")
    lit = page.locator("#layer-images .maps")
    expect(lit).to_have_class(re.compile("lit"))
    place = [
        lit.evaluate(f"(e) => parseFloat(e.style.getPropertyValue('--{side}'))")
        for side in ("top", "left", "height", "width")
    ]
    assert place == pytest.approx([100 * part / 28 for part in (12, 6, 3, 3)])
    frame = lit.locator(".plane").evaluate("(e) => getComputedStyle(e, '::after').outlineStyle")
    assert frame == "solid"


def test_pooling_lights_its_window_in_the_same_map_alone(visit: Visit) -> None:
    page = visit()
    plane = page.locator("#layer-max_pooling2d_1 [data-channel='9']").locator(".plane")
    point_at(page, plane, 5, 6, 14)
    lit = page.locator("#layer-conv2d_1 .lit")
    expect(lit).to_have_count(1)
    expect(lit).to_have_attribute("data-channel", "9")
    assert lit.evaluate("(e) => e.style.getPropertyValue('--top')") == f"{100 * 10 / 28}%"


def test_the_sum_of_a_convolution_is_written_out(visit: Visit, server: httpx.Client) -> None:
    page = visit("#sample=9&layer=conv2d_1&channel=3&pixel=0,27")
    expect(page.locator("#inspected-value")).to_contain_text("row 0, column 27")
    weights = server.get("/model/layers/conv2d_1?channels=3").json()
    cells = page.locator("#derivation .products button")
    expect(cells).to_have_count(9)
    factors = np.array([numbers(cell.inner_text()) for cell in cells.all()])
    np.testing.assert_allclose(factors[:, 1], np.ravel(weights["kernels"][0]), atol=6e-4)
    # In the corner, a row and a column of the window lie on padding.
    assert page.locator("#derivation .products .padding").count() == 5
    assert (factors[[0, 1, 2, 5, 8], 0] == 0).all()
    assert_adds_up(page, float(factors[:, 0] @ np.ravel(weights["kernels"][0])), weights["bias"][0])


def assert_adds_up(page: Page, total: float, bias: float) -> None:
    lines = formula_of(page)
    assert lines["bias"] == pytest.approx(bias, abs=1e-4)
    assert lines["total"] == pytest.approx(total + bias, abs=2e-3)
    assert lines["relu: max(0, x)"] == pytest.approx(max(0, total + bias), abs=2e-3)
    assert lines["relu: max(0, x)"] == pytest.approx(value_of(page), abs=1e-4)


def test_a_convolution_over_many_maps_says_what_each_of_them_adds(visit: Visit) -> None:
    page = visit("#sample=9&layer=conv2d_2&channel=9&pixel=6,9")
    inputs = page.locator("#derivation .inputs button")
    expect(inputs).to_have_count(32)
    order = [int(str(each.get_attribute("data-map"))) for each in inputs.all()]
    shown = [number(each.inner_text()) for each in inputs.all()]
    assert np.abs(shown).tolist() == sorted(np.abs(shown), reverse=True)
    adds = dict(zip(order, shown, strict=True))
    lines = formula_of(page)
    assert sum(shown) == pytest.approx(lines["sum of 288 products"], abs=0.02)
    assert lines["total"] == pytest.approx(lines["sum of 288 products"] + lines["bias"], abs=2e-4)
    page.locator("#derivation .inputs [data-map='17']").click()
    expect(page.locator("#derivation .inputs [data-map='17']")).to_have_attribute(
        "aria-pressed", "true"
    )
    lines = formula_of(page)
    assert lines["map 17"] == pytest.approx(adds[17], abs=6e-3)
    assert lines["map 17"] + lines["the other 31 maps"] == pytest.approx(
        lines["sum of 288 products"], abs=2e-4
    )
    expect(page.locator("#source-name")).to_have_text("max_pooling2d_1 · map 17")
    products = [
        np.prod(numbers(cell.inner_text()))
        for cell in page.locator("#derivation .products button").all()
    ]
    assert sum(products) == pytest.approx(lines["map 17"], abs=5e-3)


def test_pooling_shows_its_numbers_and_the_one_that_won(visit: Visit) -> None:
    page = visit("#sample=9&layer=max_pooling2d_1&channel=7&pixel=7,6")
    cells = page.locator("#derivation .pool button")
    expect(cells).to_have_count(4)
    values = [numbers(cell.inner_text())[0] for cell in cells.all()]
    assert max(values) > 0
    assert max(values) == value_of(page)
    winner = page.locator("#derivation .pool .winner")
    expect(winner).to_have_count(1)
    assert numbers(winner.inner_text())[0] == max(values)


def test_arrow_keys_step_through_the_pixels(either: Page) -> None:
    tile = either.locator("#layer-max_pooling2d_2 [data-channel='2']")
    tile.scroll_into_view_if_needed()
    tile.focus()
    either.keyboard.press("Enter")
    expect(either.locator("#zoomed")).to_be_focused()
    for key in ["ArrowLeft"] * 7 + ["ArrowUp"] * 7:
        either.keyboard.press(key)
    expect(either).to_have_url(re.compile("pixel=0,0"))
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        either.keyboard.press(key)
    expect(either).to_have_url(re.compile("layer=max_pooling2d_2&channel=2&pixel=1,2"))
    for key in ["ArrowRight"] * 9:
        either.keyboard.press(key)
    expect(either).to_have_url(re.compile("pixel=1,6"))
    either.keyboard.press("PageDown")
    expect(either).to_have_url(re.compile("channel=3"))
    either.keyboard.press("PageUp")
    either.keyboard.press("PageUp")
    expect(either).to_have_url(re.compile("channel=1"))
    either.keyboard.press("Escape")
    expect(either.locator("#layer-max_pooling2d_2 [data-channel='1']")).to_be_focused()


def test_a_click_holds_the_pixel_still(visit: Visit) -> None:
    page = visit()
    plane = page.locator("#layer-conv2d_2 [data-channel='1']").locator(".plane")
    point_at(page, plane, 4, 4, 14)
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#pin")).to_have_attribute("aria-pressed", "true")
    point_at(page, page.locator("#layer-conv2d_2 [data-channel='8']").locator(".plane"), 4, 4, 14)
    expect(page.locator("#inspected-name")).to_have_text("conv2d_2 · map 1")
    page.locator("#pin").click()
    point_at(page, page.locator("#layer-conv2d_2 [data-channel='8']").locator(".plane"), 4, 4, 14)
    expect(page.locator("#inspected-name")).to_have_text("conv2d_2 · map 8")


def test_a_tap_looks_into_the_pixel_under_the_finger(open_page: Open) -> None:
    with open_page(size=PHONE) as page:
        plane = page.locator("#layer-max_pooling2d_1 [data-channel='6']").locator(".plane")
        plane.scroll_into_view_if_needed()
        box = plane.bounding_box()
        assert box
        plane.tap(position={"x": 5.5 / 14 * box["width"], "y": 2.5 / 14 * box["height"]})
        expect(page.locator("#inspected-name")).to_have_text("max_pooling2d_1 · map 6")
        expect(page.locator("#inspected-value")).to_contain_text("row 2, column 5")
        expect(page.locator("#inspector")).to_be_in_viewport()
        expect(plane).to_be_in_viewport()


def test_the_large_map_is_pointed_at_as_well(visit: Visit) -> None:
    page = visit()
    point_at(page, page.locator("#zoomed"), 20, 11, 28)
    expect(page.locator("#inspected-value")).to_contain_text("row 20, column 11")


def test_the_address_is_written_no_oftener_than_safari_takes_it(visit: Visit) -> None:
    """A hundred times in half a minute."""
    page = visit()
    page.evaluate(
        """() => {
            window.writes = [];
            history.replaceState = (...all) => {
                writes.push(performance.now());
                History.prototype.replaceState.apply(history, all);
            };
        }"""
    )
    for step in range(40):
        point_at(page, page.locator("#zoomed"), step % 28, 11, 28)
    expect(page).to_have_url(re.compile("pixel=11,11"))
    writes = np.array(page.evaluate("writes"))
    assert len(writes) >= 2
    assert (np.diff(writes) > 300).all()
    page.evaluate("delete history.replaceState")


def test_the_input_is_pixels_over_255(visit: Visit) -> None:
    page = visit("#sample=9&layer=images&channel=0&pixel=20,11")
    [(name, result)] = re.findall(
        r"(\d+) ÷ 255\n=\n(\S+)", page.locator("#derivation").inner_text()
    )
    assert float(result) == pytest.approx(int(name) / 255, abs=1e-4)
    assert int(name) > 0


def test_a_dense_unit_is_written_out_by_its_strongest_products(visit: Visit) -> None:
    page = visit("#sample=9&layer=dense_1&channel=28")
    expect(page.locator("#derivation .contributions button")).to_have_count(64)
    lines = formula_of(page)
    strongest = list(lines.values())[:8]
    assert np.abs(strongest).tolist() == sorted(np.abs(strongest), reverse=True)
    total = lines["sum of 3,136 products"]
    assert sum(strongest) + lines["3,128 others"] == pytest.approx(total, abs=1e-3)
    assert lines["relu: max(0, x)"] == pytest.approx(max(0, total + lines["bias"]), abs=2e-4)
    assert lines["relu: max(0, x)"] == pytest.approx(value_of(page), abs=1e-4)
    assert value_of(page) > 0


def test_softmax_is_written_out(visit: Visit, server: httpx.Client) -> None:
    page = visit("#sample=6&layer=dense_2&channel=6")
    rows = page.locator("#derivation .softmax tbody tr")
    expect(rows).to_have_count(10)
    table = np.array(
        [[number(cell) for cell in row.locator("td").all_inner_texts()] for row in rows.all()]
    )
    powers = np.exp(table[:, 0] - table[:, 0].max())
    np.testing.assert_allclose(table[:, 1], powers, atol=2e-4)
    np.testing.assert_allclose(table[:, 2] / 100, powers / powers.sum(), atol=2e-4)
    expect(page.locator("#derivation .softmax .chosen")).to_contain_text("Shirt")
    lines = formula_of(page)
    assert lines["logit z"] == pytest.approx(table[6, 0])
    assert list(lines.values())[-1] == pytest.approx(value_of(page), abs=1e-4)
    # The answer may come from a compressed copy of the weights.
    image = server.get("/web/samples/6.png").content
    served = server.post("/predict", content=image).json()["predictions"][0]
    outputs = {"inputs": [image_tensor(image)], "outputs": [{"name": "dense_2"}]}
    answer = server.post("/v2/models/fashion_mnist/infer", json=outputs).json()
    difference = abs(answer["outputs"][0]["data"][6] - served["probabilities"]["Shirt"])
    expect(page.locator("#derivation .note")).to_have_count(int(difference >= 5e-5))


def image_tensor(image: bytes) -> dict[str, object]:
    data = [base64.b64encode(image).decode()]
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": data}


def test_a_link_leads_to_sample_layer_map_pixel_scale_and_order(open_page: Open) -> None:
    state = "#sample=3&layer=conv2d_2&channel=40&pixel=6,5&scale=all&order=number"
    with open_page(state) as page:
        expect(page.locator("#scale")).to_have_value("all")
        expect(page.locator("#order")).to_have_value("number")
        expect(page.locator(".label")).to_contain_text("Dress")
        expect(page.locator("#inspected-name")).to_have_text("conv2d_2 · map 40")
        expect(page.locator("#inspected-value")).to_contain_text("row 6, column 5")
        page.evaluate("location.hash = '#sample=1&layer=max_pooling2d_1&channel=2&pixel=3,4'")
        expect(page.locator(".label")).to_contain_text("Trouser")
        expect(page.locator("#inspected-name")).to_have_text("max_pooling2d_1 · map 2")
        expect(page.locator("#inspected-value")).to_contain_text("row 3, column 4")
        page.evaluate("location.hash = '#sample=1&other=9'")
        expect(page.locator(".label")).to_have_count(2)
        expect(page.locator(".label").last).to_contain_text("Ankle boot")
        page.evaluate("location.hash = '#sample=2'")
        expect(page.locator(".label")).to_have_count(1)
        expect(page.locator(".label")).to_contain_text("Pullover")


def test_a_link_counts_even_if_an_answer_comes_just_then(visit: Visit) -> None:
    page = visit("#sample=1")
    expect(page.locator(".label")).to_contain_text("Trouser")
    page.evaluate(
        "import('/web/state.js').then(({ setState }) => {"
        "  location.hash = '#sample=2'; setState({ channel: 3 });"
        "})"
    )
    expect(page.locator(".label")).to_contain_text("Pullover")
    expect(page).to_have_url(re.compile("sample=2"))


def test_a_link_that_leads_nowhere_leads_to_something_near(open_page: Open) -> None:
    with open_page("#sample=77&layer=nowhere&pixel=x") as page:
        expect(page.locator("#inspected-value")).to_contain_text("row")
        expect(page.locator(".label")).to_contain_text("Ankle boot")
        page.evaluate("location.hash = '#layer=conv2d_1&channel=999&pixel=99,99'")
        expect(page.locator("#inspected-name")).to_have_text("conv2d_1 · map 31")
        expect(page.locator("#inspected-value")).to_contain_text("row 27, column 27")
        expect(page.locator(".label")).to_contain_text("Ankle boot")
