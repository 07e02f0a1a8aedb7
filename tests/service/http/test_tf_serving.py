"""TensorFlow Serving's REST API: documented requests and responses, and invalid requests."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.model.artifact import Artifact
from service.settings import Settings
from tests.conftest import DATA
from tests.service.conftest import Encode, publish, serve
from tests.service.http.test_open_inference import protocol_error
from tests.service.http.test_predict import parse_predictions

Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]

GOLDEN = sorted((DATA / "tf_serving").glob("*.json"))
PREDICT = "/v1/models/fashion_mnist:predict"
BLACK = [0.0] * 784


def predict(client: httpx.Client, **request: object) -> Any:
    response = client.post(PREDICT, content=json.dumps(request))
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    return response.json()


def is_close(expected: object, actual: object) -> bool:
    """Return whether two JSON documents are equal except for the effect of quantisation."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return list(expected) == list(actual) and all(
            is_close(expected[key], actual[key]) for key in actual
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(is_close, expected, actual))
    if isinstance(expected, float):
        is_novelty = abs(expected) > 1
        return actual == pytest.approx(
            expected, abs=0.05, rel=0.15 if is_novelty else 0, nan_ok=True
        )
    return expected == actual


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_documented_request_returns_the_documented_response(
    client: httpx.Client, path: Path
) -> None:
    case = json.loads(path.read_text())
    content = json.dumps(case["request"]) if "request" in case else None
    response = client.request(case["method"], case["path"], content=content)
    assert response.status_code == case["status"]
    answer = response.json()
    if "ready" in answer:  # KServe's fields at the same path.
        assert (answer.pop("name"), answer.pop("ready")) == ("fashion_mnist", True)
    assert is_close(case["answer"], answer), response.text


def test_golden_files_are_found() -> None:
    assert len(GOLDEN) >= 21


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28), (784,)])
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_rows_and_columns_return_the_predictions_of_predict_in_order(
    client: httpx.Client, test_slice: Slice, encode: Encode, shape: tuple[int, ...], form: str
) -> None:
    images = test_slice[0][:6].reshape(6, *shape) / np.float32(255)
    [rows] = predict(client, **{form: images.tolist()}).values()
    for row, image in zip(rows, test_slice[0], strict=False):
        alone = parse_predictions(client.post("/predict", content=encode(image))).predictions[0]
        np.testing.assert_allclose(row, list(alone.probabilities.values()), atol=1e-5)


def test_feature_maps_are_returned_by_row_or_by_column(
    client: httpx.Client, test_slice: Slice, artifact: Artifact, encode: Encode
) -> None:
    images = (test_slice[0][:3, ..., None] / np.float32(255)).tolist()
    rows = predict(client, signature_name="feature_maps", instances=images)["predictions"]
    columns = predict(client, signature_name="feature_maps", inputs=images)["outputs"]
    shapes = {layer.name: layer.output_shape for layer in artifact.manifest.layers}
    assert columns.keys() == shapes.keys()
    for index, row in enumerate(rows):
        assert {name: np.shape(values) for name, values in row.items()} == shapes
        for name, values in row.items():
            np.testing.assert_allclose(values, columns[name][index], atol=1e-6)
        response = client.post("/feature-maps", content=encode(test_slice[0][index]))
        for layer in response.json()["layers"]:
            maps = np.transpose(layer["maps"], (1, 2, 0))
            np.testing.assert_allclose(row[layer["name"]], maps, atol=1e-5)


def test_novelty_signature_returns_novelty_and_probabilities(
    client: httpx.Client, test_slice: Slice, encode: Encode
) -> None:
    images = (test_slice[0][:3, ..., None] / np.float32(255)).tolist()
    rows = predict(client, signature_name="novelty", instances=images)["predictions"]
    columns = predict(client, signature_name="novelty", inputs=images)["outputs"]
    assert columns.keys() == {"novelty", "probabilities"}
    assert [row["novelty"] for row in rows] == columns["novelty"]
    for row, image in zip(rows, test_slice[0], strict=False):
        alone = parse_predictions(client.post("/predict", content=encode(image))).predictions[0]
        assert row["novelty"] == pytest.approx(alone.novelty, abs=1e-3)
        np.testing.assert_allclose(
            row["probabilities"], list(alone.probabilities.values()), atol=1e-5
        )


def test_numbers_above_1_are_accepted_and_not_rescaled(client: httpx.Client) -> None:
    [half] = predict(client, instances=[[0.5] * 784])["predictions"]
    [bright] = predict(client, instances=[[127.5] * 784])["predictions"]
    assert half != bright


