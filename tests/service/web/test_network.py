"""The network layer by layer: maps, kernels, units, and their colour scales."""

import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.service.web.conftest import Visit

LAYERS = {
    "images": ("28 × 28 × 1", "0 parameters", 1),
    "conv2d_1": ("28 × 28 × 32", "320 parameters = (3 × 3 × 1 + 1) × 32", 32),
    "max_pooling2d_1": ("14 × 14 × 32", "0 parameters", 32),
    "conv2d_2": ("14 × 14 × 64", "18,496 parameters = (3 × 3 × 32 + 1) × 64", 64),
    "max_pooling2d_2": ("7 × 7 × 64", "0 parameters", 64),
    "flatten": ("3,136", "0 parameters", 0),
    "dense_1": ("100", "313,700 parameters = (3,136 + 1) × 100", 100),
    "dropout": ("100", "0 parameters", 0),
    "dense_2": ("10", "1,010 parameters = (100 + 1) × 10", 10),
}

PIXELS = """(canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: data.length / 4 }, (_, i) => [...data.slice(4 * i, 4 * i + 3)]);
}"""


def test_each_layer_is_shown_with_its_shape_and_parameters(visit: Visit) -> None:
    page = visit()
    expect(page.locator("#layers .layer")).to_have_count(len(LAYERS))
    for name, (shape, parameters, tiles) in LAYERS.items():
        card = page.locator(f"#layer-{name}")
        expect(card.locator(".facts")).to_contain_text(shape)
        expect(card.locator(".facts")).to_contain_text(parameters)
        expect(card.locator(".tile")).to_have_count(tiles)


def test_the_overview_leads_to_each_layer(either: Page) -> None:
    steps = either.locator("#overview button")
    expect(steps).to_have_count(len(LAYERS))
    for step, name in zip(steps.all(), LAYERS, strict=True):
        step.click()
        expect(either.locator(f"#name-{name}")).to_be_focused()
        expect(either.locator(f"#name-{name}")).to_be_in_viewport()


def ends_of(page: Page, layer: str) -> list[float]:
    legend = page.locator(f"#layer-{layer} > header > .legend").inner_text()
    return [float(end.replace("−", "-")) for end in legend.split()]


def maps_of(server: httpx.Client, sample: int) -> dict[str, np.ndarray]:
    image = server.get(f"/web/samples/{sample}.png").content
    layers = server.post("/feature-maps", content=image).json()["layers"]
    return {layer["name"]: np.array(layer["maps"]) for layer in layers}


def test_the_colours_are_those_of_the_maps(visit: Visit, server: httpx.Client) -> None:
    """Along viridis, a larger number is always a lighter green."""
    page = visit()
    page.locator("#scale").select_option("layer")
    maps = maps_of(server, 9)["conv2d_2"]
    low, high = ends_of(page, "conv2d_2")
    assert low == pytest.approx(maps.min(), abs=0.005)
    assert high == pytest.approx(maps.max(), abs=0.005)
    for channel in (0, 5, 63):
        canvas = page.locator(f"#layer-conv2d_2 [data-channel='{channel}'] .plane canvas")
        green = np.array(canvas.evaluate(PIXELS))[:, 1]
        order = np.argsort(maps[channel].ravel(), kind="stable")
        assert (np.diff(green[order]) >= 0).all()


def test_one_colour_scale_is_for_a_map_a_layer_or_all(visit: Visit, server: httpx.Client) -> None:
    page = visit()
    maps = maps_of(server, 9)
    for scale in ("all", "map", "layer"):
        assert_scaled(page, maps, scale)


def assert_scaled(page: Page, maps: dict[str, np.ndarray], scale: str) -> None:
    page.locator("#scale").select_option(scale)
    layer = page.locator("#layer-max_pooling2d_1")
    if scale == "map":
        expect(layer.locator("header > .legend")).to_have_text("its minimumits maximum")
        for channel, plane in enumerate(maps["max_pooling2d_1"]):
            tile = layer.locator(f"[data-channel='{channel}']")
            low, high = map(float, tile.locator("small").inner_text().split(" … "))
            assert (low, high) == pytest.approx((plane.min(), plane.max()), abs=0.005)
    else:
        planes = [maps["max_pooling2d_1"]] if scale == "layer" else list(maps.values())
        expected = (min(p.min() for p in planes), max(p.max() for p in planes))
        assert ends_of(page, "max_pooling2d_1") == pytest.approx(expected, abs=0.005)
        expect(layer.locator(".tile small")).to_have_count(0)
    if scale == "map":
        expect(page).not_to_have_url(re.compile("scale="))
    else:
        expect(page).to_have_url(re.compile(f"scale={scale}"))


def test_the_strongest_map_comes_first_unless_they_go_by_number(
    visit: Visit, server: httpx.Client
) -> None:
    page = visit()
    tiles = page.locator("#layer-conv2d_2 .tile")
    shown = tiles.evaluate_all("(all) => all.map((tile) => Number(tile.dataset.channel))")
    strength = maps_of(server, 9)["conv2d_2"].var((1, 2))
    assert (np.diff(strength[shown]) <= 1e-6).all()
    page.locator("#order").select_option("number")
    shown = tiles.evaluate_all("(all) => all.map((tile) => Number(tile.dataset.channel))")
    assert shown == list(range(64))
    expect(page).to_have_url(re.compile("order=number"))


def test_beside_each_map_is_its_kernel(visit: Visit, server: httpx.Client) -> None:
    page = visit("#sample=9&scale=layer")
    drawn = page.locator("#layer-conv2d_1 .kernel")
    expect(drawn).to_have_count(32)
    kernels = np.array(server.get("/model/layers/conv2d_1").json()["kernels"])
    legend = page.locator("#layer-conv2d_1 .kernels .legend").inner_text()
    low, high = (float(end.replace("−", "-")) for end in legend.split())
    assert (-low, high) == pytest.approx([np.abs(kernels).max()] * 2, abs=0.005)
    own = page.locator("#layer-conv2d_1 [data-channel='7'] .kernel")
    colours = np.array(own.evaluate(PIXELS), float)
    assert len(colours) == 9
    # Orange where it is positive, purple where it is negative.
    warmth = colours[:, 0] - colours[:, 2]
    kernel = kernels[7].ravel()
    strong = np.abs(kernel) > 0.05 * high
    assert (np.sign(warmth[strong]) == np.sign(kernel[strong])).all()
    # 32 kernels of 3 by 3 in six columns, a pixel between them.
    stacked = page.locator("#layer-conv2d_2 .kernel").first
    assert stacked.evaluate("({ width, height }) => [width, height]") == [23, 23]


def test_feature_maps_are_saved_as_png(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    for button, name, height in (
        ("#layer-conv2d_1 header button", "conv2d_1.png", 240),
        ("#save-maps", "feature-maps.png", 800),
    ):
        with page.expect_download() as download:
            page.locator(button).click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.width > 900, name
            assert image.height > height / 2, name
