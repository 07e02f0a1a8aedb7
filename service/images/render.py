"""Draws feature maps for people: a labelled grid a layer, with its colour scale."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.arrays import Tensor
from service.model.artifact import Layer

if TYPE_CHECKING:
    from PIL import ImageFont

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
_INK = 0x22

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
_LEVELS = 232
"""Colours of the scale. The rest of the palette is what letters take from white to ink: a picture
of a palette has a third of the bytes to compress, which is most of the work."""
_WHITE, _BLACKEST = _LEVELS, 255

Indices = NDArray[np.uint8]
"""(height, width) places in the palette."""


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
    canvas = np.full((sum(heights) + 2 * _MARGIN, _WIDTH), _WHITE, np.uint8)
    top = _MARGIN
    for grid, height in zip(grids, heights, strict=True):
        _draw_layer(canvas, grid, top)
        top += height
    picture = Image.frombytes("P", (canvas.shape[1], canvas.shape[0]), canvas.tobytes())
    picture.putpalette(_palette())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _height(grid: LayerGrid) -> int:
    rows = -(-len(grid.channels) // _COLUMNS)
    side = _tile_factor(grid) * int(grid.maps.shape[1])
    return _TITLE_HEIGHT + rows * (side + _LABEL_HEIGHT + _GAP)


def _tile_factor(grid: LayerGrid) -> int:
    return max(1, _TILE // int(max(grid.maps.shape[1:])))


def _draw_layer(canvas: Indices, grid: LayerGrid, top: int) -> None:
    low, high = float(grid.maps.min()), float(grid.maps.max())
    height, width, channels = grid.layer.output_shape
    # The font that Pillow ships has no multiplication sign.
    title = f"{grid.layer.name}   {grid.layer.type}   {height} x {width} x {channels}"
    _put(canvas, _letters(title, 15), _MARGIN, top)
    _draw_scale(canvas, low, high, top)
    scaled = (grid.maps - low) * ((_LEVELS - 1) / (high - low) if high > low else 0)
    factor = _tile_factor(grid)
    tiles = np.rint(scaled).astype(np.uint8).repeat(factor, axis=1).repeat(factor, axis=2)
    for index, (channel, tile) in enumerate(zip(grid.channels, tiles, strict=True)):
        row, column = divmod(index, _COLUMNS)
        x = _MARGIN + column * (_TILE + _GAP)
        y = top + _TITLE_HEIGHT + row * (tile.shape[0] + _LABEL_HEIGHT + _GAP)
        _put(canvas, _letters(str(channel), 10), x, y)
        _put(canvas, tile, x, y + _LABEL_HEIGHT)


def _draw_scale(canvas: Indices, low: float, high: float, top: int) -> None:
    """Draw the colour scale at the right end of the title line, its ends labelled."""
    smallest, largest = (_letters(f"{end:.3g}", 12) for end in (low, high))
    right = _WIDTH - _MARGIN - largest.shape[1]
    _put(canvas, largest, right, top + 2)
    left = right - 6 - _SCALE_WIDTH
    values = np.linspace(0, _LEVELS - 1, _SCALE_WIDTH).astype(np.uint8)
    _put(canvas, np.broadcast_to(values, (_SCALE_HEIGHT, _SCALE_WIDTH)), left, top + 3)
    _put(canvas, smallest, left - 6 - smallest.shape[1], top + 2)


def _put(canvas: Indices, part: Indices, x: int, y: int) -> None:
    """Lay a part onto the canvas; what does not fit is cut off."""
    place = canvas[y : y + part.shape[0], x : x + part.shape[1]]
    place[:] = part[: place.shape[0], : place.shape[1]]


@lru_cache(maxsize=256)
def _letters(text: str, size: int) -> Indices:
    """Return a line of text as palette indices, just large enough for it."""
    # With it comes FreeType, and most processes write nothing into a picture.
    from PIL import ImageDraw  # noqa: PLC0415

    font = _font(size)
    _, _, right, bottom = font.getbbox(text)
    mask = Image.new("L", (int(right) + 1, int(bottom) + 1))
    ImageDraw.Draw(mask).text((0, 0), text, 255, font)
    shades = _WHITE + np.asarray(mask, np.float32) * ((_BLACKEST - _WHITE) / 255)
    letters: Indices = np.rint(shades).astype(np.uint8)
    return letters


@cache
def _palette() -> bytes:
    """Return red, green and blue of each of 256 indices."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _VIRIDIS])
    positions = np.linspace(0, _LEVELS - 1, len(anchors))
    scale = [np.interp(np.arange(_LEVELS), positions, anchors[:, c]) for c in range(3)]
    greys = np.linspace(255, _INK, _BLACKEST - _WHITE + 1)[:, None].repeat(3, axis=1)
    colours: Indices = np.rint([*np.stack(scale, axis=1), *greys]).astype(np.uint8)
    return colours.tobytes()


@cache
def _font(size: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    from PIL import ImageFont  # noqa: PLC0415 (as above)

    return ImageFont.load_default(size)
