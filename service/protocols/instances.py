"""JSON `instances` to pixels."""

import math
from types import NoneType

import numpy as np

from service.errors import InvalidInstances, TooManyImages
from service.images.decode import ImageReader, PreparedImage
from service.protocols.json_arrays import (
    decode_file,
    image_shapes,
    parse_json,
    parse_with_numbers,
)

_MAX_PIXEL = 255
_KINDS = {NoneType: "null", bool: "a boolean", str: "a string", dict: "an object", list: "a list"}


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
    permit, limits = reader.permit, reader.permit.limits
    shapes = image_shapes((*reader.shape, 1))
    document = parse_with_numbers(body, ["instances"], shapes, limits)
    permit.record.record_phase("decode")
    if not isinstance(document, dict) or document.keys() != {"instances"}:
        raise InvalidInstances('the body must be an object with one key: {"instances": [...]}')
    instances = document["instances"]
    is_array = isinstance(instances, np.ndarray)
    if not is_array and (not isinstance(instances, list) or not instances):
        raise InvalidInstances("instances must be a list of at least one picture")
    if len(instances) > limits.max_images:
        raise TooManyImages(
            f"instances has {len(instances)} pictures, the limit is {limits.max_images}"
        )
    permit.reserve_images(len(instances))
    if is_array:
        is_unsigned = instances.dtype.kind == "u"
        if instances.max() <= _MAX_PIXEL and (is_unsigned or instances.min() >= 0):
            images = instances.astype(np.uint8 if is_unsigned else np.float32)
            return [PreparedImage(image, "none") for image in images.reshape(-1, *reader.shape)]
        instances = parse_json(body, limits)["instances"]  # The message quotes a number as sent.
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


def _from_numbers(instance: object, place: str, shape: tuple[int, int]) -> PreparedImage:
    height, width = shape
    count = height * width
    expected = 'a list of numbers or "b64"'
    # Of each level of lists: its length, what it is, and what to say of another length.
    levels = [(count, expected, f"numbers, expected {count} or {height} rows of {width}")]
    if isinstance(instance, list) and any(isinstance(row, list) for row in instance):
        levels = [
            (height, expected, f"rows, expected {height}"),
            (width, f"a row of {width} numbers", f"columns, expected {width}"),
        ]
        match instance:
            case [[[*_], *_], *_]:
                levels.append((1, "a list of one number", "channels, expected 1"))
    _check(instance, place, levels)
    return PreparedImage(np.array(instance, np.float32).reshape(shape), "none")


def _check(value: object, place: str, levels: list[tuple[int, str, str]]) -> None:
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
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidInstances(f"{place}: {_kind(value)}, expected a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInstances(f"{place}: {value}, expected a finite number")
    if not 0 <= value <= _MAX_PIXEL:
        text = str(value)
        shortened = text if len(text) <= 20 else f"{text[:20]}…"
        raise InvalidInstances(f"{place}: {shortened} is outside 0…{_MAX_PIXEL}")


def _kind(value: object) -> str:
    """Return what JSON calls the value."""
    return _KINDS.get(type(value), "a number")
