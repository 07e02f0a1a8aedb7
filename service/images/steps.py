"""The steps of an image's preparation, for people to look at."""

import io
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

StepName = Literal["decoded", "cut_out", "light_on_black", "grey", "cropped", "centred", "resized"]

LONGEST_SIDE = 224
"""Pixels of the side from which a photograph's tones are taken, and at which steps are drawn."""


class Step(NamedTuple):
    """An image after one step of its preparation."""

    name: StepName
    image: Image.Image | NDArray[Any]
    """An array is (height, width) uint8 or float32 in [0, 255]."""
    mask: NDArray[np.bool_] | None = None
    """(height, width), true where the image is kept; None if all of it is."""
    frame: tuple[float, ...] = (0, 0, 1, 1)
    """Its left, top, right and bottom as shares of the decoded image; may lie outside of it."""

    def to_image(self) -> Image.Image:
        """Return the step as it is drawn: grey or in colour, transparent outside the mask."""
        image = self.image
        if not isinstance(image, Image.Image):
            image = Image.fromarray(np.rint(image).clip(0, 255).astype(np.uint8))
        elif image.mode not in {"L", "RGB", "RGBA"}:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        if self.mask is not None:
            image = image.convert("RGB")
            image.putalpha(Image.fromarray(self.mask))
        if max(image.size) > LONGEST_SIDE:
            image = image.copy()
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
        return image


def as_png(image: Image.Image) -> bytes:
    """Return the image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
