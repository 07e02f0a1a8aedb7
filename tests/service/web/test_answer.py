"""The answer as bars."""

import json
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from service.model.artifact import Artifact
from tests.conftest import DATA
from tests.service.conftest import Encode
from tests.service.web.conftest import Visit


def predicted(server: httpx.Client, sample: int) -> dict[str, float]:
    image = server.get(f"/web/samples/{sample}.png").content
    answer = server.post("/predict", content=image).json()
    shares: dict[str, float] = answer["predictions"][0]["probabilities"]
    return shares


def test_each_class_has_a_bar_with_its_figure(visit: Visit, server: httpx.Client) -> None:
    page = visit("#sample=6")
    expect(page.locator(".label")).to_contain_text("Shirt")
    shares = predicted(server, 6)
    ordered = sorted(shares, key=lambda name: -shares[name])
    assert page.locator("#bars .class").all_inner_texts() == ordered
    assert page.locator("#bars b").all_inner_texts() == [
        f"{100 * shares[name]:.2f}\N{NO-BREAK SPACE}%" for name in ordered
    ]
    width = page.locator("#bars i").first.evaluate("(bar) => bar.style.width")
    assert float(width[:-1]) == pytest.approx(100 * shares["Shirt"], abs=1e-3)


def test_bars_can_be_in_the_order_of_the_classes(visit: Visit, server: httpx.Client) -> None:
    page = visit()
    page.locator("#sorted").uncheck()
    assert page.locator("#bars .class").all_inner_texts() == list(predicted(server, 9))
    page.locator("#sorted").check()


def test_the_verdict_says_how_novel_the_image_is(
    visit: Visit, server: httpx.Client, encode: Encode, artifact: Artifact
) -> None:
    page = visit()
    page.locator("#file").set_input_files(DATA / "png" / "0002-trouser.png")
    for language, known in {"ko": "비슷합니다", "en": "like those it was trained on"}.items():
        page.locator("#language").select_option(language)
        expect(page.locator(".known")).to_contain_text(known)
    noise = np.random.default_rng(0).integers(256, size=(28, 28), dtype=np.uint8)
    page.locator("#file").set_input_files(
        {"name": "noise.png", "mimeType": "", "buffer": encode(noise)}
    )
    for language, strange in {"ko": "달라서", "en": "like nothing it was trained on"}.items():
        page.locator("#language").select_option(language)
        expect(page.locator(".strange")).to_contain_text(strange)
    assert artifact.manifest.novelty is not None
    threshold = re.escape(f"{artifact.manifest.novelty.threshold:.2f}")
    expect(page.locator(".strange")).to_contain_text(re.compile(rf"\d+\.\d\d, .*{threshold}; "))
    scores = artifact.manifest.scores["novelty"]["percentiles"]["images"]
    ranks = artifact.manifest.scores["novelty"]["of_percentiles"]
    answer = server.post("/predict", content=encode(noise)).json()["predictions"][0]
    passed = max(rank for rank, each in zip(ranks, scores, strict=True) if each < answer["novelty"])
    expect(page.locator(".strange")).to_contain_text(f"{passed} %")


def test_the_answer_is_saved_as_it_was_sent(
    visit: Visit, server: httpx.Client, tmp_path: Path
) -> None:
    page = visit()
    with page.expect_download() as download:
        page.locator("#save-answer").click()
    download.value.save_as(tmp_path / "answer.json")
    assert download.value.suggested_filename == "answer.json"
    image = server.get("/web/samples/9.png").content
    answer = server.post("/predict", content=image).json()
    assert json.loads((tmp_path / "answer.json").read_text()) == answer


def test_two_images_are_compared_side_by_side(visit: Visit, server: httpx.Client) -> None:
    page = visit()
    page.locator("#samples button").nth(6).click()
    expect(page.locator(".label")).to_contain_text("Shirt")
    page.locator("#compare").check()
    page.locator("#samples button").nth(3).click()
    expect(page.locator(".label")).to_have_count(2)
    expect(page.locator(".label").nth(1)).to_contain_text("Dress")
    expect(page.locator(".label").first).to_contain_text("Shirt")
    first, second = predicted(server, 6), predicted(server, 3)
    names = page.locator("#bars .class").all_inner_texts()
    figures = page.locator("#bars b").all_inner_texts()
    assert figures == [
        f"{100 * shares[name]:.2f}\N{NO-BREAK SPACE}%"
        for name in names
        for shares in (first, second)
    ]
    expect(page.locator(".steps")).to_have_count(2)
    tile = page.locator("#layer-conv2d_1 .tile").first
    expect(tile.locator(".plane canvas")).to_have_count(2)
    expect(page).to_have_url(re.compile("sample=6"))
    expect(page).to_have_url(re.compile("other=3"))
    page.locator("#compare").uncheck()
    expect(page.locator(".label")).to_have_count(1)
    expect(tile.locator(".plane canvas")).to_have_count(1)
    expect(page).not_to_have_url(re.compile("other"))


def test_the_second_image_is_looked_into_where_it_is_pointed_at(visit: Visit) -> None:
    page = visit("#sample=6&other=3&layer=conv2d_1&channel=19&pixel=0,12")
    expect(page.locator("#inspected-letter")).to_have_text("A")
    tile = page.locator("#layer-conv2d_1 [data-channel='19']")
    of_a = page.locator("#inspected-value").inner_text().split(": ")[1]
    expect(page.locator("#other-value")).to_contain_text("B: ")
    of_b = page.locator("#other-value").inner_text().split("B: ")[1]
    assert of_a != of_b
    box = tile.locator(".plane").nth(1).bounding_box()
    assert box
    across, down = 12.5 / 28 * box["width"], 0.5 / 28 * box["height"]
    tile.locator(".plane").nth(1).click(position={"x": across, "y": down})
    expect(page.locator("#inspected-letter")).to_have_text("B")
    expect(page.locator("#inspected-value")).to_have_text(f"row 0, column 12: {of_b}")
