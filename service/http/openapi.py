"""The OpenAPI description of requests and errors, with examples that work."""

import base64
from pathlib import Path
from typing import Any

from service.http.inference import DEADLINE_HEADER
from service.http.messages import IMAGE_MEDIA_TYPES
from service.http.schemas import ErrorResponse, ProtocolError
from service.images.decode import read_image

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

DEADLINE_PARAMETER: dict[str, Any] = {
    "name": DEADLINE_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "number", "exclusiveMinimum": 0},
    "description": "Seconds the answer may take once the body has arrived; only fewer than the "
    "service allows are of use. A later one is answered 504.",
}


_BINARY = {"schema": {"type": "string", "format": "binary"}}


def image_request() -> dict[str, Any]:
    """Return what a route that reads images takes beside its query."""
    return {"parameters": [DEADLINE_PARAMETER], "requestBody": _image_request_body()}


def _example(summary: str, value: object) -> dict[str, object]:
    return {"summary": summary, "value": value}


def _image_request_body() -> dict[str, Any]:
    examples = {
        "b64": _example("A picture file in base64", {"instances": [{"b64": EXAMPLE_PNG_BASE64}]}),
        "numbers": _example("28 rows of 28 numbers in 0…255", {"instances": [_example_rows()]}),
    }
    files = {
        "type": "array",
        "items": _BINARY["schema"],
        "minItems": 1,
        "description": "Picture files; any field name will do.",
    }
    form = {"type": "object", "properties": {"files": files}, "required": ["files"]}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": _INSTANCES_SCHEMA, "examples": examples},
            "multipart/form-data": {"schema": form},
            **dict.fromkeys((*IMAGE_MEDIA_TYPES, "application/octet-stream"), _BINARY),
        },
    }


def _example_rows() -> list[list[int]]:
    image = read_image(_EXAMPLE, prepare="auto", shape=(28, 28), max_pixels=28 * 28)
    rows: list[list[int]] = image.pixels.tolist()
    return rows


def _array(length: int, items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": length, "maxItems": length, "items": items}


_PIXEL = {"type": "number", "minimum": 0, "maximum": 255}

_INSTANCES_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "instances": {
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [
                    {"title": "(28, 28)", **_array(28, _array(28, _PIXEL))},
                    {"title": "(28, 28, 1)", **_array(28, _array(28, _array(1, _PIXEL)))},
                    {"title": "(784,)", **_array(784, _PIXEL)},
                    {
                        "title": "picture file",
                        "type": "object",
                        "properties": {"b64": {"type": "string", "format": "byte"}},
                        "required": ["b64"],
                        "additionalProperties": False,
                    },
                ]
            },
        }
    },
    "required": ["instances"],
    "additionalProperties": False,
}


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


def inference_request(path: str) -> dict[str, Any]:
    """Return what Open Inference Protocol inference takes."""
    picture = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [EXAMPLE_PNG_BASE64]}
    pixels = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}
    ranked = {"name": "probabilities", "parameters": {"classification": 3}}
    examples = {
        "picture": _example(
            "A picture file in base64, its three best classes",
            {"inputs": [picture], "outputs": [ranked]},
        ),
        "pixels": _example("A black picture as 784 numbers in 0…255", {"inputs": [pixels]}),
    }
    return _protocol_request(path, examples, {"application/octet-stream": _BINARY})


def predict_request(path: str) -> dict[str, Any]:
    """Return what TensorFlow Serving's predict takes."""
    examples = {
        "rows": _example("A picture file in base64", {"instances": [{"b64": EXAMPLE_PNG_BASE64}]}),
        "columns": _example(
            "A black picture as 784 numbers in 0…1", {"inputs": {"images": [[0.0] * 784]}}
        ),
    }
    return _protocol_request(path, examples, {})


def _protocol_request(
    path: str, examples: dict[str, Any], other_content: dict[str, Any]
) -> dict[str, Any]:
    content = {"schema": {"type": "object"}, "examples": examples}
    return {
        "parameters": [*path_parameters(path), DEADLINE_PARAMETER],
        "requestBody": {
            "required": True,
            "content": {"application/json": content, **other_content},
        },
    }
