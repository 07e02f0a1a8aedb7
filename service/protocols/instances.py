"""JSON `instances` to the pixels the network was made for. Knows nothing of HTTP.

Pictures that are all numbers are read at once. Only when that does not give what it should is the
document taken apart, and the nested list walked to say what is wrong and where.
"""

import base64
import binascii
import math
from typing import Any

import numpy as np

from service.capacity.admission import Ticket
from service.arrays import Pixels
from service.protocols.json_parsing import parse_json
from service.errors import InvalidInstances, TooManyImages
from service.images.decode import PreparedImage
from service.protocols.json_arrays import Numbers, parse_numbers
from service.telemetry.record import finish
from service.images.picture_reader import PictureReader
from service.settings import Settings
from service.capacity.parallel import do_all

_LARGEST_PIXEL = 255


def read_instances(body: bytes, reader: PictureReader, settings: Settings) -> list[PreparedImage]:
    """Read `{"instances": [...]}`.

    Args:
        body: JSON. Each instance is (height, width), (height, width, 1) or (height · width)
            numbers in [0, 255], taken as they are, or `{"b64": "…"}` of a picture file.
        reader: Of picture files; numbers have to have the shape it is for.
        settings: The limits.

    Returns:
        The pictures in the order sent; numbers as (height, width) uint8 if all that were sent are
        whole, or float32.

    Raises:
        InvalidJSON: `body` is not JSON, or nests deeper than `max_json_depth`.
        BodyTooLarge: It has more than `max_json_marks`.
        InvalidInstances: An instance is not a picture; the message names it.
        TooManyImages: There are more than `max_images`.
        Overloaded: There is no place for so many.
        RequestError: A picture file is refused by `read_image`.
    """
    shape, ticket = reader.shape, reader.ticket
    numbers = _read_numbers(body, shape, settings)
    if numbers is not None:
        finish("decode")
        _hold(len(numbers), settings, ticket)
        dtype = np.uint8 if numbers.dtype.kind == "u" else np.float32
        return [PreparedImage(pixels, "none") for pixels in numbers.astype(dtype)]
    # NaN is let through here so that it can be refused by name and place below.
    document = parse_json(body, settings.json_limits)
    finish("decode")
    if not isinstance(document, dict) or set(document) != {"instances"}:
        raise InvalidInstances('the body must be an object with one key: {"instances": [...]}')
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise InvalidInstances("instances must be a list of at least one picture")
    _hold(len(instances), settings, ticket)
    # numpy would take true for 1. The token can only be there if a walk is worth its time.
    may_hold_booleans = b"true" in body or b"false" in body

    def read(index: int) -> PreparedImage:
        instance, place = instances[index], f"instances[{index}]"
        if not isinstance(instance, dict):
            return _from_numbers(instance, place, shape, walk=may_hold_booleans)
        return reader.read(_from_base64(instance, place), place)

    # Numbers are made into pixels under the interpreter's lock.
    helpers = ticket.helpers if isinstance(instances[0], dict) else None
    return do_all(read, range(len(instances)), len(body), helpers)


def _read_numbers(body: bytes, shape: tuple[int, int], settings: Settings) -> Numbers | None:
    """Return all pictures as (n, height, width), or None unless all are numbers in 0…255."""
    height, width = shape
    shapes = [shape, (height, width, 1), (height * width,)]
    numbers = parse_numbers(body, "instances", shapes, settings.json_limits)
    if (
        numbers is None
        or numbers.max() > _LARGEST_PIXEL
        or (numbers.dtype.kind != "u" and numbers.min() < 0)
    ):
        return None
    return numbers.reshape(-1, *shape)


def _hold(images: int, settings: Settings, ticket: Ticket) -> None:
    if images > settings.max_images:
        raise TooManyImages(f"instances has {images} pictures, the limit is {settings.max_images}")
    ticket.hold_images(images)


def _from_base64(instance: dict[str, Any], place: str) -> bytes:
    if set(instance) != {"b64"} or not isinstance(instance["b64"], str):
        raise InvalidInstances(f'{place}: an object must be {{"b64": "<picture file in base64>"}}')
    try:
        return base64.b64decode(instance["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInstances(f"{place}: b64 is not valid base64: {error}") from error


def _from_numbers(
    instance: object, place: str, shape: tuple[int, int], *, walk: bool
) -> PreparedImage:
    if not isinstance(instance, list):
        raise InvalidInstances(f'{place}: {_kind(instance)}, expected a list of numbers or "b64"')
    pixels = None if walk else _as_array(instance, shape)
    if pixels is None:
        _check_numbers(instance, place, shape)
        pixels = np.array(instance)
    return PreparedImage(pixels.astype(np.float32).reshape(shape), "none")


def _as_array(instance: list[Any], shape: tuple[int, int]) -> Pixels | None:
    """Return the numbers as an array, or None if they are not a picture."""
    height, width = shape
    try:
        pixels = np.array(instance)
    except ValueError:  # ragged
        return None
    if pixels.dtype.kind not in "iuf":
        return None
    if pixels.shape not in {(height, width), (height, width, 1), (height * width,)}:
        return None
    # Written so that NaN, which compares false with everything, is caught as well.
    in_range = pixels.min() >= 0 and pixels.max() <= _LARGEST_PIXEL
    return pixels if in_range else None


def _check_numbers(instance: list[Any], place: str, shape: tuple[int, int]) -> None:
    """Raise InvalidInstances for the first thing wrong with a list of numbers."""
    height, width = shape
    if not any(isinstance(row, list) for row in instance):
        if len(instance) != height * width:
            raise InvalidInstances(
                f"{place}: {len(instance)} numbers, expected {height * width} "
                f"or {height} rows of {width}"
            )
        for index, value in enumerate(instance):
            _check_number(value, f"{place}[{index}]")
        return
    if len(instance) != height:
        raise InvalidInstances(f"{place}: {len(instance)} rows, expected {height}")
    for y, row in enumerate(instance):
        if not isinstance(row, list):
            raise InvalidInstances(f"{place}[{y}]: {_kind(row)}, expected a row of {width} numbers")
        if len(row) != width:
            raise InvalidInstances(f"{place}[{y}]: {len(row)} columns, expected {width}")
        for x, value in enumerate(row):
            _check_pixel(value, f"{place}[{y}][{x}]", has_channel=isinstance(instance[0][0], list))


def _check_pixel(value: object, place: str, *, has_channel: bool) -> None:
    if not has_channel:
        _check_number(value, place)
    elif not isinstance(value, list):
        raise InvalidInstances(f"{place}: {_kind(value)}, expected a list of one number")
    elif len(value) != 1:
        raise InvalidInstances(f"{place}: {len(value)} channels, expected 1")
    else:
        _check_number(value[0], f"{place}[0]")


def _check_number(value: object, place: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInstances(f"{place}: {_kind(value)}, expected a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInstances(f"{place}: {value}, expected a finite number")
    if not 0 <= value <= _LARGEST_PIXEL:
        raise InvalidInstances(f"{place}: {_shortened(value)} is outside 0…{_LARGEST_PIXEL}")


def _shortened(value: float) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:20]}…"


def _kind(value: object) -> str:
    """Return what JSON calls the value."""
    names: dict[type, str] = {
        bool: "a boolean",
        str: "a string",
        type(None): "null",
        dict: "an object",
        list: "a list",
        int: "a number",
        float: "a number",
    }
    return names[type(value)]
