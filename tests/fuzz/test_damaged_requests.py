"""Damaged JSON, tensors and forms: none causes a server error."""

import base64
import json
import os
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import DATA

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "300"))
"""Of each kind; `make fuzz` sends more."""

JSON_LENGTH = "Inference-Header-Content-Length"
ODD_VALUES: list[Any] = [
    *(None, True, "", "x", -1, 256, 0.5, 1e300, 2**63, 10**30, [], {}, [[]], [None]),
    *({"b64": ""}, {"b64": "!"}, {"b64": 1}, "FP64", "BYTES", "images", -(2**63), [0] * 784),
]

PNG = (DATA / "png" / "0000-ankle-boot.png").read_bytes()
BASE64 = base64.b64encode(PNG).decode()


def mutated(value: Any, random: np.random.Generator) -> Any:
    """Return the document with one part replaced, removed or renamed."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        key = str(random.choice(sorted(value)))
        if random.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if random.random() < 0.1:
            return {**value, f"{key}x": value[key]}
        return {**value, key: mutated(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.7:
        place = int(random.integers(len(value)))
        return [*value[:place], mutated(value[place], random), *value[place + 1 :]]
    return ODD_VALUES[random.integers(len(ODD_VALUES))]


def damaged(body: bytes, random: np.random.Generator) -> bytes:
    """Return the bytes with some of them changed or cut off."""
    content = bytearray(body)
    for _ in range(random.integers(1, 5)):
        content[random.integers(len(content))] = int(random.integers(256))
    if random.random() < 0.3:
        del content[random.integers(len(content)) :]
    return bytes(content)


TENSOR = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}
IMAGE = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [BASE64]}
OUTPUT = {"name": "probabilities", "parameters": {"classification": 2, "binary_data": False}}
RAW = {
    **{key: TENSOR[key] for key in ("name", "shape", "datatype")},
    "parameters": {"binary_data_size": 784},
}

V1 = "/v1/models/fashion_mnist:predict"
V2 = "/v2/models/fashion_mnist/infer"

DOCUMENTS = {
    "numbers": ("/predict", {"instances": [[[0] * 28] * 28, [0] * 784]}),
    "images": ("/predict", {"instances": [{"b64": BASE64}]}),
    "feature maps": ("/feature-maps?layer=conv2d_2", {"instances": [{"b64": BASE64}]}),
    "preparation": ("/preparation?prepare=photo", {"instances": [{"b64": BASE64}]}),
    "v1 rows": (V1, {"instances": [[0.0] * 784], "signature_name": "serving_default"}),
    "v1 columns": (V1, {"inputs": {"images": [[0.0] * 784]}}),
    "v1 images": (V1, {"instances": [{"b64": BASE64}]}),
    "v2 numbers": (V2, {"id": "1", "inputs": [TENSOR], "outputs": [OUTPUT]}),
    "v2 images": (V2, {"inputs": [IMAGE], "parameters": {"prepare": "auto"}}),
    "repository": ("/v2/repository/index", {"ready": True}),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_mutated_json_causes_no_server_error(client: httpx.Client, kind: str) -> None:
    path, document = DOCUMENTS[kind]
    random = np.random.default_rng(len(kind))
    headers = {"Content-Type": "application/json"}
    for _ in range(REQUESTS):
        body = json.dumps(mutated(document, random)).encode()
        if random.random() < 0.3:
            body = damaged(body, random)
        assert_handled(client.post(path, content=body, headers=headers))


def test_inconsistent_binary_tensors_cause_no_server_error(client: httpx.Client) -> None:
    random = np.random.default_rng(0)
    for _ in range(REQUESTS):
        inputs = [RAW if random.random() < 0.5 else mutated(RAW, random)]
        head = json.dumps({"inputs": inputs}).encode()
        body = head + random.bytes(int(random.choice([0, 1, 783, 784, 785, 3136])))
        if random.random() < 0.3:
            body = damaged(body, random)
        length = len(head) + int(random.choice([0, 0, 0, 0, -1, 1, 1000]))
        assert_handled(client.post(V2, content=body, headers={JSON_LENGTH: str(length)}))


def test_damaged_forms_cause_no_server_error(client: httpx.Client) -> None:
    random = np.random.default_rng(1)
    files = [("files", (f"{number}.png", PNG)) for number in range(2)]
    request = client.build_request("POST", "/predict", files=files)
    whole, headers = request.read(), {"Content-Type": request.headers["Content-Type"]}
    for _ in range(REQUESTS):
        assert_handled(client.post("/predict", content=damaged(whole, random), headers=headers))


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
)
def test_every_method_on_every_path_causes_no_server_error(
    client: httpx.Client, method: str
) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    fill: Callable[[str], str] = lambda path: (  # noqa: E731
        path.replace("{name}", "fashion_mnist").replace("{version}", "1").replace("{layer}", "a")
    )
    for path in sorted(paths):
        if path.endswith("/unload"):
            continue  # The tests after this one need the model.
        answer = client.request(method, fill(path), content=b"{}")
        assert_handled(answer)
        if answer.status_code == 405:
            assert method not in answer.headers["Allow"].split(", ")
            assert answer.headers["Allow"]


def assert_handled(answer: httpx.Response) -> None:
    """Assert that the response is no server error, and that an error has a message."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.headers["Content-Type"] == "application/json", (answer.url, answer.text)
        error = answer.json()["error"]
        message = error if isinstance(error, str) else error["message"]
        assert message
        assert "Traceback" not in message
