"""The OpenAPI description of the inference protocols, with examples that work."""

from typing import Any

from service.http.documentation import DEADLINE_PARAMETER, EXAMPLE_PNG_BASE64
from service.http.schemas import ProtocolError

PROTOCOL_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ProtocolError, "description": "Something is wrong with the request"},
    503: {"model": ProtocolError, "description": "Not ready, overloaded, or about to stop"},
    504: {"model": ProtocolError, "description": "The answer was not ready in time"},
}

_OBJECT = {"type": "object"}


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
    parameters = [*path_parameters(path), DEADLINE_PARAMETER]
    return {"parameters": parameters, "requestBody": _inference_request_body()}


def predict_request(path: str) -> dict[str, Any]:
    """Return what TensorFlow Serving's predict takes."""
    parameters = [*path_parameters(path), DEADLINE_PARAMETER]
    return {"parameters": parameters, "requestBody": _predict_request_body()}


def _inference_request_body() -> dict[str, Any]:
    picture = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [EXAMPLE_PNG_BASE64]}
    pixels = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": _OBJECT,
                "examples": {
                    "picture": {
                        "summary": "A picture file in base64, its three best classes",
                        "value": {
                            "inputs": [picture],
                            "outputs": [
                                {"name": "probabilities", "parameters": {"classification": 3}}
                            ],
                        },
                    },
                    "pixels": {
                        "summary": "A black picture as 784 numbers in 0…255",
                        "value": {"inputs": [pixels]},
                    },
                },
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }


def _predict_request_body() -> dict[str, Any]:
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": _OBJECT,
                "examples": {
                    "rows": {
                        "summary": "A picture file in base64",
                        "value": {"instances": [{"b64": EXAMPLE_PNG_BASE64}]},
                    },
                    "columns": {
                        "summary": "A black picture as 784 numbers in 0…1",
                        "value": {"inputs": {"images": [[0.0] * 784]}},
                    },
                },
            }
        },
    }
