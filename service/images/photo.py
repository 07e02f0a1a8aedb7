"""A photograph to the form Fashion-MNIST's own pictures have.

The data set was made from product photographs on a light ground: the ground trimmed away, the
longest side scaled to 28 pixels, centred, and negated, so that a garment is light on black
(Xiao, Rasul and Vollgraf 2017, https://arxiv.org/abs/1708.07747, section 2).
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.images.segmentation import garment_mask
from service.images.palette import Floats
from service.images.regions import Mask
from service.images.steps import Step, show

WORKING_SIDE = 224
"""Pixels of the longest side from which the garment's tones are taken."""

_MASK_SIDE = 96
"""Pixels of the longest side at which the garment is looked for: enough to see it, cheap."""

# A garment of the data set keeps some light everywhere (a white shirt is dim, never gone) and some
# tone at the top. The negative's median goes into this range; its spread is kept, or widened a bit.
_DARKEST, _LOWEST_MEDIAN, _HIGHEST_MEDIAN = 30, 110, 210
_SPREAD = 190
_LEAST_GAIN, _MOST_GAIN = 0.6, 2.0

_BLACK = 8
"""Of 255. Darker than a dark sheet on any photograph."""

_MIDDLE_GREY = 127


def prepare_photo(photo: Image.Image, *, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Find the garment, make it light on black, and centre it.

    Args:
        photo: RGB picture of any size.
        shape: (height, width) of the network's input.

    Returns:
        (height, width) uint8 pixels, zero outside the garment.
    """
    working = _scaled_to(photo, min(WORKING_SIDE, max(photo.size)))
    show(Step("decoded", working))
    grey = np.asarray(working.convert("L"), np.float32)
    if _is_on_black(grey):
        show(Step("grey", grey))
        return _centre(_trim(grey, _or_everywhere(grey >= _BLACK)), shape)
    coarse = Image.fromarray(garment_mask(_scaled_to(working, _MASK_SIDE)))
    smooth = coarse.convert("L").resize(working.size, Image.Resampling.BILINEAR)
    mask = _or_everywhere(np.asarray(smooth) > _MIDDLE_GREY)
    show(Step("cut_out", working, mask))
    garment = _light_on_black(grey, mask)
    show(Step("light_on_black", garment))
    return _centre(_trim(garment, mask), shape)


def _scaled_to(photo: Image.Image, longest_side: int) -> Image.Image:
    scale = longest_side / max(photo.size)
    if scale == 1:
        return photo
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)


def _or_everywhere(mask: Mask) -> Mask:
    """Return the mask, or a full one if it is empty."""
    return mask if mask.any() else np.ones_like(mask)


def _light_on_black(grey: Floats, mask: Mask) -> Floats:
    """Return the negative of the garment on black, its tones placed as the data set's are."""
    negative = 255 - grey
    low, median, high = (float(value) for value in np.percentile(negative[mask], [3, 50, 97]))
    gain = min(max(_SPREAD / max(high - low, 1.0), _LEAST_GAIN), _MOST_GAIN)
    level = min(max(median, _LOWEST_MEDIAN), _HIGHEST_MEDIAN)
    toned = ((negative - median) * gain + level).clip(_DARKEST, 255)
    return np.where(mask, toned, 0).astype(np.float32)


def _is_on_black(grey: Floats) -> bool:
    """Whether this is no photograph but, enlarged, a picture in the data set's own form."""
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return float(np.percentile(edge, 90)) < _BLACK


def _trim(garment: Floats, mask: Mask) -> Floats:
    """Cut away the rows and columns in which the mask has nothing."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    trimmed = garment[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    show(Step("cropped", trimmed))
    return trimmed


def _centre(trimmed: Floats, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale the longest side to the frame, paste in the middle."""
    frame_height, frame_width = shape
    height, width = trimmed.shape
    scale = min(frame_height / height, frame_width / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(trimmed).resize(size, Image.Resampling.BOX)
    frame = np.zeros(shape, np.uint8)
    left, top = (frame_width - size[0]) // 2, (frame_height - size[1]) // 2
    pixels = np.rint(np.asarray(small)).clip(0, 255).astype(np.uint8)
    frame[top : top + size[1], left : left + size[0]] = pixels
    show(Step("centred", frame))
    return frame
