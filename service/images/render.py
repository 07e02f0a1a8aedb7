"""Draws feature maps: a labelled block of maps for each layer, with its colour scale."""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..arrays import Tensor
from .steps import as_png

_COLUMNS = 16
_TILE = 56  # pixels of a map's side: twice 28, four times 14, eight times 7
_GAP = 4
_LABEL_HEIGHT, _TITLE_HEIGHT = 12, 26
_MARGIN = 16
_SCALE_WIDTH, _SCALE_HEIGHT = 128, 12
_HEAT_SIDE, _HEAT_OPACITY = 448, 217  # pixels; of 255
_FOR, _AGAINST = (255, 138, 0), (0, 120, 255)
_WIDTH = 2 * _MARGIN + _COLUMNS * (_TILE + _GAP) - _GAP

# Nine colours of viridis (van der Walt and Smith 2015), which stays ordered in grey and for
# colour-blind viewers; it is nearly linear between them.
_VIRIDIS = bytes.fromhex("440154 472c7a 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725")

# The rest of the palette is for text, from white to ink. RGB would take longer to compress.
_LEVELS = 232
_WHITE, _INK, _INK_GREY = _LEVELS, 255, 0x22


class LayerMaps(NamedTuple):
    """The maps of one layer that are to be shown."""

    name: str
    type: str
    shape: tuple[int, ...]  # (height, width, channels) of the whole layer.
    channels: Sequence[int]  # That the maps show.
    maps: Tensor  # (channels, height, width).


def render_layers(layers: Sequence[LayerMaps]) -> bytes:
    """Return a PNG with the layers one below the other; colours span the range of each."""
    blocks = [_draw_layer(layer) for layer in layers]
    height = sum(block.height for block in blocks) + 2 * _MARGIN
    canvas = Image.new("L", (_WIDTH, height), _WHITE)
    top = _MARGIN
    for block in blocks:
        canvas.paste(block, (0, top))
        top += block.height
    canvas.putpalette(_palette())
    return as_png(canvas)


def render_heat(image: Image.Image, heat: Tensor, frame: Sequence[float]) -> bytes:
    """Return a PNG of an image under (height, width) heat: orange above zero, blue below."""
    canvas = ImageOps.contain(image.convert("RGB"), (_HEAT_SIDE, _HEAT_SIDE))
    box = [round(share * side) for share, side in zip(frame, canvas.size * 2, strict=True)]
    size = max(1, box[2] - box[0]), max(1, box[3] - box[1])
    colours = np.where(heat[..., None] > 0, _FOR, _AGAINST)
    opacity = np.abs(heat) * (_HEAT_OPACITY / max(np.abs(heat).max(), 1e-30))
    pixels = np.dstack([colours, opacity]).astype(np.uint8)
    layer = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    canvas.paste(layer, (box[0], box[1]), layer)
    return as_png(canvas)


def _draw_layer(layer: LayerMaps) -> Image.Image:
    low, high = float(layer.maps.min()), float(layer.maps.max())
    scaled = (layer.maps - low) * ((_LEVELS - 1) / (high - low) if high > low else 0)
    factor = max(1, _TILE // max(layer.maps.shape[1:]))
    tiles = np.rint(scaled).astype(np.uint8).repeat(factor, 1).repeat(factor, 2)
    row_height = tiles.shape[1] + _LABEL_HEIGHT + _GAP
    column_width = max(_TILE, tiles.shape[2]) + _GAP
    columns = max(1, _COLUMNS * (_TILE + _GAP) // column_width)
    height = _TITLE_HEIGHT + -(-len(tiles) // columns) * row_height
    block = Image.new("L", (_WIDTH, height), _WHITE)
    shape = " x ".join(map(str, layer.shape))  # Pillow's font has no multiplication sign.
    block.paste(_text(f"{layer.name}   {layer.type}   {shape}", 15), (_MARGIN, 0))
    # Colour scale at the right end of the title line.
    smallest, largest = (_text(f"{end:.3g}", 12) for end in (low, high))
    right = _WIDTH - _MARGIN - largest.width
    left = right - 6 - _SCALE_WIDTH
    levels = np.linspace(0, _LEVELS - 1, _SCALE_WIDTH).astype(np.uint8)
    block.paste(smallest, (left - 6 - smallest.width, 2))
    block.paste(Image.fromarray(np.tile(levels, (_SCALE_HEIGHT, 1))), (left, 3))
    block.paste(largest, (right, 2))
    for index, (channel, tile) in enumerate(zip(layer.channels, tiles, strict=True)):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * column_width, _TITLE_HEIGHT + row * row_height
        block.paste(_text(str(channel), 10), (x, y))
        block.paste(Image.fromarray(tile), (x, y + _LABEL_HEIGHT))
    return block


@lru_cache(maxsize=256)
def _text(text: str, size: int) -> Image.Image:
    # These load FreeType, which most processes never need.
    from PIL import ImageDraw, ImageFont  # noqa: PLC0415

    font = ImageFont.load_default(size)
    _, _, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right) + 1, int(bottom) + 1), _WHITE)
    ImageDraw.Draw(image).text((0, 0), text, _INK, font)
    return image


@cache
def _palette() -> bytes:
    """Return 256 RGB triples."""
    anchors = np.frombuffer(_VIRIDIS, np.uint8).reshape(-1, 3)
    positions = np.linspace(0, _LEVELS - 1, len(anchors))
    scale = [np.interp(np.arange(_LEVELS), positions, channel) for channel in anchors.T]
    greys = np.linspace(255, _INK_GREY, _INK - _WHITE + 1)[:, None].repeat(3, axis=1)
    return np.rint([*np.stack(scale, axis=1), *greys]).astype(np.uint8).tobytes()
