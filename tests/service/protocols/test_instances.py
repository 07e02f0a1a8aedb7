"""JSON instances, beyond the tests of `/predict` over HTTP."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from service.capacity.admission import Permit
from service.errors import InvalidImage, InvalidInstances, TooManyImages
from service.images.decode import ImageReader
from service.protocols.instances import read_instances
from tests.service.conftest import Encode

SHAPE = (2, 3)
ROWS = [[0, 1, 2], [3, 4, 255]]
COLUMN = [[[0], [1], [2]], [[3], [4], [255]]]
FLAT = [0, 1, 2, 3, 4, 255]


def read(permit: Permit, *instances: Any) -> list[Any]:
    body = json.dumps({"instances": instances}).encode()
    return [image.pixels for image in read_instances(body, ImageReader("auto", SHAPE, permit))]


@pytest.mark.parametrize(
    "instances",
    [(ROWS,), (COLUMN, COLUMN), (FLAT,), (ROWS, COLUMN, FLAT)],
    ids=["rows", "channels", "flat", "mixed"],
)
@pytest.mark.parametrize("first", [0, 0.5])
def test_numbers_are_read_in_every_accepted_shape(
    permit: Permit, instances: Any, first: float
) -> None:
    instances = json.loads(json.dumps(instances).replace("0", str(first), 1))
    images = read(permit, *instances)
    assert len(images) == len(instances)
    np.testing.assert_array_equal(images[0], [[first, 1, 2], [3, 4, 255]])
    assert images[0].shape == SHAPE
    is_integer = first == 0 and len(instances) < 3
    assert images[0].dtype == (np.uint8 if is_integer else np.float32)
    assert permit.record.phases.keys() == {"decode"}


def test_files_and_numbers_may_be_mixed(permit: Permit, encode: Encode) -> None:
    file = {"b64": base64.b64encode(encode(np.array(ROWS, np.uint8))).decode()}
    for instances in ((file, FLAT), (ROWS, file), (file, file)):
        for pixels in read(permit, *instances):
            np.testing.assert_array_equal(pixels, ROWS)


def test_error_names_the_first_invalid_instance(permit: Permit, encode: Encode) -> None:
    damaged = {"b64": base64.b64encode(encode(np.array(ROWS, np.uint8))[:30]).decode()}
    with pytest.raises(InvalidImage, match=r"^instances\[1\]: "):
        read(permit, ROWS, damaged, 7)
    with pytest.raises(InvalidInstances, match=r"^instances\[1\]: data must be a list"):
        read(permit, ROWS, 7, damaged)


def test_number_of_images_is_checked_before_they_are_read(permit: Permit) -> None:
    for instances in ([ROWS] * 4, [7] * 4):
        with pytest.raises(TooManyImages, match="instances has 4 images, the limit is 3"):
            read(permit, *instances)
