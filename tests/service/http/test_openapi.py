"""The OpenAPI document is valid and complete, and its examples work."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import Settings
from tests.service.conftest import serve
from tests.service.http.test_predict import parse_predictions


def test_every_route_and_method_is_documented_with_its_errors(strict_client: httpx.Client) -> None:
    paths = strict_client.get("/openapi.json").json()["paths"]
    assert {(verb, path) for path, verbs in paths.items() for verb in verbs} == {
        ("post", "/predict"),
        ("post", "/feature-maps"),
        ("post", "/preparation"),
        ("post", "/explain"),
        ("get", "/model/summary"),
        ("get", "/model/layers/{layer}"),
        ("get", "/livez"),
        ("get", "/readyz"),
        ("get", "/metrics"),
        ("get", "/v1/models"),
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
                ("get", "/config"),
                ("get", "/ready"),
                ("get", "/stats"),
                ("post", "/infer"),
            )
        ),
        *(
            (verb, f"/v1/models/{{name}}{version}{suffix}")
            for version in ("", "/versions/{version}")
            for verb, suffix in (
                ("get", ""),
                ("get", "/metadata"),
                ("post", ":predict"),
                ("post", ":explain"),
            )
        ),
    }
    for path, operations in paths.items():
        for operation in operations.values():
            assert "422" not in operation["responses"], path
            if path.startswith("/v2/health/"):
                continue
            if path in ("/predict", "/feature-maps", "/preparation", "/explain") or path.startswith(
                ("/v1", "/v2")
            ):
                assert {"200", "4XX", "503"} <= set(operation["responses"]), path


def test_document_is_valid_small_and_readable_by_generators(
    strict_client: httpx.Client,
) -> None:
    import schemathesis  # noqa: PLC0415 (takes a second, and only this test needs it)

    answer = strict_client.get("/openapi.json")
    assert len(answer.content) < 60_000
    document = answer.json()
    schemathesis.openapi.from_dict(document).validate()
    for keyword in ('"prefixItems":', '"const":1'):
        assert keyword not in answer.text
    for reference in re.findall(r'"\$ref":"#/components/(\w+)/([^"]+)"', answer.text):
        assert resolve(document, *reference)


def test_shared_responses_are_in_the_order_of_the_paths(strict_client: httpx.Client) -> None:
    """The order of a set would differ between processes."""
    answer = strict_client.get("/openapi.json")
    in_paths = re.findall(r'"#/components/responses/([^"]+)"', answer.text)
    assert list(answer.json()["components"]["responses"]) == list(dict.fromkeys(in_paths))


def test_operation_ids_are_unique_and_suit_generated_clients(strict_client: httpx.Client) -> None:
    paths = strict_client.get("/openapi.json").json()["paths"]
    names = {
        (verb, path): operation["operationId"]
        for path, operations in paths.items()
        for verb, operation in operations.items()
    }
    assert len(set(names.values())) == len(names)
    assert all(re.fullmatch("[a-z0-9_]{1,40}", name) for name in names.values())
    for (verb, path), name in {
        ("post", "/predict"): "predict",
        ("post", "/feature-maps"): "feature_maps",
        ("get", "/model/summary"): "model_summary",
        ("post", "/v2/models/{name}/infer"): "v2_inference",
        ("post", "/v1/models/{name}/versions/{version}:predict"): "v1_predict_version",
    }.items():
        assert names[verb, path] == name


def resolve(document: Any, kind: str, name: str) -> Any:
    return document["components"][kind][name]


def dereference(document: Any, described: Any) -> Any:
    """Return the description, or the one that it refers to."""
    reference = described.get("$ref", "")
    return resolve(document, *reference.split("/")[2:]) if reference else described


def default_request(document: Any, verb: str, path: str, operation: Any) -> dict[str, Any]:
    """Return the request that Swagger UI sends by default."""
    query = {}
    for described in operation.get("parameters", ()):
        parameter = dereference(document, described)
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        elif "example" in parameter:
            query[parameter["name"]] = parameter["example"]
        else:
            assert not parameter.get("required")
    request = {"method": verb, "url": path, "params": query}
    if "requestBody" in operation:
        content = dereference(document, operation["requestBody"])["content"]
        assert next(iter(content)) == "application/json"
        examples = content["application/json"]["examples"]
        request["json"] = next(iter(examples.values()))["value"]
    return request


def test_default_request_of_every_operation_succeeds(copied_artifacts: Path) -> None:
    settings = Settings(artifacts=copied_artifacts, engine="litert", version_labels={"stable": 1})
    with serve(settings) as client:
        document = client.get("/openapi.json").json()
        assert "/v1/models/{name}/labels/{label}" in document["paths"]
        operations = [
            (verb, path, operation)
            for path, operations in document["paths"].items()
            for verb, operation in operations.items()
        ]
        for verb, path, operation in sorted(operations, key=lambda one: "unload" in one[1]):
            answer = client.request(**default_request(document, verb, path, operation))
            assert answer.status_code == 200, (verb, path, answer.text)
            if path == "/feature-maps":
                assert len(answer.content) < 20_000


def json_examples(client: httpx.Client, name: str) -> Any:
    document = client.get("/openapi.json").json()
    return resolve(document, "requestBodies", name)["content"]["application/json"]["examples"]


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/predict", "Images", "b64"),
        ("/feature-maps", "Images", "b64"),
        ("/v2/models/fashion_mnist/infer", "Inference", "image"),
        ("/v2/models/fashion_mnist/infer", "Inference", "pixels"),
        ("/v1/models/fashion_mnist:predict", "Signature", "rows"),
        ("/v1/models/fashion_mnist:predict", "Signature", "columns"),
    ],
)
def test_documented_examples_succeed(client: httpx.Client, path: str, body: str, name: str) -> None:
    response = client.post(path, json=json_examples(client, body)[name]["value"])
    assert response.status_code == 200, response.text
    if path == "/predict":
        assert parse_predictions(response).predictions[0].label == "Ankle boot"


def test_every_documented_media_type_is_accepted(strict_client: httpx.Client) -> None:
    document = strict_client.get("/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["$ref"]
    for media_type in resolve(document, *body.split("/")[2:])["content"]:
        response = strict_client.post("/predict", content=b"", headers={"Content-Type": media_type})
        assert response.json()["error"]["code"] == "empty_body", media_type
