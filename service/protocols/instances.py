"""Reads JSON `instances` as pixels."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..arrays import WHITE
from ..errors import InvalidInstances, InvalidTensor, TooManyImages
from ..images.decode import ImageReader, PreparedImage
from . import json_arrays
from .json_arrays import Shape, decode_file, image_shapes
from .tensors import flatten


def read_instances(body: bytes, reader: ImageReader, scale: float = WHITE) -> list[PreparedImage]:
    """Read `{"instances": [...]}`.

    An instance is (height, width), (height, width, 1) or (height · width) numbers in [0, scale],
    or an image file, as `{"b64": "…"}` or as a string in base64.

    Numbers become pixels in [0, 255]: uint8 if all instances are such integers, else float32.
    Raises RequestError if an instance is not an image or a limit is exceeded.
    """
    permit, limits = reader.permit, reader.permit.limits
    shapes = image_shapes((*reader.shape, 1))
    document = json_arrays.parse_with_numbers(body, ["instances"], shapes, limits)
    permit.record.record_phase("decode")
    if not isinstance(document, dict) or document.keys() != {"instances"}:
        sent = f", not {list(document)}" if isinstance(document, dict) else ""
        raise InvalidInstances(
            f'the body must be an object with one key, {{"instances": [...]}}{sent}'
        )
    instances = document["instances"]
    is_array = isinstance(instances, np.ndarray)
    if not is_array and (not isinstance(instances, list) or not instances):
        raise InvalidInstances("instances must be a list of at least one image")
    if not is_array and _is_one_image(instances, shapes):
        raise InvalidInstances('instances is one image, not a list: write {"instances": [<image>]}')
    if len(instances) > limits.max_images:
        raise TooManyImages(
            f"instances has {len(instances)} images, the limit is {limits.max_images}"
        )
    permit.reserve_images(len(instances))
    if is_array:
        is_unsigned = instances.dtype.kind == "u"
        if instances.max() <= scale and (is_unsigned or instances.min() >= 0):
            images = instances.reshape(-1, *reader.shape)
            if is_unsigned and scale == WHITE:
                return [PreparedImage(image, "none") for image in images.astype(np.uint8)]
            return [
                _from_floats(image, f"instances[{index}]", scale)
                for index, image in enumerate(images.astype(np.float32))
            ]
        instances = json_arrays.parse_json(body, limits)["instances"]  # To quote numbers as sent.
    places = [f"instances[{index}]" for index in range(len(instances))]
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


def _is_one_image(instances: list[object], shapes: Sequence[Shape]) -> bool:
    try:
        _, shape, types = flatten(instances)
    except InvalidTensor:
        return False
    return shape in shapes and types <= {int, float}


def _from_numbers(
    instance: object, place: str, shape: tuple[int, int], scale: float
) -> PreparedImage:
    try:
        numbers, nesting, _ = flatten(instance)
    except InvalidTensor as error:
        raise InvalidInstances(f"{place}: {error}") from error
    height, width = shape
    if nesting not in image_shapes((*shape, 1)):
        raise InvalidInstances(
            f"{place}: shape {list(nesting)}, expected [{height}, {width}], "
            f"[{height}, {width}, 1] or [{height * width}]"
        )
    for index, number in enumerate(numbers):
        if type(number) not in (int, float) or not 0 <= number <= scale:
            where = "".join(f"[{i}]" for i in np.unravel_index(index, nesting))
            sent = json.dumps(number)[:20]
            raise InvalidInstances(f"{place}{where}: {sent} is not a number in 0…{scale:g}")
    return _from_floats(np.array(numbers, np.float32).reshape(shape), place, scale)


def _from_floats(image: NDArray[np.float32], place: str, scale: float) -> PreparedImage:
    """Return numbers in [0, scale] as an image, or raise if they seem to have another scale."""
    if scale == WHITE and image.max() <= 1 and (image % 1).any():
        raise InvalidInstances(
            f"{place}: all numbers are in 0…1, but white is {WHITE}: multiply them by {WHITE}, "
            "or send ?scale=1"
        )
    return PreparedImage(image if scale == WHITE else image * np.float32(WHITE / scale), "none")
