"""What routes need of the application, by annotation."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from service.capacity.admission import Admission
from service.model.classifier import Classifier
from service.errors import UnknownVersion
from service.images.decode import Prepare
from service.telemetry.metrics import Metrics
from service.model.repository import Repository
from service.settings import Settings
from service.model.workers import Workers


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _repository(request: Request) -> Repository:
    repository: Repository = request.app.state.repository
    return repository


async def _workers(request: Request) -> Workers:
    workers: Workers = request.app.state.workers
    return workers


async def _is_ready(request: Request) -> bool:
    repository: Repository = request.app.state.repository
    admission: Admission = request.app.state.admission
    return repository.is_ready and admission.is_open


async def _worker(request: Request) -> int:
    metrics: Metrics = request.app.state.observer.metrics
    return metrics.worker


ServiceSettings = Annotated[Settings, Depends(_settings)]
ModelRepository = Annotated[Repository, Depends(_repository)]
AllWorkers = Annotated[Workers, Depends(_workers)]
WorkerNumber = Annotated[int, Depends(_worker)]

Ready = Annotated[bool, Depends(_is_ready)]
"""Whether a version is served and new requests are taken."""


async def _classifier(
    repository: ModelRepository,
    version: Annotated[
        int | None, Query(description="Version of the model; the highest by default.")
    ] = None,
    version_label: Annotated[
        str | None,
        Query(min_length=1, description="Label of a version, instead of its number."),
    ] = None,
) -> Classifier:
    return repository.classifier(version, version_label)


async def _default_classifier(repository: ModelRepository) -> Classifier:
    return repository.classifier()


LoadedClassifier = Annotated[Classifier, Depends(_classifier)]
"""The version that the query asks for."""

DefaultClassifier = Annotated[Classifier, Depends(_default_classifier)]
"""The version that is served to who asks for none."""


def version_number(text: str) -> int:
    """Return the version that a path names.

    Raises:
        UnknownVersion: It is no number, so that there cannot be one of that name.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise UnknownVersion(f"no version {text!r}: versions are numbers")
    return int(text)


AcceptHeader = Annotated[str | None, Header(include_in_schema=False)]
"""What OpenAPI tells by the media types of the answer (3.1.1, Parameter Object)."""

PrepareQuery = Annotated[
    Prepare,
    Query(
        description="How a picture file becomes the network's input. `auto`: one that already has "
        "its size is taken bit for bit, any other is prepared as a photograph. `photo`: always "
        "prepared as a photograph. `plain`: only turned grey and resized. JSON numbers are never "
        "touched."
    ),
]
