"""JSON `instances` to pixels."""

import math
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInstances, TooManyImages
from service.images.decode import ImageReader, PreparedImage
from service.protocols.json_arrays import (
    decode_file,
    image_shapes,
    names_of,
    parse_json,
    parse_with_numbers,
)

WHITE = 255
_KINDS = {NoneType: "null", bool: "a boolean", str: "a string", dict: "an object", list: "a list"}


def read_instances(body: bytes, reader: ImageReader, scale: float = WHITE) -> list[PreparedImage]:
    """Read `{"instances": [...]}`.

    An instance is (height, width), (height, width, 1) or (height · width) numbers in [0, scale],
    or an image file, as `{"b64": "…"}` or as a string in base64.

    Returns:
        The images in order; numbers in [0, 255], as uint8 if all were sent as such integers and
        nothing else was sent, otherwise as float32.

    Raises:
        RequestError: An instance is not an image, which the message names, or a limit is exceeded.
    """
    permit, limits = reader.permit, reader.permit.limits
    shapes = image_shapes((*reader.shape, 1))
    document = parse_with_numbers(body, ["instances"], shapes, limits)
    permit.record.record_phase("decode")
    if not isinstance(document, dict) or document.keys() != {"instances"}:
        sent = f", not {names_of(document)}" if isinstance(document, dict) else ""
        raise InvalidInstances(
            f'the body must be an object with one key, {{"instances": [...]}}{sent}'
        )
    instances = document["instances"]
    is_array = isinstance(instances, np.ndarray)
    if not is_array and (not isinstance(instances, list) or not instances):
        raise InvalidInstances("instances must be a list of at least one picture")
    if not is_array and _is_one_image(instances, reader.shape):
        raise InvalidInstances(
            'instances is one picture, not a list: write {"instances": [<picture>]}'
        )
    if len(instances) > limits.max_images:
        raise TooManyImages(
            f"instances has {len(instances)} pictures, the limit is {limits.max_images}"
        )
    permit.reserve_images(len(instances))
    places = [f"instances[{index}]" for index in range(len(instances))]
    if is_array:
        is_unsigned = instances.dtype.kind == "u"
        if instances.max() <= scale and (is_unsigned or instances.min() >= 0):
            images = instances.reshape(-1, *reader.shape)
            if is_unsigned and scale == WHITE:
                return [PreparedImage(image, "none") for image in images.astype(np.uint8)]
            return [
                _from_floats(image, place, scale)
                for image, place in zip(images.astype(np.float32), places, strict=True)
            ]
        instances = parse_json(body, limits)["instances"]  # The message quotes a number as sent.
    if all(isinstance(instance, dict | str) for instance in instances):
        files = [
            decode_file(instance, place, InvalidInstances)
            for instance, place in zip(instances, places, strict=True)
        ]
        return reader.read_all(files, "instances")
    return [
        reader.read(decode_file(instance, place, InvalidInstances), place)
        if isinstance(instance, dict | str)
        else _from_numbers(instance, place, reader.shape, scale)
        for instance, place in zip(instances, places, strict=True)
    ]


def _is_one_image(instances: list[Any], shape: tuple[int, int]) -> bool:
    """Whether a list looks like one image rather than a list of them."""
    match instances[0]:
        case list() as row:
            return (len(instances), len(row)) == shape
        case int() | float():
            return len(instances) == math.prod(shape)
    return False


def _from_floats(image: NDArray[np.float32], place: str, scale: float) -> PreparedImage:
    """Return numbers in [0, scale] as an image, unless they seem to be of another scale."""
    if scale == WHITE and image.max() <= 1 and (image % 1).any():
        raise InvalidInstances(
            f"{place}: all numbers are in 0…1, and {WHITE} is white: multiply them by {WHITE}, "
            "or send ?scale=1 to have 1 taken for white"
        )
    return PreparedImage(image if scale == WHITE else image * np.float32(WHITE / scale), "none")


def _from_numbers(
    instance: object, place: str, shape: tuple[int, int], scale: float
) -> PreparedImage:
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
    _check(instance, place, levels, scale)
    return _from_floats(np.array(instance, np.float32).reshape(shape), place, scale)


def _check(value: object, place: str, levels: list[tuple[int, str, str]], scale: float) -> None:
    """Raise InvalidInstances for the first thing wrong with nested lists of pixels."""
    if not levels:
        _check_pixel(value, place, scale)
        return
    (length, expected, expected_length), *inner = levels
    if not isinstance(value, list):
        raise InvalidInstances(f"{place}: {_kind(value)}, expected {expected}")
    if len(value) != length:
        raise InvalidInstances(f"{place}: {len(value)} {expected_length}")
    for index, item in enumerate(value):
        # To format the place of every correct number would take longer than all else.
        if inner or type(item) not in (int, float) or not 0 <= item <= scale:
            _check(item, f"{place}[{index}]", inner, scale)


def _check_pixel(value: object, place: str, scale: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidInstances(f"{place}: {_kind(value)}, expected a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInstances(f"{place}: {value}, expected a finite number")
    if not 0 <= value <= scale:
        text = str(value)
        shortened = text if len(text) <= 20 else f"{text[:20]}…"
        raise InvalidInstances(f"{place}: {shortened} is outside 0…{scale:g}")


def _kind(value: object) -> str:
    """Return what JSON calls the value."""
    return _KINDS.get(type(value), "a number")
