"""What clients send, as the network takes it."""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from service.capacity.admission import Ticket
from service.arrays import Pixels, Tensor
from service.model.classifier import Classifier
from service.errors import InvalidTensor, TooManyImages
from service.images.decode import Prepare
from service.images.picture_reader import PictureReader
from service.protocols.tensors import NamedTensor
from service.settings import Settings
from service.capacity.parallel import do_all

PIXEL_DATATYPES = {"UINT8", "INT32", "INT64"}
"""Of pictures in 0…scale, which are divided by the scale."""

UNIT_DATATYPES = {"FP32", "FP64"}
"""Of what is already in the network's own units."""


def numbers_to_images(
    tensor: NamedTensor, classifier: Classifier, max_images: int, ticket: Ticket
) -> Tensor:
    """Return a tensor of numbers as the network takes it.

    Args:
        tensor: (n, height, width, 1), (n, height, width) or (n, height · width); of integers in
            0…scale, or of floats in the network's own units, which may be anything.
        classifier: Whose input it is.
        max_images: Most pictures allowed.
        ticket: Of the request.

    Returns:
        (n, height, width, 1) float32.

    Raises:
        InvalidTensor: The datatype, the shape or an integer is not one of these.
        TooManyImages: n is over the limit.
        Overloaded: There is no place for so many.
    """
    values = tensor.values
    if isinstance(values, list) or tensor.datatype not in PIXEL_DATATYPES | UNIT_DATATYPES:
        datatypes = ", ".join(sorted(PIXEL_DATATYPES | UNIT_DATATYPES))
        raise InvalidTensor(f"{tensor.name}: {tensor.datatype}, expected one of {datatypes}")
    spec = classifier.manifest.input
    height, width = spec.size
    if tensor.shape[1:] not in {spec.shape, (height, width), (height * width,)}:
        raise InvalidTensor(
            f"{tensor.name}: shape {list(tensor.shape)}, expected [n, {height}, {width}, 1], "
            f"[n, {height}, {width}] or [n, {height * width}]"
        )
    check_count(tensor.name, tensor.shape, max_images, ticket)
    if tensor.datatype in UNIT_DATATYPES:
        with np.errstate(over="ignore"):  # A number too large for float32 becomes infinite.
            images: Tensor = values.astype(np.float32, copy=False)
    else:
        _check_pixels(values, tensor.name, spec.scale)
        images = np.divide(values, np.float32(spec.scale), dtype=np.float32)
    return images.reshape(-1, *spec.shape)


def pictures_to_images(
    tensor: NamedTensor,
    prepare: str,
    classifier: Classifier,
    settings: Settings,
    ticket: Ticket,
) -> Tensor:
    """Return picture files as the network takes them: (n, height, width, 1) float32 in [0, 1].

    Raises:
        RequestError: One of them is refused by `read_image`; the message says which.
    """
    if prepare not in get_args(Prepare):
        raise InvalidTensor(f"prepare: {prepare!r} is none of {', '.join(get_args(Prepare))}")
    files = tensor.values
    reader = PictureReader(
        prepare,  # type: ignore[arg-type]  # checked above
        classifier.manifest.input.size,
        settings.max_pixels,
        ticket,
    )

    def read(index: int) -> Pixels:
        return reader.read(files[index], f"{tensor.name}[{index}]").pixels

    byte_count = sum(map(len, files))
    pixels = do_all(read, range(len(files)), byte_count, ticket.helpers)
    return classifier.to_images(pixels)


def check_count(name: str, shape: Sequence[int], max_images: int, ticket: Ticket) -> None:
    """Take places for as many pictures as the first dimension says.

    Raises:
        InvalidTensor: There is none.
        TooManyImages: There are more than `max_images`.
        Overloaded: There is no place for so many.
    """
    if not shape or shape[0] < 1:
        raise InvalidTensor(f"{name}: shape {list(shape)} has no picture")
    if shape[0] > max_images:
        raise TooManyImages(f"{name}: {shape[0]} pictures, the limit is {max_images}")
    ticket.hold_images(shape[0])


def _check_pixels(values: NDArray[Any], name: str, scale: float) -> None:
    if values.dtype.itemsize == 1 and scale >= np.iinfo(values.dtype).max:
        return  # It cannot hold anything else.
    low, high = values.min(), values.max()
    if low < 0 or high > scale:
        outside = low if low < 0 else high
        raise InvalidTensor(f"{name}: {outside} is outside 0…{scale:g}")
