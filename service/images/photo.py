"""Turns photographs into images like those of Fashion-MNIST.

Its authors took product photographs on a light background, trimmed the background, scaled the
longest side to 28 pixels, centred and negated, so that garments are light on black (Xiao, Rasul and
Vollgraf 2017, https://arxiv.org/abs/1708.07747, section 2).
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .segmentation import Floats, garment_mask
from .steps import LONGEST_SIDE, Step

_MASK_SIDE = 96  # pixels: enough to find the garment, and cheap
_BLACK = 8  # of 255: darker than any photographed background
_LIKELY = 0.5  # of a mask: likelier the garment than the background

# Garments of the data set are never black (a white shirt is dim) nor all white. The negative's
# median is clipped to this range, and its spread is scaled towards `_SPREAD`.
_DARKEST, _LOWEST_MEDIAN, _HIGHEST_MEDIAN = 30, 110, 210
_SPREAD, _MIN_GAIN, _MAX_GAIN = 190, 0.6, 2.0


def prepare_photo(
    photo: Image.Image, *, shape: tuple[int, int], steps: list[Step] | None = None
) -> NDArray[np.uint8]:
    """Find the garment on an RGB image of any size, make it light on black, and centre it.

    Returns pixels of `shape`, (height, width), which fade to zero outside the garment.
    """
    steps = [] if steps is None else steps
    side = min(LONGEST_SIDE, max(photo.size))
    working = _scaled_to(photo, (side, side), Image.Resampling.BILINEAR)
    steps.append(Step("decoded", working))
    garment = np.asarray(working.convert("L"), np.float32)
    edge = np.concatenate([garment[0], garment[-1], garment[:, 0], garment[:, -1]])
    if np.percentile(edge, 90) < _BLACK:  # already light on black, only enlarged
        mask = (garment >= _BLACK).astype(np.float32)
        steps.append(Step("grey", garment))
    else:
        small = _scaled_to(working, (_MASK_SIDE, _MASK_SIDE), Image.Resampling.BILINEAR)
        coarse = Image.fromarray(garment_mask(small))
        mask = np.asarray(coarse.resize(working.size, Image.Resampling.BILINEAR))
        garment = _light_on_black(garment, mask)
        steps += [Step("cut_out", working, mask), Step("light_on_black", garment)]
    likely = mask > _LIKELY if (mask > _LIKELY).any() else np.ones_like(mask, np.bool_)
    rows, columns = np.flatnonzero(likely.any(axis=1)), np.flatnonzero(likely.any(axis=0))
    cropped = garment[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    centred = _centre(cropped, shape)
    scale = max(side / into for side, into in zip(cropped.shape, shape, strict=True))
    places = ((columns, shape[1], working.width), (rows, shape[0], working.height))
    middles = [((at[0] + at[-1] + 1) / 2, into * scale / 2, side) for at, into, side in places]
    frame = tuple((m + sign * half) / side for sign in (-1, 1) for m, half, side in middles)
    steps += [Step("cropped", cropped), Step("centred", centred, frame=frame)]
    return centred


def _scaled_to(
    image: Image.Image, size: tuple[int, int], enlarging: Image.Resampling
) -> Image.Image:
    """Scale an image so that it just fits into `size`."""
    scale = min(size[0] / image.width, size[1] / image.height)
    if scale == 1:
        return image
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize((width, height), Image.Resampling.BOX if scale < 1 else enlarging)


def _light_on_black(grey: Floats, mask: Floats) -> Floats:
    """Return the garment's negative on black, with tones like the data set's."""
    negative = 255 - grey
    ranks = np.bincount(negative.astype(np.uint8).ravel(), mask.ravel()).cumsum()
    low, median, high = ranks.searchsorted(np.array([0.03, 0.5, 0.97]) * ranks[-1]).tolist()
    gain = min(max(_SPREAD / max(high - low, 1.0), _MIN_GAIN), _MAX_GAIN)
    level = min(max(median, _LOWEST_MEDIAN), _HIGHEST_MEDIAN)
    toned = ((negative - median) * gain + level).clip(_DARKEST, 255)
    return np.asarray(toned * mask, np.float32)


def _centre(cropped: Floats, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale the longest side to the frame and paste in its middle."""
    small = _scaled_to(Image.fromarray(cropped), shape[::-1], Image.Resampling.BOX)
    left, top = (shape[1] - small.width) // 2, (shape[0] - small.height) // 2
    frame = np.zeros(shape, np.uint8)
    pixels = np.rint(np.asarray(small)).clip(0, 255).astype(np.uint8)
    frame[top : top + small.height, left : left + small.width] = pixels
    return frame
