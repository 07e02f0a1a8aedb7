"""Print the fields of an InferenceService that KServe's own client does not know.

    python -m tests.deploy.kserve_fields < inference_service.json

In a process of its own: importing `kserve` registers the messages of the Open Inference Protocol,
which a process can do only once, and `tritonclient` does so too.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import kserve
from kubernetes import client as kubernetes

JSON_TYPES = {"str": str, "int": int, "bool": bool}


def unknown_fields(value: Any, kind: str) -> Iterator[str]:
    """Yield fields that a model of the client does not have, and values of a wrong type."""
    if match := re.fullmatch(r"list\[(.*)\]", kind):
        for item in value:
            yield from unknown_fields(item, match[1])
        return
    model = getattr(kserve, kind, None) or getattr(kubernetes, kind, None)
    if model is None:
        if not isinstance(value, JSON_TYPES.get(kind, object)):
            yield f"{value!r}, which is not of type {kind}"
        return
    types = {json: model.openapi_types[name] for name, json in model.attribute_map.items()}
    for name, field in value.items():
        if name in types:
            yield from unknown_fields(field, types[name])
        else:
            yield name


if __name__ == "__main__":
    print(json.dumps(list(unknown_fields(json.load(sys.stdin), "V1beta1InferenceService"))))
