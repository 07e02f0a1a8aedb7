"""What a picture was on its way to the network's input, for people to look at."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.images.palette import Floats
from service.images.regions import Mask

StepName = Literal["decoded", "cut_out", "light_on_black", "grey", "cropped", "centred", "resized"]

LONGEST_SIDE = 224
"""Pixels of a step's longest side when it is drawn: what a photograph is prepared at."""


class Step(NamedTuple):
    """A picture after one step of its preparation.

    Attributes:
        name: What was done last.
        picture: A Pillow image, or (height, width) numbers in [0, 255].
        mask: (height, width) bool, what of the picture is kept; None if all of it is.
    """

    name: StepName
    picture: Image.Image | NDArray[np.uint8] | Floats
    mask: Mask | None = None

    def to_image(self) -> Image.Image:
        """Return the step as it is drawn: grey or in colour, transparent where nothing is kept."""
        if isinstance(self.picture, Image.Image):
            image = self.picture
            if image.mode not in {"L", "RGB", "RGBA"}:
                image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        else:
            image = Image.fromarray(np.rint(self.picture).clip(0, 255).astype(np.uint8))
        if self.mask is not None:
            image = image.convert("RGB")
            image.putalpha(Image.fromarray(self.mask.astype(np.uint8) * 255))
        if max(image.size) > LONGEST_SIDE:
            image = image.copy()
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
        return image


_recorded: ContextVar[list[Step] | None] = ContextVar("_recorded", default=None)


def somebody_looks() -> bool:
    """Say whether what is shown is recorded in this context."""
    return _recorded.get() is not None


def show(step: Step) -> None:
    """Tell what was done to a picture, if anybody looks."""
    steps = _recorded.get()
    if steps is not None:
        steps.append(step)


@contextmanager
def record() -> Iterator[list[Step]]:
    """Collect the steps that are shown in this context while the block runs."""
    steps: list[Step] = []
    token = _recorded.set(steps)
    try:
        yield steps
    finally:
        _recorded.reset(token)


def as_png(image: Image.Image) -> bytes:
    """Return the picture as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
