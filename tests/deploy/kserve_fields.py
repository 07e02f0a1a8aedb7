"""Prints the fields of an InferenceService, read from standard input, that KServe does not have."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import kserve
from kubernetes import client as kubernetes


def unknown_fields(value: Any, kind: str) -> Iterator[str]:
    """Yield what KServe's client has no place for, or fail where it has another type."""
    if match := re.fullmatch(r"list\[(.*)\]", kind):
        assert isinstance(value, list)
        for item in value:
            yield from unknown_fields(item, match[1])
        return
    model = getattr(kserve, kind, None) or getattr(kubernetes, kind, None)
    if model is None:
        expected = {"str": str, "int": int, "bool": bool}.get(kind, object)
        assert isinstance(value, expected), (value, kind)
        return
    types = {json: model.openapi_types[name] for name, json in model.attribute_map.items()}
    for name, field in value.items():
        if name in types:
            yield from unknown_fields(field, types[name])
        else:
            yield name


if __name__ == "__main__":
    print(*unknown_fields(json.load(sys.stdin), "V1beta1InferenceService"))
