"""The derivations hold for any network that training can build."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from service.settings import Settings
from tests.service.conftest import serve
from tests.service.web.conftest import Open
from tests.service.web.reading import formula_of, value_of
from tests.training.conftest import TINY_DATA
from training.__main__ import main
from training.data import CLASS_NAMES

# Odd windows, strides that leave a rest, padding on one side only, no pooling, other activations.
NETWORK = """
[network]
dense_units = 12
dense_activation = "gelu"

[[network.blocks]]
filters = 3
kernel_size = 4
padding = "same"
strides = 2
activation = "tanh"
pooling = "average"
pool_size = 3

[[network.blocks]]
filters = 5
kernel_size = 2
padding = "valid"
activation = "leaky_relu"
pooling = "none"

[fit]
epochs = 1
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("other")
    config, run = folder / "network.toml", folder / "run"
    artifacts: Path = folder / "artifacts" / "fashion_mnist"
    config.write_text(NETWORK)
    names = [f"--classes={name}" for name in CLASS_NAMES]  # those that there are samples of
    where = [*TINY_DATA, *names, f"--run-dir={run}"]
    assert main(["fit", *where, f"--config={config}"]) == 0
    assert main(["evaluate", *where]) == 0
    assert main(["export", *where, f"--artifacts={artifacts}"]) == 0
    with serve(Settings(artifacts=artifacts)) as client:
        yield client


@pytest.fixture(scope="module")
def other_page(open_page: Open, other: httpx.Client) -> Iterator[Page]:
    with open_page("#sample=8", at=str(other.base_url)) as page:
        yield page


def result_of(page: Page) -> float:
    return list(formula_of(page).values())[-1]


LAYERS = {
    "conv2d_1": (14, 14, 3),
    "average_pooling2d_1": (4, 4, 3),
    "conv2d_2": (3, 3, 5),
    "dense_1": (1, 1, 12),
    "dense_2": (1, 1, 10),
}


def test_every_sum_comes_to_what_the_service_answers(other_page: Page) -> None:
    expect(other_page.locator("#layers .layer")).to_have_count(8)
    for layer, (height, width, channels) in LAYERS.items():
        numbers = np.random.default_rng(0)
        corners = [(0, 0), (height - 1, width - 1), (0, width - 1)]
        inside = [(int(numbers.integers(height)), int(numbers.integers(width))) for _ in range(3)]
        for row, column in corners + inside:
            channel = int(numbers.integers(channels))
            state = f"sample=8&layer={layer}&channel={channel}&pixel={row},{column}"
            other_page.evaluate(f"location.hash = '#{state}'")
            expect(other_page.locator("#inspected-name")).to_contain_text(f"{layer} · ")
            expect(other_page.locator("#inspected-name")).to_contain_text(f" {channel}")
            other_page.wait_for_load_state("networkidle")
            assert result_of(other_page) == pytest.approx(value_of(other_page), abs=2e-4), state
            expect(other_page.locator("#derivation .disagrees"), state).to_have_count(0)


def test_what_lies_on_padding_is_marked(other_page: Page) -> None:
    """Kernel four, stride two, 28 inputs: one row of padding before, one after."""
    other_page.evaluate("location.hash = '#layer=conv2d_1&channel=0&pixel=0,0'")
    expect(other_page.locator("#inspected-value")).to_contain_text("row 0, column 0")
    expect(other_page.locator("#derivation .products button")).to_have_count(16)
    expect(other_page.locator("#derivation .products .padding")).to_have_count(7)
    other_page.evaluate("location.hash = '#layer=conv2d_1&channel=0&pixel=13,13'")
    expect(other_page.locator("#inspected-value")).to_contain_text("row 13, column 13")
    expect(other_page.locator("#derivation .products .padding")).to_have_count(7)


def test_pooling_that_leaves_a_rest_out_shows_nine_numbers(other_page: Page) -> None:
    other_page.evaluate("location.hash = '#layer=average_pooling2d_1&channel=1&pixel=3,3'")
    expect(other_page.locator("#derivation .pool button")).to_have_count(9)
    expect(other_page.locator("#derivation .winner")).to_have_count(0)
    expect(other_page.locator("#derivation")).to_contain_text("the average of 9")