def test_nan_and_infinity_are_read_and_written_as_tokens(client: httpx.Client) -> None:
    body = json.dumps({"instances": [BLACK, [float("nan")] * 784, [float("-inf"), *BLACK[1:]]]})
    assert "NaN" in body
    assert "-Infinity" in body
    response = client.post(PREDICT, content=body)
    assert response.status_code == 200
    assert "NaN" in response.text
    rows = np.array(response.json()["predictions"])
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, True]
    [black] = predict(client, instances=[BLACK])["predictions"]
    np.testing.assert_allclose(rows[0], black, atol=1e-5)
    body = body.replace("{", '{"signature_name": "feature_maps", ', 1)
    maps = client.post(PREDICT, content=body).json()["predictions"]
    assert np.isnan(maps[1]["dense_2"]).all()
    assert np.isfinite(maps[0]["dense_2"]).all()


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ([BLACK], "must be a JSON object"),
        ({"instances": []}, "instances: shape [0]"),
        ({"instances": {}}, "instances: data must be a list"),
        ({"instances": 7}, "instances: data must be a list"),
        ({"inputs": None}, "inputs: data must be a list"),
        ({"instances": BLACK}, "instances: shape [784], expected"),
        ({"instances": [BLACK[1:]]}, "instances: shape [1, 783], expected"),
        ({"instances": [BLACK, BLACK[1:]]}, "instances: data is ragged"),
        ({"instances": [BLACK, 0.5]}, "instances: data mixes lists and values"),
        ({"instances": [["0"] * 784]}, "instances: expected numbers"),
        ({"instances": [[True] * 784]}, "instances: expected numbers"),
        ({"instances": [[None] * 784]}, "instances: expected numbers"),
        (
            {"instances": [[10**400] * 784]},
            "instances: a number in data is out of the range of FP32",
        ),
        ({"instances": [{"pixels": BLACK}]}, 'instances[0]: an object must be {"b64"'),
        ({"instances": [{"b64": 7}]}, 'instances[0]: an object must be {"b64"'),
        ({"instances": [{"b64": "%"}]}, "instances[0]: b64 is not valid base64"),
        ({"instances": [{"b64": ""}]}, "instances[0]: the image is empty"),
        ({"instances": [{"b64": "AAAA"}]}, "instances[0]: not an image"),
        ({"inputs": {"images": [BLACK], "more": 1}}, "inputs[0]: an object must be"),
        ({"instances": [{"image": BLACK}]}, "or name the input as the metadata does"),
        ({"inputs": {"image": [BLACK]}}, "or name the input as the metadata does"),
        ({"instances": [BLACK], "inputs": [BLACK]}, "exactly one of"),
        ({"instances": None, "inputs": None}, "exactly one of"),
        ({"signature_name": "serving_default"}, "exactly one of"),
        ({"instances": [BLACK], "signature_name": 7}, "signature name: 7 not found"),
        ({"instances": [BLACK], "signature_name": 0}, "signature name: 0 not found"),
        ({"instances": [BLACK], "signature_name": False}, "signature name: false not found"),
        ({"instances": [BLACK], "signature_name": ["x"]}, "signature name: list not found"),
        (
            {"instances": [BLACK], "signature_name": "x" * 100},
            f'signature name: "{"x" * 80}" not found',
        ),
    ],
)
def test_invalid_request_is_a_400_that_names_the_reason(
    client: httpx.Client, request_: object, reason: str
) -> None:
    assert reason in protocol_error(client.post(PREDICT, content=json.dumps(request_)))


def test_unknown_field_is_ignored(
    client: httpx.Client,
) -> None:
    assert predict(client, instances=[BLACK], parameters={"x": 1}) == predict(
        client, instances=[BLACK]
    )


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"inputs":' + b'{"b64":' * 100_000 + b"1" + b"}" * 100_001,
    ],
)
def test_invalid_or_too_deeply_nested_json_is_a_400(client: httpx.Client, body: bytes) -> None:
    assert "JSON parse error" in protocol_error(client.post(PREDICT, content=body))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nowhere", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/other/metadata", 404),
        ("POST", "/v1/models/fashion_mnist:unknown", 404),
        ("POST", "/v1/models/fashion_mnist:regress", 400),
        ("POST", PREDICT, 400),
        ("GET", PREDICT, 405),
        ("POST", "/v1/models/fashion_mnist", 405),
    ],
)
def test_unknown_path_method_or_model_returns_an_error_of_the_protocol(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)
    assert protocol_error(response, status)
    if status == 405:
        assert response.headers["Allow"] == (
            "OPTIONS, POST" if path == PREDICT else "GET, HEAD, OPTIONS"
        )


def test_too_many_images_or_bytes_are_a_413(strict_client: httpx.Client, boot_png: bytes) -> None:
    encoded = {"b64": base64.b64encode(boot_png).decode()}
    for field in ("instances", "inputs"):
        for value in ([BLACK] * 4, [encoded] * 4):
            response = strict_client.post(PREDICT, json={field: value})
            assert protocol_error(response, 413) == f"{field}: 4 images, the limit is 3"
    response = strict_client.post(PREDICT, content=b"0" * 200_001)
    assert "200000 bytes" in protocol_error(response, 413)


def test_status_of_a_refused_version_contains_the_reason(copied_artifacts: Path) -> None:
    publish(copied_artifacts, 2, good=False)
    with serve(Settings(artifacts=copied_artifacts, engine="litert")) as other:
        newer, older = other.get("/v1/models/fashion_mnist").json()["model_version_status"]
    assert (newer["version"], newer["state"], older["state"]) == ("2", "END", "AVAILABLE")
    assert newer["status"]["error_code"] == "FAILED_PRECONDITION"
    assert newer["status"]["error_message"].startswith("2/assets.extra/model.tflite is not the")


def test_kserve_v1_lists_models_and_their_readiness(client: httpx.Client) -> None:
    names = client.get("/v1/models").json()["models"]
    assert names == client.get("/v2/models").json()["models"]
    for name in names:
        ready = client.get(f"/v1/models/{name}").json()
        assert (ready["name"], ready["ready"]) == (name, True)
