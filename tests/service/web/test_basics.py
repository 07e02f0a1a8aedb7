"""Convolution basics: shapes with their arithmetic, and a configuration that trains."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from service.cli import read_options
from service.settings import Settings
from tests.service.conftest import serve
from tests.service.web.conftest import Visit
from tests.service.web.reading import numbers
from tests.training.conftest import TINY_DATA
from training.__main__ import main
from training.config import FitSettings
from training.recipe import IMAGE_SIDE, Network


def setting(page: Page, name: str, block: int = 1) -> Locator:
    return page.locator("#blocks fieldset").nth(block - 1).locator(f"[data-setting={name}]")


def configured(page: Page, folder: Path) -> Network:
    """Return what training makes of the configuration that the page shows."""
    file = folder / "network.toml"
    file.write_text(page.locator("#recipe pre").inner_text())
    return FitSettings(config=file).network


def shapes(page: Page) -> list[str]:
    return page.locator("#shapes td:nth-of-type(2)").all_inner_texts()


def test_it_begins_with_the_network_of_the_lesson(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    assert configured(page, tmp_path) == Network()
    assert shapes(page) == [
        "28 × 28 × 32", "14 × 14 × 32", "14 × 14 × 64", "7 × 7 × 64", "3,136", "100", "100", "10",
    ]  # fmt: skip
    expect(page.locator("#total")).to_contain_text("333,526")


def test_ten_inputs_under_a_kernel_of_three_give_eight(visit: Visit) -> None:
    page = visit()
    setting(page, "padding").select_option("valid")
    tried = page.locator("#trial-result")
    expect(tried).to_contain_text("10 inputs under a kernel of 3")
    expect(tried).to_contain_text("⌊(10 − 3) / 1⌋ + 1 = 8")
    expect(tried).to_contain_text("Pooling of 2 reduces 8 to ⌊(8 − 2) / 2⌋ + 1 = 4")
    expect(tried).to_contain_text("keeps all 32 maps")
    expect(page.locator("#sliding-output rect")).to_have_count(64)


def test_same_padding_keeps_the_size(visit: Visit) -> None:
    page = visit()
    expect(page.locator("#trial-result")).to_contain_text("⌈10 / 1⌉ = 10")
    # A cell of padding all round.
    expect(page.locator("#sliding-input rect")).to_have_count(144)
    expect(page.locator("#sliding-input .pad")).to_have_count(44)


def test_every_setting_reaches_the_configuration_and_the_shapes(
    visit: Visit, tmp_path: Path
) -> None:
    page = visit()
    page.locator("#add-block").click()
    setting(page, "filters").fill("8")
    setting(page, "kernel_size").fill("5")
    setting(page, "strides").fill("2")
    setting(page, "padding").select_option("valid")
    setting(page, "activation").select_option("tanh")
    setting(page, "pooling").select_option("none")
    setting(page, "pooling", 2).select_option("average")
    setting(page, "pool_size", 2).fill("3")
    setting(page, "kernel_size", 3).fill("1")
    page.locator("#rest [data-setting=dense_units]").fill("48")
    page.locator("#rest [data-setting=dense_activation]").select_option("gelu")
    page.locator("#rest [data-setting=dropout]").fill("0.25")
    network = configured(page, tmp_path)
    first, second, third = network.blocks
    assert first.model_dump() == {
        "filters": 8, "kernel_size": 5, "strides": 2, "padding": "valid",
        "activation": "tanh", "pooling": "none", "pool_size": 2,
        "pool_strides": None, "pool_padding": "valid",
    }  # fmt: skip
    assert (second.filters, second.pooling, second.pool_size) == (64, "average", 3)
    assert (third.filters, third.kernel_size, third.pooling) == (64, 1, "max")
    rest = (network.dense_units, network.dense_activation, network.dropout)
    assert rest == (48, "gelu", 0.25)
    assert sides(page) == expected_sides(network)


def sides(page: Page) -> list[int]:
    return [int(numbers(shape)[0]) for shape in shapes(page) if "×" in shape]


def expected_sides(network: Network) -> list[int]:
    """Return what training computes the sides of the maps to be."""
    found = [IMAGE_SIDE]
    for block in network.blocks:
        found += [side for side, _ in block.steps(found[-1])]
    return found[1:]


def test_the_parameters_are_those_that_keras_counts(visit: Visit, tmp_path: Path) -> None:
    from training.architecture import build_network  # noqa: PLC0415  # TensorFlow takes seconds

    page = visit()
    setting(page, "filters").fill("3")
    setting(page, "kernel_size").fill("4")
    setting(page, "strides", 2).fill("3")
    page.locator("#rest [data-setting=dense_units]").fill("7")
    model = build_network(configured(page, tmp_path))
    expect(page.locator("#total")).to_contain_text(f"{model.count_params():,}")


def test_maps_that_shrink_to_nothing_are_refused_with_the_arithmetic(visit: Visit) -> None:
    page = visit()
    setting(page, "pool_size").fill("28")
    setting(page, "kernel_size", 2).fill("5")
    setting(page, "padding", 2).select_option("valid")
    broken = page.locator("#shapes .broken")
    expect(broken).to_contain_text("conv2d_2")
    expect(broken).to_contain_text("⌊(1 − 5) / 1⌋ + 1 < 1")
    expect(page.locator("#total")).to_contain_text("shrink to nothing")
    expect(page.locator("#recipe pre")).to_have_count(0)


def test_an_invalid_setting_shows_a_hint_and_changes_nothing(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    hint = page.locator("#blocks fieldset").first.locator("label").first.locator(".invalid")
    for typed in ("", "0", "-3", "1.5", "9999"):
        setting(page, "filters").fill(typed)
        assert configured(page, tmp_path) == Network(), typed
        expect(setting(page, "filters")).to_have_attribute("aria-invalid", "true")
        expect(hint).to_have_text("A whole number from 1 to 512; 32 is kept.")
    setting(page, "filters").fill("8")
    expect(hint).to_be_empty()
    assert configured(page, tmp_path) != Network()


def test_a_window_that_does_not_fit_is_reported(visit: Visit) -> None:
    page = visit()
    setting(page, "padding").select_option("valid")
    setting(page, "kernel_size").fill("12")
    expect(page.locator("#trial-result")).to_have_text(
        "A window of 12 does not fit on 10 inputs without padding: there is no output."
    )
    expect(page.locator("#sliding-output rect")).to_have_count(0)


def test_a_network_outlasts_a_reload(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    setting(page, "filters").fill("8")
    setting(page, "activation").select_option("leaky_relu")
    page.locator("#rest [data-setting=dropout]").fill("0.25")
    page.locator("#add-block").click()
    built = configured(page, tmp_path)
    expect(page).to_have_url(re.compile(r"leaky_relu.*64.*64.*0\.25$"))
    page.reload()
    expect(page.locator("#blocks fieldset")).to_have_count(3)
    assert configured(page, tmp_path) == built
    page.evaluate("location.hash = '#network=8-3-relu-same-1-none-2*12-gelu-0'")
    expect(page.locator("#blocks fieldset")).to_have_count(1)
    assert configured(page, tmp_path).dense_units == 12
    for wrong in ("8-3-relu-same-1-max", "x*y", "8-3-sine-same-1-max-2*12-gelu-0", "*"):
        page.evaluate(f"location.hash = '#network={wrong}'")
        assert configured(page, tmp_path).dense_units == 12, wrong


def test_what_a_browser_keeps_of_the_controls_over_a_reload_is_shown(
    browser: Browser, address: str
) -> None:
    page = browser.new_page(locale="en")
    failed: list[str] = []
    page.on("pageerror", lambda error: failed.append(str(error)))
    # As Firefox does it: after the document is read and before any of its modules runs.
    page.add_init_script(
        """document.addEventListener("readystatechange", () => {
            document.all["lab-what"].value = "numbers";
            document.all["lab-preset"].value = "own";
            document.all["compare"].checked = true;
        }, { once: true })"""
    )
    page.goto(address)
    expect(page.locator(".label")).to_contain_text("Ankle boot")
    expect(page.locator("#lab-preset")).to_have_value("edge")
    expect(page.locator("#lab-kernel input")).to_have_count(3)
    expect(page.locator("#lab.row-of-numbers")).to_be_visible()
    expect(page.locator("#compare")).not_to_be_checked()
    assert failed == []
    page.context.close()


@pytest.mark.thorough
def test_the_four_commands_train_and_serve_the_network_that_was_built(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit()
    setting(page, "filters").fill("3")
    setting(page, "filters", 2).fill("5")
    configured(page, tmp_path)
    *training, service = page.locator("#command pre").inner_text().splitlines()
    monkeypatch.chdir(tmp_path)  # where network.toml is
    for command in training:
        words = command.removeprefix("python -m training ").split()
        few = ["--fit.epochs=1"] * (words[0] == "fit")
        assert main([*words, *TINY_DATA, *few]) == 0, command
    options = service.removeprefix("python -m service ").split()
    for name, value in read_options(options).items():
        monkeypatch.setenv(name, value)
    with serve(Settings()) as client:
        parameters = client.get("/model/summary").json()["parameters"]["total"]
    expect(page.locator("#total")).to_contain_text(f"{parameters:,}")


def test_a_block_can_be_added_and_removed(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    page.locator("#add-block").click()
    assert len(configured(page, tmp_path).blocks) == 3
    page.locator("#blocks fieldset").first.locator("button").click()
    assert [block.filters for block in configured(page, tmp_path).blocks] == [64, 64]
    page.locator("#blocks fieldset").first.locator("button").click()
    assert len(configured(page, tmp_path).blocks) == 1
    expect(page.locator("#blocks fieldset button")).to_have_count(0)


def test_the_window_slides_with_the_arrow_keys(visit: Visit) -> None:
    page = visit()
    setting(page, "strides").fill("2")
    setting(page, "padding").select_option("valid")
    expect(page.locator("#sliding-output rect")).to_have_count(16)
    page.locator("#sliding-output").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    lit = page.locator("#sliding-input rect").evaluate_all(
        "(cells) => cells.flatMap((cell, i) => cell.classList.contains('under') ? [i] : [])"
    )
    assert lit == [10 * row + column for row in (2, 3, 4) for column in (2, 3, 4)]
    expect(page.locator("#sliding-output .made")).to_have_count(1)
