"""`/predict`: all forms of requests, and invalid ones."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.http.schemas import ErrorResponse, PredictResponse
from service.settings import Settings
from tests.conftest import DATA
from tests.service.conftest import Encode, edit_manifest, serve

JSON = {"Content-Type": "application/json"}

IN_DISTRIBUTION_SHARE = 0.941
"""Share of the committed test images that either engine reports as in distribution."""

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def parse_predictions(response: httpx.Response) -> PredictResponse:
    """Validate a response against the published schema, which forbids additional fields."""
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    return PredictResponse.model_validate_json(response.content)


def parse_error(response: httpx.Response, status: int) -> tuple[str, str]:
    assert response.status_code == status, response.text
    error = ErrorResponse.model_validate_json(response.content).error
    assert error.request_id == response.headers["X-Request-ID"]
    return error.code, error.message


def post_instances(client: httpx.Client, *instances: object) -> httpx.Response:
    # json.dumps writes NaN and Infinity, which httpx' own encoder refuses to send.
    return client.post("/predict", content=json.dumps({"instances": instances}), headers=JSON)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", None])
def test_raw_image_is_classified(
    client: httpx.Client, boot_png: bytes, method: str, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = parse_predictions(
        client.request(method, "/predict", content=boot_png, headers=headers)
    )
    assert answer.model.name == "fashion_mnist"
    [prediction] = answer.predictions
    assert prediction.label == "Ankle boot"
    assert prediction.class_id == 9
    assert prediction.preparation == "none"


def test_all_forms_of_request_for_an_image_return_the_same_response(
    client: httpx.Client, test_slice: Slice, encode: Encode
) -> None:
    pixels = test_slice[0][3]
    png = encode(pixels)
    encoded = base64.b64encode(png).decode()
    responses = [
        client.post("/predict", content=png),
        client.post(
            "/predict", content=encode(pixels, "BMP"), headers={"Content-Type": "image/bmp"}
        ),
        client.post(
            "/predict",
            content=encode(pixels, "WEBP", lossless=True),
            headers={"Content-Type": "image/webp"},
        ),
        client.post(
            "/predict", content=encode(pixels, "GIF"), headers={"Content-Type": "image/gif"}
        ),
        client.post("/predict", files={"image": ("a.png", png)}),
        post_instances(client, {"b64": encoded}),
        post_instances(client, pixels.tolist()),
        post_instances(client, pixels[..., None].tolist()),
        post_instances(client, pixels.reshape(-1).tolist()),
        post_instances(client, pixels.astype(float).tolist()),
    ]
    answers = [parse_predictions(response) for response in responses]
    assert all(answer == answers[0] for answer in answers)


def test_predictions_of_many_images_are_in_the_order_sent(
    client: httpx.Client, test_slice: Slice, encode: Encode
) -> None:
    images, _ = test_slice
    alone = [
        parse_predictions(client.post("/predict", content=encode(image))).predictions[0]
        for image in images[:12]
    ]
    files = [("files", (f"{i}.png", encode(image))) for i, image in enumerate(images[:12])]
    for together in (
        parse_predictions(client.post("/predict", files=files)).predictions,
        parse_predictions(post_instances(client, *images[:12].tolist())).predictions,
    ):
        assert [p.label for p in together] == [p.label for p in alone]
        for one, other in zip(alone, together, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_instances_may_mix_numbers_and_files(client: httpx.Client, boot_png: bytes) -> None:
    encoded = {"b64": base64.b64encode(boot_png).decode()}
    answer = parse_predictions(post_instances(client, [0] * 784, encoded))
    assert answer.predictions[1].label == "Ankle boot"


def test_label_has_the_largest_probability_and_probabilities_sum_to_one(
    client: httpx.Client, boot_png: bytes
) -> None:
    [prediction] = parse_predictions(client.post("/predict", content=boot_png)).predictions
    assert len(prediction.probabilities) == 10
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert prediction.confidence == max(prediction.probabilities.values())
    assert prediction.probabilities[prediction.label] == prediction.confidence
    assert list(prediction.probabilities)[prediction.class_id] == prediction.label
    assert prediction.top_k is None


def test_top_k_lists_the_most_probable_classes_best_first(
    client: httpx.Client, boot_png: bytes
) -> None:
    response = client.post("/predict", params={"top_k": 3}, content=boot_png)
    [prediction] = parse_predictions(response).predictions
    assert prediction.top_k is not None
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:3]
    assert [(entry.label, entry.probability) for entry in prediction.top_k] == ranked
    assert prediction.top_k[0].class_id == prediction.class_id


def test_clothing_is_in_distribution_and_noise_is_not(
    client: httpx.Client, boot_png: bytes, encode: Encode
) -> None:
    noise = np.random.default_rng(1).integers(256, size=(28, 28), dtype=np.uint8)
    files = [("files", ("boot.png", boot_png)), ("files", ("noise.png", encode(noise)))]
    boot, strange = parse_predictions(client.post("/predict", files=files)).predictions
    assert boot.novelty is not None
    assert strange.novelty is not None
    assert boot.novelty < strange.novelty
    assert (boot.in_distribution, strange.in_distribution) == (True, False)


def test_share_of_test_images_in_distribution(client: httpx.Client, test_slice: Slice) -> None:
    images = test_slice[0]
    known = [
        prediction.in_distribution
        for start in range(0, 1000, 250)
        for prediction in parse_predictions(
            post_instances(client, *images[start : start + 250].tolist())
        ).predictions
    ]
    assert np.mean([bool(k) for k in known]) == pytest.approx(IN_DISTRIBUTION_SHARE, abs=0.003)


def test_model_without_novelty_returns_null_and_has_no_novelty_output(
    copied_artifacts: Path, boot_png: bytes
) -> None:
    edit_manifest(copied_artifacts / "1", lambda manifest: manifest.pop("novelty"))
    with serve(Settings(artifacts=copied_artifacts, engine="litert")) as client:
        [prediction] = parse_predictions(client.post("/predict", content=boot_png)).predictions
        assert (prediction.novelty, prediction.in_distribution) == (None, None)
        assert prediction.label == "Ankle boot"
        outputs = client.get("/v2/models/fashion_mnist").json()["outputs"]
        assert "novelty" not in {output["name"] for output in outputs}
        request = {"instances": [[0.0] * 784], "signature_name": "novelty"}
        response = client.post("/v1/models/fashion_mnist:predict", json=request)
        assert response.status_code == 400


@pytest.mark.parametrize("top_k", ["0", "-1", "11", "many"])
def test_invalid_top_k_is_a_400(client: httpx.Client, boot_png: bytes, top_k: str) -> None:
    response = client.post("/predict", params={"top_k": top_k}, content=boot_png)
    code, message = parse_error(response, 400)
    assert code == "invalid_parameter"
    assert message.startswith("top_k: ")


def test_most_committed_pngs_are_classified_correctly(client: httpx.Client) -> None:
    files = sorted((DATA / "png").glob("*.png"))
    assert len(files) == 20
    response = client.post(
        "/predict", files=[("files", (file.name, file.read_bytes())) for file in files]
    )
    right = sum(
        file.stem.split("-", 1)[1] == prediction.label.lower().replace("/", "-").replace(" ", "-")
        for file, prediction in zip(files, parse_predictions(response).predictions, strict=True)
    )
    assert right >= 16


class TestPreparation:
    def label(self, client: httpx.Client, data: bytes, prepare: str = "auto") -> tuple[str, str]:
        response = client.post("/predict", params={"prepare": prepare}, content=data)
        [prediction] = parse_predictions(response).predictions
        return prediction.label, prediction.preparation

    def test_large_photo_on_white_is_prepared_by_default(
        self, client: httpx.Client, test_slice: Slice, encode: Encode
    ) -> None:
        boot = Image.fromarray(255 - test_slice[0][0]).resize((280, 280), Image.Resampling.BICUBIC)
        photo = Image.new("L", (400, 500), 255)
        photo.paste(boot, (60, 110))
        for data in (encode(photo), encode(photo, "JPEG"), encode(photo.convert("CMYK"), "JPEG")):
            assert self.label(client, data) == ("Ankle boot", "photo")

    def test_plain_preparation_resizes(
        self, client: httpx.Client, test_slice: Slice, encode: Encode
    ) -> None:
        boot = Image.fromarray(test_slice[0][0]).resize((112, 112), Image.Resampling.NEAREST)
        assert self.label(client, encode(boot), "plain") == ("Ankle boot", "plain")

    def test_photo_preparation_applies_to_an_image_of_28_by_28(
        self, client: httpx.Client, boot_png: bytes
    ) -> None:
        assert self.label(client, boot_png, "photo") == ("Ankle boot", "photo")

    def test_unknown_preparation_is_a_400(self, client: httpx.Client, boot_png: bytes) -> None:
        response = client.post("/predict", params={"prepare": "magic"}, content=boot_png)
        assert parse_error(response, 400)[0] == "invalid_parameter"


EXPECTED = "expected [28, 28], [28, 28, 1] or [784]"
PIXELS = [[0] * 28 for _ in range(28)]


def with_value(value: object) -> list[Any]:
    rows: list[Any] = [list(row) for row in PIXELS]
    rows[5][7] = value
    return rows


def with_row(row: object) -> list[Any]:
    rows: list[Any] = [list(row) for row in PIXELS]
    rows[5] = row
    return rows


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        (PIXELS[:27], f"instances[1]: shape [27, 28], {EXPECTED}"),
        (with_row([0] * 27), "instances[1]: data is ragged: lists of 27 and 28"),
        (with_row(3), "instances[1]: data mixes lists and values"),
        ([0] * 783, f"instances[1]: shape [783], {EXPECTED}"),
        ([], f"instances[1]: shape [0], {EXPECTED}"),
        (with_value("7"), 'instances[1][5][7]: "7" is not a number in 0…255'),
        (with_value(None), "instances[1][5][7]: null is not a number in 0…255"),
        (with_value(True), "instances[1][5][7]: true is not a number in 0…255"),
        (with_value([1]), "instances[1]: data mixes lists and values"),
        (with_value({}), "instances[1][5][7]: {} is not a number in 0…255"),
        (with_value(float("nan")), "instances[1][5][7]: NaN is not a number in 0…255"),
        (with_value(float("inf")), "instances[1][5][7]: Infinity is not a number in 0…255"),
        (with_value(256), "instances[1][5][7]: 256 is not a number in 0…255"),
        (with_value(-0.5), "instances[1][5][7]: -0.5 is not a number in 0…255"),
        (with_value(10**40), "instances[1][5][7]: 1e+40 is not a number in 0…255"),
        ([[[0, 0, 0]] * 28] * 28, f"instances[1]: shape [28, 28, 3], {EXPECTED}"),
        (["0"] * 784, 'instances[1][0]: "0" is not a number in 0…255'),
        (7, "instances[1]: data must be a list"),
        ({"b64": 7}, 'instances[1]: an object must be {"b64": "<image file in base64>"}'),
        (
            {"pixels": []},
            'instances[1]: an object must be {"b64": "<image file in base64>"}, '
            "not one with ['pixels']",
        ),
        (
            {"url": "http://x"},
            'instances[1]: an object must be {"b64": "<image file in base64>"}, '
            "not one with ['url']",
        ),
    ],
)
def test_invalid_instance_is_a_400_with_position_and_reason(
    client: httpx.Client, instance: object, message: str
) -> None:
    assert parse_error(post_instances(client, PIXELS, instance), 400) == (
        "invalid_instances",
        message,
    )


def test_base64_errors_name_the_instance(client: httpx.Client, boot_png: bytes) -> None:
    code, message = parse_error(post_instances(client, PIXELS, {"b64": "%%%"}), 400)
    assert (code, message.split(":")[0]) == ("invalid_instances", "instances[1]")
    encoded = base64.b64encode(boot_png[:100]).decode()
    code, message = parse_error(post_instances(client, PIXELS, {"b64": encoded}), 400)
    assert (code, message.split(":")[0]) == ("invalid_image", "instances[1]")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json"),
        (b"[]", "invalid_instances"),
        (b"null", "invalid_instances"),
        (b"{}", "invalid_instances"),
        (b'{"instances": {}}', "invalid_instances"),
        (b'{"instances": []}', "invalid_instances"),
        (b'{"instances": [[0]], "inputs": []}', "invalid_instances"),
    ],
)
def test_json_that_is_not_a_valid_request_is_a_400(
    client: httpx.Client, body: bytes, code: str
) -> None:
    assert parse_error(client.post("/predict", content=body, headers=JSON), 400)[0] == code


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda png: png[: len(png) // 2], "truncated or damaged"),
        (lambda png: png[:-20], "truncated or damaged"),
        (lambda _: b"not an image", "not an image"),
        (lambda _: b"GIF89a", "the GIF image cannot be decoded: it is truncated or damaged"),
        (lambda _: b"\x89PNG\r\n\x1a\n", "the PNG image cannot be decoded: it is truncated"),
    ],
)
def test_truncated_or_unknown_file_is_a_400_that_names_the_reason(
    client: httpx.Client, boot_png: bytes, damage: Any, reason: str
) -> None:
    code, message = parse_error(client.post("/predict", content=damage(boot_png)), 400)
    assert code == "invalid_image"
    assert reason in message


def test_image_format_outside_the_allow_list_is_a_400(client: httpx.Client, encode: Encode) -> None:
    tiff = encode(np.zeros((28, 28), np.uint8), "TIFF")
    assert parse_error(client.post("/predict", content=tiff), 400)[0] == "invalid_image"
    response = client.post("/predict", content=tiff, headers={"Content-Type": "image/tiff"})
    assert parse_error(response, 400)[0] == "invalid_image"


@pytest.mark.parametrize("headers", [{}, JSON, {"Content-Type": "image/png"}])
def test_empty_body_is_a_400(client: httpx.Client, headers: dict[str, str]) -> None:
    assert parse_error(client.post("/predict", headers=headers), 400)[0] == "empty_body"


def test_empty_file_is_a_400_that_names_the_file(client: httpx.Client, boot_png: bytes) -> None:
    files = [("files", ("a.png", boot_png)), ("files", ("b.png", b""))]
    assert parse_error(client.post("/predict", files=files), 400) == (
        "empty_body",
        "files[1]: the image is empty: 0 bytes",
    )


@pytest.mark.parametrize("content_type", ["text/plain", "application/pdf"])
def test_unsupported_media_type_is_a_415_that_lists_the_supported_ones(
    client: httpx.Client, content_type: str
) -> None:
    response = client.post("/predict", content=b"boot", headers={"Content-Type": content_type})
    code, message = parse_error(response, 415)
    assert code == "unsupported_media_type"
    assert "image/png" in message


def test_unsupported_content_encoding_is_a_415(client: httpx.Client, boot_png: bytes) -> None:
    response = client.post("/predict", content=boot_png, headers={"Content-Encoding": "br"})
    assert parse_error(response, 415)[0] == "unsupported_media_type"


class TestLimits:
    """A request over a limit is a 413."""

    def test_too_many_instances(self, strict_client: httpx.Client) -> None:
        assert parse_error(post_instances(strict_client, *[PIXELS] * 4), 413) == (
            "too_many_images",
            "instances has 4 images, the limit is 3",
        )
        assert len(parse_predictions(post_instances(strict_client, *[PIXELS] * 3)).predictions) == 3

    def test_too_many_files(self, strict_client: httpx.Client, boot_png: bytes) -> None:
        files = [("files", (f"{i}.png", boot_png)) for i in range(4)]
        response = strict_client.post("/predict", files=files)
        assert parse_error(response, 413)[0] == "too_many_images"
        assert (
            len(parse_predictions(strict_client.post("/predict", files=files[:3])).predictions) == 3
        )

    def test_too_many_pixels(self, strict_client: httpx.Client, encode: Encode) -> None:
        data = encode(np.zeros((101, 100), np.uint8))
        assert parse_error(strict_client.post("/predict", content=data), 413) == (
            "image_too_large",
            "the PNG image has 100 × 101 = 10100 pixels, the limit is 10000, or 32768 per side",
        )
        parse_predictions(
            strict_client.post("/predict", content=encode(np.eye(100, dtype=np.uint8) * 255))
        )

    def test_content_length_over_the_limit(self, strict_client: httpx.Client) -> None:
        response = strict_client.post("/predict", content=b"\0" * 200_001)
        assert parse_error(response, 413)[0] == "body_too_large"

    def test_chunked_body_over_the_limit(self, strict_client: httpx.Client) -> None:
        chunks = (b"\0" * 50_000 for _ in range(5))  # chunked: no Content-Length
        response = strict_client.post("/predict", content=chunks)
        assert parse_error(response, 413)[0] == "body_too_large"
