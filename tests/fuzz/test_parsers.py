"""Hypothesis searches for input that a parser neither reads nor rejects."""

import io
import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.images import read_image
from service.capacity.admission import Admission, Limits, Permit
from service.errors import RequestError
from service.images.decode import ImageReader
from service.model.artifact import Artifact
from service.model.classifier import Classifier
from service.model.repository import load_engine
from service.protocols.inference import Message, read_input
from service.protocols.instances import read_instances
from service.protocols.json_arrays import parse_json, parse_with_numbers
from service.protocols.open_inference import read
from service.protocols.tensors import BYTES, DTYPES
from service.telemetry.record import RequestRecord
from tests.fuzz.test_damaged_requests import BASE64, IMAGE, ODD_VALUES, TENSOR

SHAPE = (28, 28)
LIMITS = Limits(max_images=10, max_pixels=10_000)

fuzzed = settings(
    max_examples=40 * int(os.environ.get("FUZZ_EXAMPLES", "5")),
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


T = TypeVar("T")


def outcome(read: Callable[[], T]) -> T | RequestError:
    """Return the result or the RequestError; any other exception propagates."""
    try:
        return read()
    except RequestError as error:
        return error


@pytest.fixture(scope="module")
def classifier(artifact: Artifact) -> Classifier:
    return Classifier(artifact, load_engine(artifact, "litert"))


def new_permit() -> Permit:
    return Admission(max_images=10, max_bytes=100, limits=LIMITS).admit(RequestRecord("1"))


def image(file_format: str, mode: str, size: tuple[int, int]) -> bytes:
    """Return a gradient as a file."""
    pixels = np.add.outer(np.arange(size[1]), np.arange(size[0])) % 256
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(buffer, file_format)
    return buffer.getvalue()


IMAGES = [
    image(file_format, mode, size)
    for file_format in ("PNG", "JPEG", "WEBP", "GIF", "BMP")
    for mode in ("L", "RGB")
    for size in (SHAPE, (40, 33))
]


@st.composite
def edited(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A file with parts of it replaced, removed, repeated or moved."""
    content = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = draw(st.integers(at, min(len(content), at + 64)))
        piece = draw(
            st.one_of(st.binary(max_size=8), st.just(content[at:end] * 2), st.just(content[:at]))
        )
        content = content[:at] + piece + content[end:]
    return content


@fuzzed
@given(
    data=st.one_of(st.binary(max_size=200), edited(IMAGES)),
    prepare=st.sampled_from(["auto", "photo", "plain"]),
)
def test_image_is_read_or_rejected(data: bytes, prepare: Any) -> None:
    image = outcome(lambda: read_image(data, prepare=prepare, shape=SHAPE, max_pixels=10_000))
    if isinstance(image, RequestError):
        assert str(image)
    else:
        assert image.pixels.shape == SHAPE
        assert 0 <= image.pixels.min() <= image.pixels.max() <= 255


# Integers of more than 64 bits are parsed as floats.
NUMBERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(), st.booleans(), st.none())
VALUES = st.recursive(
    st.one_of(NUMBERS, st.text(max_size=8), st.just({"b64": BASE64})),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["b64", "instances", "a"]), inner, max_size=3),
    ),
    max_leaves=20,
)


@fuzzed
@given(value=VALUES)
def test_json_is_parsed_as_by_the_json_module(value: Any) -> None:
    text = json.dumps(value).encode()
    document = outcome(lambda: parse_json(text, LIMITS))
    if isinstance(document, RequestError):
        assert "nests deeper" in str(document)
    else:
        np.testing.assert_equal(document, json.loads(text))


@fuzzed
@given(text=st.one_of(st.binary(max_size=100), edited([json.dumps(ODD_VALUES).encode()])))
def test_arbitrary_bytes_are_parsed_as_json_or_rejected(text: bytes) -> None:
    outcome(lambda: parse_json(text, LIMITS))


ARRAYS = [
    json.dumps({"a": 1, "data": np.arange(12).reshape(2, *shape).tolist(), "b": "c"}).encode()
    for shape in ((6,), (2, 3), (2, 3, 1))
]


@fuzzed
@given(text=edited([*ARRAYS, *(array.replace(b'"a": 1, ', b"") for array in ARRAYS)]))
def test_numbers_parsed_as_an_array_equal_those_of_the_full_parser(text: bytes) -> None:
    read = outcome(lambda: parse_with_numbers(text, ["data"], [(6,), (2, 3), (2, 3, 1)], LIMITS))
    if isinstance(read, dict) and isinstance(read.get("data"), np.ndarray):
        assert {**read, "data": read["data"].tolist()} == json.loads(text)
    else:
        full = outcome(lambda: parse_json(text, LIMITS))
        assert str(read) == str(full)


@fuzzed
@given(
    instances=st.lists(
        st.one_of(
            VALUES,
            st.sampled_from(ODD_VALUES),
            st.binary(min_size=784, max_size=784).map(list),
            st.just([[0] * 28] * 28),
        ),
        max_size=3,
    )
)
def test_instances_are_read_or_rejected_with_their_position(instances: list[Any]) -> None:
    body = json.dumps({"instances": instances}).encode()
    with new_permit() as permit:
        images = outcome(lambda: read_instances(body, ImageReader("auto", SHAPE, permit)))
    if isinstance(images, RequestError):
        assert "instances" in str(images) or "JSON" in str(images)
    else:
        assert [image.pixels.shape for image in images] == [SHAPE] * len(instances)


@st.composite
def binary_messages(draw: st.DrawFn) -> tuple[bytes, int, str, bytes]:
    """A V2 request of a binary tensor, the length of its JSON, and the tensor's type and bytes."""
    datatype = draw(st.sampled_from([*DTYPES, BYTES]))
    count = draw(st.integers(0, 4))
    if datatype == BYTES:
        texts = [draw(st.binary(max_size=5)) for _ in range(count)]
        data = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    else:
        size = DTYPES[datatype].itemsize * count
        data = draw(st.binary(min_size=size, max_size=size))
        if datatype == "BOOL":
            data = bytes(byte & 1 for byte in data)
    tensor = {
        "name": "image",
        "datatype": datatype,
        "shape": [count],
        "parameters": {"binary_data_size": len(data)},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + data, len(head), datatype, data


@fuzzed
@given(message=binary_messages())
def test_a_binary_tensor_is_read_unchanged(
    message: tuple[bytes, int, str, bytes], artifact: Artifact
) -> None:
    body, length, datatype, data = message
    fields, binary = json.loads(body[:length]), memoryview(body)[length:]
    tensor = read_input(Message("fashion_mnist", fields, binary), artifact.manifest)
    assert tensor.datatype == datatype
    if datatype == BYTES:
        texts = tensor.values.tolist()
        assert data == b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    else:
        assert tensor.values.tobytes() == data


WHOLE = [
    json.dumps({"id": "1", "inputs": [sent], "outputs": [{"name": "label"}]}).encode()
    for sent in (TENSOR, IMAGE)
]


@fuzzed
@given(
    body=st.one_of(
        edited(WHOLE),
        binary_messages().map(lambda message: message[0]),
        st.binary(max_size=50),
        st.dictionaries(st.sampled_from(["id", "inputs", "outputs", "parameters"]), VALUES).map(
            lambda document: json.dumps(document).encode()
        ),
    ),
    length=st.one_of(st.none(), st.integers(-1, 400)),
)
def test_v2_message_is_parsed_or_rejected(
    classifier: Classifier, body: bytes, length: int | None
) -> None:
    with new_permit() as permit:
        outcome(lambda: read("fashion_mnist", body, length, classifier, permit))
