"""Draws feature maps for people: a labelled grid a layer, with its colour scale."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.arrays import Tensor
from service.artifact import Layer

_COLUMNS = 16
_TILE = 56
"""Pixels of a map's side on the picture: twice 28, four times 14, eight times 7."""
_GAP = 4
_LABEL_HEIGHT = 12
_TITLE_HEIGHT = 26
_MARGIN = 16
_SCALE_WIDTH = 128
_SCALE_HEIGHT = 12
_WIDTH = 2 * _MARGIN + _COLUMNS * (_TILE + _GAP) - _GAP
_BACKGROUND = "white"
_INK = "#222222"

# Every eighth of viridis (van der Walt and Smith 2015), which keeps its order in grey and for
# colour-blind eyes; between them it is close to straight.
_VIRIDIS = [
    "440154",
    "472c7a",
    "3b528b",
    "2c728e",
    "21918c",
    "28ae80",
    "5ec962",
    "addc30",
    "fde725",
]


@dataclass(frozen=True, slots=True)
class LayerGrid:
    """The maps of one layer that are to be shown.

    Attributes:
        layer: The layer they come from.
        channels: Which of its channels they are.
        maps: (channels, height, width) float32.
    """

    layer: Layer
    channels: Sequence[int]
    maps: Tensor


def render_layers(grids: Sequence[LayerGrid]) -> bytes:
    """Return a PNG with the layers one below the other.

    Colours go from the smallest to the largest value of a layer, which its scale prints: within a
    layer they can be compared, between layers they cannot.
    """
    heights = [_height(grid) for grid in grids]
    picture = Image.new("RGB", (_WIDTH, sum(heights) + 2 * _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    top = _MARGIN
    for grid, height in zip(grids, heights, strict=True):
        _draw_layer(picture, draw, grid, top)
        top += height
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _height(grid: LayerGrid) -> int:
    rows = -(-len(grid.channels) // _COLUMNS)
    side = _tile_factor(grid) * int(grid.maps.shape[1])
    return _TITLE_HEIGHT + rows * (side + _LABEL_HEIGHT + _GAP)


def _tile_factor(grid: LayerGrid) -> int:
    return max(1, _TILE // int(max(grid.maps.shape[1:])))


def _draw_layer(picture: Image.Image, draw: ImageDraw.ImageDraw, grid: LayerGrid, top: int) -> None:
    low, high = float(grid.maps.min()), float(grid.maps.max())
    height, width, channels = grid.layer.output_shape
    # The font that Pillow ships has no multiplication sign.
    title = f"{grid.layer.name}   {grid.layer.type}   {height} x {width} x {channels}"
    draw.text((_MARGIN, top), title, _INK, _font(15))
    _draw_scale(picture, draw, low, high, top)
    scaled = (grid.maps - low) * (255 / (high - low) if high > low else 0)
    factor = _tile_factor(grid)
    tiles = np.rint(scaled).astype(np.uint8).repeat(factor, axis=1).repeat(factor, axis=2)
    for index, (channel, tile) in enumerate(zip(grid.channels, tiles, strict=True)):
        row, column = divmod(index, _COLUMNS)
        x = _MARGIN + column * (_TILE + _GAP)
        y = top + _TITLE_HEIGHT + row * (tile.shape[0] + _LABEL_HEIGHT + _GAP)
        draw.text((x, y), str(channel), _INK, _font(10))
        picture.paste(Image.fromarray(_colours()[tile]), (x, y + _LABEL_HEIGHT))


def _draw_scale(
    picture: Image.Image, draw: ImageDraw.ImageDraw, low: float, high: float, top: int
) -> None:
    """Draw the colour scale at the right end of the title line, its ends labelled."""
    right = _WIDTH - _MARGIN
    largest = f"{high:.3g}"
    right -= round(draw.textlength(largest, _font(12)))
    draw.text((right, top + 2), largest, _INK, _font(12))
    left = right - 6 - _SCALE_WIDTH
    values = np.linspace(0, 255, _SCALE_WIDTH).astype(np.uint8)
    ramp = np.broadcast_to(_colours()[values], (_SCALE_HEIGHT, _SCALE_WIDTH, 3))
    picture.paste(Image.fromarray(np.ascontiguousarray(ramp)), (left, top + 3))
    smallest = f"{low:.3g}"
    draw.text(
        (left - 6 - round(draw.textlength(smallest, _font(12))), top + 2), smallest, _INK, _font(12)
    )


@cache
def _colours() -> NDArray[np.uint8]:
    """Return the colour of each of 256 values: (256, 3) uint8."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _VIRIDIS])
    positions = np.linspace(0, 255, len(anchors))
    channels = [np.interp(np.arange(256), positions, anchors[:, c]) for c in range(3)]
    colours: NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return colours


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
