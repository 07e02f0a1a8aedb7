"""A photograph to the form Fashion-MNIST's own pictures have.

The data set was made from product photographs on a light ground: the ground trimmed away, the
longest side scaled to 28 pixels, centred, and negated, so that a garment is light on black
(Xiao, Rasul and Vollgraf 2017, https://arxiv.org/abs/1708.07747, section 2).
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WORKING_SIDE = 224
"""Pixels of the longest side at which the garment is looked for: enough to see it, cheap."""

_FOREGROUND_DISTANCE = 32
"""How far, of 255, a pixel's colour lies from the ground's before it counts as the garment."""

_FOREGROUND_LINE_SHARE = 0.02
"""Share of a row or column that must be foreground, so that a speck does not stop the trimming."""

_MIDDLE_GREY = 127.5


def prepare_photo(photo: Image.Image, *, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Find the garment, make it light on black, and centre it.

    Args:
        photo: RGB picture of any size.
        shape: (height, width) of the network's input.

    Returns:
        (height, width) uint8 pixels.
    """
    pixels = np.asarray(_at_working_size(photo), np.float32)
    ground = _ground_colour(pixels)
    distance = np.abs(pixels - ground).max(axis=2)
    top, bottom, left, right = _bounding_box(distance > _FOREGROUND_DISTANCE)
    garment = _light_on_black(pixels, ground)[top:bottom, left:right]
    return _centre(garment, shape)


def _at_working_size(photo: Image.Image) -> Image.Image:
    """Return the photograph with no side longer than `WORKING_SIDE`."""
    scale = WORKING_SIDE / max(photo.size)
    if scale >= 1:
        return photo
    width, height = photo.size
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return photo.resize(size, Image.Resampling.BOX)


def _ground_colour(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median colour of the outermost pixels: (3,) float32."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour: NDArray[np.float32] = np.median(border, axis=0)
    return colour


def _bounding_box(foreground: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right around the foreground; the whole picture if there is none."""
    height, width = foreground.shape
    rows = np.flatnonzero(foreground.mean(axis=1) > _FOREGROUND_LINE_SHARE)
    columns = np.flatnonzero(foreground.mean(axis=0) > _FOREGROUND_LINE_SHARE)
    if rows.size == 0 or columns.size == 0:
        return 0, height, 0, width
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _light_on_black(
    pixels: NDArray[np.float32], ground: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return brightness above the ground's, in [0, 255], the brightest part at 255."""
    luminance_weights = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    luminance = pixels @ luminance_weights
    ground_luminance = float(ground @ luminance_weights)
    if ground_luminance > _MIDDLE_GREY:
        luminance, ground_luminance = 255 - luminance, 255 - ground_luminance
    above: NDArray[np.float32] = np.clip(luminance - ground_luminance, 0, None)
    peak = float(above.max())
    return above * (255 / peak) if peak > 0 else above


def _centre(garment: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale the longest side to the frame and paste the garment in the middle of it."""
    frame_height, frame_width = shape
    height, width = garment.shape
    scale = min(frame_height / height, frame_width / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(garment).resize(size, Image.Resampling.LANCZOS)
    frame = np.zeros(shape, np.uint8)
    left, top = (frame_width - size[0]) // 2, (frame_height - size[1]) // 2
    values = np.rint(np.asarray(small)).clip(0, 255).astype(np.uint8)
    frame[top : top + size[1], left : left + size[0]] = values
    return frame
