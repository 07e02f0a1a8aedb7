"""Tensors as JSON and as raw bytes (Open Inference Protocol, “Tensor Data” and its extensions)."""

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidTensor

Values = NDArray[Any] | list[bytes]
"""Numbers in the shape of their tensor, or the elements of a BYTES tensor in row-major order."""

_Flat = list[Any] | NDArray[Any]

BYTES = "BYTES"

# Little-endian whatever this machine is, as the protocol has it.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}

MAX_DIMENSIONS = 64
"""Of a tensor, as NumPy has it."""

MAX_SIZE = 2**63 - 1
"""Of a dimension; the protocol counts in 64 bits."""

MAX_ELEMENTS = 65536
"""Of a BYTES tensor. Each is a file of its own, and takes as long as a thousand numbers."""

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """One input or output of a request.

    Attributes:
        name: What the model calls it.
        datatype: One of `DTYPES`, or BYTES.
        shape: With the batch dimension.
        values: An array of `shape`, or for BYTES as many elements as `shape` has.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values


def check_datatype(datatype: str) -> None:
    """Raise InvalidTensor unless the protocol knows the datatype."""
    if datatype not in DTYPES and datatype != BYTES:
        raise InvalidTensor(f"datatype {datatype!r} is none of {', '.join(DTYPES)}, {BYTES}")


def check_shape(shape: Sequence[int]) -> None:
    """Raise InvalidTensor unless a tensor can have the shape, before anything is computed of it.

    The product of the dimensions that one body has room for would take minutes, and more digits
    than Python writes.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidTensor(f"{len(shape)} dimensions, a tensor has at most {MAX_DIMENSIONS}")
    if any(size < 0 for size in shape):
        raise InvalidTensor("the shape has a negative dimension")
    if any(size > MAX_SIZE for size in shape):
        raise InvalidTensor(f"the shape has a dimension over {MAX_SIZE}")


def _check_elements(shape: Sequence[int]) -> None:
    if prod(shape) > MAX_ELEMENTS:
        raise InvalidTensor(f"{prod(shape)} elements, {BYTES} has at most {MAX_ELEMENTS}")


def from_raw(raw: bytes | memoryview, datatype: str, shape: Sequence[int]) -> Values:
    """Take a tensor from its bytes, without copying numbers.

    Args:
        raw: Little-endian and row-major without padding; an element of BYTES is its length in
            four bytes, and itself.
        datatype: One of `DTYPES`, or BYTES.
        shape: Its dimensions.

    Raises:
        InvalidTensor: There are too few or too many bytes, or no tensor has such a shape.
    """
    view = memoryview(raw)
    check_datatype(datatype)
    check_shape(shape)
    if datatype == BYTES:
        _check_elements(shape)
        return _elements(view, prod(shape))
    dtype = DTYPES[datatype]
    expected = prod(shape) * dtype.itemsize
    if len(view) != expected:
        raise InvalidTensor(
            f"{len(view)} bytes, {datatype} of shape {list(shape)} has {expected} bytes"
        )
    return _in_shape(np.frombuffer(view, dtype), shape)


def _elements(view: memoryview, count: int) -> list[bytes]:
    elements: list[bytes] = []
    start = 0
    while start < len(view):
        if len(elements) == count:
            raise InvalidTensor(f"more elements than the {count} of the shape")
        if start + _LENGTH.size > len(view):
            raise InvalidTensor(f"the bytes end inside the length of element {len(elements)}")
        [length] = _LENGTH.unpack_from(view, start)
        start += _LENGTH.size
        if start + length > len(view):
            raise InvalidTensor(
                f"element {len(elements)} has {len(view) - start} bytes, its length says {length}"
            )
        elements.append(bytes(view[start : start + length]))
        start += length
    if len(elements) < count:
        raise InvalidTensor(f"{len(elements)} elements, the shape has {count}")
    return elements


