"""`/explain` and `:explain`: attribution of a class to the pixels of an image."""

import base64
import io

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from service.http.schemas import ExplainResponse
from service.settings import Settings
from tests.service.conftest import ARTIFACTS, Encode, samples_of, serve


def post_explain(client: httpx.Client, image: bytes, **params: object) -> ExplainResponse:
    response = client.post("/explain", params=params, content=image)  # type: ignore[arg-type]  # numbers are what httpx takes
    assert response.status_code == 200, response.text
    return ExplainResponse.model_validate_json(response.content)


def predicted_probabilities(client: httpx.Client, image: bytes) -> dict[str, float]:
    answer = client.post("/predict", content=image).json()["predictions"][0]
    probabilities: dict[str, float] = answer["probabilities"]
    return probabilities


def test_most_probable_or_requested_class_is_explained(
    client: httpx.Client, boot_png: bytes
) -> None:
    probabilities = predicted_probabilities(client, boot_png)
    names = list(probabilities)
    best = max(probabilities, key=lambda name: probabilities[name])
    answer = post_explain(client, boot_png)
    assert (answer.label, answer.class_id) == (best, names.index(best))
    assert answer.probability == pytest.approx(probabilities[best], abs=1e-6)
    assert np.shape(answer.heat) == np.shape(answer.image) == (28, 28)
    assert answer.frame == [0, 0, 1, 1]
    other = post_explain(client, boot_png, class_id=3)
    assert (other.label, other.class_id) == (names[3], 3)
    assert other.probability == pytest.approx(probabilities[names[3]], abs=1e-6)
    assert other.heat != answer.heat


def test_hiding_the_hottest_pixels_lowers_the_probability_more_than_the_coldest(
    client: httpx.Client, encode: Encode, boot_png: bytes
) -> None:
    answer = post_explain(client, boot_png)
    heat, image = np.array(answer.heat), np.array(answer.image)
    order = np.argsort(heat.ravel())
    left = {}
    for name, hidden in (("most", order[-150:]), ("least", order[:150])):
        pixels = image.ravel().astype(np.uint8)
        pixels[hidden] = 0
        left[name] = predicted_probabilities(client, encode(pixels.reshape(28, 28)))[answer.label]
    assert left["most"] < left["least"]


def test_frame_of_a_photograph_is_the_square_around_the_upright_garment(
    client: httpx.Client, encode: Encode
) -> None:
    image = Image.new("RGB", (300, 400), "#eee8dd")
    ImageDraw.Draw(image).rectangle((180, 100, 259, 259), "#203060")
    answer = post_explain(client, encode(image))
    left, top, right, bottom = answer.frame
    # A square around the garment, as long as its longest side.
    assert (left * 300 + right * 300) / 2 == pytest.approx(220, abs=3)
    assert (top * 400 + bottom * 400) / 2 == pytest.approx(180, abs=3)
    assert (right - left) * 300 == pytest.approx(160, abs=4)
    assert (bottom - top) * 400 == pytest.approx(160, abs=4)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # upright, it is the image above
    sent = encode(turned, "JPEG", quality=95, exif=exif)
    assert post_explain(client, sent).frame == pytest.approx(answer.frame, abs=0.02)


def test_png_is_the_image_overlaid_with_its_heat(client: httpx.Client, encode: Encode) -> None:
    image = Image.new("RGB", (300, 400), "#eee8dd")
    ImageDraw.Draw(image).rectangle((180, 100, 259, 259), "#203060")
    for params, headers in (({"format": "png"}, {}), ({}, {"Accept": "image/png"})):
        response = client.post("/explain", params=params, headers=headers, content=encode(image))
        assert response.headers["Content-Type"] == "image/png"
        with Image.open(io.BytesIO(response.content)) as drawn:
            assert drawn.size == (336, 448)
            pixels = np.asarray(drawn.convert("RGB")).astype(int)
    warmth = np.abs(pixels[..., 0] - pixels[..., 2])
    # Outside of the network's input, the image is unchanged.
    assert warmth[:80].max() < 30 < warmth[112:290, 200:290].max()
    numbers = {"instances": [[[0] * 28] * 28]}
    response = client.post("/explain?format=png", json=numbers)
    assert response.headers["Content-Type"] == "image/png"


def test_invalid_request_returns_its_error_code(client: httpx.Client, boot_png: bytes) -> None:
    for params, content, code in (
        ({"class_id": 10}, boot_png, "invalid_parameter"),
        ({"class_id": -1}, boot_png, "invalid_parameter"),
        ({"class_id": "boot"}, boot_png, "invalid_parameter"),
        ({"format": "jpeg"}, boot_png, "invalid_parameter"),
        ({}, b"", "empty_body"),
        ({}, b"no image", "invalid_image"),
    ):
        response = client.post("/explain", params=params, content=content)
        assert response.json()["error"]["code"] == code, params
    two = {"instances": [{"b64": base64.b64encode(boot_png).decode()}] * 2}
    assert client.post("/explain", json=two).json()["error"]["code"] == "too_many_images"


def test_explain_takes_capacity_for_all_images_that_the_network_classifies(boot_png: bytes) -> None:
    for most, status in ((300, 200), (200, 503)):
        settings = Settings(
            artifacts=ARTIFACTS, engine="litert", max_images=100, max_images_in_flight=most
        )
        with serve(settings) as client:
            response = client.post("/explain", content=boot_png)
            assert response.status_code == status, most
            if status == 200:
                counted = samples_of(client.get("/metrics").text)
                assert 243 in [value for name, value in counted.items() if "images" in name]
            else:
                assert response.json()["error"]["code"] == "overloaded"


def test_v1_explain_returns_the_same_heat(client: httpx.Client, boot_png: bytes) -> None:
    expected = post_explain(client, boot_png)
    image = {"b64": base64.b64encode(boot_png).decode()}
    numbers = (np.array(expected.image) / 255).tolist()
    for instance in (image, numbers):
        response = client.post("/v1/models/fashion_mnist:explain", json={"instances": [instance]})
        [answer] = response.json()["explanations"]
        assert answer["label"] == expected.label
        np.testing.assert_allclose(answer["heat"], expected.heat, atol=1e-3)
    for body, status in (({"instances": [image] * 2}, 413), ({}, 400), ({"instances": 3}, 400)):
        response = client.post("/v1/models/fashion_mnist:explain", json=body)
        assert response.status_code == status, body
        assert isinstance(response.json()["error"], str)
    response = client.post("/v1/models/another:explain", json={"instances": [image]})
    assert response.status_code == 404


def test_what_is_not_finite_is_null(client: httpx.Client) -> None:
    rows = str([[float("nan")] * 28] * 28).replace("nan", "NaN")
    response = client.post(
        "/v1/models/fashion_mnist:explain",
        content=f'{{"instances": [{rows}]}}',
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 200, response.text
    [answer] = response.json()["explanations"]
    assert answer["probability"] is None
    assert answer["heat"][0] == [None] * 28
