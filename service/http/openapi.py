"""Completes FastAPI's OpenAPI document: request bodies, errors, shared components, examples."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from ..arrays import WHITE
from ..model.repository import Repository
from ..protocols.json_arrays import Shape, image_shapes
from .inference import DEADLINE_HEADER
from .messages import JSON
from .schemas import ErrorResponse, ProtocolError

COMPONENTS = Path(__file__).parent / "components.json"
"""Request bodies with examples, and parameters that are read without FastAPI."""


def _errors(model: type[ErrorResponse] | type[ProtocolError]) -> dict[int | str, dict[str, Any]]:
    return {
        "4XX": {"model": model, "description": "Something is wrong with the request"},
        503: {"model": model, "description": "Not ready, overloaded, or about to stop"},
        504: {"model": model, "description": "The answer was not ready in time"},
    }


ERRORS = _errors(ErrorResponse)
PROTOCOL_ERRORS = _errors(ProtocolError)


def request_spec(body: str, path: str = "") -> dict[str, Any]:
    """Return path parameters, deadline header and body of a route; `body` names a component."""
    deadline = {"$ref": f"#/components/parameters/{DEADLINE_HEADER}"}
    spec = {
        "parameters": [*path_parameters(path), deadline],
        "requestBody": {"$ref": f"#/components/requestBodies/{body}"},
    }
    if path:  # The protocols' responses have schemas in `COMPONENTS`.
        answer = {"schema": {"$ref": f"#/components/schemas/{body}Response"}}
        spec["responses"] = {"200": {"content": {JSON: answer}}}
    return spec


def path_parameters(path: str) -> list[dict[str, Any]]:
    """Return the `version` or `label` of a path, which FastAPI would take for a query parameter."""
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("version", "label")
        if f"{{{name}" in path
    ]


IMAGE_ROUTE: dict[str, Any] = {"responses": ERRORS, "openapi_extra": request_spec("Images")}


def operation_id(route: APIRoute) -> str:
    """Return the function name with protocol and kind of path, for generated clients."""
    protocol = {"/v1": "v1_", "/v2": "v2_"}.get(route.path_format[:3], "")
    kinds = [kind for kind in ("version", "label") if f"{{{kind}" in route.path_format]
    return "_".join([protocol + route.name, *kinds])


def complete(document: dict[str, Any], labels: Collection[str]) -> dict[str, Any]:
    """Add the components of `COMPONENTS`; move parameters, answers and errors to components.

    Paths with a label are removed if no labels are configured.
    """
    for path in [path for path in document["paths"] if "{label}" in path and not labels]:
        del document["paths"][path]
    own = json.loads(COMPONENTS.read_text())
    parameters, errors = own["parameters"], own.setdefault("responses", {})
    for methods in document["paths"].values():
        for operation in methods.values():
            for number, sent in enumerate(operation.get("parameters", ())):
                name = sent.get("name", "")  # A reference has none.
                schema = sent.get("schema", {})
                if {"type": "null"} in schema.get("anyOf", ()):  # A missing parameter, not null.
                    schema.update(schema.pop("anyOf")[0])
                name += "_in_path" * (sent.get("in") == "path")
                if name and parameters.setdefault(name, sent) == sent:
                    operation["parameters"][number] = {"$ref": f"#/components/parameters/{name}"}
            content = operation["responses"]["200"]["content"].get(JSON, {})
            if title := content.get("schema", {}).pop("title", ""):  # A readable name for clients.
                name = title.removeprefix("Response ").replace(" ", "")
                own["schemas"][name] = content["schema"]
                content["schema"] = {"$ref": f"#/components/schemas/{name}"}
            for status, answer in operation["responses"].items():
                if status != "200":
                    name = answer["content"][JSON]["schema"]["$ref"].rpartition("/")[2] + status
                    errors.setdefault(name, answer)
                    operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    for kind, components in own.items():
        document["components"].setdefault(kind, {}).update(components)
    return document


def _numbers(shape: Shape) -> dict[str, Any]:
    """Describe nested lists of grey values."""
    schema: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": WHITE}
    for size in reversed(shape):
        schema = {"type": "array", "minItems": size, "maxItems": size, "items": schema}
    return {"title": str(shape), **schema}


def with_examples(document: dict[str, Any], repository: Repository) -> dict[str, Any]:
    """Add shapes and examples of the served model, so that each operation can be tried in /docs."""
    if repository.is_ready:
        classifier = repository.classifier()
        items = document["components"]["schemas"]["Instances"]["properties"]["instances"]["items"]
        items["anyOf"][1:] = map(_numbers, image_shapes(classifier.manifest.input.shape))
        layer = next(iter(classifier.layers_with_maps), classifier.manifest.layers[0]).name
        examples = {
            "name_in_path": classifier.manifest.name,
            "version_in_path": str(classifier.manifest.version),
            "label_in_path": next(iter(repository.labels), ""),
            "layer_in_path": layer,
            "layer": [layer],
            "channels": ["0"],
        }
        for name, example in examples.items():
            if parameter := document["components"]["parameters"].get(name):
                parameter["example"] = example
    return document
