"""Annotated dependencies of the routes."""

from typing import Annotated

from fastapi import Depends, Request

from ..errors import InvalidInference
from ..model.classifier import Classifier
from ..model.repository import Repository


async def _repository(request: Request) -> Repository:
    repository: Repository = request.app.state.repository
    return repository


async def _is_ready(request: Request) -> bool:
    state = request.app.state
    return bool(state.repository.is_ready and state.admission.is_open)


ModelRepository = Annotated[Repository, Depends(_repository)]
Ready = Annotated[bool, Depends(_is_ready)]  # A version is served, new requests are accepted.

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"


def read_json_length(header: str | None) -> int | None:
    """Parse the header; raises InvalidInference if it is not a number of bytes."""
    if header is None:
        return None
    if not (len(header) < 20 and header.isascii() and header.isdecimal()):
        raise InvalidInference(f"{JSON_LENGTH_HEADER}: {header[:20]!r} is not a number of bytes")
    return int(header)


async def _named_version(request: Request, repository: ModelRepository, name: str) -> Classifier:
    return repository.find(name, request.path_params.get("version"))


async def _servable(request: Request, repository: ModelRepository, name: str) -> Classifier:
    return repository.find_servable(name, *map(request.path_params.get, ("version", "label")))


NamedVersion = Annotated[Classifier, Depends(_named_version)]  # In a path of the V2 protocol.
Servable = Annotated[Classifier, Depends(_servable)]  # In a path of TensorFlow Serving.
