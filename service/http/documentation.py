"""The OpenAPI description of a request body that carries pictures, with examples that work."""

import base64
from typing import Any

from service.http.admission import DEADLINE_HEADER
from service.http.pictures import PICTURE_MEDIA_TYPES
from service.images.decode import read_image
from service.http.schemas import ErrorResponse

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorResponse, "description": "Something is wrong with the request"},
    503: {"model": ErrorResponse, "description": "Not ready, overloaded, or about to stop"},
    504: {"model": ErrorResponse, "description": "The answer was not ready in time"},
}

# The first test picture of Fashion-MNIST, an ankle boot, as a PNG.
EXAMPLE_PNG_BASE64 = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAABUElEQVR42t3Su0rDYBgG4Pf78ydpDk0roQcVPAyl"
    "aJFOoljciu7i4uCiixfgfQkOTl6Bo5Pgoqhoiya2aWqb/AcHQdA70G98H953+oB/fQYBNhoA+xETw/y+JzUwxd5v"
    "hMJ25xgAqocJwH8OivWVXuMscu7D4PFXkwlvnwpFYtTKY/6NBEYwFE56L06hJ1WaWYH3hQQNpQ2Jg/rLqPzWz7kJ"
    "5jW+UINxgsRR+yEsO8OiGueksQsOMGhSCpjbc259O8y0CzmVqeqAG1IBGpWl5mw2LAemrRbN91yxDyNpcYnaouc5"
    "y24+YiVHuOOp9VxyY38mrYcc3TlRMaRI/DrZMfONdDSoArFybMF3jm+eE5YZlFiqSI4y67VViyF1J6M+v9pc60Ak"
    "UTSwKGy6gW5f33VtDfE0LBIAf6O5VQk80iq6ubyYAOcLr0kipqd/65k+AWKCff9NOm1OAAAAAElFTkSuQmCC"
)


DEADLINE_PARAMETER: dict[str, Any] = {
    "name": DEADLINE_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "number", "exclusiveMinimum": 0},
    "description": "Seconds the answer may take once the body has arrived; only fewer than the "
    "service allows are of use. A later one is answered 504.",
}


def picture_request() -> dict[str, Any]:
    """Return what a route that reads pictures takes beside its query."""
    return {"parameters": [DEADLINE_PARAMETER], "requestBody": _picture_request_body()}


def _picture_request_body() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": _INSTANCES_SCHEMA,
                "examples": {
                    "b64": {
                        "summary": "A picture file in base64",
                        "value": {"instances": [{"b64": EXAMPLE_PNG_BASE64}]},
                    },
                    "numbers": {
                        "summary": "28 rows of 28 numbers in 0…255",
                        "value": {"instances": [_example_rows()]},
                    },
                },
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 1,
                            "description": "Picture files; any field name will do.",
                        }
                    },
                    "required": ["files"],
                }
            },
            **dict.fromkeys(PICTURE_MEDIA_TYPES, binary),
            "application/octet-stream": binary,
        },
    }


def _example_rows() -> list[list[int]]:
    data = base64.b64decode(EXAMPLE_PNG_BASE64)
    image = read_image(data, prepare="auto", shape=(28, 28), max_pixels=28 * 28)
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
