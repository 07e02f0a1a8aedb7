"""The OpenAPI document tells the truth, and its examples work as they stand."""

import json

import httpx
import pytest

from tests.service.http.test_predict import answer_of


def test_every_route_and_verb_is_documented_with_its_errors(strict_client: httpx.Client) -> None:
    paths = strict_client.get("/openapi.json").json()["paths"]
    assert {(verb, path) for path, verbs in paths.items() for verb in verbs} == {
        ("post", "/predict"),
        ("put", "/predict"),
        ("post", "/feature-maps"),
        ("put", "/feature-maps"),
        ("post", "/preparation"),
        ("put", "/preparation"),
        ("get", "/model/summary"),
        ("get", "/model/layers/{name}"),
        ("get", "/livez"),
        ("get", "/readyz"),
        ("get", "/metrics"),
        ("get", "/v2"),
        ("get", "/v2/health/live"),
        ("get", "/v2/health/ready"),
        ("get", "/v2/models"),
        ("get", "/v2/models/stats"),
        ("post", "/v2/repository/index"),
        ("post", "/v2/repository/models/{name}/load"),
        ("post", "/v2/repository/models/{name}/unload"),
        *(
            (verb, f"/v2/models/{{name}}{version}{suffix}")
            for version in ("", "/versions/{version}")
            for verb, suffix in (
                ("get", ""),
                ("get", "/ready"),
                ("get", "/stats"),
                ("post", "/infer"),
            )
        ),
        *(
            (verb, f"/v1/models/{{name}}{version}{suffix}")
            for version in ("", "/versions/{version}", "/labels/{label}")
            for verb, suffix in (("get", ""), ("get", "/metadata"), ("post", ":predict"))
        ),
    }
    for path, operations in paths.items():
        for operation in operations.values():
            assert "422" not in operation["responses"], path
            if path.startswith("/v2/health/"):
                continue
            if path in ("/predict", "/feature-maps", "/preparation") or path.startswith(
                ("/v1", "/v2")
            ):
                assert {"200", "4XX", "503"} <= set(operation["responses"]), path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v2/models/{name}/infer", "picture"),
        ("/v2/models/{name}/infer", "pixels"),
        ("/v1/models/{name}:predict", "rows"),
        ("/v1/models/{name}:predict", "columns"),
    ],
)
def test_the_examples_of_the_protocols_work_as_pasted(
    client: httpx.Client, path: str, name: str
) -> None:
    document = client.get("/openapi.json").json()
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    response = client.post(
        path.replace("{name}", "fashion_mnist"), json=content["examples"][name]["value"]
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("example", ["b64", "numbers"])
def test_the_json_examples_work_as_pasted(client: httpx.Client, example: str) -> None:
    document = client.get("/openapi.json").json()
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    body = json.dumps(content["application/json"]["examples"][example]["value"])
    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer_of(response).predictions[0].label == "Ankle boot"


def test_every_documented_picture_type_is_read(strict_client: httpx.Client) -> None:
    document = strict_client.get("/openapi.json").json()
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    for media_type in content:
        response = strict_client.post("/predict", content=b"", headers={"Content-Type": media_type})
        assert response.json()["error"]["code"] == "empty_body", media_type
