"""The OpenAPI description of the inference protocols, with examples that work."""

from typing import Any

from service.api.documentation import DEADLINE_PARAMETER, EXAMPLE_PNG_BASE64
from service.schemas import ProtocolError

PROTOCOL_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ProtocolError, "description": "Something is wrong with the request"},
    503: {"model": ProtocolError, "description": "Not ready, overloaded, or about to stop"},
    504: {"model": ProtocolError, "description": "The answer was not ready in time"},
}

_OBJECT = {"type": "object"}


def inference_request() -> dict[str, Any]:
    """Return what Open Inference Protocol inference takes."""
    return {"parameters": [DEADLINE_PARAMETER], "requestBody": _inference_request_body()}


def predict_request() -> dict[str, Any]:
    """Return what TensorFlow Serving's predict takes."""
    return {"parameters": [DEADLINE_PARAMETER], "requestBody": _predict_request_body()}


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
