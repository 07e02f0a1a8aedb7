"""Models of other images than clothes, published and inspected."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from service.settings import Settings
from tests.service.conftest import Encode, serve
from tests.service.web.conftest import Open
from tests.service.web.reading import formula_of, value_of
from training.__main__ import main

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Digits = dict[str, NDArray[np.uint8]]


def digits(side: int) -> Digits:
    """scikit-learn's digits, enlarged from 8×8, as Keras' data sets are: grey values and labels."""
    data = load_digits()
    times = side // 8
    images = np.kron(data.images * 15.9375, np.ones((times, times))).astype(np.uint8)
    parts = train_test_split(images, data.target.astype(np.uint8), random_state=0)
    return dict(zip(("x_train", "x_test", "y_train", "y_test"), parts, strict=True))


def plain() -> Any:
    return keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(8, 3, activation="relu", padding="same"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(24, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ]
    )


def branching() -> Any:
    """Layers that do not take the output of the one listed before them, and logits."""
    images = keras.Input((32, 32, 1))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="first")(images)
    x = layers.Conv2D(4, 3, padding="same", name="second", use_bias=False)(x)
    shortcut = layers.Conv2D(4, 2, strides=2, name="shortcut")(images)
    x = layers.Add(name="sum")([x, shortcut])
    x = layers.Conv2D(6, 3, activation="relu", name="third")(x)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(images, layers.Dense(10, name="logits")(x))


def normalised() -> Any:
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Rescaling(1 / 255),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(3, 3, name="convolution"),
            layers.BatchNormalization(),
            layers.GlobalMaxPooling2D(),
            layers.Dense(10, activation="softmax", name="dense"),
        ]
    )


def published(model: Any, data: Digits, folder: Path) -> Path:
    model.save(folder / "model.keras")
    np.savez(folder / "digits.npz", x_test=data["x_test"], y_test=data["y_test"])
    (folder / "names.txt").write_text("\n".join(NAMES))
    options = ["--name=digits", f"--class-file={folder / 'names.txt'}"]
    options += [f"--test-data={folder / 'digits.npz'}"]
    assert main(["publish", str(folder / "model.keras"), *options]) == 0
    return folder / "exported" / "digits"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    keras.utils.set_random_seed(1)
    model, data = plain(), digits(16)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy())
    model.fit(data["x_train"] / 255, data["y_train"], epochs=8, verbose=0)
    artifacts = published(model, data, tmp_path_factory.mktemp("small"))
    with serve(Settings(artifacts=artifacts)) as client:
        yield client


def give(page: Page, image: bytes) -> None:
    page.set_input_files("#file", {"name": "digit.png", "mimeType": "image/png", "buffer": image})
    expect(page.locator("#derivation > *").first).to_be_attached()
    page.wait_for_load_state("networkidle")


def look_into(page: Page, layer: str, channel: int, row: int = 0, column: int = 0) -> None:
    page.evaluate(f"location.hash = '#layer={layer}&channel={channel}&pixel={row},{column}'")
    expect(page.locator("#inspected-name")).to_contain_text(f"{layer} · ")
    expect(page.locator("#inspected-name")).to_contain_text(f" {channel}")
    page.wait_for_load_state("networkidle")


def assert_sum(page: Page) -> None:
    assert list(formula_of(page).values())[-1] == pytest.approx(value_of(page), abs=2e-4)
    expect(page.locator("#derivation .disagrees")).to_have_count(0)


def test_a_network_trained_on_digits_classifies_a_digit(
    small: httpx.Client, encode: Encode
) -> None:
    data = digits(16)
    right = 0
    for image, label in zip(data["x_test"][:40], data["y_test"][:40], strict=True):
        answer = small.post("/predict", content=encode(image)).json()["predictions"][0]
        right += answer["label"] == NAMES[label]
    assert right >= 34
    schemas = small.get("/openapi.json").json()["components"]["schemas"]
    forms = schemas["Instances"]["properties"]["instances"]["items"]["anyOf"]
    assert [form.get("title") for form in forms] == [None, "(16, 16)", "(16, 16, 1)", "(256,)"]
    assert forms[3]["maxItems"] == 256
    summary = small.get("/model/summary").json()
    assert (summary["name"], summary["class_names"]) == ("digits", list(NAMES))
    assert summary["scores"]["test"]["accuracy"] > 0.85


def test_the_page_speaks_of_the_models_own_classes(
    open_page: Open, small: httpx.Client, encode: Encode
) -> None:
    data = digits(16)
    with open_page("#sample=3", at=str(small.base_url), begins_with="sheet") as page:
        expect(page.locator("#sheet")).to_be_visible()  # there is no sample to begin with
        expect(page.locator("#samples button")).to_have_count(0)
        assert page.evaluate("[document.all.sheet.width, document.all.sheet.height]") == [16, 16]
        for language, said in {"ko": "클래스", "en": "distinguishes these classes"}.items():
            page.locator("#language").select_option(language)
            expect(page.locator("#lead")).to_contain_text(said)
            expect(page.locator("#lead")).to_contain_text("zero, one, two")
        assert page.title().startswith("digits: ")
        expect(page.locator("#layers .layer")).to_have_count(7)
        give(page, encode(data["x_test"][0]))
        expect(page.locator("#bars li")).to_have_count(10)
        expect(page.locator(".label")).to_contain_text(NAMES[data["y_test"][0]])
        for layer in small.get("/model/summary").json()["layers"]:
            look_into(page, layer["name"], 2, 3, 3)
            assert_sum(page)


def test_a_drawing_is_answered(open_page: Open, small: httpx.Client) -> None:
    with open_page(at=str(small.base_url), begins_with="sheet") as page:
        expect(page.locator("#sheet")).to_be_visible()
        box = page.locator("#sheet").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 4 / 5, steps=5)
        page.mouse.up()
        expect(page.locator(".verdict .confidence")).to_be_visible()
        expect(page.locator("#layers .tile").first).to_be_visible()


def test_a_network_that_branches_shows_each_layer_and_no_wrong_sum(
    open_page: Open, encode: Encode, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(1)
    data = digits(32)
    artifacts = published(branching(), data, tmp_path)
    with (
        serve(Settings(artifacts=artifacts)) as client,
        open_page(at=str(client.base_url), begins_with="sheet") as page,
    ):
        give(page, encode(data["x_test"][0]))
        for layer, maps in {"first": 4, "second": 4, "shortcut": 4, "sum": 4, "third": 6}.items():
            expect(page.locator(f"#layer-{layer} .tile")).to_have_count(maps)
        for layer, row in {"first": 15, "second": 7, "shortcut": 9, "sum": 6, "third": 13}.items():
            look_into(page, layer, 3, row, 5)
            assert_sum(page)
        for layer in ("logits", "softmax"):
            look_into(page, layer, 4)
            assert_sum(page)
        expect(page.locator("#layer-softmax .class")).to_have_count(10)
        expect(page.locator("#layer-sum .explain")).to_contain_text("second, shortcut")
        expect(page.locator("#layer-second .facts")).to_contain_text("= 3 × 3 × 4 × 4")
        look_into(page, "average", 2)
        expect(page.locator("#derivation")).to_contain_text("does not know how this layer")


def test_a_layer_with_merged_weights_shows_a_note(
    open_page: Open, encode: Encode, tmp_path: Path
) -> None:
    model = normalised()
    model.save(tmp_path / "model.keras")
    assert main(["publish", str(tmp_path / "model.keras"), "--classes=" + ",".join(NAMES)]) == 0
    with (
        serve(Settings(artifacts=tmp_path / "exported" / "fashion_mnist")) as client,
        open_page(at=str(client.base_url), begins_with="sheet") as page,
    ):
        give(page, encode(np.full((28, 28), 255, np.uint8)))
        look_into(page, "convolution", 1, 5, 5)
        expect(page.locator("#derivation")).to_contain_text("does not provide this layer's weights")
        expect(page.locator("#layer-images .explain")).to_contain_text("255 is white")
        expect(page.locator("#layer-dense .class")).to_have_count(10)
        look_into(page, "images", 0, 5, 5)
        assert value_of(page) == 255
