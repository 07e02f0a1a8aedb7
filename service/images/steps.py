"""The steps of an image's preparation, for display."""

import io
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

StepName = Literal["decoded", "cut_out", "light_on_black", "grey", "cropped", "centred", "resized"]

LONGEST_SIDE = 224  # pixels, to which photographs and the steps shown are reduced


class Step(NamedTuple):
    """An image after one step of its preparation."""

    name: StepName
    image: Image.Image | NDArray[Any]
    """An array is (height, width) uint8 or float32 in [0, 255]."""
    mask: NDArray[np.float32] | None = None
    """(height, width) in [0, 1]: how much is kept of the image; None keeps all."""
    frame: tuple[float, ...] = (0, 0, 1, 1)
    """Left, top, right and bottom as fractions of the decoded image; may lie outside of it."""

    def to_image(self) -> Image.Image:
        """Return the step as an image, grey or in colour, transparent outside the mask."""
        image = self.image
        if not isinstance(image, Image.Image):
            image = Image.fromarray(np.rint(image).clip(0, 255).astype(np.uint8))
        elif image.mode not in {"L", "RGB", "RGBA"}:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        if self.mask is not None:
            image = image.convert("RGB")
            image.putalpha(Image.fromarray(np.rint(self.mask * 255).astype(np.uint8)))
        if max(image.size) > LONGEST_SIDE:
            image = image.copy()
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
        return image


def as_png(image: Image.Image) -> bytes:
    """Encode the image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
