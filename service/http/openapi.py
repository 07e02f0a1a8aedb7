"""The OpenAPI description of requests and errors, with examples that work."""

import base64
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from service.http.inference import DEADLINE_HEADER
from service.http.messages import IMAGE_MEDIA_TYPES, JSON
from service.http.schemas import ErrorResponse, ProtocolError

_EXAMPLE = (Path(__file__).parent.parent / "web/samples/9.png").read_bytes()
"""The first test image of Fashion-MNIST, an ankle boot."""
EXAMPLE_PNG_BASE64 = base64.b64encode(_EXAMPLE).decode()


def _errors(model: type[ErrorResponse] | type[ProtocolError]) -> dict[int | str, dict[str, Any]]:
    return {
        "4XX": {"model": model, "description": "Something is wrong with the request"},
        503: {"model": model, "description": "Not ready, overloaded, or about to stop"},
        504: {"model": model, "description": "The answer was not ready in time"},
    }


ERRORS = _errors(ErrorResponse)
PROTOCOL_ERRORS = _errors(ProtocolError)

_DEADLINE: dict[str, Any] = {
    "name": DEADLINE_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "number", "exclusiveMinimum": 0},
    "description": "Seconds the answer may take once the body has arrived; only fewer than the "
    "service allows are of use. A later one is answered 504.",
}


def image_request() -> dict[str, Any]:
    """Return what a route that reads images takes beside its query."""
    return _request("Images", [])


def inference_request(path: str) -> dict[str, Any]:
    """Return what Open Inference Protocol inference takes."""
    return _request("Inference", path_parameters(path))


def predict_request(path: str) -> dict[str, Any]:
    """Return what TensorFlow Serving's predict takes."""
    return _request("Predict", path_parameters(path))


def _request(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    body = {"$ref": f"#/components/requestBodies/{name}"}
    return {"parameters": [*parameters, _DEADLINE], "requestBody": body}


def path_parameters(path: str) -> list[dict[str, Any]]:
    """Return the version or label that a path with `{version…}` or `{label…}` in it names.

    One function answers the paths with and without them, and FastAPI would take what is not in
    the path for a query.
    """
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("version", "label")
        if f"{{{name}" in path
    ]


def operation_id(route: APIRoute) -> str:
    """Return a name for generated clients: the function's, with protocol and kind of path."""
    protocol = {"/v1": "v1_", "/v2": "v2_"}.get(route.path_format[:3], "")
    kinds = [kind for kind in ("version", "label") if f"{{{kind}" in route.path_format]
    return "_".join([protocol + route.name, *kinds, *["put"] * (route.methods == {"PUT"})])


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add the components that routes refer to; make some of parameters and errors that recur."""
    components = document["components"]
    components["schemas"] |= _SCHEMAS
    components["requestBodies"] = _request_bodies()
    parameters: dict[str, Any] = components.setdefault("parameters", {})
    errors: dict[str, Any] = components.setdefault("responses", {})
    for methods in document["paths"].values():
        for operation in methods.values():
            for number, sent in enumerate(operation.get("parameters", ())):
                name = sent["name"]
                if parameters.setdefault(name, sent) == sent:
                    operation["parameters"][number] = {"$ref": f"#/components/parameters/{name}"}
            for status in operation["responses"].keys() - {"200"}:
                answer = operation["responses"][status]
                name = answer["content"][JSON]["schema"]["$ref"].rpartition("/")[2] + status
                errors.setdefault(name, answer)
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return document


_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _array(length: int, items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": length, "maxItems": length, "items": items}


_PIXEL = {"type": "number", "minimum": 0, "maximum": 255}

_SCHEMAS: dict[str, Any] = {
    "Picture": {
        "type": "object",
        "properties": {"b64": {"type": "string", "description": "A picture file in base64."}},
        "required": ["b64"],
        "additionalProperties": False,
    },
    "Instances": {
        "type": "object",
        "properties": {
            "instances": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/Picture"},
                        {"title": "(28, 28)", **_array(28, _array(28, _PIXEL))},
                        {"title": "(28, 28, 1)", **_array(28, _array(28, _array(1, _PIXEL)))},
                        {"title": "(784,)", **_array(784, _PIXEL)},
                    ]
                },
            }
        },
        "required": ["instances"],
        "additionalProperties": False,
    },
    "Form": {
        "type": "object",
        "properties": {
            "files": {
                "type": "array",
                "items": _BINARY["schema"],
                "minItems": 1,
                "description": "Picture files; any field name will do.",
            }
        },
        "required": ["files"],
    },
    "InferenceRequest": {"type": "object"},
    "PredictRequest": {"type": "object"},
}


def _request_bodies() -> dict[str, Any]:
    picture = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [EXAMPLE_PNG_BASE64]}
    ranked = {"name": "probabilities", "parameters": {"classification": 3}}
    pixels = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}
    b64 = _example("A picture file in base64", {"instances": [{"b64": EXAMPLE_PNG_BASE64}]})
    black = {"inputs": {"images": [[0] * 784]}}
    binary = dict.fromkeys((*IMAGE_MEDIA_TYPES, "application/octet-stream"), _BINARY)
    form = {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/Form"}}}
    return {
        "Images": _json_body("Instances", {"b64": b64}, form | binary),
        "Inference": _json_body(
            "InferenceRequest",
            {
                "picture": _example(
                    "A picture file in base64, its three best classes",
                    {"inputs": [picture], "outputs": [ranked]},
                ),
                "pixels": _example("A black picture as 784 numbers in 0…255", {"inputs": [pixels]}),
            },
            {"application/octet-stream": _BINARY},
        ),
        "Predict": _json_body(
            "PredictRequest",
            {"rows": b64, "columns": _example("A black picture as 784 numbers in 0…1", black)},
            {},
        ),
    }


def _json_body(
    schema: str, examples: dict[str, Any], other_content: dict[str, Any]
) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "examples": examples}
    return {"required": True, "content": {JSON: content, **other_content}}


def _example(summary: str, value: object) -> dict[str, object]:
    return {"summary": summary, "value": value}
