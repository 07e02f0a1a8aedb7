"""What routes need of the application, by annotation."""

from typing import Annotated

from fastapi import Depends, Query, Request

from service.classifier import Classifier
from service.errors import NotReady
from service.images import Prepare
from service.settings import Settings


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _classifier(request: Request) -> Classifier:
    classifier: Classifier | None = request.app.state.classifier
    if classifier is None:
        raise NotReady("the model is still being loaded")
    return classifier


ServiceSettings = Annotated[Settings, Depends(_settings)]
LoadedClassifier = Annotated[Classifier, Depends(_classifier)]

PrepareQuery = Annotated[
    Prepare,
    Query(
        description="How a picture file becomes the network's input. `auto`: one that already has "
        "its size is taken bit for bit, any other is prepared as a photograph. `photo`: always "
        "prepared as a photograph. `plain`: only turned grey and resized. JSON numbers are never "
        "touched."
    ),
]