def to_raw(tensor: NamedTensor) -> bytes | memoryview:
    """Return the bytes of a tensor, the reverse of `from_raw`; numbers are not copied."""
    if isinstance(tensor.values, list):
        return b"".join(
            part for element in tensor.values for part in (_LENGTH.pack(len(element)), element)
        )
    values = np.ascontiguousarray(tensor.values, DTYPES[tensor.datatype])
    return values.reshape(-1).view(np.uint8).data


def from_json(data: object, datatype: str, shape: Sequence[int]) -> Values:
    """Take a tensor from JSON.

    Args:
        data: A list of values, flat or nested as the shape is, or an array of numbers.
        datatype: One of `DTYPES` but FP16, which has no form in JSON, or BYTES, whose elements
            are strings in base64: JSON has no bytes.
        shape: Its dimensions.

    Raises:
        InvalidTensor: The values are of another kind, out of range, too few or too many, or no
            tensor has such a shape.
    """
    check_datatype(datatype)
    check_shape(shape)
    if datatype == BYTES:
        _check_elements(shape)
    flat, nested, kinds = flatten(data)
    if nested != tuple(shape) and nested != (prod(shape),):
        raise InvalidTensor(f"data of shape {list(nested)}, the tensor has shape {list(shape)}")
    if datatype == BYTES:
        if not kinds <= {str}:
            raise InvalidTensor("data of BYTES must be strings in base64")
        return [_decode(element, index) for index, element in enumerate(flat)]
    if datatype == "FP16":
        raise InvalidTensor("FP16 has no form in JSON; send it as bytes")
    dtype = DTYPES[datatype]
    by_kind: dict[str, set[type]] = {"b": {bool}, "f": {int, float}}
    if not kinds <= by_kind.get(dtype.kind, {int}):
        raise InvalidTensor(f"data is not all {datatype}")
    return _in_shape(_to_array(flat, dtype, datatype), shape)


def _decode(element: str, index: int) -> bytes:
    try:
        return base64.b64decode(element, validate=True)
    except ValueError as error:
        raise InvalidTensor(f"element {index} of data is not valid base64: {error}") from error


def _to_array(flat: _Flat, dtype: np.dtype[Any], datatype: str) -> NDArray[Any]:
    # Of a number in an array NumPy would take the lowest bits.
    out_of_range = (
        isinstance(flat, np.ndarray) and dtype.kind in "iu" and flat.max() > np.iinfo(dtype).max
    )
    try:
        with np.errstate(over="ignore"):  # Too large for FP32 is infinity, as everywhere.
            values = np.array(flat, dtype)
    except OverflowError:
        out_of_range = True
    if out_of_range:
        raise InvalidTensor(f"a number in data is out of the range of {datatype}")
    return values


def _in_shape(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    try:
        return values.reshape(shape)
    except ValueError as error:  # More dimensions, or larger ones, than an array can have.
        raise InvalidTensor(f"no tensor can have the shape {list(shape)}") from error


def flatten(data: object) -> tuple[_Flat, tuple[int, ...], set[type]]:
    """Take nested lists apart, or an array of whole numbers or of floats.

    Returns:
        The innermost values in row-major order, the shape of the nesting, and which types occur.

    Raises:
        InvalidTensor: `data` is no list, or its lists differ in length or depth.
    """
    if isinstance(data, np.ndarray):
        return data.reshape(-1), data.shape, {int if data.dtype.kind == "u" else float}
    if not isinstance(data, list):
        raise InvalidTensor("data must be a list")
    shape = [len(data)]
    # Types and lengths a whole level at a time: no Python code runs for a single value.
    while list in (kinds := set(map(type, data))):
        if len(kinds) > 1:
            raise InvalidTensor("data mixes lists and values")
        lengths = set(map(len, data))
        if len(lengths) > 1:
            raise InvalidTensor(f"data is ragged: lists of {min(lengths)} and {max(lengths)}")
        shape.append(lengths.pop())
        data = list(chain.from_iterable(data))
    return data, tuple(shape), kinds
