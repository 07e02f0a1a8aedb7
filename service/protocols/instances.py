"""JSON `instances` to pixels."""

import math

import numpy as np

from service.errors import InvalidInstances, TooManyImages
from service.images.decode import ImageReader, PreparedImage
from service.protocols.json_arrays import (
    Numbers,
    decode_file,
    image_shapes,
    parse_json,
    parse_with_numbers,
)

_MAX_PIXEL = 255


def read_instances(body: bytes, reader: ImageReader) -> list[PreparedImage]:
    """Read `{"instances": [...]}`.

    An instance is (height, width), (height, width, 1) or (height · width) numbers in [0, 255], or
    `{"b64": "…"}` of an image file.

    Returns:
        The images in order; numbers as uint8 if all are integers and nothing else was sent,
        otherwise as float32.

    Raises:
        RequestError: An instance is not an image, which the message names, or a limit is exceeded.
    """
    numbers = _read_numbers(body, reader)
    if numbers is not None:
        reader.permit.record.record_phase("decode")
        _reserve(len(numbers), reader)
        dtype = np.uint8 if numbers.dtype.kind == "u" else np.float32
        return [PreparedImage(pixels, "none") for pixels in numbers.astype(dtype)]
    document = parse_json(body, reader.permit.limits)
    reader.permit.record.record_phase("decode")
    if not isinstance(document, dict) or set(document) != {"instances"}:
        raise InvalidInstances('the body must be an object with one key: {"instances": [...]}')
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise InvalidInstances("instances must be a list of at least one picture")
    _reserve(len(instances), reader)
    places = [f"instances[{index}]" for index in range(len(instances))]
    if all(isinstance(instance, dict) for instance in instances):
        files = [
            decode_file(instance, place, InvalidInstances)
            for instance, place in zip(instances, places, strict=True)
        ]
        return reader.read_all(files, "instances")
    return [
        reader.read(decode_file(instance, place, InvalidInstances), place)
        if isinstance(instance, dict)
        else _from_numbers(instance, place, reader.shape)
        for instance, place in zip(instances, places, strict=True)
    ]


def _read_numbers(body: bytes, reader: ImageReader) -> Numbers | None:
    """Return all images as (n, height, width), or None unless all are numbers in 0…255."""
    parsed = parse_with_numbers(
        body, "instances", image_shapes((*reader.shape, 1)), reader.permit.limits
    )
    if parsed is None or parsed[0] != {"instances": []}:
        return None
    numbers = parsed[1].reshape(-1, *reader.shape)
    return numbers if numbers.min() >= 0 and numbers.max() <= _MAX_PIXEL else None


def _reserve(images: int, reader: ImageReader) -> None:
    limit = reader.permit.limits.max_images
    if images > limit:
        raise TooManyImages(f"instances has {images} pictures, the limit is {limit}")
    reader.permit.reserve_images(images)


_Level = tuple[int, str, str]
"""Of nested lists: their length; what to say, after its kind, of something that is no list; and
what to say, after its length, of another length."""


def _from_numbers(instance: object, place: str, shape: tuple[int, int]) -> PreparedImage:
    height, width = shape
    count = height * width
    expected = 'a list of numbers or "b64"'
    rows = (height, expected, f"rows, expected {height}")
    columns = (width, f"a row of {width} numbers", f"columns, expected {width}")
    channels = (1, "a list of one number", "channels, expected 1")
    flat = (count, expected, f"numbers, expected {count} or {height} rows of {width}")
    levels: list[_Level] = [flat]
    if isinstance(instance, list) and any(isinstance(row, list) for row in instance):
        levels = [rows, columns]
        match instance:
            case [[[*_], *_], *_]:
                levels.append(channels)
    _check(instance, place, levels)
    return PreparedImage(np.array(instance, np.float32).reshape(shape), "none")


def _check(value: object, place: str, levels: list[_Level]) -> None:
    """Raise InvalidInstances for the first thing wrong with nested lists of pixels."""
    if not levels:
        _check_pixel(value, place)
        return
    (length, expected, expected_length), *inner = levels
    if not isinstance(value, list):
        raise InvalidInstances(f"{place}: {_kind(value)}, expected {expected}")
    if len(value) != length:
        raise InvalidInstances(f"{place}: {len(value)} {expected_length}")
    for index, item in enumerate(value):
        # To format the place of every correct number would take longer than all else.
        if inner or type(item) not in (int, float) or not 0 <= item <= _MAX_PIXEL:
            _check(item, f"{place}[{index}]", inner)


def _check_pixel(value: object, place: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInstances(f"{place}: {_kind(value)}, expected a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInstances(f"{place}: {value}, expected a finite number")
    if not 0 <= value <= _MAX_PIXEL:
        text = str(value)
        shortened = text if len(text) <= 20 else f"{text[:20]}…"
        raise InvalidInstances(f"{place}: {shortened} is outside 0…{_MAX_PIXEL}")


def _kind(value: object) -> str:
    """Return what JSON calls the value."""
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "a boolean", str: "a string", dict: "an object", list: "a list"}
    return names.get(type(value), "a number")
