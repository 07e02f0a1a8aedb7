"""Which channels of a layer a query asks for."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from service.model.artifact import Layer
from service.errors import InvalidParameter

ChannelsQuery = Annotated[
    list[str],
    Query(description="Only these channels, counted from 0; repeated, or separated by commas."),
]


def split(values: Sequence[str]) -> list[str]:
    """Return what is listed, whether it was repeated or separated by commas."""
    return [item.strip() for value in values for item in value.split(",")]


def select_channels(layer: Layer, channels: Sequence[str]) -> list[int]:
    """Return the channels asked for in that order, or all if none is.

    Raises:
        InvalidParameter: One is no number, or not in the layer.
    """
    count = layer.output_shape[-1]
    numbers = [_channel(text) for text in channels]
    for number in numbers:
        if number >= count:
            raise InvalidParameter(
                f"channels: no {number} in {layer.name}, its channels are 0…{count - 1}"
            )
    return numbers or list(range(count))


def _channel(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise InvalidParameter(f"channels: {text!r} is not a channel number")
    return int(text)
