"""Both engines return matching responses; the other tests of this folder use one of them."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.settings import Settings
from tests.conftest import DATA
from tests.service.conftest import ARTIFACTS, ENGINES, Encode, serve
from tests.service.http.test_predict import IN_DISTRIBUTION_SHARE

V1 = "/v1/models/fashion_mnist"
V2 = "/v2/models/fashion_mnist"

PROBABILITY_TOLERANCE = 0.05
"""One engine computes with int8 weights, which matters where two classes are close."""

MAPS_TOLERANCE = 1e-4

Clients = list[httpx.Client]
Slice = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    """A client for each engine."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(serve(Settings(artifacts=ARTIFACTS, engine=engine)))
            for engine in ENGINES
        ]


def assert_same(one: object, other: object, path: str = "") -> None:
    """Compare two responses, numbers with the tolerance of their kind."""
    if isinstance(one, dict) and isinstance(other, dict):
        assert list(one) == list(other), path
        for key in one:
            if key not in ("request_id", "engine", "precision"):
                assert_same(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        assert len(one) == len(other), path
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{path}[{index}]")
    elif isinstance(one, float) and isinstance(other, float):
        if "novelty" in path:
            assert one == pytest.approx(other, rel=0.15, abs=0.2), path
        else:
            assert one == pytest.approx(other, abs=PROBABILITY_TOLERANCE, nan_ok=True), path
    else:
        assert one == other, path


@pytest.fixture(scope="module")
def requests(boot_png: bytes, test_slice: Slice, encode: Encode) -> dict[str, dict[str, Any]]:
    """Requests by URL, as arguments of httpx."""
    boot = Image.fromarray(255 - test_slice[0][0]).resize((280, 280), Image.Resampling.BICUBIC)
    photo = Image.new("L", (400, 500), 255)
    photo.paste(boot, (60, 110))
    pixels = test_slice[0][:3].reshape(3, 784)
    encoded = {"b64": base64.b64encode(boot_png).decode()}
    rows = (pixels / 255).tolist()
    tensor = {
        "name": "images",
        "shape": [3, 784],
        "datatype": "UINT8",
        "data": pixels.reshape(-1).tolist(),
    }
    nan = b'{"instances": [[' + b",".join([b"NaN"] * 784) + b"]]}"
    files = [("files", (path.name, path.read_bytes())) for path in sorted((DATA / "png").glob("*"))]
    posted: dict[str, dict[str, Any]] = {
        "/predict": {"content": boot_png},
        "/predict?top_k=3": {"content": boot_png},
        "/predict?prepare=photo": {"content": boot_png},
        "/predict?prepare=plain": {"content": encode(photo)},
        "/predict?prepare=auto": {"content": encode(photo, "JPEG")},
        "/predict?version=2": {"files": files},
        "/predict?": {"json": {"instances": [encoded, *pixels.tolist()]}},
        f"{V2}/infer": {"json": {"inputs": [tensor], "id": "7"}},
        f"{V2}/infer?": {
            "json": {"inputs": [tensor], "outputs": [{"name": "in_distribution"}], "id": "8"}
        },
        f"{V1}:predict": {"json": {"instances": rows}},
        f"{V1}:predict?": {"json": {"inputs": rows, "signature_name": "novelty"}},
        f"{V1}:predict?nan": {"content": nan},
        "/preparation": {"content": encode(photo)},
        # Errors.
        "/predict?top_k=11": {"content": boot_png},
        "/predict?version=7": {"content": boot_png},
        "/predict?wrong": {"content": b"no image"},
        "/predict?empty": {"content": b""},
        "/predict?pixels": {"json": {"instances": [[0] * 783]}},
        "/feature-maps?layer=dense_1": {"content": boot_png},
        "/feature-maps?channels=32": {"content": boot_png},
        f"{V2}/infer?none": {"json": {"inputs": []}},
        f"{V2}/infer?output": {"json": {"inputs": [tensor], "outputs": [{"name": "logits"}]}},
        f"{V2}/versions/7/infer": {"json": {"inputs": [tensor]}},
        f"{V1}:predict?signature": {"json": {"instances": rows, "signature_name": "no"}},
        f"{V1}:regress": {"json": {"instances": rows}},
    }
    return {path: {"method": "POST", **request} for path, request in posted.items()} | {
        path: {"method": "GET"}
        for path in (
            *("/readyz", "/model/summary", "/model/layers/conv2d_1", "/model/layers/dense_2"),
            *("/model/layers/nowhere", "/model/layers/dense_1", V1, f"{V1}/metadata", V2),
            *(f"{V2}/ready", "/v2", "/v2/models", "/v2/models/other"),
        )
    }


def test_responses_and_errors_of_both_engines_are_the_same(
    clients: Clients, requests: dict[str, dict[str, Any]]
) -> None:
    statuses = set()
    for path, request in requests.items():
        one, other = (client.request(url=path, **request) for client in clients)
        assert one.status_code == other.status_code, path
        assert one.headers["Content-Type"] == other.headers["Content-Type"], path
        assert_same(one.json(), other.json(), path)
        statuses.add(one.status_code)
    assert statuses == {200, 400, 404}


def test_engine_and_precision_are_reported(clients: Clients) -> None:
    for client, engine in zip(clients, ENGINES, strict=True):
        assert client.get("/readyz").json()["engine"] == engine
        precision = "int8" if engine == "litert" else "float32"
        assert client.get("/model/summary").json()["precision"] == precision
        config = client.get("/v2/models/fashion_mnist/config").json()
        assert config["parameters"]["precision"]["string_value"] == precision
        assert client.get("/model/summary").json()["engine"] == engine


def test_labels_and_in_distribution_shares_of_both_engines_agree(
    clients: Clients, test_slice: Slice
) -> None:
    answers = []
    for client in clients:
        predictions = [
            prediction
            for start in range(0, 1000, 250)
            for prediction in client.post(
                "/predict", json={"instances": test_slice[0][start : start + 250].tolist()}
            ).json()["predictions"]
        ]
        known = np.mean([prediction["in_distribution"] for prediction in predictions])
        assert known == pytest.approx(IN_DISTRIBUTION_SHARE, abs=0.003)
        answers.append([prediction["label"] for prediction in predictions])
    agreed = [one == other for one, other in zip(*answers, strict=True)]
    assert np.mean(agreed) >= 0.995


def test_feature_maps_of_both_engines_are_the_same(
    clients: Clients, test_slice: Slice, boot_png: bytes, encode: Encode
) -> None:
    for image in (boot_png, encode(test_slice[0][7])):
        one, other = (
            client.post("/feature-maps", content=image).json()["layers"] for client in clients
        )
        assert [layer["name"] for layer in one] == [layer["name"] for layer in other]
        for first, second in zip(one, other, strict=True):
            np.testing.assert_allclose(first["maps"], second["maps"], atol=MAPS_TOLERANCE)
    rows = {"instances": (test_slice[0][:2].reshape(2, 784) / 255).tolist()}
    document = json.dumps(rows | {"signature_name": "feature_maps"})
    one, other = (
        client.post(f"{V1}:predict", content=document).json()["predictions"] for client in clients
    )
    for first, second in zip(one, other, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_allclose(first[name], second[name], atol=MAPS_TOLERANCE, err_msg=name)
    images = [
        client.post("/feature-maps?format=png&layer=conv2d_1", content=boot_png).content
        for client in clients
    ]
    assert images[0][:8] == images[1][:8] == b"\x89PNG\r\n\x1a\n"


def test_weights_of_both_engines_are_the_same(clients: Clients) -> None:
    for layer in ("conv2d_1", "conv2d_2", "dense_2", "dense_1?channels=0,99"):
        one, other = (client.get(f"/model/layers/{layer}").json() for client in clients)
        assert one == other
