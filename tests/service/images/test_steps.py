import io

import numpy as np
import pytest
from PIL import Image

from service.images.steps import LONGEST_SIDE, Step, as_png

GREY = np.arange(784, dtype=np.uint16).reshape(28, 28).astype(np.uint8)


def test_float_pixels_are_rounded_and_clipped() -> None:
    image = Step("cropped", np.array([[-5, 0.6, 300]], np.float32)).to_image()
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 1, 255]]


def test_mask_becomes_the_alpha_channel() -> None:
    mask = (GREY > 100).astype(np.float32)
    image = Step("cut_out", Image.new("RGB", (28, 28), "red"), mask).to_image()
    assert image.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(image)[..., 3], mask * 255)


@pytest.mark.parametrize(("mode", "expected"), [("CMYK", "RGB"), ("LA", "RGBA"), ("L", "L")])
def test_image_is_converted_to_a_grey_or_rgb_mode(mode: str, expected: str) -> None:
    assert Step("decoded", Image.new(mode, (3, 3))).to_image().mode == expected


def test_large_image_is_scaled_down_and_the_original_is_unchanged() -> None:
    large = Image.new("RGB", (1000, 500))
    assert Step("decoded", large).to_image().size == (LONGEST_SIDE, LONGEST_SIDE // 2)
    assert large.size == (1000, 500)


def test_as_png_encodes_the_image_losslessly() -> None:
    file = Image.open(io.BytesIO(as_png(Image.fromarray(GREY))))
    assert file.format == "PNG"
    np.testing.assert_array_equal(np.asarray(file), GREY)
